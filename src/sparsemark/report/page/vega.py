"""Parts of Vega's specifications: scales, axes and marks that charts of a page share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Spec = dict[str, Any]

_TICKS = tuple(digit * 10.0**power for power in range(-3, 5) for digit in (1, 2, 5))
_STEPS = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01)
"""Distances of ticks where the ends are too near to each other for those of a logarithmic axis."""

INK, FAINT, REST = "var(--ink)", "var(--line)", "var(--rest)"
_WIDTH = {
    "name": "width",
    "init": "max(240, containerSize()[0])",
    "on": [{"events": {"source": "window", "type": "resize"}, "update": "max(240, containerSize()[0])"}],
}


def ratio_axis(values: Iterable[float]) -> tuple[list[float], list[float]]:
    """Return the ends of a logarithmic axis that holds all values and 1, and its ticks."""
    found = [1.0, *values]
    low, high = min(found), max(found)
    room = max((high / low) ** 0.06, 1.04)
    low, high = low / room, high * room
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    if len(ticks) < 3:
        step = next(step for step in _STEPS if (high - low) / step >= 3)
        ticks = [round(step * number, 3) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [low, high], ticks


def linear_axis(values: Iterable[float]) -> list[float]:
    """Return the ends of a linear axis that holds all values, with room at both."""
    found = list(values) or [0.0, 1.0]
    room = 0.08 * (max(found) - min(found)) or abs(found[0]) * 0.02 or 1.0
    return [min(found) - room, max(found) + room]


def colours(names: Sequence[str], engines: Sequence[int | None]) -> Spec:
    """Return the scale from the name of a series to its engine's colour, a variable of the page's style.

    Args:
        names: labels of engines, with the precision, or of lines.
        engines: the number of the variable of each; None for what is grey.
    """
    inks = [REST if n is None else f"var(--e{n})" for n in engines]
    return {"name": "colour", "type": "ordinal", "domain": list(names), "range": inks}


def specification(description: str, height: int, colour: Spec, **parts: Any) -> Spec:
    """Return a chart as wide as its place; `parts` are those of Vega, axes get the looks of the page."""
    axes = [{"labelColor": INK, "titleColor": INK, "domainColor": FAINT, "tickColor": FAINT, "labelFontSize": 12,
             "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": FAINT, "gridOpacity": 0.6,
             "labelOverlap": True} | axis for axis in parts.pop("axes")]  # fmt: skip
    return {
        "description": description,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 4,
        "height": height,
        "signals": [_WIDTH, *parts.pop("signals", [])],
        "scales": [colour, *parts.pop("scales")],
        "axes": axes,
        **parts,
    }


def value(field: str, scale: str) -> Spec:
    """Return the encoding of a field by a scale."""
    return {"field": field, "scale": scale}


def rule(**update: Any) -> Spec:
    """Return lines that are no part of the accessibility tree: the points beside them are."""
    return {"type": "rule", "aria": False, "interactive": False, "encode": {"update": update}}


def log_scale(name: str, range_: str, ends: str) -> Spec:
    """Return a logarithmic scale between the ends that a signal holds."""
    return {"name": name, "type": "log", "domain": {"signal": ends}, "range": range_, "zero": False, "nice": False}


TIMES = "format(datum.value, '.4~g') + 'x'"
"""Text of a tick of a ratio."""

POINTED: tuple[tuple[str, Any], ...] = (("vivid", []), ("lit", ""))
"""Signals of a chart of series, with their first values: those in colour, and the one that is pointed at."""


def is_rest(field: str) -> str:
    """Return an expression: whether a datum's series, in `field`, is one of the grey ones."""
    return f"indexof(vivid, datum.{field}) < 0"


def shade(field: str) -> str:
    """Return an expression of the colour of a datum's series: its engine's, grey, or ink while it is pointed at."""
    return f"datum.{field} === lit ? '{INK}' : {is_rest(field)} ? '{REST}' : scale('colour', datum.runner)"


def tags() -> list[Spec]:
    """Return the name of what is pointed at, above everything else; the page puts it into the data `tag`, in pixels."""
    return [
        {"type": "text", "name": name, "aria": False, "interactive": False, "from": {"data": "tag"}, "encode": {
            "update": {"x": {"field": "x"}, "y": {"field": "y"}, "text": {"field": "text"},
                       "align": {"field": "align"}, "baseline": {"value": "middle"}, "fontSize": {"value": 12},
                       "fontWeight": {"value": "bold"}, **look}}}
        for name, look in (("tag-grounds", {"stroke": {"value": "var(--ground)"}, "strokeWidth": {"value": 5}}),
                           ("tags", {"fill": {"value": INK}}))
    ]  # fmt: skip
