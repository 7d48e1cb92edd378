"use strict";
// Filters, sorting and the record of a cell. Charts are Vega's; without scripts the tables hold the same.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const find = (selector) => document.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const page = read("page-data");
  const cells = page.cells;
  // Points of the charts: a number stands for a cell, the others are folds as one.
  const drawn = page.drawn.map((one) => (typeof one === "number" ? cells[one] : one));
  const table = find("#cells");
  const rows = table ? all("tbody tr", table) : [];
  const rowOf = new Map(rows.map((row) => [row.dataset.name, row]));
  const views = new Map();

  const label = (cell) =>
    `${cell.pruned} on ${cell.runner}` +
    (cell.times ? `, ${cell.times.replace("x", ` ${page.frames[cell.model].over}`)}` : "") +
    (cell.score ? `, ${page.metric[cell.model] || "score"} ${+cell.score[0].toPrecision(4)}` : "") +
    (cell.over ? `, over ${cell.over}` : "") +
    (cell.onFront ? ", on the front" : "") + (cell.chosen ? ", to deploy" : "");

  // ---- filters: one choice for charts and table
  const chosen = (name) => new Set(all(`#filters input[name=${name}]:checked`).map((box) => box.value));
  const number = (id, otherwise) => {
    const value = parseFloat(find(id)?.value);
    return Number.isNaN(value) ? otherwise : value;
  };
  const network = () => find("#network")?.value ?? cells[0]?.model;
  const passing = (among) => {
    const engines = chosen("engine"), kinds = chosen("kind"), precisions = chosen("precision");
    const low = number("#least", 0), high = number("#most", 100);
    return among.filter((cell) =>
      cell.model === network() && engines.has(String(cell.engine)) && kinds.has(cell.kind) && precisions.has(cell.precision) &&
      (cell.removed === null || (cell.removed >= low - 0.5 && cell.removed <= high + 0.5)));
  };

  // ---- the record of one cell, for the pointer and the keyboard
  const show = (place, cell) => {
    const out = document.getElementById(`${place}-record`);
    if (!out || !cell) return;
    const list = document.createElement("dl");
    const add = (name, text) => {
      if (!text) return;
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = name;
      value.textContent = text;
      list.append(term, value);
    };
    const row = cell.facts ? null : rowOf.get(cell.name);
    for (const [term, text] of cell.facts ?? []) add(term, text);
    if (row && place !== "strip") all("th", table.tHead).forEach((head, index) => add(head.dataset.title, row.cells[index].textContent.trim()));
    if (place === "strip") add("speedup [95 %]", cell.times);
    if (place === "strip") add("trust", cell.grade);
    add("dominated", place === "strip" ? "" : cell.below);
    add("trust lowered by", cell.why);
    add("from float64", place !== "strip" && cell.parity !== undefined && cell.parity !== null ? cell.parity.toExponential(1) : "");
    add(cell.over ? "cells" : cell.facts ? "layer" : "cell", cell.name);
    out.replaceChildren(list);
  };

  // ---- charts
  const focusable = (id) => {
    // One stop of the Tab key a chart; arrow keys go from cell to cell.
    const marks = all(`#${id} .points [role]`).filter((mark) => mark.__data__?.datum?.cell !== undefined || mark.__data__?.datum?.label);
    marks.forEach((mark, index) => mark.setAttribute("tabindex", index ? "-1" : "0"));
    return marks;
  };
  const attach = (id, view, onto) => {
    const holder = document.getElementById(id);
    const at = (mark) => mark?.__data__?.datum;
    const point = (datum) => { onto(datum); light(id, datum); };
    holder.addEventListener("focusin", (event) => point(at(event.target)));
    holder.addEventListener("focusout", () => light(id, null));
    holder.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      const marks = focusable(id), now = marks.indexOf(document.activeElement);
      if (now < 0) return;
      event.preventDefault();
      marks[(now + step + marks.length) % marks.length].focus();
    });
    view.addEventListener("mouseover", (_, item) => item?.datum && point(item.datum));
    view.addEventListener("mouseout", () => light(id, null));
  };
  const draw = (id, onto) => {
    const holder = document.getElementById(id);
    if (!holder || !window.sparsemarkVega) return null;
    const runtime = sparsemarkVega.parse(page.charts[id]);
    const view = new sparsemarkVega.View(runtime, { renderer: "svg", container: holder, hover: false });
    view.logLevel(0);
    views.set(id, view);
    attach(id, view, onto);
    return view;
  };
  const put = (id, name, values) => views.get(id).data(name, values);
  const settle = (id) => views.get(id).runAsync().then(() => focusable(id));
  const axes = (view, frame) => {
    for (const [name, value] of [["ys", frame.ratios], ["yticks", frame.ticks], ["from", frame.from]]) view.signal(name, value);
  };

  // ---- series: of many the best are in colour; the others are grey, told apart by symbols and named when pointed at
  const { many, inColour, markers } = page.emphasis ?? { many: 0, inColour: 0, markers: [] };
  const isSeries = (id) => id === "front" || id.startsWith("course-");
  const seriesOf = (id, datum) => (id === "front" ? datum.runner : datum.line);
  const ranked = (id, points) => {
    const shown = new Set(points.map((point) => seriesOf(id, point)));
    return (page.frames[network()].order?.[id] ?? []).filter((name) => shown.has(name));
  };
  const best = (order) => (order.length > many ? order.slice(0, inColour) : order);
  const symbol = (line) => {
    // By the place among all lines of the network, so that no filter changes a symbol, and all charts have the same.
    const order = Object.entries(page.frames[network()].order ?? {}).filter(([id]) => id.startsWith("course-"));
    const place = Math.max(0, [...new Set(order.flatMap(([, lines]) => lines))].indexOf(line));
    return { shape: markers[place % markers.length][0], hollow: Math.floor(place / markers.length) % 2 === 1 };
  };
  const light = (id, datum) => {
    // The series of what is pointed at, or has the focus, in ink and with its name beside the point.
    const view = views.get(id), is = datum?.cell !== undefined;
    if (!view || !isSeries(id)) return;
    const x = is ? view.scale("x")(datum.x) : 0, y = is ? view.scale("y")(datum.y) : 0;
    const text = is && (id === "front" ? byName.get(datum.cell) : datum);
    const place = x < view.width() / 3 ? ["left", 12] : x > (2 * view.width()) / 3 ? ["right", -12] : ["center", 0];
    view.signal("lit", is ? seriesOf(id, datum) : "");
    put(id, "tag", is ? [{ x: x + place[1], y: y < 24 ? y + 20 : y - 18, align: place[0],
      text: id === "front" ? `${text.pruned} on ${text.runner}` : text.line }] : []);
    view.runAsync();
  };
  const key = (id, order, points, isNeeded) => {
    // The legend of a chart: its series, the best first.
    const out = document.getElementById(`${id}-key`), vivid = best(order);
    out.hidden = !isNeeded;
    const engine = new Map(points.map((point) => [seriesOf(id, point), point.engine]));
    const quantised = new Set(points.filter((point) => point.hollow).map((point) => seriesOf(id, point)));
    const rest = order.length - vivid.length;
    const said = document.createElement("span");
    const keep = page.frames[network()].keep?.[id] ?? [], kept = vivid.filter((name) => keep.includes(name)).length;
    const by = "by the lower end of the speedup", which = !kept ? `the fastest ${vivid.length} of ${order.length}, ${by}`
      : kept === vivid.length ? `the best ${vivid.length} of ${order.length}, ${by} of what keeps the score`
        : `of ${order.length} the ${kept} that keep${kept === 1 ? "s" : ""} the score, then the fastest, ${by}`;
    said.textContent = rest ? `in colour: ${which}; the grey ones are named when pointed at` : "";
    out.replaceChildren(...(rest ? [said] : []), ...order.map((name) => {
      const one = document.createElement("span"), { shape, hollow } = symbol(name);
      const ink = vivid.includes(name) ? `var(--e${engine.get(name)})` : "var(--rest)";
      const outline = id === "front" ? "M2 2h12v12H2Z" : Object.fromEntries(markers)[shape];
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
      svg.setAttribute("viewBox", "0 0 16 16");
      svg.setAttribute("class", "key");
      svg.setAttribute("aria-hidden", "true");
      path.setAttribute("d", outline);
      path.style.fill = (id === "front" ? quantised.has(name) : hollow) ? "var(--ground)" : ink;
      path.style.stroke = ink;
      svg.append(path);
      one.className = vivid.includes(name) && rest ? "vivid" : "";
      one.append(svg, name);
      one.addEventListener("mouseenter", () => { views.get(id).signal("lit", name).runAsync(); });
      one.addEventListener("mouseleave", () => light(id, null));
      return one;
    }));
  };

  // ---- labels: boxes in pixels, as [left, top, right, bottom]
  const box = (x, y, text, wide) => [x - (wide * text.length) / 2, y - 8, x + (wide * text.length) / 2, y + 8];
  const touch = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const name = (view) => {
    // Names of the front, the cell to deploy first: above, below or beside their points, and left out where each place
    // is taken by a point of the front or by another name, or would seem to name another point.
    const named = view.data("cells").filter((one) => one.onFront).sort((a, b) => b.chosen - a.chosen);
    const at = (one) => [view.scale("x")(one.x), view.scale("y")(one.y)];
    const taken = named.map((one) => { const [x, y] = at(one), half = one.chosen ? 12 : 8; return [x - half, y - half, x + half, y + half]; });
    const nearest = (one, [x, y]) => named.every((other) => {
      const away = (point) => Math.hypot(at(point)[0] - x, at(point)[1] - y);
      return other === one || away(other) > 1.2 * away(one);
    });
    for (const one of named) {
      const [x, y] = at(one);
      for (const text of one.chosen ? [`${one.place}: deploy`, one.place] : [one.place]) {
        const beside = 15 + 4 * text.length;
        const free = [[0, -21], [0, 21], [beside, 0], [-beside, 0]].find(([dx, dy]) => {
          const own = box(x + dx, y + dy, text, 8);
          return (one.chosen || nearest(one, [x + dx, y + dy])) && own[0] >= 0 && own[2] <= view.width() && own[1] >= 0 && own[3] <= view.height() && !taken.some((other) => touch(own, other));
        });
        if (!free) continue;
        Object.assign(one, { text, dx: free[0], dy: free[1] });
        taken.push(box(x + free[0], y + free[1], text, 8));
        break;
      }
    }
    // Copies without Vega's own number, by which it would take them for what it has drawn already.
    put("front", "cells", view.data("cells").map((one) => Object.fromEntries(Object.entries(one))));
    return settle("front");
  };
  const drawFront = (shown) => {
    const view = views.get("front"), frame = page.frames[network()];
    if (!view) return;
    for (const [name, value] of [["xs", frame.ratios], ["xticks", frame.ticks], ["ys", frame.scores], ["over", frame.over],
      ["score", frame.score], ["dense", frame.dense], ["least", frame.least], ["up", frame.up], ["keeps", frame.keeps]]) view.signal(name, value);
    const points = shown.filter((cell) => cell.speedup && cell.score).map((cell) => ({
      cell: cell.name, runner: cell.runner, engine: cell.engine, kind: cell.kind, onFront: cell.onFront, chosen: cell.chosen,
      place: cell.place, label: label(cell), text: "", dx: 0, dy: 0, x: cell.speedup[0], low: cell.speedup[1], high: cell.speedup[2],
      y: cell.score[0], yLow: cell.score[1] ?? cell.score[0], yHigh: cell.score[2] ?? cell.score[0], hollow: cell.precision !== "fp32",
    })).sort((a, b) => a.onFront - b.onFront);
    const order = ranked("front", points);
    view.signal("vivid", best(order)).signal("lit", "");
    put("front", "tag", []);
    key("front", order, points, order.length > many && !frame.flat);
    put("front", "cells", points);
    settle("front").then(() => name(view));
  };
  // Where all scores are one, their chart is a level line: the cells as bars of speed, with names, stand in its place.
  const drawPace = (shown) => {
    const view = views.get("pace"), frame = page.frames[network()];
    if (!view) return;
    for (const [id, hidden] of [["front", frame.flat], ["front-lead", frame.flat], ["pace", !frame.flat], ["pace-lead", !frame.flat]]) {
      const one = document.getElementById(id);
      one.hidden = hidden;
      // A chart that was hidden knows no width.
      if (!hidden && views.has(id)) views.get(id).signal("width", Math.max(240, one.clientWidth)).runAsync();
    }
    if (!frame.flat) return;
    const fast = shown.filter((cell) => cell.speedup && cell.score).sort((a, b) => b.speedup[0] - a.speedup[0]);
    for (const [name, value] of [["xs", frame.ratios], ["xticks", frame.ticks], ["over", frame.over]]) view.signal(name, value);
    view.height(30 * Math.max(1, fast.length));
    put("pace", "cells", fast.map((cell, place) => ({
      place, cell: cell.name, runner: cell.runner, kind: cell.kind, chosen: cell.chosen, name: `${cell.pruned} on ${cell.runner}`, label: label(cell),
      x: cell.speedup[0], low: cell.speedup[1], high: cell.speedup[2] })));
    settle("pace");
  };

  const place = (view, points) => {
    // Labels at the ends of lines, pushed apart where they would touch.
    const last = new Map();
    for (const point of points) if (!last.has(point.line) || last.get(point.line).x <= point.x) last.set(point.line, point);
    const scale = view.scale("y"), apart = 15;
    const ends = [...last.values()].map((point) => ({ ...point, place: scale(point.y) }));
    const found = ends.filter((point) => point.x >= 75);
    found.sort((a, b) => a.place - b.place);
    found.forEach((one, index) => { if (index) one.place = Math.max(one.place, found[index - 1].place + apart); });
    const over = found.length ? found[found.length - 1].place - view.height() : 0;
    if (over > 0) {
      found[found.length - 1].place -= over;
      for (let index = found.length - 2; index >= 0; index--) found[index].place = Math.min(found[index].place, found[index + 1].place - apart);
    }
    // A line that ends early has its label near its end, where lines and labels leave room; a thin line leads there.
    const edge = view.scale("x")(100) + 8, wide = 7;
    for (const one of found) Object.assign(one, { left: edge, toX: edge - 3, toY: one.place, led: true });
    const taken = found.map((one) => box(edge + (wide * one.line.length) / 2, one.place, one.line, wide));
    const lines = view.data("lines").map((one) => ({ line: one.line, at: [view.scale("x")(one.x), scale(one.y)] }))
      .sort((a, b) => a.line.localeCompare(b.line) || a.at[0] - b.at[0]);
    for (let index = 1; index < lines.length; index++) {
      const [from, to] = [lines[index - 1], lines[index]];
      if (from.line !== to.line) continue;
      const steps = Math.ceil(Math.hypot(to.at[0] - from.at[0], to.at[1] - from.at[1]) / 5) || 1;
      for (let step = 0; step <= steps; step++) {
        const [x, y] = [0, 1].map((axis) => from.at[axis] + (step / steps) * (to.at[axis] - from.at[axis]));
        taken.push([x - 2, y - 2, x + 2, y + 2]);
      }
    }
    const short = ends.filter((point) => point.x < 75).sort((a, b) => a.place - b.place);
    for (const one of short) {
      const half = (wide * one.line.length) / 2, end = view.scale("x")(one.x);
      const places = [0, 14, 28, 42, 56, 70, 84].flatMap((apart) => [-apart, apart])
        .flatMap((apart) => (apart ? [end + 8 + half, end, end - half] : [end + 8 + half]).map((x) => box(x, one.place + apart, one.line, wide)));
      const inside = places.filter((own) => own[0] > 0 && own[1] > 0 && own[3] < view.height());
      const own = inside.find((own) => !taken.some((other) => touch(own, other))) ?? places[0];
      one.led = Math.abs(own[1] + 8 - one.place) > 14;
      [one.left, one.place] = [own[0], own[1] + 8];
      [one.toX, one.toY] = [one.left + 8, one.place + (one.place < scale(one.y) ? 6 : -6)];
      taken.push(own);
    }
    return [...found, ...short];
  };
  const drawCourse = (shown) => {
    const names = new Set(shown.map((cell) => cell.name));
    for (const [id, view] of views) {
      if (!id.startsWith("course-")) continue;
      const title = page.panels[id];
      const points = page.course
        .filter((point) => point.panel === title && names.has(drawn[point.cell].name))
        .map((point) => {
          const cell = drawn[point.cell];
          return { cell: cell.name, runner: cell.runner, engine: cell.engine, line: point.line, x: point.x, lined: point.lined,
            label: label(cell), y: cell.speedup[0], low: cell.speedup[1], high: cell.speedup[2], ...symbol(point.line) };
        });
      const frame = page.frames[network()], order = ranked(id, points), vivid = best(order);
      // The grey lines lie below the others, and have no names at their ends.
      points.sort((a, b) => vivid.includes(a.line) - vivid.includes(b.line));
      const named = points.filter((point) => vivid.includes(point.line));
      const longest = Math.max(0, ...named.map((point) => point.line.length));
      const narrow = document.getElementById(id).clientWidth < 420 || longest > 40;
      const room = narrow ? 0 : 18 + 7 * longest;
      if (frame.panels?.[id]) axes(view, frame.panels[id]);
      view.signal("over", frame.over).signal("room", room).signal("most", 100).signal("vivid", vivid).signal("lit", "");
      put(id, "cells", points);
      put(id, "labels", []);
      put(id, "tag", []);
      key(id, order, points, order.length > 1 && (!room || order.length > many));
      document.getElementById(id).closest("figure").hidden = !points.length;
      view.runAsync().then(() => { put(id, "labels", room ? place(view, named) : []); return view.runAsync(); }).then(() => focusable(id));
    }
  };

  const says = (shows) => {
    // The words below a title say only what is drawn.
    for (const [what, is] of Object.entries(shows)) all(`[data-drawn=${what}]`).forEach((words) => { words.hidden = !is; });
  };
  const ofNetwork = (one) => one.dataset.model === network();
  const offered = all("#strip-cell option");
  const offer = () => {
    // Pairs of blocks are offered of the network that is shown, first those of the cell to deploy.
    const select = find("#strip-cell"), own = offered.filter(ofNetwork);
    if (!select || (select.options.length === own.length && own.every((one) => one.parentNode === select))) return;
    select.replaceChildren(...own);
    select.value = (own.find((one) => one.defaultSelected) ?? own[0])?.value ?? "";
    drawStrip();
  };
  const drawStrip = () => {
    const view = views.get("strip");
    if (!view) return;
    const cell = cells.find((one) => one.name === find("#strip-cell").value);
    find("#strip").closest(".split").hidden = !cell;
    if (!cell) return;
    const control = cells.find((one) => one.aa && one.model === cell.model && one !== cell);
    const points = (of, values) => values.blocks.map((y, x) => ({
      x: x + 1, y, moved: values.moved.includes(x), cell: of.name,
      label: `pair ${x + 1}: ${y > 0 ? "+" : ""}${y} %${values.moved.includes(x) ? ", the reference had moved" : ""}` }));
    const own = points(cell, cell), beside = control ? points(control, control) : [];
    const sizes = [...own, ...beside].map((point) => Math.abs(point.y)).sort((a, b) => a - b);
    const [estimate, low, high] = cell.speedup ?? [1, 1, 1];
    const band = [100 * (low / estimate - 1), 100 * (high / estimate - 1)];
    const reach = Math.max(3, 1.15 * (sizes[Math.floor(0.97 * (sizes.length - 1))] || 3), 1.05 * Math.max(-band[0], band[1]));
    // What lies beyond the axis is drawn at its edge: another symbol, its value in the label, and a count in the words.
    const far = [own, beside].map((some) => some.filter((point) => Math.abs(point.y) > reach));
    far.flat().forEach((point) => { point.label += ", beyond the axis"; });
    const counted = [[far[0], own, "pairs"], [far[1], beside, "pairs of the dense network"]]
      .filter(([out]) => out.length).map(([out, among, of]) => `${out.length} of ${among.length} ${of}`);
    find("#beyond").textContent = counted.join(", ");
    let pair = 0.5;
    const starts = cell.launches.slice(0, -1).map((pairs, index) => ({ x: (pair += pairs), text: index ? "" : "new process" }));
    view.signal("ys", [-reach, reach]).signal("low", band[0]).signal("high", band[1]).signal("runner", cell.runner);
    put("strip", "cells", own);
    put("strip", "control", beside);
    put("strip", "launches", starts);
    says({ control: beside.length, moved: cell.moved.length, launches: starts.length, beyond: counted.length });
    settle("strip");
    show("strip", cell);
  };
  const drawTails = (shown) => {
    const view = views.get("tails");
    if (!view) return;
    const weight = (cell) => (cell.chosen ? 3 : cell.reference ? 2 : cell.onFront ? 1 : 0);
    const few = shown.filter((cell) => cell.ms[1]).sort((a, b) => weight(b) - weight(a) || a.ms[0] - b.ms[0]).slice(0, 12);
    const values = few.flatMap((cell, place) => cell.ms.map((ms, index) => ms && ({
      place, percentile: [50, 90, 99][index], x: ms / cell.ms[0], runner: cell.runner, cell: cell.name,
      name: `${cell.pruned} on ${cell.runner}${cell.reference ? " (reference)" : ""}: p50 ${cell.ms[0].toPrecision(3)} ms`,
      label: `${cell.pruned} on ${cell.runner}: p${[50, 90, 99][index]} ${ms.toPrecision(3)} ms` })).filter(Boolean));
    says(Object.fromEntries(["chosen", "reference", "onFront"].map((what) => [what, few.some((cell) => cell[what])])));
    view.height(30 * Math.max(1, few.length));
    put("tails", "cells", values);
    settle("tails");
  };
  const drawParity = (shown) => {
    if (!views.has("parity")) return;
    const compared = shown.filter((cell) => cell.parity !== null), exact = compared.some((cell) => cell.parity === 0);
    // A logarithmic axis has no place for 0: it stands at its left edge, a whole power of ten below all others.
    const least = 10 ** Math.floor(Math.log10(Math.min(1e-6, ...compared.map((cell) => cell.parity).filter((one) => one > 0)) / 10));
    says({ exact });
    put("parity", "cells", compared.map((cell) => ({
      cell: cell.name, runner: cell.runner, precision: cell.precision, parity: cell.parity || least,
      label: `${cell.pruned} on ${cell.runner}: ${cell.parity.toExponential(1)} from float64` })));
    settle("parity");
  };

  const byName = new Map([...cells, ...drawn].map((cell) => [cell.name, cell]));
  const onto = (place) => (datum) => datum?.cell !== undefined &&
    show(place, datum.facts ? { name: datum.cell, facts: datum.facts } : byName.get(datum.cell) ?? { name: datum.cell });

  const update = () => {
    if (!find("#filters")) return;
    const shown = passing(cells), names = new Set(shown.map((cell) => cell.name)), points = passing(drawn);
    all("[data-model]:not(option)").forEach((one) => { one.hidden = !ofNetwork(one); });
    rows.forEach((row) => { row.hidden = !names.has(row.dataset.name); });
    const count = find("#count");
    if (count) count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows shown`;
    drawFront(points);
    drawPace(points);
    drawCourse(points);
    drawTails(points);
    drawParity(points);
    offer();
  };

  // ---- sorting
  const sort = (button) => {
    const head = button.closest("th"), index = [...head.parentNode.children].indexOf(head);
    const falling = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
    all("th", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling > 0 ? "ascending" : "descending");
    const key = (row) => {
      const value = row.cells[index].dataset.value;
      if (value !== undefined) return value === "" ? -Infinity : parseFloat(value);
      const text = row.cells[index].textContent.trim();
      return /^[-+]?\d/.test(text) ? parseFloat(text) : text;
    };
    const keyed = rows.map((row) => [key(row), row]);
    keyed.sort(([a], [b]) => falling * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))));
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  };

  document.documentElement.classList.add("scripted");
  all("#cells thead button").forEach((button) => button.addEventListener("click", () => sort(button)));
  const whole = find("#whole"), holder = table?.closest(".scroll");
  if (whole && holder.scrollHeight > holder.clientHeight + 1) whole.hidden = false;
  whole?.addEventListener("click", () => { holder.classList.add("whole"); whole.hidden = true; });
  find("#filters")?.addEventListener("input", update);
  find("#filters")?.addEventListener("reset", () => setTimeout(update));
  const glossary = find("#glossary");
  const open = () => glossary && (glossary.open ? glossary.close() : glossary.showModal());
  find("#ask")?.addEventListener("click", open);
  find("#close")?.addEventListener("click", open);
  document.addEventListener("keydown", (event) => {
    if (event.key === "?" && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) open();
  });
  all("[data-copy]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => navigator.clipboard?.writeText(button.dataset.copy).then(() => { button.textContent = "copied"; }));
  });
  // Paper cannot unfold: what is folded is printed, but for the tables of charts that are printed themselves.
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = all("details:not(.data)").filter((fold) => !fold.open);
    unfolded.forEach((fold) => { fold.open = true; });
  });
  addEventListener("afterprint", () => unfolded.forEach((fold) => { fold.open = false; }));

  for (const id of Object.keys(page.charts)) draw(id, id === "strip" ? () => {} : onto(id === "pace" ? "front" : id.replace(/-(\d+|time|work)$/, "")));
  find("#strip-cell")?.addEventListener("input", drawStrip);
  update();
  drawStrip();
  for (const [id, values] of Object.entries(page.values ?? {})) {
    if (!views.has(id)) continue;
    put(id, "cells", values);
    settle(id);
  }
  let resized;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => drawCourse(passing(drawn)), 150); });
})();
