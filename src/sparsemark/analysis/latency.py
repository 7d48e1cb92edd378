"""Verdict on the latency of one cell in two result files.

Where both runs were timed beside the same file of the reference, in the same version of its engine, the ratio to it is
the cell's own time. Else it is the speedup and no more: whatever slows the dense network too is hidden in it. Own time
is then judged beside a fixed workload that is timed at both ends, and alarms only beyond what two runs of one network
may differ by in that way.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sparsemark.analysis.contamination import in_words
from sparsemark.analysis.significance import holm, rank_sum_p, sign_test_p
from sparsemark.analysis.statistics import Interval
from sparsemark.analysis.verdicts import LATENCY, SPEEDUP, Outcome, Tolerances, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sparsemark.analysis.comparison import Comparison, Difference, LatencyChange, OwnTime

Confirmed = dict[int, set[str]]
"""Cells whose test survives Holm over all cells, by direction."""

_NORMAL_HALF_WIDTH = 1.959964  # of a 95 % interval, in standard deviations

YARDSTICK_DOUBT = 0.2
"""Least change of own time beside a fixed workload that alarms: a workload feels a busy machine, a clock and a cache in
its own way."""

_WORSE, _BETTER = 1, -1
_OUTCOME_OF = {_WORSE: Outcome.REGRESSION, _BETTER: Outcome.IMPROVEMENT}


def confirmed_cells(comparisons: Sequence[Comparison], tolerances: Tolerances) -> Confirmed:
    """Find the cells whose test survives Holm over all cells, slower and faster apart."""
    tested = [(c.cell, c.latency) for c in comparisons if c.latency and not c.same]
    confirmed = {}
    for direction in (_WORSE, _BETTER):
        p_values = holm(
            [_p_value(latency, direction, _bar(latency, tolerances.latency_of(cell))) for cell, latency in tested]
        )
        confirmed[direction] = {cell for (cell, _), p in zip(tested, p_values, strict=True) if p <= tolerances.level}
    return confirmed


def _bar(latency: LatencyChange, tolerance: float) -> float:
    return math.log1p(tolerance) + latency.doubt


def _p_value(latency: LatencyChange, direction: int, bar: float) -> float:
    """Return the p-value of a change beyond the bar, not of any change at all."""
    if latency.baseline_blocks:
        before = [direction * value + bar for value in latency.baseline_blocks]
        after = [direction * value for value in latency.candidate_blocks]
        if latency.paired:
            return sign_test_p([b - a for a, b in zip(before, after, strict=True)])
        return rank_sum_p(after, before)
    interval = latency.log_change
    half_width = interval.estimate - interval.low if direction == _WORSE else interval.high - interval.estimate
    beyond = direction * interval.estimate - bar
    if half_width == 0:
        return float(beyond <= 0)
    return 0.5 * math.erfc(beyond / half_width * _NORMAL_HALF_WIDTH / math.sqrt(2))


def judge_latency(
    comparison: Comparison, confirmed: Confirmed, tolerances: Tolerances, elsewhere: Difference | None
) -> Iterator[Verdict]:
    """Yield the verdict on a cell's own time, and that on its speedup where the two are not the same.

    Args:
        comparison: of a cell that is measured in both runs.
        confirmed: as `confirmed_cells` found.
        tolerances: what a candidate may lose.
        elsewhere: the field by which the candidate's machine is another one, or None.
    """
    cell = comparison.cell
    if elsewhere is not None:
        reason = f"another machine: {elsewhere.field} was {elsewhere.baseline}, is {elsewhere.candidate}"
        yield Verdict(cell, LATENCY, Outcome.INCOMPARABLE, reason)
    elif comparison.same:
        change = comparison.latency.change if comparison.latency else None
        yield Verdict(cell, LATENCY, Outcome.OK, "the same samples", change)
    elif comparison.same_reference:
        yield _judge_ratio(comparison, LATENCY, confirmed, tolerances)
    else:
        yield _judge_own_time(cell, comparison.own, tolerances)
        yield _judge_ratio(comparison, SPEEDUP, confirmed, tolerances)


def _judge_own_time(cell: str, own: OwnTime | None, tolerances: Tolerances) -> Verdict:
    """Judge a change of own time that only a fixed workload stands beside."""
    if own is None:
        reason = "the reference changed, and no fixed workload was timed beside both; --against REV can tell"
        return Verdict(cell, LATENCY, Outcome.INCOMPARABLE, reason)
    tolerance = tolerances.latency_of(cell)
    doubt = max(YARDSTICK_DOUBT, own.spread)
    change = math.expm1(own.log_change)
    low, high = (math.expm1(own.log_change + side * math.log1p(doubt)) for side in (-1, 1))
    beside = f"{100 * change:+.0f} % beside a fixed workload that is good for {100 * doubt:.0f} %"
    detectable = math.expm1(math.log1p(tolerance) + math.log1p(doubt))
    outcome = Outcome.OK
    if abs(own.slower_ms) > tolerances.floor_ms:
        if abs(own.log_change) > math.log1p(tolerance) + math.log1p(doubt):
            outcome = Outcome.REGRESSION if own.log_change > 0 else Outcome.IMPROVEMENT
        elif abs(own.log_change) > math.log1p(tolerance):
            outcome, beside = Outcome.INCONCLUSIVE, f"{beside}; --against REV sees less"
    return Verdict(cell, LATENCY, outcome, beside, Interval(change, low, high), detectable)


def _judge_ratio(comparison: Comparison, quantity: str, confirmed: Confirmed, tolerances: Tolerances) -> Verdict:
    latency = comparison.latency
    if latency is None:
        outcome = Outcome.INCONCLUSIVE if comparison.too_few else Outcome.INCOMPARABLE
        return Verdict(comparison.cell, quantity, outcome, comparison.why_not or "")
    tolerance = tolerances.latency_of(comparison.cell)
    outcome, reason = _weigh(comparison.cell, latency, confirmed, tolerances)
    interval = latency.log_change
    detectable = math.expm1(_bar(latency, tolerance) + interval.estimate - interval.low)
    if outcome is Outcome.INCONCLUSIVE:
        reason = f"{reason}; could have seen +{100 * detectable:.1f} %"
    return Verdict(comparison.cell, quantity, outcome, reason, latency.change, detectable)


def _weigh(cell: str, latency: LatencyChange, confirmed: Confirmed, tolerances: Tolerances) -> tuple[Outcome, str]:
    tolerance = tolerances.latency_of(cell)
    bar, interval = _bar(latency, tolerance), latency.log_change
    for direction, edge in ((_WORSE, interval.low), (_BETTER, interval.high)):
        if direction * edge > bar:
            return _weigh_effect(latency, direction, bar, tolerances, confirmed=cell in confirmed[direction])
    if latency.contaminated:
        return Outcome.CONTAMINATED, in_words(latency.contaminated)
    alone = "" if latency.log_halves is None or latency.paired else ", as much as one process a side can tell"
    if interval.high <= bar:
        return Outcome.OK, f"within {100 * math.expm1(bar):.3g} %{alone}"
    return Outcome.INCONCLUSIVE, f"the interval reaches across {100 * math.expm1(bar):.3g} %{alone}"


def _weigh_effect(
    latency: LatencyChange, direction: int, bar: float, tolerances: Tolerances, *, confirmed: bool
) -> tuple[Outcome, str]:
    """Decide on a change whose interval clears the bar: is it worth something, and does everything else agree?"""
    if latency.slower_ms is not None and direction * latency.slower_ms <= tolerances.floor_ms:
        return Outcome.OK, f"{latency.slower_ms:+.3g} ms is within the floor of {tolerances.floor_ms:g} ms"
    if latency.log_halves and min(direction * half for half in latency.log_halves) <= bar:
        halves = " and ".join(f"{100 * math.expm1(half):+.1f} %" for half in latency.log_halves)
        return Outcome.INCONCLUSIVE, f"the halves of the blocks do not agree: {halves}"
    if not confirmed:
        return Outcome.INCONCLUSIVE, "too few blocks for a test over this many cells (Holm)"
    seen_in = "in both halves of the blocks" if latency.log_halves else "by the intervals of the speedups alone"
    return _OUTCOME_OF[direction], f"beyond {100 * math.expm1(bar):.1f} % {seen_in}"
