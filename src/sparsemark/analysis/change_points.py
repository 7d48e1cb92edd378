"""Change points: runs from which on a series of ratios has another level. A report, not a gate.

The levels are fitted to the logarithms of the ratios: least squares, with a penalty for every change, by PELT (Killick
et al., 2012) as `ruptures` has it. The penalty is `PENALTY` ln(n) times the variance of one run. That variance is half
the mean square difference of neighbours (von Neumann, 1941), which a step enters only once, and at least the square of
`LEAST_NOISE`.

Series without any change that show one, at the worst of 11 lengths from 6 to 500 runs, of 2000 simulated for each: 3 %
with normal noise, 4 % where each run has one of two levels, 7 % with heavy tails (Student's t, 3 degrees of freedom),
11 % where neighbours are correlated by 0.3. A step of 5 standard deviations in normal noise, in 500 series of each of 6
shapes (10 to 200 runs, the shorter level of 3 or more): 98 % are found at their very run, 99 % within one of it; in
series of 6 runs, 72 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.records.history import Point

PENALTY = 5.0
"""Of one change, in variances of a run and in ln(n). At 4, correlated noise shows a change in 16 % of the series."""

SHORTEST = 3
"""Runs of a level: one odd run, or two, are no level."""

LEAST_NOISE = 0.003
"""Standard deviation of the logarithm of a ratio that no run stays below: that of a cell against itself."""


@dataclass(frozen=True)
class Change:
    """Change of a series' level.

    Args:
        index: of the first run with the new level, in the order of the series.
        ratio: new level / old level, as geometric means.
    """

    index: int
    ratio: float


@dataclass(frozen=True)
class Series:
    """Ratios of one cell on one machine over one reference, in the order in which they were measured.

    Args:
        cell: its name.
        machine: short name of the machine.
        machine_key: of machines that can be compared.
        reference: name of the cell that was the reference.
        points: at least one.
        changes: of the speedup's level, in their order; None where nobody looked for any.
    """

    cell: str
    machine: str
    machine_key: str
    reference: str | None
    points: tuple[Point, ...]
    changes: tuple[Change, ...] | None = None

    @property
    def speedups(self) -> tuple[float, ...]:
        """Speedups of its points."""
        return tuple(point.speedup for point in self.points)

    @property
    def levels(self) -> tuple[tuple[int, int, float], ...]:
        """Geometric mean of the speedups between two changes, with the index of its first run and of the next level."""
        bounds = [0, *(change.index for change in self.changes or ()), len(self.points)]
        return tuple((start, end, _geometric_mean(self.speedups[start:end])) for start, end in pairwise(bounds))


def series_of(points: Iterable[Point], *, find_changes: bool) -> list[Series]:
    """Group points into series, in the order in which their cells first appear.

    Args:
        points: of a history.
        find_changes: look for change points, which needs `ruptures`.
    """
    groups: dict[tuple[str, str, str | None], list[Point]] = {}
    for point in points:
        groups.setdefault((point.cell, point.machine_key, point.reference), []).append(point)
    series = []
    for (cell, machine_key, reference), group in groups.items():
        ordered = tuple(sorted(group, key=lambda point: point.time))
        changes = change_points([point.speedup for point in ordered]) if find_changes else None
        series.append(Series(cell, ordered[-1].machine, machine_key, reference, ordered, changes))
    return series


def change_points(ratios: Sequence[float]) -> tuple[Change, ...]:
    """Find where the level of a series changes; nowhere in a series that is too short for two levels.

    Args:
        ratios: above 0, in order, shape (n,).

    Raises:
        ImportError: `ruptures` is not installed.
    """
    from ruptures import KernelCPD

    if len(ratios) < 2 * SHORTEST:
        return ()
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    variance = max(float(np.mean(np.diff(logs) ** 2)) / 2, LEAST_NOISE**2)
    # The linear kernel is least squares on the mean, in C: the segments of Pelt(model="l2"), a thousand times faster.
    fitted = KernelCPD(kernel="linear", min_size=SHORTEST, jump=1).fit(logs[:, np.newaxis])
    bounds = [0, *map(int, fitted.predict(pen=PENALTY * math.log(len(logs)) * variance))]
    levels = [_geometric_mean(ratios[start:end]) for start, end in pairwise(bounds)]
    return tuple(
        Change(start, level / before) for start, (before, level) in zip(bounds[1:-1], pairwise(levels), strict=True)
    )


def _geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
