"""Series of points with bars, and the cells that belong to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_reference, is_structural, removed
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.statistics import Interval
from sparsemark.report import wording
from sparsemark.specs import FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes

    from sparsemark.engines.base import Look
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.scores import Score
    from sparsemark.report.scores import Scale
    from sparsemark.report.wording import Notes

    Point = tuple[float, float, float, float]  # x, y, and how far the bar reaches down and up

REFERENCE_DASHES = (0, (1, 2))
"""Dashes of the line at the height of the dense network."""


_FEWEST = 3
"""Points that a line is drawn through."""


@dataclass(frozen=True)
class Way:
    """Engine, precision and multiple that all cells of one series share.

    Other precisions and multiples are other networks, not further seeds.

    Args:
        engine: a name in `ENGINES`, or another package's.
        precision: what it computes in.
        multiple: that channel counts are a multiple of, 1 where they are not rounded.
    """

    engine: str | None
    precision: str
    multiple: int = 1

    def label(self, notes: Notes) -> str:
        """Return its name in the legend."""
        name = wording.engine_name(self.engine, notes)
        return name + wording.precision_mark(self.precision) + wording.multiple_of(self.multiple)


def precision_of(m: Measurement) -> str:
    """Return what a cell computes in; files of other programs leave it out."""
    return m.precision or FP32


def by_way(series: Iterable[Measurement]) -> dict[Way, list[Measurement]]:
    """Group cells by how they are run, fp32 and plain channels first."""
    groups: dict[Way, list[Measurement]] = {}
    for m in series:
        multiple = (m.round_to or 1) if is_structural(m) else 1
        groups.setdefault(Way(m.engine, precision_of(m), multiple), []).append(m)
    return dict(sorted(groups.items(), key=lambda item: (item[0].precision, item[0].multiple)))


def on_fewest_threads(cells: Iterable[Measurement]) -> list[Measurement]:
    """Return the cells that run one input on the fewest threads, and those without a latency.

    Figures of latency show one job: other batches and threads are other questions.
    """
    cells = list(cells)
    fewest = min((_job(m) for m in cells if m.p50_ms is not None), default=None)
    return [m for m in cells if m.p50_ms is None or _job(m) == fewest]


def _job(m: Measurement) -> tuple[int, int]:
    return m.threads or 1, m.batch or 1


def drawn_speedup(m: Measurement) -> Interval | None:
    """Return a cell's speedup, of no extent where too few blocks give an interval; the reference is 1 by itself."""
    if m.speedup is None:
        return Interval(1.0, 1.0, 1.0) if is_reference(m) and m.p50_ms is not None else None
    return speedup_of(m) or Interval(m.speedup, m.speedup, m.speedup)


def score_interval(score: Score, scale: Scale) -> tuple[float, float]:
    """Return the 95 % interval of a score as shown, or the score twice where an end is missing."""
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    return scale.factor * low, scale.factor * high


def by_removed(series: Iterable[Measurement]) -> Mapping[float, list[Measurement]]:
    """Group cells by what was removed, in whole percent, ascending: seeds of one target differ by less than one."""
    groups: dict[float, list[Measurement]] = {}
    for m in series:
        share = removed(m)
        if share is not None:
            groups.setdefault(float(round(100 * share)), []).append(m)
    return dict(sorted(groups.items()))


def draw_series(axes: Axes, points: Sequence[Point], look: Look, label: str, way: Way | None = None) -> None:
    """Draw points with their bars and, through three or more, a line: through two it would be all interpolation.

    Markers are hollow where channels come in multiples, and half filled in other precisions than fp32.
    """
    if not points:
        return
    x, y, below, above = zip(*points, strict=True)
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
