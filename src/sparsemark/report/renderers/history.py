"""History for a terminal: a row for each series, or for each run of one cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text

from sparsemark.analysis.contamination import contamination, in_words
from sparsemark.analysis.statistics import Interval
from sparsemark.report import wording
from sparsemark.report.harmless import harmless_series
from sparsemark.report.renderers.terminal import DEFAULT_WIDTH, draw, grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from sparsemark.analysis.change_points import Change, Series
    from sparsemark.records.history import Point

_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = 16
"""Runs of a sparkline: the latest."""

_LEAST_SPAN = math.log(1.1)
"""Logarithm of the ratio between the lowest and the highest bar, at least: noise must not look like mountains."""

_CHANGE = "|"
_CUT = "…"
_SHORT_COMMIT = 8

_NUMBERS = ("runs", "speedup [95 %]", "against first", "against previous", "bytes")
_WHOLE = ("cell", "machine", "when", "commit", "oldest to newest", *_NUMBERS)


def as_history(series: Sequence[Series], *, width: int = DEFAULT_WIDTH, colour: bool = False) -> str:
    """Write a row for each series: its course, the last speedup, and by how much that differs from earlier ones."""
    series = harmless_series(series)
    optional = {
        "machine": len({one.machine_key for one in series}) > 1,
        "changed at": any(one.changes for one in series),
        "over": len({one.reference for one in series}) > len({one.cell for one in series}),
    }
    columns = ("cell", "machine", "over", "runs", "oldest to newest", *_NUMBERS[1:4], "changed at")
    shown = [column for column in columns if optional.get(column, True)]
    rows = []
    for one in series:
        last = one.points[-1]
        texts = {
            "cell": one.cell,
            "machine": _machine(one, series),
            "over": one.reference or wording.ABSENT,
            "runs": str(len(one.points)),
            "oldest to newest": sparkline(one.speedups, [change.index for change in one.changes or ()]),
            "speedup [95 %]": _speedup(last),
            "against first": _change(one, 0),
            "against previous": _change(one, len(one.points) - 2),
            "changed at": ", ".join(_changed(one, change) for change in one.changes or ()),
        }
        rows.append([texts[column] for column in shown])
    return draw([grid(shown, rows, whole=_WHOLE, right=_NUMBERS), *_notes(series)], width=width, colour=colour)


def as_runs(series: Sequence[Series], *, width: int = DEFAULT_WIDTH, colour: bool = False) -> str:
    """Write a table for each series of one cell, with a row for each run, the latest last."""
    series = harmless_series(series)
    parts: list[RenderableType] = []
    for one in series:
        over = f", over {one.reference}" if one.reference else ""
        parts.append(Text(f"\n{one.cell} on {_machine(one, series)}{over}", "bold"))
        changes = {change.index: change for change in one.changes or ()}
        rows = [
            (
                f"{point.time:%Y-%m-%d %H:%M}",
                (point.commit or wording.ABSENT)[:_SHORT_COMMIT],
                _speedup(point),
                _change(one, index - 1, index),
                wording.ABSENT if point.score is None else f"{point.metric} {wording.significant(point.score)}",
                wording.ABSENT if point.artifact_bytes is None else f"{point.artifact_bytes:,}",
                "; ".join(_remarks(point, changes.get(index))),
            )
            for index, point in enumerate(one.points)
        ]
        columns = ("when", "commit", "speedup [95 %]", "against previous", "score", "bytes", "note")
        styles = ["yellow" if index in changes else "" for index in range(len(rows))]
        parts.append(grid(columns, rows, whole=_WHOLE, right=_NUMBERS, styles=styles))
    return draw([*parts, *_notes(series)], width=width, colour=colour)


def sparkline(ratios: Sequence[float], changes: Sequence[int] = ()) -> str:
    """Return a bar for each of the latest ratios, on a logarithmic scale, with a mark before each new level.

    Args:
        ratios: above 0, shape (n,).
        changes: indices of the first ratio of each new level.
    """
    logs = [math.log(ratio) for ratio in ratios]
    start = max(0, len(logs) - _SHOWN)
    shown = logs[start:]
    span = max(max(shown) - min(shown), _LEAST_SPAN)
    middle = (max(shown) + min(shown)) / 2
    text = _CUT if start else ""
    for index, value in enumerate(shown, start=start):
        level = round((value - middle + span / 2) / span * (len(_BARS) - 1))
        text += (_CHANGE if index in changes else "") + _BARS[level]
    return text


def _machine(one: Series, among: Sequence[Series]) -> str:
    """Return the machine's name, with its key where another one has the same name."""
    alike = {other.machine_key for other in among if other.machine == one.machine}
    return f"{one.machine} ({one.machine_key[:4]})" if len(alike) > 1 else one.machine


def _speedup(point: Point) -> str:
    text = wording.bare_ratio(point.speedup)
    if point.speedup_low is not None and point.speedup_high is not None:
        text = wording.ratio(Interval(point.speedup, point.speedup_low, point.speedup_high))
    return text + (" (!)" if _contaminated(point) else "")


def _contaminated(point: Point) -> str:
    return in_words(contamination(point.reference_drift, point.steal, point.waited))


def _change(one: Series, before: int, after: int = -1) -> str:
    """Return the change of the speedup between two points of a series; nothing is there before the first."""
    if before < 0 or len(one.points) == 1:
        return wording.ABSENT
    return _percent(one.speedups[after] / one.speedups[before])


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def _changed(one: Series, change: Change) -> str:
    point = one.points[change.index]
    return f"{(point.commit or f'{point.time:%Y-%m-%d}')[:_SHORT_COMMIT]} {_percent(change.ratio)}"


def _remarks(point: Point, change: Change | None) -> Iterator[str]:
    if change is not None:
        yield f"{_CHANGE} new level, {_percent(change.ratio)}"
    if contaminated := _contaminated(point):
        yield f"(!) {contaminated}"


def _notes(series: Sequence[Series]) -> Iterator[Text]:
    machines = dict.fromkeys(one.machine for one in series)
    yield Text(f"speedups over the reference of the same run, on {', '.join(machines)}; above 0 %: faster than before")
    if any(one.changes is None for one in series):
        yield Text(
            "change points: not looked for, ruptures is not installed: pip install 'sparsemark[history]'", "yellow"
        )
    elif any(one.changes for one in series):
        yield Text(f"{_CHANGE} change of level, against the runs around it: a report, not a verdict of the gate")
    if any(_contaminated(one.points[-1]) for one in series):
        yield Text("(!) the machine changed under the measurement")
