"""Order of the series of each chart, the best first: where there are many, the page draws the first in colour."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sparsemark.report.emphasis import IN_COLOUR, MANY, best_first, keeping, keeps_score
from sparsemark.report.page.cells import CONTROL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.analysis.front import Standing

FRONT = "front"
"""Name of the chart whose series are engines; those of the others are lines."""

OUTLINES = {
    "circle": "M8 2a6 6 0 1 0 .01 0Z",
    "square": "M2 2h12v12H2Z",
    "triangle-up": "M8 2 15 14H1Z",
    "diamond": "M8 1 15 8 8 15 1 8Z",
    "triangle-down": "M8 14 15 2H1Z",
    "cross": "M6 1h4v5h5v4h-5v5H6v-5H1V6h5Z",
    "triangle-right": "M14 8 2 1v14Z",
    "triangle-left": "M2 8 14 1v14Z",
}
"""Vega's symbols as paths in a box of 16. Lines take them in this order; a second round is hollow."""


def emphasis() -> dict[str, Any]:
    """Return what the page's script must know: how many series are many, how many stand in colour, and the symbols."""
    return {"many": MANY, "inColour": IN_COLOUR, "markers": list(OUTLINES.items())}


def orders(
    records: Sequence[Mapping[str, Any]],
    judged: Sequence[Standing],
    points: Sequence[Mapping[str, Any]],
    panels: Mapping[str, str],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return for each network the `order` of the series of each chart, the best first, and which of them `keep`.

    A series keeps the score where one of its members does.

    Args:
        records: of the points of the charts.
        judged: what they are of.
        points: of the charts of speedup against what was removed, as from `course`.
        panels: titles of those charts by their names.
    """
    found: dict[str, dict[str, dict[str, list[tuple[float, bool]]]]] = {}
    members = [(record["speedup"][1], keeps_score(one)) if record["speedup"] else None
               for record, one in zip(records, judged, strict=True)]  # fmt: skip
    names = {title: name for name, title in panels.items()}

    def add(model: str, chart: str, series: str, member: tuple[float, bool] | None) -> None:
        if member is not None:
            found.setdefault(model, {}).setdefault(chart, defaultdict(list))[series].append(member)

    for record, member in zip(records, members, strict=True):
        if record["score"] and record["kind"] != CONTROL:
            add(record["model"], FRONT, record["runner"], member)
    for point in points:
        add(records[point["cell"]]["model"], names[point["panel"]], point["line"], members[point["cell"]])
    return {
        model: {
            "order": {chart: best_first(series) for chart, series in of.items()},
            "keep": {chart: keeping(series) for chart, series in of.items()},
        }
        for model, of in found.items()
    }
