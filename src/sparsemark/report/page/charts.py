"""Charts of the cells of a run as specifications of Vega; the page puts in the cells that its filters let through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsemark.report.page.cells import BOTH, CHANNELS, CONTROL, DENSE_KIND, KINDS, ZEROS
from sparsemark.report.page.vega import (
    FAINT,
    INK,
    POINTED,
    TIMES,
    Spec,
    is_rest,
    linear_axis,
    log_scale,
    ratio_axis,
    rule,
    shade,
    specification,
    tags,
    value,
)
from sparsemark.specs import FP32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHAPES = {DENSE_KIND: "diamond", ZEROS: "circle", CHANNELS: "square", BOTH: "triangle-up", CONTROL: "cross"}
"""Symbol of each family of pruning."""

_HALF, _STEP = 50, 10
"""Share removed, in percent, from which an axis need not begin at 0, and the steps at which it may begin."""

_BEYOND = "abs(datum.y) > ys[1]"
"""Whether a pair of blocks lies beyond the axis of its chart, at whose edge it is drawn."""

_POINTING = f"{_BEYOND} ? (datum.y > 0 ? 'triangle-up' : 'triangle-down') : "
"""Symbol of such a pair, which points to where it would lie; the symbol of the others follows."""


def shape_scale() -> Spec:
    """Return the scale from families of pruning to symbols."""
    return {"name": "shape", "type": "ordinal", "domain": list(KINDS), "range": [SHAPES[kind] for kind in KINDS]}


def front(colour: Spec) -> Spec:
    """Return the chart of the score against the speedup, with both intervals and what nothing dominates."""
    # Grey ones are pale already.
    fade = {"signal": f"datum.onFront ? 1 : {is_rest('runner')} ? 0.7 : 0.35"}
    ink = {"signal": shade("runner")}
    face, edge = (
        {"signal": f"datum.hollow ? {one} : {other}"}
        for one, other in (("'var(--ground)'", f"({shade('runner')})"), (f"({shade('runner')})", "'var(--ground)'"))
    )
    return specification(
        "Score against speedup over the dense network; further right is faster. Arrow keys go from cell to cell.",
        400,
        colour,
        signals=[
            {"name": name, "value": value}
            for name, value in (*POINTED, ("xs", [0.5, 2]), ("xticks", [1]), ("ys", [0, 1]), ("over", ""),
                                ("score", ""), ("dense", None), ("least", None), ("up", True), ("keeps", ""))
        ],
        data=[
            {"name": "cells"},
            {"name": "tag"},
            {"name": "onFront", "source": "cells", "transform": [{"type": "filter", "expr": "datum.onFront"}]},
            {"name": "chosen", "source": "cells", "transform": [{"type": "filter", "expr": "datum.chosen"}]},
        ],
        scales=[
            log_scale("x", "width", "xs"),
            {"name": "y", "type": "linear", "domain": {"signal": "ys"}, "range": "height", "zero": False},
            shape_scale(),
        ],
        axes=[
            {"scale": "x", "orient": "bottom", "grid": True, "values": {"signal": "xticks"},
             "title": {"signal": "over"}, "encode": {"labels": {"update": {"text": {"signal": TIMES}}}}},
            {"scale": "y", "orient": "left", "grid": True, "title": {"signal": "score"}, "tickCount": 6},
        ],
        marks=[
            {"type": "rect", "aria": False, "interactive": False, "encode": {"update": {
                "x": {"value": 0}, "x2": {"signal": "width"},
                # All that keeps the score, up to the end of the axis: what is better than dense keeps it too.
                "y": {"signal": "least === null || up ? 0 : scale('y', least)"},
                "y2": {"signal": "least === null ? 0 : up ? scale('y', least) : height"},
                "fill": {"value": "var(--good)"}, "fillOpacity": {"signal": "least === null ? 0 : 0.13"},
            }}},
            {"type": "text", "name": "kept", "aria": False, "interactive": False, "encode": {"update": {
                "x": {"value": 5}, "y": {"signal": "least === null ? 0 : scale('y', least) + (up ? -9 : 9)"},
                "text": {"signal": "keeps"}, "baseline": {"value": "middle"}, "fontSize": {"value": 11},
                "fill": {"value": INK}, "opacity": {"signal": "least === null ? 0 : 1"}}}},
            rule(x={"scale": "x", "value": 1}, y={"value": 0}, y2={"signal": "height"}, stroke={"value": INK},
                  strokeDash={"value": [2, 3]}),
            rule(x={"value": 0}, x2={"signal": "width"}, y={"signal": "dense === null ? -9 : scale('y', dense)"},
                  stroke={"value": INK}, strokeDash={"value": [2, 3]},
                  opacity={"signal": "dense === null ? 0 : 1"}),
            rule(x=value("low", "x"), x2=value("high", "x"), y=value("y", "y"), stroke=ink, opacity=fade)
            | {"from": {"data": "cells"}},
            rule(x=value("x", "x"), y=value("yLow", "y"), y2=value("yHigh", "y"), stroke=ink,
                  opacity={"signal": "datum.onFront ? 0.8 : 0.12"})
            | {"from": {"data": "cells"}},
            {"type": "symbol", "aria": False, "interactive": False, "from": {"data": "chosen"}, "encode": {"update": {
                "x": value("x", "x"), "y": value("y", "y"), "size": {"value": 420}, "fill": {"value": "transparent"},
                "stroke": {"value": INK}, "strokeWidth": {"value": 2}}}},
            {"type": "symbol", "name": "points", "from": {"data": "cells"},
             "description": "cells", "encode": {"update": {
                "x": value("x", "x"), "y": value("y", "y"), "shape": {"scale": "shape", "field": "kind"},
                "size": {"signal": "datum.onFront ? 130 : 60"}, "fill": face, "stroke": edge,
                "strokeWidth": {"signal": "datum.hollow ? 2 : 1"}, "opacity": fade, "cursor": {"value": "pointer"},
                "description": {"field": "label"},
            }}},
            *[
                {"type": "text", "name": name, "from": {"data": "onFront"}, "aria": False, "interactive": False,
                 "encode": {"update": {
                    "x": {"scale": "x", "field": "x", "offset": {"field": "dx"}},
                    "y": {"scale": "y", "field": "y", "offset": {"field": "dy"}}, "text": {"field": "text"},
                    "align": {"value": "center"}, "baseline": {"value": "middle"}, "fontSize": {"value": 12},
                    "fontWeight": {"value": "bold"}, **look}}}
                # An outline in the background colour, since they lie on the intervals of their points.
                for name, look in (("grounds", {"stroke": {"value": "var(--ground)"}, "strokeWidth": {"value": 4}}),
                                   ("names", {"fill": {"value": INK}}))
            ],
            *tags(),
        ],
    )  # fmt: skip


def speedup(kind: str, colour: Spec) -> Spec:
    """Return the chart of the speedup against what was removed, for one family of pruning."""
    ink, rest = {"signal": shade("line")}, is_rest("line")
    grouped = {"type": "aggregate", "groupby": ["line", "runner", "x", "lined"],
               "fields": ["y", "low", "high"], "ops": ["median", "min", "max"], "as": ["y", "low", "high"]}  # fmt: skip
    ideal = [{"x": x, "y": 1 / (1 - x / 100)} for x in (*range(0, 90, 5), *range(90, 99))]
    return specification(
        f"Speedup over the dense network against the share removed, {kind}; bands are intervals.",
        340,
        colour,
        signals=[{"name": name, "value": value} for name, value in
                 (*POINTED, ("ys", [0.5, 2]), ("yticks", [1]), ("over", ""), ("from", 0), ("most", 100), ("room", 0))],
        data=[
            {"name": "cells"},
            {"name": "tag"},
            {"name": "medians", "source": "cells", "transform": [grouped, {"type": "collect", "sort": {"field": "x"}}]},
            {"name": "lines", "source": "medians", "transform": [{"type": "filter", "expr": "datum.lined"}]},
            {"name": "labels"},
            {"name": "ideal", "values": ideal,
             "transform": [{"type": "filter", "expr": "datum.y <= ys[1] && datum.x >= from && datum.x <= most"}]},
        ],
        scales=[
            {"name": "x", "type": "linear", "domain": {"signal": "[from, most]"},
             "range": {"signal": "[0, max(120, width - room)]"}, "zero": False},
            log_scale("y", "height", "ys"),
        ],
        axes=[
            {"scale": "x", "orient": "bottom", "title": "share of the weights gone, %", "tickCount": 6},
            {"scale": "y", "orient": "left", "grid": True, "values": {"signal": "yticks"},
             "title": {"signal": "over"}, "encode": {"labels": {"update": {"text": {"signal": TIMES}}}}},
        ],
        marks=[
            rule(x={"value": 0}, x2={"scale": "x", "signal": "most"}, y={"scale": "y", "value": 1},
                  stroke={"value": INK}, strokeWidth={"value": 1.2}),
            {"type": "line", "aria": False, "interactive": False, "from": {"data": "ideal"}, "encode": {"update": {
                "x": value("x", "x"), "y": value("y", "y"), "stroke": {"value": INK},
                "strokeDash": {"value": [5, 4]}, "strokeWidth": {"value": 1}, "opacity": {"value": 0.6}}}},
            *[
                {"type": "group", "aria": False, "interactive": False,
                 "from": {"facet": {"name": f"of_{mark}", "data": "lines", "groupby": "line"}},
                 "marks": [{"type": mark, "aria": False, "interactive": False, "from": {"data": f"of_{mark}"},
                            "encode": {"update": {"x": value("x", "x"), **encoding}}}]}
                for mark, encoding in (
                    ("area", {"y": value("low", "y"), "y2": value("high", "y"), "fill": ink,
                              "fillOpacity": {"signal": f"{rest} ? 0.06 : 0.18"}}),
                    ("line", {"y": value("y", "y"), "stroke": ink,
                              "strokeWidth": {"signal": f"datum.line === lit ? 3 : {rest} ? 1.2 : 2.2"}}),
                )
            ],
            rule(x=value("x", "x"), y=value("low", "y"), y2=value("high", "y"), stroke=ink, opacity={"value": 0.7})
            | {"from": {"data": "medians"}},
            {"type": "symbol", "name": "points", "from": {"data": "cells"}, "description": "cells",
             "encode": {"update": {
                "x": value("x", "x"), "y": value("y", "y"), "size": {"value": 52}, "shape": {"field": "shape"},
                "fill": {"signal": f"datum.hollow ? 'var(--ground)' : ({shade('line')})"},
                "stroke": {"signal": f"datum.hollow ? ({shade('line')}) : 'var(--ground)'"},
                "strokeWidth": {"signal": "datum.hollow ? 1.6 : 1"}, "cursor": {"value": "pointer"},
                "description": {"field": "label"}}}},
            rule(x=value("x", "x"), y=value("y", "y"), x2={"field": "toX"}, y2={"field": "toY"}, stroke=ink,
                 opacity={"signal": "datum.led ? 0.6 : 0"}) | {"name": "leads", "from": {"data": "labels"}},
            *[
                {"type": "text", "name": name, "aria": False, "interactive": False, "from": {"data": "labels"},
                 "encode": {"update": {
                    "x": {"field": "left"}, "y": {"field": "place"},
                    "text": {"field": "line"}, "fontSize": {"value": 12}, "baseline": {"value": "middle"}, **look}}}
                # An outline in the background colour: bands and the dashes lie below them.
                for name, look in (("grounds", {"stroke": {"value": "var(--ground)"}, "strokeWidth": {"value": 5}}),
                                   ("names", {"fill": ink}))
            ],
            *tags(),
        ],
    )  # fmt: skip


def strip(colour: Spec) -> Spec:
    """Return the chart of a cell's paired blocks in the order of time, beside those of the control."""
    return specification(
        "Paired blocks of one cell in the order of time, in percent from their median; triangles at the edge "
        "lie beyond the axis, crosses are blocks in which the reference had moved, grey are those of the dense network "
        "against itself.",
        260,
        colour,
        signals=[{"name": name, "value": value} for name, value in
                 (("ys", [-5, 5]), ("starts", []), ("low", 0), ("high", 0), ("runner", ""))],
        data=[{"name": "cells"}, {"name": "control"}, {"name": "launches"}],
        scales=[
            {"name": "x", "type": "linear", "zero": False, "nice": False, "padding": 14, "range": "width",
             "domain": {"fields": [{"data": "cells", "field": "x"}, {"data": "control", "field": "x"}]}},
            # Room for the symbols at its ends.
            {"name": "y", "type": "linear", "domain": {"signal": "ys"}, "clamp": True,
             "range": [{"signal": "height - 9"}, 9]},
        ],
        axes=[
            {"scale": "x", "orient": "bottom", "title": "pair of blocks, in the order of time", "tickMinStep": 1},
            {"scale": "y", "orient": "left", "grid": True, "tickCount": 5,
             "title": "speedup of the pair, % from the median"},
        ],
        marks=[
            {"type": "rect", "aria": False, "encode": {"update": {
                "x": {"value": 0}, "x2": {"signal": "width"}, "y": {"scale": "y", "signal": "high"},
                "y2": {"scale": "y", "signal": "low"}, "fill": {"scale": "colour", "signal": "runner"},
                "fillOpacity": {"value": 0.18}}}},
            rule(x={"scale": "x", "field": "x"}, y={"value": 0}, y2={"signal": "height"}, stroke={"value": FAINT},
                  strokeDash={"value": [4, 3]}) | {"from": {"data": "launches"}},
            {"type": "text", "name": "launch", "aria": False, "interactive": False, "from": {"data": "launches"},
             "encode": {"update": {
                "x": {"scale": "x", "field": "x", "offset": 3}, "y": {"value": 7}, "text": {"field": "text"},
                "baseline": {"value": "middle"}, "fontSize": {"value": 11}, "fill": {"value": "var(--dim)"}}}},
            {"type": "symbol", "name": "controls", "aria": False, "from": {"data": "control"}, "encode": {"update": {
                "x": value("x", "x"), "y": value("y", "y"), "size": {"value": 30},
                "shape": {"signal": f"{_POINTING}'circle'"}, "tooltip": {"field": "label"},
                "fill": {"value": "transparent"}, "stroke": {"value": "var(--dim)"}}}},
            {"type": "symbol", "name": "points", "from": {"data": "cells"}, "description": "pairs of blocks",
             "encode": {"update": {
                "x": value("x", "x"), "y": value("y", "y"),
                "size": {"signal": f"{_BEYOND} ? 110 : 60"},
                "shape": {"signal": f"{_POINTING}datum.moved ? 'cross' : 'circle'"},
                "fill": {"signal": f"{_BEYOND} ? 'var(--ground)' : scale('colour', runner)"},
                "stroke": {"scale": "colour", "signal": "runner"}, "strokeWidth": {"value": 2},
                "description": {"field": "label"}, "tooltip": {"field": "label"}}}},
        ],
    )  # fmt: skip


def parity(colour: Spec, rows: int, limit: float) -> Spec:
    """Return the chart of how far every cell is from its network in float64, by engine.

    Args:
        colour: as from `colours`.
        rows: engines with a parity.
        limit: largest distance allowed to float32, relative; lower precisions are held to steps of their own output.
    """
    return specification(
        f"Largest difference from the same network in float64, by engine; up to {limit:g} is allowed in float32.",
        26 * max(rows, 2),
        colour,
        data=[
            {"name": "cells"},
            {"name": "limited", "source": "cells", "transform": [
                {"type": "filter", "expr": f"datum.precision === '{FP32}'"},
                {"type": "aggregate", "groupby": ["runner"]}]},
        ],
        scales=[
            {"name": "x", "type": "log", "range": "width", "nice": True, "zero": False,
             "domain": {"fields": [{"data": "cells", "field": "parity"}, [limit * 2]]}},
            {"name": "y", "type": "band", "range": "height", "domain": {"data": "cells", "field": "runner"}},
        ],
        axes=[
            {"scale": "x", "orient": "bottom", "grid": True, "format": ".0e", "tickCount": 5,
             "title": "largest difference from float64, relative"},
            {"scale": "y", "orient": "left", "domain": False, "ticks": False},
        ],
        marks=[
            rule(x={"scale": "x", "value": limit}, y={"scale": "y", "field": "runner"},
                  y2={"scale": "y", "field": "runner", "band": 1}, stroke={"value": "var(--bad)"},
                  strokeWidth={"value": 2}) | {"from": {"data": "limited"}},
            {"type": "symbol", "name": "points", "from": {"data": "cells"}, "description": "cells",
             "encode": {"update": {
                "x": value("parity", "x"), "y": {"scale": "y", "field": "runner", "band": 0.5},
                "size": {"value": 50}, "fill": {"scale": "colour", "field": "runner"}, "opacity": {"value": 0.7},
                "cursor": {"value": "pointer"}, "description": {"field": "label"}}}},
        ],
    )  # fmt: skip


def panel_frames(
    records: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]], panels: Mapping[str, str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return for each network and chart of speedup against what was removed its axes: each fits its own points.

    Args:
        records: of the points.
        points: as from `course`.
        panels: titles of those charts by their names.
    """
    names = {title: name for name, title in panels.items()}
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for point in points:
        own = found.setdefault(records[point["cell"]]["model"], {})
        own.setdefault(names[point["panel"]], []).append(point)
    return {model: {name: _panel_frame(records, own) for name, own in of.items()} for model, of in found.items()}


def _panel_frame(records: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ends, ticks = ratio_axis(end for point in own for end in records[point["cell"]]["speedup"])
    least = min(point["x"] for point in own)
    # Shares above a half would be pressed into the right half of an axis from 0.
    return {"ratios": ends, "ticks": ticks, "from": 0 if least < _HALF else _STEP * ((least - 1) // _STEP)}


def frame(records: Sequence[Mapping[str, Any]], dense: float | None, least: float | None) -> dict[str, Any]:
    """Return the axes of one network's charts: they stay where they are while filters change.

    Args:
        records: of the network.
        dense: its dense score, in the unit of the axis.
        least: the lowest score that counts as kept.
    """
    ratios = [end for record in records if record["speedup"] for end in record["speedup"]]
    scores = [
        end
        for record in records
        if record["score"] and record["kind"] != CONTROL
        for end in record["score"]
        if end is not None
    ]
    scores += [value for value in (dense, least) if value is not None]
    ends, ticks = ratio_axis(ratios)
    return {"ratios": ends, "ticks": ticks, "scores": linear_axis(scores), "dense": dense, "least": least}
