"""Charts with a line for each cell or layer: two runs beside each other, two files, and the tails of the calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsemark.report.page.charts import shape_scale
from sparsemark.report.page.vega import (
    INK,
    TIMES,
    Spec,
    linear_axis,
    log_scale,
    ratio_axis,
    rule,
    specification,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROW = 30
"""Height of a cell of two runs: its name stands above its interval."""

_TONES = {"name": "colour", "type": "ordinal", "domain": ["slower", "faster", "not told apart"],
          "range": ["var(--bad)", "var(--good)", "var(--dim)"]}  # fmt: skip


SIDES = ("dense", "pruned")
"""Files whose layers stand beside each other."""

_BAR = 6
"""Height of a bar: two of them and a name fit into a line."""


def bars(description: str, title: str, rows: int) -> Spec:
    """Return the chart of two bars a line, from 0.

    Args:
        description: for those who do not see it.
        title: of the axis, with the unit.
        rows: lines.
    """
    tones = {"name": "colour", "type": "ordinal", "domain": list(SIDES), "range": ["var(--dim)", "var(--accent)"]}
    top = {"signal": f"{_ROW} * datum.place + (datum.run === '{SIDES[0]}' ? 15 : {15 + _BAR})"}
    return specification(
        description,
        _ROW * rows,
        tones,
        data=[{"name": "cells"}],
        scales=[{"name": "x", "type": "linear", "range": "width", "zero": True, "nice": True,
                 "domain": {"data": "cells", "field": "x"}}],
        axes=[{"scale": "x", "orient": "bottom", "grid": True, "title": title, "tickCount": 5}],
        marks=[
            *_names("text", "1"),
            {"type": "rect", "name": "points", "from": {"data": "cells"}, "description": "layers",
             "encode": {"update": {
                "x": {"value": 0}, "x2": value("x", "x"), "y": top, "height": {"value": _BAR - 1},
                "fill": {"scale": "colour", "field": "run"}, "cursor": {"value": "pointer"},
                "description": {"field": "label"}}}},
        ],
    )  # fmt: skip


def changes(rows: int, cells: Sequence[Mapping[str, Any]]) -> Spec:
    """Return the chart of the change of every cell's time in percent, with its interval.

    Args:
        rows: cells.
        cells: from which the axis takes its ends.
    """
    ends = linear_axis([0.0, *(cell[end] for cell in cells for end in ("low", "high"))])
    x = {"name": "x", "type": "linear", "domain": ends, "range": "width", "zero": False}
    axis = {"scale": "x", "orient": "bottom", "grid": True, "title": "change of the time, %", "tickCount": 6}
    return _pairs("Change of the time of every cell, old to new, in percent", rows, x, axis, 0.0)


def overlay(rows: int, cells: Sequence[Mapping[str, Any]]) -> Spec:
    """Return the chart of every cell's speedup in both runs; arguments as in `changes`."""
    ends, ticks = ratio_axis(cell[end] for cell in cells for end in ("low", "high"))
    x = {"name": "x", "type": "log", "domain": ends, "range": "width", "zero": False, "nice": False}
    axis = {"scale": "x", "orient": "bottom", "grid": True, "title": "times as fast as dense", "values": ticks,
            "encode": {"labels": {"update": {"text": {"signal": TIMES}}}}}  # fmt: skip
    return _pairs("Speedup over the dense network in the old run, hollow, and in the new, filled", rows, x, axis, 1.0)


def _pairs(description: str, rows: int, x: Spec, axis: Spec, neutral: float) -> Spec:
    ink = {"scale": "colour", "field": "tone"}
    line = {"signal": f"{_ROW} * (datum.place + 1) - (datum.run === 'old' ? 11 : 6)"}
    return specification(
        description,
        _ROW * rows,
        _TONES,
        data=[{"name": "cells"}],
        scales=[x],
        axes=[axis],
        marks=[
            rule(x={"scale": "x", "value": neutral}, y={"value": 0}, y2={"signal": "height"},
                  stroke={"value": INK}),
            *_names("cell", "datum.run === 'old' ? 0 : 1"),
            rule(x=value("low", "x"), x2=value("high", "x"), y=line, stroke=ink, strokeWidth={"value": 1.5})
            | {"from": {"data": "cells"}},
            {"type": "symbol", "name": "points", "from": {"data": "cells"}, "description": "cells",
             "encode": {"update": {
                "x": value("x", "x"), "y": line, "size": {"value": 60}, "stroke": ink,
                "fill": {"signal": "datum.run === 'old' ? 'var(--ground)' : scale('colour', datum.tone)"},
                "strokeWidth": {"value": 1.5}, "cursor": {"value": "pointer"}, "description": {"field": "label"}}}},
        ],
    )  # fmt: skip


def _names(field: str, opacity: str) -> list[Spec]:
    """Return the names above the lines, with a ground of their own behind them."""
    return [
        {"type": "text", "aria": False, "interactive": False, "from": {"data": "cells"}, "encode": {"update": {
            "x": {"value": 2}, "y": {"signal": f"{_ROW} * datum.place + 10"}, "text": {"field": field},
            "fontSize": {"value": 11}, "limit": {"signal": "width"}, "opacity": {"signal": opacity}, **ink}}}
        for ink in (
            {"stroke": {"value": "var(--ground)"}, "strokeWidth": {"value": 4}},
            {"fill": {"value": "var(--dim)"}},
        )
    ]  # fmt: skip


def pace(colour: Spec) -> Spec:
    """Return the chart of every cell's speedup with its interval, for networks whose cells all have one score."""
    ink = {"scale": "colour", "field": "runner"}
    line = {"signal": f"{_ROW} * (datum.place + 1) - 8"}
    return specification(
        "Speedup over the dense network, the fastest cell first; all have the same score",
        _ROW,
        colour,
        signals=[{"name": name, "value": value} for name, value in (("xs", [0.5, 2]), ("xticks", [1]), ("over", ""))],
        data=[{"name": "cells"}],
        scales=[log_scale("x", "width", "xs"), shape_scale()],
        axes=[{"scale": "x", "orient": "bottom", "grid": True, "values": {"signal": "xticks"},
               "title": {"signal": "over"}, "encode": {"labels": {"update": {"text": {"signal": TIMES}}}}}],
        marks=[
            rule(x={"scale": "x", "value": 1}, y={"value": 0}, y2={"signal": "height"}, stroke={"value": INK},
                  strokeDash={"value": [2, 3]}),
            *_names("name", "1"),
            rule(x=value("low", "x"), x2=value("high", "x"), y=line, stroke=ink, strokeWidth={"value": 2})
            | {"from": {"data": "cells"}},
            {"type": "symbol", "name": "points", "from": {"data": "cells"}, "description": "cells",
             "encode": {"update": {
                "x": value("x", "x"), "y": line, "size": {"signal": "datum.chosen ? 150 : 60"}, "fill": ink,
                "shape": {"scale": "shape", "field": "kind"},
                "cursor": {"value": "pointer"}, "description": {"field": "label"}}}},
        ],
    )  # fmt: skip


def tails(colour: Spec) -> Spec:
    """Return the chart of the 90th and 99th percentile of every cell over its median, joined by a line."""
    ink = {"scale": "colour", "field": "runner"}
    line = {"signal": f"{_ROW} * (datum.place + 1) - 8"}
    return specification(
        "Time that 90 and 99 of 100 calls of a cell do not exceed, over its median",
        _ROW,
        colour,
        data=[
            {"name": "cells"},
            {"name": "ends", "source": "cells", "transform": [
                {"type": "aggregate", "groupby": ["place", "runner"], "fields": ["x"], "ops": ["max"], "as": ["x"]}]},
        ],
        scales=[{"name": "x", "type": "linear", "range": "width", "zero": False, "nice": True,
                 "domain": {"fields": [{"data": "cells", "field": "x"}, [1.0, 1.1]]}}],
        axes=[{"scale": "x", "orient": "bottom", "grid": True, "title": "time over the cell's median", "tickCount": 5,
               "encode": {"labels": {"update": {"text": {"signal": TIMES}}}}}],
        marks=[
            *_names("name", "datum.percentile === 50 ? 1 : 0"),
            rule(x={"scale": "x", "value": 1}, x2=value("x", "x"), y=line, stroke=ink, strokeWidth={"value": 2})
            | {"from": {"data": "ends"}},
            {"type": "symbol", "name": "points", "from": {"data": "cells"}, "description": "percentiles",
             "encode": {"update": {
                "x": value("x", "x"), "y": line, "size": {"value": 60}, "stroke": ink, "strokeWidth": {"value": 1.5},
                "fill": {"signal": "datum.percentile === 50 ? 'var(--ground)' : scale('colour', datum.runner)"},
                "shape": {"signal": "datum.percentile === 99 ? 'square' : 'circle'"},
                "description": {"field": "label"}}}},
        ],
    )  # fmt: skip
