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

INK, FAINT = "var(--ink)", "var(--line)"
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


def colours(runners: Sequence[str], engines: Sequence[int]) -> Spec:
    """Return the scale from the label of an engine to its colour, a variable of the page's style.

    Args:
        runners: labels, with the precision.
        engines: the number of the variable of each.
    """
    return {"name": "colour", "type": "ordinal", "domain": list(runners), "range": [f"var(--e{n})" for n in engines]}


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
