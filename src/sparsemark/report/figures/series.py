"""Series of points with bars, and the cells that belong to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_reference, is_structural, removed
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.folds import asked_of, one_split, rows_as_one
from sparsemark.analysis.front import Bar, standings, with_folds_as_one
from sparsemark.analysis.statistics import Interval
from sparsemark.report import wording
from sparsemark.report.emphasis import keeps_score
from sparsemark.report.style import scale_logarithmically
from sparsemark.specs import DENSE, FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from sparsemark.analysis.front import Standing
    from sparsemark.engines.base import Look
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.wording import Notes

    Point = tuple[float, Interval]  # x, and y with the ends of its bar

SPANNED = "bars: 95 % interval of the paired ratio, of several seeds or folds from the lowest end to the highest"
"""What the bars of speedups are."""

REFERENCE_DASHES = (0, (1, 2))
"""Dashes of the line at the height of the dense network."""

LEFT = "weights left, %"
"""Name of the axis of `scale_left`."""

_FEWEST = 3
"""Points that a line is drawn through."""

_ROOM = 1.15
"""Factor by which the axis of weights left goes beyond the points."""

_WIDE = 15.0
"""Ratio of the ends of that axis from which it has fewer numbers: they would cover each other."""


@dataclass(frozen=True)
class Way:
    """Engine, precision and kind of pruning that all cells of one series share.

    Other precisions and multiples are other networks, not further seeds.

    Args:
        engine: a name in `ENGINES`, or another package's.
        precision: what it computes in.
        multiple: that channel counts are a multiple of, 1 where they are not rounded.
        mix: steps in words, less the share of the last; empty for a pruning of one step.
        zeros: method that set weights to zero, where the title of the chart does not name it.
    """

    engine: str | None
    precision: str
    multiple: int = 1
    mix: str = ""
    zeros: str = ""

    def label(self, notes: Notes) -> str:
        """Return its name beside the series."""
        name = wording.engine_name(self.engine, notes) + wording.precision_mark(self.precision)
        if of := self.mix or self.zeros:
            return f"{name}, {of}"
        return name + wording.multiple_of(self.multiple)


def precision_of(m: Measurement) -> str:
    """Return what a cell computes in; files of other programs leave it out."""
    return m.precision or FP32


def by_way(series: Iterable[Measurement], told: str | None = None) -> dict[Way, list[Measurement]]:
    """Group cells by how they are run, fp32 and plain channels first.

    Args:
        series: cells of one chart.
        told: method of zeros that the title of the chart names; None where they are of one, or of none.
    """
    groups: dict[Way, list[Measurement]] = {}
    for m in series:
        multiple = (m.round_to or 1) if is_structural(m) else 1
        method = wording.named(m.method, m.schedule)
        zeros = "" if told in (None, method) else method
        groups.setdefault(Way(m.engine, precision_of(m), multiple, wording.mix(m), zeros), []).append(m)
    order = sorted(groups.items(), key=lambda item: (item[0].precision, item[0].mix, item[0].zeros, item[0].multiple))
    return dict(order)


def on_fewest_threads(cells: Iterable[Measurement]) -> list[Measurement]:
    """Return the cells that run one input on the fewest threads, and those without a latency.

    Figures of latency show one job: other batches and threads are other questions.
    """
    cells = list(cells)
    fewest = min((_job(m) for m in cells if m.p50_ms is not None), default=None)
    return [m for m in cells if m.p50_ms is None or _job(m) == fewest]


def _job(m: Measurement) -> tuple[int, int]:
    return m.threads or 1, m.batch or 1


def has_sweep(cells: Iterable[Measurement]) -> bool:
    """Return whether some kind of pruning was tried at as many shares as a line needs."""
    shares: dict[str, set[float | None]] = {}
    for m in cells:
        if m.method not in (None, DENSE) and not is_control(m):
            shares.setdefault(wording.swept(m), set()).add(m.sparsity_target)
    return any(len(of) >= _FEWEST for of in shares.values())


def points_of(cells: Iterable[Measurement]) -> list[Measurement]:
    """Return the cells of figures of speed: folds, or seeds, as one; where there are folds, no other splits."""
    return rows_as_one(one_split([m for m in cells if m.engine]))


def of_one_split(found: Sequence[Standing]) -> list[Standing]:
    """Return standings, folds as one, without other splits of what was tested on folds."""

    def how(one: Standing) -> tuple[str, str | None, str]:
        return pruned_in(one.measurement), one.measurement.engine, precision_of(one.measurement)

    on_folds = [any(m.fold is not None for m in one.cells) for one in found]
    folded = {how(one) for one, is_folded in zip(found, on_folds, strict=True) if is_folded}
    return [one for one, is_folded in zip(found, on_folds, strict=True) if is_folded or how(one) not in folded]


def pruned_in(m: Measurement) -> str:
    """Return what was pruned in a cell, in words; its name where it does not say."""
    return m.name if asked_of(m) is None else wording.pruned(m)


def left_of(m: Measurement) -> float:
    """Return the share of the dense network's weights that is left, in percent."""
    return 100 * (1 - (removed(m) or 0.0))


def drawn_speedup(m: Measurement) -> Interval | None:
    """Return a cell's speedup, of no extent where too few blocks give an interval; the reference is 1 by itself."""
    if m.speedup is None:
        return Interval(1.0, 1.0, 1.0) if is_reference(m) and m.p50_ms is not None else None
    return speedup_of(m) or Interval(m.speedup, m.speedup, m.speedup)


def bar(y: Interval) -> tuple[float, float]:
    """Return how far a bar reaches down and up."""
    return max(0.0, y.estimate - y.low), max(0.0, y.high - y.estimate)


def draw_series(
    axes: Axes, points: Sequence[Point], look: Look, label: str, way: Way | None = None, *, is_rest: bool = False
) -> None:
    """Draw points with their bars and, through three or more, a line: through two it would be all interpolation.

    Markers are hollow where channels come in multiples, and half filled in other precisions than fp32. Lines of the
    `is_rest` of many series are thin, and lie below the others.
    """
    if not points:
        return
    x = [x for x, _ in points]
    y = [y.estimate for _, y in points]
    below, above = zip(*(bar(y) for _, y in points), strict=True)
    rounded = way is not None and way.multiple > 1
    quantised = way is not None and way.precision != FP32
    axes.errorbar(
        x,
        y,
        yerr=(below, above),
        label=label,
        color=look.colour,
        marker=look.marker,
        markerfacecolor="white" if rounded and not quantised else look.colour,
        fillstyle=("bottom" if rounded else "left") if quantised else "full",
        linestyle=look.dashes if len(points) >= _FEWEST else "none",
        markersize=6,
        linewidth=1.0 if is_rest else 1.6,
        zorder=1.8 if is_rest else 2.0,
        capsize=3,
        elinewidth=1,
    )


def scale_left(axes: Axes, most: float, least: float) -> None:
    """Make the horizontal axis that of the weights left in percent, logarithmic, from `most` down to `least`."""
    scale_logarithmically(axes, "x", dense=most / least < _WIDE)
    axes.set(xlim=(most * _ROOM, least / _ROOM), xlabel=LEFT)


def kept_of(cells: Iterable[Measurement]) -> set[str]:
    """Return the names of the rows of `points_of` that keep their score."""
    rows = one_split([m for m in cells if m.engine])
    return {one.measurement.name for one in with_folds_as_one(standings(rows, Bar())) if keeps_score(one)}
