"""Verdicts on two arms that were launched in turn, in one job: the only way to see a change of 2 to 5 %.

Launch by launch the arms stand beside each other, and both are divided by the same file on the same engine, which the
change cannot touch. So d = ln(candidate / baseline) of a pair of launches holds the change, what differs between two
processes, and nothing of the hour. Wilcoxon's exact test asks whether it lies beyond the tolerance, Holm's correction
counts the cells, and a second batch of launches, which the first did not choose, must agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.launches import student_quantile
from sparsemark.analysis.significance import holm
from sparsemark.analysis.statistics import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

FEWEST = 7
"""Launches below which not even one cell can be judged: the smallest p-value of 6 is 1.6 %, above the level."""


@dataclass(frozen=True)
class PairedChange:
    """Change of one time between two arms, as a logarithm; above 0 the candidate is slower.

    Args:
        differences: of each pair of launches, in order, shape (n,).
        slower_ms: the change in milliseconds.
    """

    differences: tuple[float, ...]
    slower_ms: float

    @property
    def interval(self) -> Interval:
        """Mean and its 95 % interval, Student's."""
        values = np.asarray(self.differences)
        estimate = float(values.mean())
        half = student_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
        return Interval(estimate, estimate - half, estimate + half)

    @property
    def change(self) -> Interval:
        """Fraction by which the time grew: 0.2 is 20 % slower."""
        ratio = self.interval.exp()
        return Interval(ratio.estimate - 1, ratio.low - 1, ratio.high - 1)

    def p_value(self, direction: int, bar: float) -> float:
        """Test whether the change lies beyond `bar`, a logarithm, in a direction: 1 slower, -1 faster."""
        from scipy.stats import wilcoxon

        beyond: NDArray[np.float64] = direction * np.asarray(self.differences) - bar
        return float(wilcoxon(beyond, alternative="greater", method="exact").pvalue)


def alarmed(changes: Mapping[str, PairedChange], tolerances: Mapping[str, float], level: float) -> dict[str, int]:
    """Return the cells whose change clears the tolerance, with its direction.

    Args:
        changes: by cell, each of `FEWEST` launches at least.
        tolerances: fraction of the time, by cell.
        level: of the tests over all cells together.
    """
    found = {}
    names = list(changes)
    for direction in (1, -1):
        bars = [math.log1p(tolerances[name]) for name in names]
        p_values = holm([changes[name].p_value(direction, bar) for name, bar in zip(names, bars, strict=True)])
        for name, bar, p in zip(names, bars, p_values, strict=True):
            interval = changes[name].interval
            edge = interval.low if direction > 0 else -interval.high
            if edge > bar and p <= level:
                found[name] = direction
    return found


def agrees(change: PairedChange, direction: int, tolerance: float) -> bool:
    """Return whether a second batch shows the same: its mean beyond the tolerance, its interval on one side of 0."""
    interval = change.interval
    edge = interval.low if direction > 0 else -interval.high
    return direction * interval.estimate > math.log1p(tolerance) and edge > 0


def difference_of(cell: PairedChange, dense: PairedChange) -> PairedChange:
    """Return the change of a cell's time over the dense network's: what happened to its speedup, launch by launch."""
    pairs: Sequence[tuple[float, float]] = list(zip(cell.differences, dense.differences, strict=False))
    return PairedChange(tuple(one - other for one, other in pairs), cell.slower_ms)
