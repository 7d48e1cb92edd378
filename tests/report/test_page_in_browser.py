"""Page of a report in headless Chromium: charts, filters, sorting, keyboard, sizes; skipped where there is none."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from bench import screenshots
from bench.screenshots import executables
from sparsemark.analysis.cells import is_control
from sparsemark.analysis.merging import load_run
from sparsemark.cli.pages import comparison_page
from sparsemark.report import render
from sparsemark.report.layers import read_layers
from tests.report.pages import HOSTILE, LONG, many, more_engines, named
from tests.report.runs import RUNS, of, replace, rescored, scored
from tests.report.test_folds import study
from tests.report.test_layers import written

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("vl_convert", reason="vl-convert, which brings the charts, is not installed")

pytestmark = pytest.mark.skipif(not all(executables()), reason="chromium and chromedriver are not installed")

SHOWN = sum(not is_control(m) for m in RUNS["study"].measured())
"""Cells that are shown at first: all but the controls."""


@pytest.fixture(scope="module")
def browser():
    with screenshots.browser() as driver:
        yield driver


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """Function that opens the page of a run, whose log must stay empty, and waits for its charts."""
    folder = tmp_path_factory.mktemp("pages")

    def open_page(run, width=1280, scheme="light", **more):
        path = folder / "page.html"
        path.write_text(run if isinstance(run, str) else render(run, "html", **more), encoding="utf-8")
        browser.get_log("performance")
        screenshots.show(browser, path, width, scheme)
        assert browser.get_log("browser") == []
        return browser

    return open_page


def shown_rows(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#cells tbody tr')].filter(r => !r.hidden).map(r => r.dataset.name)"
    )


def marks(browser, chart):
    return browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} .points [aria-label]`)].map(m => m.ariaLabel)", chart
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_without_an_error_and_asks_for_nothing(opened, scheme):
    browser = opened(RUNS["study"], scheme=scheme)
    asked = [
        entry["message"] for entry in browser.get_log("performance") if 'Network.requestWillBeSent"' in entry["message"]
    ]
    assert not [message for message in asked if '"url":"http' in message]
    ground, ink = browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color].map(c => +c.match(/\\d+/)[0])"
    )
    assert (ground > ink + 100) if scheme == "light" else (ink > ground + 100)
    colours = browser.execute_script(
        "return [...document.querySelectorAll('#front .points path')].map(p => getComputedStyle(p).fill)"
    )
    assert len(set(colours)) > 3
    assert "rgba(0, 0, 0, 0)" not in colours


def test_charts_stand_in_the_accessibility_tree_with_every_cell(opened):
    browser = opened(RUNS["study"])
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    names = {node.get("name", {}).get("value", "") for node in tree if not node.get("ignored")}
    front = marks(browser, "front")
    assert len(front) == SHOWN
    assert set(front) <= names
    assert any("channels 70 % on ncnn" in label and "to deploy" in label for label in front)
    assert len(marks(browser, "course-0")) > 20
    assert len(marks(browser, "strip")) == 20
    assert "dense on ONNX Runtime: p90" in " ".join(marks(browser, "tails"))


def test_the_limit_of_float32_stands_beside_float32_alone(opened):
    """Cells in int8, which have a limit of their own, lay right of the line and looked as if they failed."""
    run = replace(RUNS["study"], lambda m: m.engine == "torch", parity_max_rel=1e-6)
    run = replace(run, lambda m: m.engine == "ncnn", precision="int8", parity_max_rel=1e-3)
    tall, line = opened(run).execute_script(
        "const lines = [...document.querySelectorAll('#parity line')].filter(l => l.outerHTML.includes('--bad'));"
        "return [document.querySelector('#parity svg'), ...lines].map(e => e.getBoundingClientRect().height)"
    )
    assert 0 < line < tall / 2


def test_filters_change_charts_and_table_together(opened):
    browser = opened(RUNS["study"])
    assert len(shown_rows(browser)) == SHOWN
    boxes = browser.find_elements("css selector", "#filters input[name=engine]")
    for box in boxes[1:]:
        box.click()
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    left = shown_rows(browser)
    engine = browser.find_element("css selector", "#filters label:has(input[name=engine])").text.strip()
    assert 0 < len(left) < SHOWN
    assert len(marks(browser, "front")) == len(left)
    assert all(f" on {engine}," in label for label in marks(browser, "front"))
    assert f"{len(left)} of" in browser.find_element("id", "count").text
    browser.find_element("css selector", "#filters [name=kind][value=control]").click()
    assert len(shown_rows(browser)) >= len(left)
    browser.find_element("css selector", "#filters button[type=reset]").click()
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert len(shown_rows(browser)) == SHOWN


def test_a_click_on_a_title_sorts_by_numbers(opened):
    browser = opened(RUNS["study"])
    head = browser.find_element("xpath", "//table[@id='cells']//th[starts-with(@data-title, 'p50')]/button")
    column = "return [...document.querySelectorAll('#cells tbody tr')].map(r => +r.cells[arguments[0]].dataset.value)"
    index = browser.execute_script(
        "return [...arguments[0].closest('tr').children].indexOf(arguments[0].closest('th'))", head
    )
    for ascending in (False, True):
        browser.execute_script("arguments[0].click()", head)
        values = browser.execute_script(column, index)
        assert values == sorted(values, reverse=not ascending)
        assert len(set(values)) > 10


def test_the_keyboard_reaches_cells_and_words(opened):
    from selenium.webdriver import ActionChains, Keys

    browser = opened(RUNS["study"])
    browser.execute_script("document.querySelector('#front .points [tabindex=\"0\"]').focus()")
    first = browser.find_element("id", "front-record").text
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    second = browser.find_element("id", "front-record").text
    assert "cell" in first
    assert "cell" in second
    assert first != second
    assert browser.execute_script("return document.querySelectorAll('#front .points [tabindex=\"0\"]').length") == 1
    ActionChains(browser).send_keys("?").perform()
    assert browser.find_element("id", "glossary").is_displayed()
    assert "p90" in browser.find_element("id", "glossary").text
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not browser.find_element("id", "glossary").is_displayed()


@pytest.mark.parametrize("name", [HOSTILE, LONG], ids=["hostile", "long"])
def test_names_of_strangers_stay_text_and_break_no_layout(opened, name):
    browser = opened(named(name), width=360)
    assert browser.execute_script("return [window.hit, document.images.length]") == [None, 0]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert name[:20] in browser.find_element("css selector", "h1").text or name[:20] in browser.title


@pytest.mark.parametrize("width", [360, 900, 1600])
def test_no_width_scrolls_sideways(opened, width):
    browser = opened(RUNS["two networks"], width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = browser.execute_script(
        "return [...document.querySelectorAll('.chart svg')]"
        ".filter(s => s.getBoundingClientRect().right > innerWidth).length"
    )
    assert wide == 0


def test_folds_are_one_point_whose_record_names_each(opened):
    browser = opened(study())
    assert len(shown_rows(browser)) == 15
    assert [", over five folds" in label for label in marks(browser, "front")] == [True] * 3
    browser.execute_script("document.querySelector('#front .points [tabindex=\"0\"]').focus()")
    record = browser.find_element("id", "front-record").text
    assert all(f"fold {fold}" in record for fold in range(5))


def test_many_cells_are_all_drawn(opened):
    browser = opened(many(150))
    assert len(marks(browser, "front")) == len(shown_rows(browser)) == 150


@pytest.mark.parametrize("name", ["nothing ran", "one bare row", "one row"])
def test_little_to_show_is_no_error(opened, name):
    browser = opened(RUNS[name])
    assert browser.find_element("css selector", "h1").text


@pytest.mark.parametrize(("scheme", "rules"), [("light", None), ("dark", ["color-contrast"])], ids=["light", "dark"])
def test_an_automatic_check_of_accessibility_finds_nothing_serious(opened, scheme, rules):
    axe = pytest.importorskip("axe_core_python", reason="axe-core is not installed")
    few = [m for m in RUNS["two networks"].measurements if m.sparsity_target in (0, 0.5) or m.status != "measured"]
    browser = opened(dataclasses.replace(RUNS["two networks"], measurements=tuple(few)), scheme=scheme)
    browser.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "const [rules, done] = arguments; const only = rules ? {runOnly: rules} : {};"
        "axe.run(only).then(done, e => done({violations: [{id: String(e), impact: 'critical', nodes: []}]}))",
        rules,
    )
    assert [
        (one["id"], one["impact"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ] == []


COMMITTED = sorted((Path(__file__).parents[2] / "results").glob("*/cnn9.json"))

BOXES = """
    return [...document.querySelectorAll(arguments[0])].filter(e => e.textContent || e.localName === 'path')
        .map(e => e.getBoundingClientRect()).filter(r => r.width && r.height)
        .map(r => [r.left, r.top, r.right, r.bottom])
"""


def touching(boxes, others):
    """Pairs that share more than a pixel."""
    return [
        (a, b)
        for a in boxes
        for b in others
        if a is not b and min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1
    ]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("width", [390, 900, 1440])
def test_names_of_the_front_lie_on_no_other_and_on_no_point(opened, path, width):
    browser = opened(load_run(path), width=width)
    names = browser.execute_script(BOXES, "#front .names text")
    points = browser.execute_script(
        "return [...document.querySelectorAll('#front .points path')].filter(e => e.__data__.datum.onFront)"
        ".map(e => e.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
    )
    assert 2 < len(names) <= len(points)
    assert touching(names, names) == []
    assert touching(names, points) == []
    texts = browser.execute_script(
        "return [...document.querySelectorAll('#front .names text')].map(e => e.textContent)"
    )
    assert width == 390 or any("deploy" in text for text in texts)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_labels_of_lines_lie_on_no_line_and_on_no_other(opened, path):
    browser = opened(load_run(path), width=1440)
    for chart in ("course-0", "course-1"):
        labels = browser.execute_script(BOXES, f"#{chart} .names text")
        assert len(labels) > 2
        assert touching(labels, labels) == []
        leads = "return document.querySelectorAll(`#${arguments[0]} .leads line`).length"
        assert browser.execute_script(leads, chart) == len(labels), "one line to each label"
        points = browser.execute_script(
            """
            const found = [];
            for (const path of document.querySelectorAll(`#${arguments[0]} .mark-line path`)) {
              if (path.getAttribute('stroke-dasharray')) continue;
              const matrix = path.getScreenCTM();
              for (let at = 0; at <= path.getTotalLength(); at += 4) {
                const point = path.getPointAtLength(at).matrixTransform(matrix);
                found.push([point.x - 1, point.y - 1, point.x + 1, point.y + 1]);
              }
            }
            return found
            """,
            chart,
        )
        assert len(points) > 100
        assert touching(labels, points) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_print_cuts_no_chart_and_is_dark_on_white(opened, tmp_path, scheme):
    """A sheet is narrower than the window that the charts were drawn for, and white in a dark scheme too."""
    browser = opened(RUNS["study"], width=1280, scheme=scheme, layers=read_layers(*written(tmp_path)))
    charts = len(browser.find_elements("css selector", ".chart svg"))
    assert charts >= 7
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    try:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
        # A sheet of A4 between margins of 1 cm, at 96 dots an inch; as in print, no event tells the charts.
        browser.execute_script("document.body.style.width = '718px'")
        cut = browser.execute_script(
            "return [...document.querySelectorAll('.chart')].filter(c => c.checkVisibility()).filter(c => {"
            "  const svg = c.querySelector('svg').getBoundingClientRect(), own = c.getBoundingClientRect();"
            "  return svg.right > own.right + 1 || svg.bottom > own.bottom + 1 || own.right > 718 ||"
            "    Math.abs(svg.width / svg.height - c.querySelector('svg').viewBox.baseVal.width /"
            "      c.querySelector('svg').viewBox.baseVal.height) > 0.02 * svg.width / svg.height }).map(c => c.id)"
        )
        assert cut == []
        inks = browser.execute_script(
            """
            const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
            const luminance = (colour) => {
              const [r, g, b] = channels(colour).slice(0, 3).map((c) => c / 255)
                .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
              return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const faint = [];
            for (const one of document.querySelectorAll('main *')) {
              if (!one.checkVisibility()) continue;
              if (![...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
              const style = getComputedStyle(one), ink = one.closest('svg') ? style.fill : style.color;
              if (ink === 'none' || style.stroke === 'rgb(255, 255, 255)') continue;
              const contrast = 1.05 / (luminance(ink) + 0.05), needed = one.closest('svg') ? 3 : 4.5;
              if (contrast < needed) faint.push([one.textContent.slice(0, 40), ink, contrast]);
            }
            return [getComputedStyle(document.body).backgroundColor, faint]
            """
        )
        assert inks == ["rgb(255, 255, 255)", []]
        for hidden in ("#filters", ".record", "#ask"):
            assert not browser.find_element("css selector", hidden).is_displayed()
        sheets = browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})["data"]
        assert len(sheets) > 10_000
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})


def test_the_layers_are_bars_that_the_keyboard_reaches(opened, tmp_path):
    browser = opened(RUNS["study"], layers=read_layers(*written(tmp_path)))
    labels = marks(browser, "layers-time")
    assert "features.0, dense: 3, NCHWc Conv, 50 % of the peak" in labels
    browser.execute_script("document.querySelector('#layers-time .points [tabindex=\"0\"]').focus()")
    record = browser.find_element("id", "layers-record").text
    assert "direct, 8 vectors" in record
    assert "features.0" in record
    tops = browser.execute_script(
        "return [...document.querySelectorAll('#layers-time .points path')].map(p => p.getBoundingClientRect().top)"
    )
    assert len(set(tops)) == len(tops)


def test_a_filter_of_one_precision_is_not_shown(opened):
    browser = opened(RUNS["study"])
    assert not browser.find_element("css selector", "#filters [name=precision]").is_displayed()


def test_two_runs_are_drawn_over_each_other(opened):
    new = dataclasses.replace(RUNS["study"], measurements=RUNS["study"].measurements[:-8])
    browser = opened(comparison_page(RUNS["study"], new), width=390)
    for chart in ("both-front-0", "both-course-0"):
        runs = {label.partition(":")[0] for label in marks(browser, chart)}
        assert runs == {"old", "new"}
    browser.execute_script("document.querySelector('#both-front-0 .points [tabindex=\"0\"]').focus()")
    assert "cell" in browser.find_element("id", "both-front-record").text
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_a_phone_shows_every_cell_of_a_row_below_its_title(opened):
    """At 390 pixels the tables ended before the speedups."""
    browser = opened(RUNS["study"], width=390)
    script = """return ['#cells', '#says'].map(id => [...document.querySelectorAll(id + ' tr:nth-child(1) td')].map(
        cell => [getComputedStyle(cell, '::before').content, cell.getBoundingClientRect().right]))"""
    for cells in browser.execute_script(script):
        titles = [title for title, _ in cells]
        assert any("speedup" in title or "over dense" in title for title in titles)
        assert "none" not in titles
        assert all(0 < right <= 390 for _, right in cells)


def test_a_long_note_makes_no_tall_row(opened):
    new = replace(RUNS["study"], lambda m: m.status == "measured", steal=0.071, reference_drift=0.18)
    browser = opened(comparison_page(RUNS["study"], new), width=390)
    heights = browser.execute_script(
        "return [...document.querySelectorAll('#cells tbody tr')].map(r => r.getBoundingClientRect().height)"
    )
    assert 0 < max(heights) < 160


def test_the_green_of_the_front_reaches_the_end_of_the_axis(opened):
    """What scores better than the dense network keeps the score as well."""
    browser = opened(RUNS["study"])
    band, chart = browser.execute_script(
        "return ['.mark-rect path', '.background'].map(e => document.querySelector(`#front ${e}`))"
        ".map(e => e.getBoundingClientRect()).map(r => [r.top, r.bottom])"
    )
    assert abs(band[0] - chart[0]) < 2
    assert band[1] < chart[1] - 5
    assert browser.find_element("css selector", "#front .kept text").text.startswith("keeps the score: within")


def test_the_words_on_pairs_name_only_what_is_drawn(opened):
    def said(run):
        browser = opened(run)
        words = browser.find_elements("css selector", "[data-drawn]")
        return {one.get_attribute("data-drawn") for one in words if one.is_displayed()}

    alone = tuple(m for m in RUNS["study"].measurements if m.control is None)
    assert "launches" not in said(RUNS["study"])
    assert "launches" in said(replace(RUNS["study"], lambda m: True, launch_pairs=(12, 8)))
    assert "control" in said(RUNS["study"])
    assert "control" not in said(dataclasses.replace(RUNS["study"], measurements=alone))


@pytest.mark.parametrize("width", [390, 1280])
def test_where_all_scores_are_one_the_front_is_a_chart_of_speed(opened, width):
    browser = opened(rescored(RUNS["study"], "accuracy", value=0.9), width=width)
    assert not browser.find_element("id", "front").is_displayed()
    assert "same score" in browser.find_element("id", "pace-lead").text
    assert len(marks(browser, "pace")) == SHOWN
    names = browser.execute_script(BOXES, "#pace .mark-text text")
    points = browser.execute_script(BOXES, "#pace .points path")
    assert len(points) == SHOWN
    assert touching(names, points) == []
    assert max(right for _, _, right, _ in points) <= width
    browser.execute_script("document.querySelector('#pace .points [tabindex=\"0\"]').focus()")
    assert "cell" in browser.find_element("id", "front-record").text


def test_pairs_beyond_the_axis_are_triangles_with_their_value_and_are_counted(opened):
    """They lay on the edge as if it were their value."""
    chosen = of("channels", "ncnn", 0.7)
    (m,) = filter(chosen, RUNS["study"].measurements)
    slow = (*m.samples_s[:40], *(3 * second for second in m.samples_s[40:48]), *m.samples_s[48:])
    browser = opened(replace(RUNS["study"], chosen, samples_s=slow))
    beyond = [label for label in marks(browser, "strip") if label.endswith(", beyond the axis")]
    assert any(re.match(r"pair 6: -6\d\.\d+ %", label) for label in beyond)
    outlines = browser.execute_script(
        "return [...document.querySelectorAll('#strip .points path')].map(p => [p.ariaLabel, p.getAttribute('d')])"
    )
    arcs = {label for label, path in outlines if "A" not in path and "moved" not in label}
    assert arcs == {label for label in beyond if "moved" not in label}
    words = browser.find_element("css selector", "[data-drawn=beyond]")
    assert f"{len(beyond)} of 20 pairs" in words.text
    sixth = "document.querySelector(`#strip .points [aria-label^='pair 6:']`)"
    box, chart = browser.execute_script(
        f"return [{sixth}, document.querySelector('#strip svg')]"
        ".map(e => e.getBoundingClientRect()).map(r => [r.top, r.bottom])"
    )
    assert chart[0] <= box[0] < box[1] <= chart[1], "it is drawn whole"
    browser.execute_script(
        f"const mark = {sixth}, r = mark.getBoundingClientRect(); mark.dispatchEvent("
        "new PointerEvent('pointermove', {bubbles: true, clientX: r.x + r.width / 2, clientY: r.y + 3}))"
    )
    titles = browser.execute_script("return [...document.querySelectorAll('#strip, #strip [title]')].map(e => e.title)")
    assert any(title.startswith("pair 6: -6") for title in titles)
    calm = {"samples_s": m.samples_s[:8] * 20, "reference_s": m.reference_s[:8] * 20}
    browser = opened(replace(RUNS["study"], lambda m: True, **calm))
    assert not browser.find_element("css selector", "[data-drawn=beyond]").is_displayed()


def ink_of(browser, variable):
    """A colour of the style sheet as a browser computes it."""
    return browser.execute_script(
        "const probe = document.body.appendChild(document.createElement('i'));"
        "probe.style.color = `var(${arguments[0]})`;"
        "const found = getComputedStyle(probe).color; probe.remove(); return found",
        variable,
    )


def lines_of(browser, chart="course-0"):
    """Ink and symbol of each line, the same at all of its points."""
    ground = ink_of(browser, "--ground")
    found = browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} .points path`)].map(p => [p.__data__.datum.line,"
        " getComputedStyle(p).fill, getComputedStyle(p).stroke, p.getAttribute('d')])",
        chart,
    )
    lines = {}
    for line, fill, stroke, outline in found:
        lines.setdefault(line, set()).add((stroke if fill == ground else fill, (fill == ground, outline)))
    assert all(len(looks) == 1 for looks in lines.values())
    return {line: looks.pop() for line, looks in lines.items()}


def settled(browser):
    browser.execute_async_script("setTimeout(arguments[0], 150)")


def test_of_many_lines_three_are_in_colour_and_every_line_has_a_symbol_of_its_own(opened):
    """Ten colours were not told apart, and grey prints of them not at all."""
    browser = opened(more_engines(4))
    order = browser.execute_script(
        "return JSON.parse(document.getElementById('page-data').textContent).frames.cnn9.order['course-0']"
    )
    lines, rest = lines_of(browser), ink_of(browser, "--rest")
    assert len(lines) == len(order) == 10
    assert {line for line, (ink, _) in lines.items() if ink != rest} == set(order[:3])
    assert len({ink for ink, _ in lines.values()}) == 4
    assert len({symbol for _, symbol in lines.values()}) == 10
    named = "return [...document.querySelectorAll('#course-0 .names text')].map(e => e.textContent)"
    assert set(browser.execute_script(named)) == set(order[:3])
    legend = browser.find_element("id", "course-0-key")
    assert "in colour: the best 3 of 10" in legend.text
    assert all(line in legend.text for line in order)
    assert len(legend.find_elements("css selector", "svg")) == 10
    for box in browser.find_elements("css selector", "#filters label:has(input[name=engine])"):
        if box.text.startswith("engine"):
            box.click()
    settled(browser)
    lines = lines_of(browser)
    assert len(lines) == 6
    assert rest not in {ink for ink, _ in lines.values()}, "six are told apart by colour"
    assert set(browser.execute_script(named)) == set(lines)


def test_a_grey_line_is_named_where_it_is_pointed_at_or_has_the_focus(opened):
    browser = opened(more_engines(4))
    pick = "[...document.querySelectorAll('#course-0 .points path')].find(p => p.__data__.datum.line === 'engine3')"
    tags = "return [...document.querySelectorAll('#course-0 .tags text')].map(e => e.textContent).filter(Boolean)"
    for start, end in (
        (f"{pick}.focus()", f"{pick}.blur()"),
        *[(f"{pick}.dispatchEvent(new MouseEvent('mouseover', {{bubbles: true}}))",
           f"{pick}.dispatchEvent(new MouseEvent('mouseout', {{bubbles: true}}))")],
    ):  # fmt: skip
        browser.execute_script(start)
        settled(browser)
        assert browser.execute_script(tags) == ["engine3"]
        assert lines_of(browser)["engine3"][0] == ink_of(browser, "--ink")
        browser.execute_script(end)
        settled(browser)
        assert browser.execute_script(tags) == []
        assert lines_of(browser)["engine3"][0] == ink_of(browser, "--rest")


def test_of_many_engines_three_are_in_colour_on_the_front(opened):
    browser = opened(more_engines(4))
    inks = browser.execute_script(
        "return [...document.querySelectorAll('#front .points path')]"
        ".map(p => [p.__data__.datum.runner, getComputedStyle(p).fill])"
    )
    rest = ink_of(browser, "--rest")
    assert len({runner for runner, ink in inks if ink != rest}) == 3
    assert len({runner for runner, _ in inks}) == 10
    assert "in colour: the best 3 of 10" in browser.find_element("id", "front-key").text
    few = opened(RUNS["study"])
    assert not few.find_element("id", "front-key").is_displayed()


def test_where_lines_have_no_room_for_names_there_is_a_legend(opened):
    browser = opened(RUNS["study"], width=390)
    legend = browser.find_element("id", "course-0-key")
    assert legend.is_displayed()
    assert len(legend.find_elements("css selector", "svg")) == len(lines_of(browser)) == 6
    assert not opened(RUNS["study"], width=1600).find_element("id", "course-0-key").is_displayed()


def test_what_is_of_one_network_is_that_of_the_network_that_is_shown(opened):
    browser = opened(RUNS["two networks"])

    def shown():
        return browser.execute_script(
            "const models = s => [...new Set([...document.querySelectorAll(s)].filter(r => !r.hidden)"
            ".map(r => r.dataset.model))];"
            "return [models('#says tbody tr'), models('#strip-cell option'),"
            " models('#sure-title ~ details tr[data-model]'), models('section > div:has(.tiles)'),"
            " models('#break-even tbody tr'),"
            " models('#front-title ~ details tbody tr'), document.getElementById('strip-cell').value]"
        )

    first = shown()
    assert first[:-1] == [["cnn9"]] * 6
    browser.execute_script(
        "const s = document.getElementById('network'); s.value = 'unet';"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    second = shown()
    assert second[:-1] == [["unet"]] * 6
    assert first[-1] != second[-1]
    assert second[-1] in browser.find_element("id", "strip-record").get_attribute("textContent")


def test_an_exact_cell_is_drawn_and_explained(opened):
    run = replace(RUNS["study"], lambda m: True, parity_max_rel=1e-7)
    browser = opened(run)
    drawn = len(marks(browser, "parity"))
    (words,) = browser.find_elements("css selector", "[data-drawn=exact]")
    assert not words.is_displayed()
    browser = opened(replace(run, of("none", "torch"), parity_max_rel=0.0))
    assert len(marks(browser, "parity")) == drawn
    assert browser.find_element("css selector", "[data-drawn=exact]").is_displayed()


def test_words_on_tails_name_a_front_and_a_choice_only_where_there_are(opened):
    def said(run):
        (words,) = opened(run).find_elements("xpath", "//h3[.='Tails']/following-sibling::p[1]")
        return words.text

    assert "Shown are the fastest, the cell to deploy, the dense reference, the front." in said(RUNS["study"])
    unscored = replace(RUNS["study"], lambda m: True, scores={})
    assert "Shown are the fastest, the dense reference." in said(unscored)


def test_fewer_series_than_stand_in_colour_may_keep_the_score(opened):
    lossy = replace(more_engines(4), lambda m: m.method != "none", **scored(0.5))
    kept = ("onnxruntime", "ncnn")  # the dense network keeps its own score
    rows = tuple(m for m in lossy.measurements if m.method != "none" or m.engine in kept)
    words = opened(dataclasses.replace(lossy, measurements=rows)).find_element("id", "front-key").text
    assert "best 3" not in words
    assert "in colour: of 10 the 2 that keep the score, then the fastest, by the lower end" in words


def test_other_precisions_than_float32_are_hollow_on_the_front(opened):
    run = replace(RUNS["study"], of("channels", "ncnn"), precision="int8")
    browser = opened(run)
    points = browser.find_elements("css selector", "#front .points [aria-label]")
    faces = {mark.get_attribute("aria-label"): mark.get_attribute("fill") for mark in points}
    quantised = {face for label, face in faces.items() if " int8" in label}
    assert quantised == {"var(--ground)"}
    assert "var(--ground)" not in {face for label, face in faces.items() if " int8" not in label}
    assert "hollow ones compute in int8" in browser.find_element("id", "front-lead").text
