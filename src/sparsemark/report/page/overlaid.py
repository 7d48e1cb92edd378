"""Charts of two runs over each other: score against speedup, and speedup against what was removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsemark.analysis.front import Bar, standings, with_folds_as_one
from sparsemark.report import wording
from sparsemark.report.emphasis import best_first, in_colour, keeps_score
from sparsemark.report.front import places
from sparsemark.report.page.cells import CONTROL, cell_records, course
from sparsemark.report.page.colours import engine_colours
from sparsemark.report.page.orders import OUTLINES
from sparsemark.report.page.vega import (
    INK,
    REST,
    TIMES,
    Spec,
    colours,
    linear_axis,
    ratio_axis,
    rule,
    specification,
    value,
)
from sparsemark.report.scores import Scoring

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.report.page.colours import Colour

OLD, NEW = "old", "new"
FRONT, COURSE = "both-front-", "both-course-"
"""Beginnings of the names of charts; a number follows."""


@dataclass(frozen=True)
class Overlaid:
    """Charts of two runs: title, specification and values of each, by its name, and the colours of their engines.

    `legend` names those in the order of the colours, `grey` says what is in none of them; empty where nothing is.
    """

    titles: Mapping[str, str]
    specs: Mapping[str, Spec]
    values: Mapping[str, Sequence[Mapping[str, Any]]]
    colours: Mapping[str, Colour]
    legend: Sequence[str]
    grey: str

    def named(self, start: str) -> list[str]:
        """Return the names of the charts that begin with `start`."""
        return [name for name in self.titles if name.startswith(start)]


def overlaid(before: Sequence[Measurement], after: Sequence[Measurement]) -> Overlaid:
    """Return a front for each network with scores, and a chart of speedups for each family of pruning; empty if none.

    Args:
        before: rows of the old run that both have, with harmless texts.
        after: the same of the new one.
    """
    scoring = Scoring.of([*before, *after])
    fronts: dict[str, list[dict[str, Any]]] = {}
    lines: dict[str, list[dict[str, Any]]] = {}
    ranks: dict[str, dict[str, list[tuple[float, bool]]]] = {}
    engines: dict[str, str] = {}
    places_of: dict[tuple[str, str], tuple[float, float]] = {}
    for run, rows in ((OLD, before), (NEW, after)):
        judged = with_folds_as_one(standings(rows, Bar()))
        records = cell_records(judged, scoring, places(judged), {})
        several = len({record["model"] for record in records}) > 1
        engines |= {record["runner"]: record["engine"] for record in records}
        for record, standing in zip(records, judged, strict=True):
            if not record["speedup"] or not record["score"] or record["kind"] == CONTROL:
                continue
            at = record["speedup"][0], record["score"][0]
            was = places_of.get((record["model"], record["name"])) if run == NEW else None
            places_of[record["model"], record["name"]] = at
            point = _point(record, run, at)
            fronts.setdefault(record["model"], []).append(point | {"was": was and dict(zip("xy", was, strict=True))})
            member = record["speedup"][1], keeps_score(standing)
            ranks.setdefault(f"{FRONT}{record['model']}", {}).setdefault(record["runner"], []).append(member)
        for one in course(records, judged):
            record = records[one["cell"]]
            title = f"{record['model']}: {one['panel']}" if several else one["panel"]
            point = _point(record, run, (one["x"], record["speedup"][0])) | {"line": one["line"], "lined": one["lined"]}
            lines.setdefault(title, []).append(point)
            member = record["speedup"][1], keeps_score(judged[one["cell"]])
            ranks.setdefault(f"{COURSE}{title}", {}).setdefault(one["line"], []).append(member)
    caveats = {m.model or m.name: wording.caveat(m.data) for m in (*before, *after) if wording.caveat(m.data)}
    axes = {model: scoring.scale(model).axis([caveats.get(model, "")]) for model in fronts}
    vivid = {chart: in_colour(best_first(series)) for chart, series in ranks.items()}
    return _drawn(fronts, lines, engines, axes, vivid)


def _point(record: Mapping[str, Any], run: str, at: tuple[float, float]) -> dict[str, Any]:
    return {
        "cell": record["name"], "run": run, "runner": record["runner"], "x": at[0], "y": at[1],
        "label": f"{run}: {record['pruned']} on {record['runner']}, {record['times']}",
    }  # fmt: skip


def _drawn(
    fronts: Mapping[str, list[dict[str, Any]]],
    lines: Mapping[str, list[dict[str, Any]]],
    engines: Mapping[str, str],
    scores: Mapping[str, str],
    vivid: Mapping[str, Collection[str]],
) -> Overlaid:
    """Return the charts; `vivid` holds the series in colour of each, by the beginning of its name and its title."""
    names = list(dict.fromkeys(engines.values()))
    titles, specs, values = {}, {}, {}

    def scale(points: Sequence[Mapping[str, Any]], field: str, chart: str) -> Spec:
        of = {point[field]: names.index(engines[point["runner"]]) for point in points}
        return colours(list(of), [number if series in vivid[chart] else None for series, number in of.items()])

    for number, (model, points) in enumerate(fronts.items()):
        name = f"{FRONT}{number}"
        titles[name], values[name] = model, points
        specs[name] = _front(scale(points, "runner", f"{FRONT}{model}"), points, scores[model])
    for number, (title, points) in enumerate(lines.items()):
        name = f"{COURSE}{number}"
        titles[name], values[name] = title, sorted(points, key=lambda point: (point["line"], point["run"], point["x"]))
        specs[name] = _course(scale(points, "line", f"{COURSE}{title}"), points)
    legend = [wording.engine_name(name, {}) for name in names]
    has_rest = any(REST in scale["range"] for spec in specs.values() for scale in spec["scales"] if "range" in scale)
    grey = "grey: all but the best three of a chart, named when pointed at" if has_rest else ""
    return Overlaid(titles, specs, values, engine_colours([name or "-" for name in names], {}), legend, grey)


def _front(colour: Spec, points: Sequence[Mapping[str, Any]], score: str) -> Spec:
    ends, ticks = ratio_axis(point["x"] for point in points)
    moved = rule(x=value("was.x", "x"), y=value("was.y", "y"), x2=value("x", "x"), y2=value("y", "y"),
                 stroke={"scale": "colour", "field": "runner"}, strokeWidth={"value": 1.5})  # fmt: skip
    return specification(
        "Score against speedup: old hollow, new filled, joined by a line for the same cell",
        340,
        colour,
        data=[
            {"name": "cells"},
            {"name": "moved", "source": "cells", "transform": [{"type": "filter", "expr": "datum.was"}]},
        ],
        scales=[
            {"name": "x", "type": "log", "domain": ends, "range": "width", "zero": False, "nice": False},
            {"name": "y", "type": "linear", "domain": linear_axis(point["y"] for point in points), "range": "height",
             "zero": False},
            _shapes(colour),
        ],
        axes=[_ratios("bottom", "x", ticks), {"scale": "y", "orient": "left", "grid": True, "title": score,
                                              "tickCount": 6}],
        marks=[moved | {"from": {"data": "moved"}}, _symbols("runner")],
    )  # fmt: skip


def _course(colour: Spec, points: Sequence[Mapping[str, Any]]) -> Spec:
    ends, ticks = ratio_axis(point["y"] for point in points)
    line = {"x": value("x", "x"), "y": value("y", "y"), "stroke": {"scale": "colour", "field": "line"},
            "strokeWidth": {"value": 1.5}, "strokeDash": {"signal": "datum.run === 'old' ? [4, 3] : null"}}  # fmt: skip
    return specification(
        "Speedup against the share removed: old hollow and dashed, new filled",
        300,
        colour,
        data=[
            {"name": "cells"},
            {"name": "lines", "source": "cells", "transform": [{"type": "filter", "expr": "datum.lined"}]},
        ],
        scales=[
            {"name": "x", "type": "linear", "domain": [0, 100], "range": "width"},
            {"name": "y", "type": "log", "domain": ends, "range": "height", "zero": False, "nice": False},
            _shapes(colour),
        ],
        axes=[{"scale": "x", "orient": "bottom", "title": "share of the weights gone, %", "tickCount": 6},
              _ratios("left", "y", ticks)],
        marks=[
            rule(x={"value": 0}, x2={"signal": "width"}, y={"scale": "y", "value": 1}, stroke={"value": INK}),
            {"type": "group", "aria": False, "interactive": False,
             "from": {"facet": {"name": "one", "data": "lines", "groupby": ["line", "run"]}},
             "marks": [{"type": "line", "aria": False, "interactive": False, "from": {"data": "one"},
                        "encode": {"update": line}}]},
            _symbols("line"),
        ],
    )  # fmt: skip


def _ratios(orient: str, scale: str, ticks: Sequence[float]) -> Spec:
    return {"scale": scale, "orient": orient, "grid": True, "values": ticks, "title": "times as fast as dense",
            "encode": {"labels": {"update": {"text": {"signal": TIMES}}}}}  # fmt: skip


def _shapes(colour: Spec) -> Spec:
    """Return the scale from a series to its symbol, which tells the grey ones apart."""
    return {"name": "shape", "type": "ordinal", "domain": colour["domain"], "range": list(OUTLINES)}


def _symbols(series: str) -> Spec:
    ink = {"scale": "colour", "field": series}
    return {
        "type": "symbol", "name": "points", "from": {"data": "cells"}, "description": "cells",
        "encode": {"update": {
            "x": value("x", "x"), "y": value("y", "y"), "size": {"value": 60}, "stroke": ink,
            "strokeWidth": {"value": 1.5}, "shape": {"scale": "shape", "field": series},
            "cursor": {"value": "pointer"}, "description": {"field": "label"},
            "fill": {"signal": f"datum.run === 'old' ? 'var(--ground)' : scale('colour', datum.{series})"}}},
    }  # fmt: skip
