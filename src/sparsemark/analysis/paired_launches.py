"""Verdicts on two arms that were launched in turn, in one job: the only way to see a change of a few percent.

In a pair of launches both arms are there at once and take turns. So d = ln(candidate / baseline) holds the change, what
differs between two processes, and nothing of the hour. One pair in seven is 5 % off or more, for reasons of its own:
ranks bear that, a mean does not. Wilcoxon's exact test asks whether d lies beyond the tolerance, Holm's correction
counts the cells, and a second batch of launches, which the first did not choose, must agree. Cells whose interval still
reaches across the tolerance are launched on, once: a second look, which is declared here and asks for the same level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.significance import holm, signed_rank_interval
from sparsemark.analysis.statistics import Interval
from sparsemark.analysis.verdicts import LATENCY, SPEEDUP, Outcome, Tolerances, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.analysis.comparison import Comparison


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
        """Pseudomedian and its 95 % interval: the shifts that Wilcoxon's exact test does not reject."""
        return signed_rank_interval(self.differences)

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


def fewest_launches(cells: int, level: float) -> int:
    """Return the launches of each arm that a verdict on so many cells takes: fewer cannot reach the level.

    The smallest p-value of n pairs is 2^-n, and Holm's correction multiplies the first by the number of cells.
    """
    return math.ceil(math.log2(cells / level))


def alarmed(changes: Mapping[str, PairedChange], tolerances: Mapping[str, float], level: float) -> dict[str, int]:
    """Return the cells whose change clears the tolerance, with its direction.

    Args:
        changes: by cell; none has too few launches.
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
    """Return whether a second batch shows it: its estimate beyond the tolerance, its interval on one side of 0."""
    interval = change.interval
    edge = interval.low if direction > 0 else -interval.high
    return direction * interval.estimate > math.log1p(tolerance) and edge > 0


def difference_of(cell: PairedChange, dense: PairedChange) -> PairedChange:
    """Return the change of a cell's time over the dense network's: what happened to its speedup, launch by launch."""
    pairs: Sequence[tuple[float, float]] = list(zip(cell.differences, dense.differences, strict=False))
    return PairedChange(tuple(one - other for one, other in pairs), cell.slower_ms)


@dataclass(frozen=True)
class Batch:
    """Changes of own time and of speedup, by cell, that one batch of launches showed."""

    latency: Mapping[str, PairedChange]
    speedup: Mapping[str, PairedChange]

    @classmethod
    def of(cls, changes: Mapping[str, PairedChange], dense: Mapping[str, str]) -> Batch:
        """Derive the speedups' changes from the cells' and their dense network's.

        Args:
            changes: of own time, by cell.
            dense: name of the cell of the dense network, by cell.
        """
        speedups = {
            name: difference_of(change, changes[dense[name]])
            for name, change in changes.items()
            if dense.get(name) in changes and dense[name] != name
        }
        return cls(changes, speedups)

    def quantities(self) -> tuple[tuple[str, Mapping[str, PairedChange]], ...]:
        """Return both mappings with the names of what they are of."""
        return (LATENCY, self.latency), (SPEEDUP, self.speedup)


Alarms = dict[str, dict[str, int]]
"""Direction of a change that cleared the tolerance, by quantity and cell."""


def alarms_of(batch: Batch, tolerances: Tolerances) -> Alarms:
    """Return what a batch of enough launches alarms for, both quantities apart."""
    found: Alarms = {}
    for quantity, changes in batch.quantities():
        needed = fewest_launches(max(len(changes), 1), tolerances.level)
        enough = {name: change for name, change in changes.items() if len(change.differences) >= needed}
        bars = {name: tolerances.latency_of(name) for name in enough}
        found[quantity] = alarmed(enough, bars, tolerances.level) if enough else {}
    return found


def unsettled(batch: Batch, alarms: Alarms, tolerances: Tolerances) -> set[str]:
    """Return the cells that no more can be said of than that more launches may settle them.

    Args:
        batch: launches so far.
        alarms: that they raised: of these a second batch decides.
        tolerances: what the candidate may lose.
    """
    return {
        name
        for quantity, changes in batch.quantities()
        for name, change in changes.items()
        if name not in alarms[quantity] and change.interval.high > math.log1p(tolerances.latency_of(name))
    }


def judge_pairs(
    comparison: Comparison, first: Batch, second: Batch | None, alarms: Alarms, tolerances: Tolerances
) -> Iterator[Verdict]:
    """Yield the verdicts on a cell's own time and on its speedup.

    Args:
        comparison: of the cell.
        first: batch that every cell is in.
        second: of the cells that alarmed, None where none did.
        alarms: of the first batch.
        tolerances: what the candidate may lose.
    """
    cell = comparison.cell
    for quantity, changes in first.quantities():
        change = changes.get(cell)
        if change is None:
            if quantity == LATENCY:
                reason = comparison.why_not or "not launched in both arms"
                yield Verdict(cell, quantity, Outcome.INCOMPARABLE, reason)
            continue
        again = dict(second.quantities())[quantity].get(cell) if second else None
        needed = fewest_launches(len(changes), tolerances.level)
        if len(change.differences) < needed:
            outcome, reason = Outcome.INCONCLUSIVE, f"{len(change.differences)} launches of each arm, expected {needed}"
        else:
            outcome, reason = _weigh(change, again, alarms[quantity].get(cell), tolerances, tolerances.latency_of(cell))
        interval = change.interval
        detectable = math.expm1(math.log1p(tolerances.latency_of(cell)) + interval.estimate - interval.low)
        if outcome is Outcome.INCONCLUSIVE:
            reason = f"{reason}; could have seen +{100 * detectable:.1f} %"
        yield Verdict(cell, quantity, outcome, reason, change.change, detectable)


def _weigh(
    change: PairedChange, again: PairedChange | None, direction: int | None, tolerances: Tolerances, tolerance: float
) -> tuple[Outcome, str]:
    count, percent = len(change.differences), f"{100 * tolerance:g} %"
    if direction is not None:
        if direction * change.slower_ms <= tolerances.floor_ms:
            return Outcome.OK, f"{change.slower_ms:+.3g} ms is within the floor of {tolerances.floor_ms:g} ms"
        if again is not None and agrees(again, direction, tolerance):
            found = Outcome.REGRESSION if direction > 0 else Outcome.IMPROVEMENT
            return found, f"beyond {percent} in both batches of {count} launches"
        seen = "was not measured" if again is None else f"shows {100 * again.change.estimate:+.1f} %"
        return Outcome.INCONCLUSIVE, f"beyond {percent} in one batch of launches; the second {seen}"
    if change.interval.high <= math.log1p(tolerance):
        return Outcome.OK, f"within {percent}"
    return Outcome.INCONCLUSIVE, f"the interval reaches across {percent}"
