"""Series of points with bars, and the cells that belong to one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_masked, is_reference, is_structural, removed
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.statistics import Interval
from sparsemark.report import wording
from sparsemark.report.style import scale_logarithmically
from sparsemark.specs import DENSE, FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from sparsemark.engines.base import Look
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.wording import Notes

    Point = tuple[float, Interval]  # x, and y with the ends of its bar

SPANNED = "bars: 95 % interval of the paired ratio, of several seeds or folds from the lowest end to the highest"
"""What the bars of `mean_speedup` are."""

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
        mix: channels and zeros in words, less the share of the zeros; empty where one of the two was pruned alone.
    """

    engine: str | None
    precision: str
    multiple: int = 1
    mix: str = ""

    def label(self, notes: Notes) -> str:
        """Return its name beside the series."""
        name = wording.engine_name(self.engine, notes) + wording.precision_mark(self.precision)
        return f"{name}, {self.mix}" if self.mix else name + wording.multiple_of(self.multiple)


def precision_of(m: Measurement) -> str:
    """Return what a cell computes in; files of other programs leave it out."""
    return m.precision or FP32


def by_way(series: Iterable[Measurement]) -> dict[Way, list[Measurement]]:
    """Group cells by how they are run, fp32 and plain channels first."""
    groups: dict[Way, list[Measurement]] = {}
    for m in series:
        multiple = (m.round_to or 1) if is_structural(m) else 1
        mix = wording.swept(m) if is_structural(m) and is_masked(m) else ""
        groups.setdefault(Way(m.engine, precision_of(m), multiple, mix), []).append(m)
    return dict(sorted(groups.items(), key=lambda item: (item[0].precision, item[0].mix, item[0].multiple)))


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


def by_target(series: Iterable[Measurement]) -> list[list[Measurement]]:
    """Group the seeds and folds of what was asked for, least removed first.

    Where a network was tested on folds, cells of other splits are left out: the two are not averaged.
    """
    groups: dict[object, list[Measurement]] = {}
    for m in series:
        if removed(m) is not None:
            asked = removed(m) if m.pruning is None and m.sparsity_target is None else (m.pruning, m.sparsity_target)
            groups.setdefault(asked, []).append(m)
    return sorted(map(one_split, groups.values()), key=left_of, reverse=True)


def by_configuration(cells: Iterable[Measurement], notes: Notes) -> dict[tuple[str, str], list[Measurement]]:
    """Group the seeds, or the folds, of what was pruned and of what runs it, both in words.

    Rows that do not say how much was pruned, in files of other programs, stand each alone by their names.
    """
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for m in cells:
        is_known = m.pruning is not None or m.sparsity_target is not None
        groups.setdefault((wording.pruned(m) if is_known else m.name, wording.runner(m, notes)), []).append(m)
    return {key: one_split(group) for key, group in groups.items()}


def one_split(cells: Sequence[Measurement]) -> list[Measurement]:
    """Return the cells on folds, which test every input once; all of them where there are no folds."""
    return [m for m in cells if m.fold is not None] or list(cells)


def left_of(group: Iterable[Measurement]) -> float:
    """Return the mean share of the dense network's weights that is left, in percent."""
    return 100 * (1 - fmean(removed(m) or 0.0 for m in group))


def drawn_speedup(m: Measurement) -> Interval | None:
    """Return a cell's speedup, of no extent where too few blocks give an interval; the reference is 1 by itself."""
    if m.speedup is None:
        return Interval(1.0, 1.0, 1.0) if is_reference(m) and m.p50_ms is not None else None
    return speedup_of(m) or Interval(m.speedup, m.speedup, m.speedup)


def mean_speedup(group: Iterable[Measurement]) -> Interval | None:
    """Return the geometric mean over seeds and folds, from the lowest end of their intervals to the highest."""
    found = [speedup for m in group if (speedup := drawn_speedup(m))]
    if not found:
        return None
    middle = math.exp(fmean(math.log(one.estimate) for one in found))
    return Interval(middle, min(one.low for one in found), max(one.high for one in found))


def bar(y: Interval) -> tuple[float, float]:
    """Return how far a bar reaches down and up."""
    return max(0.0, y.estimate - y.low), max(0.0, y.high - y.estimate)


def draw_series(axes: Axes, points: Sequence[Point], look: Look, label: str, way: Way | None = None) -> None:
    """Draw points with their bars and, through three or more, a line: through two it would be all interpolation.

    Markers are hollow where channels come in multiples, and half filled in other precisions than fp32.
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
        linewidth=1.6,
        capsize=3,
        elinewidth=1,
    )


def scale_left(axes: Axes, most: float, least: float) -> None:
    """Make the horizontal axis that of the weights left in percent, logarithmic, from `most` down to `least`."""
    scale_logarithmically(axes, "x", dense=most / least < _WIDE)
    axes.set(xlim=(most * _ROOM, least / _ROOM), xlabel=LEFT)
