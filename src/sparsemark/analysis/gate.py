"""Gate: verdicts on a candidate against a baseline, with reasons, and the exit code that follows from them.

A latency is a regression only if four things agree: the lower end of its interval clears the tolerance, the change is
worth at least a floor in milliseconds, each half of the blocks shows it alone, and its test (rank-sum, or sign test
where the blocks are paired) survives Holm over all cells. Scores, agreement and bytes do not scatter between runs of
one artifact and are compared exactly, each with its own tolerance. A score without a tolerance is not judged.

On another machine latencies are incomparable, slower or faster: how many times as fast as the reference a cell is
depends on the processor, its caches and its instructions. So is a cell that is unsupported or absent there, as an
engine may be. The rest holds wherever a file runs, and is judged as ever: scores, agreement, bytes, parity, and a cell
that breaks.

Processes of one binary differ, by memory layout and by what their neighbours do, and one process a side cannot tell
that from a change. Where that difference nears the tolerance, alarms are false.

The first match decides the exit code: 2 usage or unreadable input, 4 no baseline, 5 parity failure, 1 regression, 3
inconclusive or contaminated (strict, or where not one latency could be compared), 0 ok. 2 and 4 mean that nothing was
judged; a wrong answer (5) is worse than a slow one (1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from sparsemark.analysis.comparison import Comparison, LatencyChange, compare, other_machine
from sparsemark.analysis.contamination import in_words
from sparsemark.analysis.merging import load_run
from sparsemark.analysis.significance import holm, rank_sum_p, sign_test_p
from sparsemark.errors import UserError
from sparsemark.records.measurement import MEASURED, PARITY_FAILED, UNSUPPORTED, Measurement
from sparsemark.records.scores import same_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sparsemark.analysis.comparison import Difference
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.run import Run
    from sparsemark.records.scores import DataNote, Score

_Confirmed = dict[int, set[str]]

EXIT_OK = 0
EXIT_REGRESSION = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_NO_BASELINE = 4
EXIT_PARITY = 5

_ROUNDING = 1e-12  # a drop of exactly the tolerance is allowed, whatever the last bit of the subtraction says
_NORMAL_HALF_WIDTH = 1.959964  # of a 95 % interval, in standard deviations


LATENCY = "latency"
"""Quantity of a verdict on time; all others hold on every machine."""


class Outcome(StrEnum):
    """Verdict on one quantity of one cell."""

    OK = "ok"
    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    INCONCLUSIVE = "inconclusive"
    CONTAMINATED = "contaminated"
    INCOMPARABLE = "incomparable"
    PARITY_FAILURE = "parity failure"


_WORSE, _BETTER = 1, -1
_OUTCOME_OF = {_WORSE: Outcome.REGRESSION, _BETTER: Outcome.IMPROVEMENT}


class NoBaselineError(UserError):
    """There is nothing to judge the candidate against; the command line turns it into exit code 4."""

    exit_code = EXIT_NO_BASELINE


@dataclass(frozen=True)
class Tolerances:
    """Losses up to which a candidate passes, and the level of the tests.

    Args:
        latency: fraction of the time; 2 % is what fresh processes of one binary differ by through memory layout alone.
        floor_ms: milliseconds below which no change of latency matters.
        scores: by metric, in its unit, in place of the tolerance that the score carries.
        agreement: as a fraction of the decisions; half a point leaves room for a few borderline images that flip with a
            library's rounding.
        size: fraction of the bytes; exporters write their version and names into the file.
        level: of the tests over all latencies together.
    """

    latency: float = 0.02
    floor_ms: float = 0.05
    scores: Mapping[str, float] = field(default_factory=dict)
    agreement: float = 0.005
    size: float = 0.01
    level: float = 0.01

    def __post_init__(self) -> None:
        own = {name: getattr(self, name) for name in ("latency", "floor_ms", "agreement", "size")}
        for name, value in (*own.items(), *self.scores.items()):
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"tolerance {name} {value}: expected a number from 0")
        if not 0 < self.level < 1:
            raise UserError(f"tolerance level {self.level}: expected a number between 0 and 1")


@dataclass(frozen=True)
class Verdict:
    """Verdict on one quantity of one cell, with its reason.

    Args:
        cell: its name.
        quantity: `status`, `latency`, the name of a metric, `agreement` or `size`.
        outcome: the verdict.
        reason: one line for people.
        change: fraction by which the time grew, with its interval; latency only.
        detectable: smallest slowdown, as a fraction, that these samples could have shown; latency only.
    """

    cell: str
    quantity: str
    outcome: Outcome
    reason: str
    change: Interval | None = None
    detectable: float | None = None


def load_runs(baseline: Path, candidate: Path) -> tuple[Run, Run]:
    """Read both runs, the candidate first: an unreadable candidate is a mistake whether or not there is a baseline.

    Raises:
        NoBaselineError: there is no file at `baseline`.
        UserError: a file cannot be read.
    """
    after = load_run(candidate)
    if not baseline.exists():
        raise NoBaselineError(f"{baseline}: no baseline there; keep a run that you trust under this name")
    return load_run(baseline), after


def gate(baseline: Run, candidate: Run, tolerances: Tolerances | None = None) -> list[Verdict]:
    """Judge every quantity of every cell, in the order of the baseline.

    Raises:
        NoBaselineError: the runs have no cell in common.
        UserError: a run names one cell twice.
    """
    tolerances = tolerances or Tolerances()
    comparisons = compare(baseline, candidate)
    elsewhere = other_machine(baseline, candidate)
    if not any(c.baseline and c.candidate for c in comparisons):
        raise NoBaselineError("baseline: it has no cell in common with the candidate")
    confirmed = _confirmed(comparisons, tolerances)
    return [verdict for comparison in comparisons for verdict in _judge(comparison, confirmed, tolerances, elsewhere)]


def exit_code(verdicts: Sequence[Verdict], *, strict: bool = False) -> int:
    """Turn verdicts into 0, 1, 3 or 5; under `strict` what cannot be compared in a shared cell is inconclusive too.

    A gate that compared no latency at all has nothing to say of latency, strict or not.
    """
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.PARITY_FAILURE in outcomes:
        return EXIT_PARITY
    if Outcome.REGRESSION in outcomes:
        return EXIT_REGRESSION
    if strict and any(map(_is_undecided, verdicts)):
        return EXIT_INCONCLUSIVE
    return EXIT_OK if _has_compared(verdicts) else EXIT_INCONCLUSIVE


def _has_compared(verdicts: Sequence[Verdict]) -> bool:
    """Return whether any latency was compared, or there is none."""
    latencies = [verdict for verdict in verdicts if verdict.quantity == LATENCY]
    return not latencies or any(v.outcome is Outcome.OK or v.change is not None for v in latencies)


def _is_undecided(verdict: Verdict) -> bool:
    if verdict.outcome is Outcome.INCOMPARABLE:
        return verdict.quantity != "status"
    return verdict.outcome in (Outcome.INCONCLUSIVE, Outcome.CONTAMINATED)


def _judge(
    comparison: Comparison, confirmed: _Confirmed, tolerances: Tolerances, elsewhere: Difference | None
) -> Iterator[Verdict]:
    before, after = comparison.baseline, comparison.candidate
    if before is None or after is None or before.status != MEASURED or after.status != MEASURED:
        status = _judge_status(before, after)
        if elsewhere is not None and status[0] is Outcome.REGRESSION and (after is None or after.status == UNSUPPORTED):
            # An engine or instruction that this machine lacks has no time here.
            reason = f"{status[1]}; {_in_words(elsewhere)}"
            yield Verdict(comparison.cell, LATENCY, Outcome.INCOMPARABLE, reason)
        else:
            yield Verdict(comparison.cell, "status", *status)
        return
    if comparison.was_timed:
        yield _judge_latency(comparison, confirmed, tolerances, elsewhere)
    yield from _judge_scores(comparison.cell, before, after, tolerances)
    for quantity, judged in (
        ("agreement", _judge_agreement(before, after, tolerances.agreement)),
        ("size", _judge_size(before.artifact_bytes, after.artifact_bytes, tolerances.size)),
    ):
        if judged:
            yield Verdict(comparison.cell, quantity, *judged)


def _judge_status(before: Measurement | None, after: Measurement | None) -> tuple[Outcome, str]:
    was = before.status if before else "absent"
    now = after.status if after else "absent"
    why = f": {after.reason}" if after and after.reason else ""
    if was == now:
        return Outcome.OK, f"{now} in both{why}"
    if now == PARITY_FAILED:
        return Outcome.PARITY_FAILURE, f"{was} in the baseline, fails parity now{why}"
    # A cell that stops running is the worst slowdown there is; it must not pass because it has no number.
    outcome = Outcome.REGRESSION if was == MEASURED else Outcome.INCOMPARABLE
    return outcome, f"{was} in the baseline, {now} now{why}"


def _in_words(elsewhere: Difference) -> str:
    return f"another machine: {elsewhere.field} was {elsewhere.baseline}, is {elsewhere.candidate}"


def _judge_scores(cell: str, before: Measurement, after: Measurement, tolerances: Tolerances) -> Iterator[Verdict]:
    for metric in {**before.scores, **after.scores}:
        was, now = before.scores.get(metric), after.scores.get(metric)
        # The baseline's own tolerance comes first: a candidate must not loosen the one it is judged by.
        carried = [score.tolerance for score in (was, now) if score is not None and score.tolerance is not None]
        allowed = tolerances.scores.get(metric, carried[0] if carried else None)
        if allowed is not None:
            yield Verdict(cell, metric, *_judge_score(was, now, (before.data, after.data), allowed))


def _judge_score(
    was: Score | None, now: Score | None, data: tuple[DataNote | None, DataNote | None], allowed: float
) -> tuple[Outcome, str]:
    if was is None or now is None:
        return _not_in_both(was.value if was else None, now.value if now else None)
    if was.higher_is_better != now.higher_is_better:
        better = ["higher" if score.higher_is_better else "lower" for score in (was, now)]
        return Outcome.INCOMPARABLE, f"{better[0]} was better, {better[1]} is better"
    return _other_data(*data) or _weigh_loss(was.value, now.value, now.loss_against(was), allowed)


def _judge_agreement(before: Measurement, after: Measurement, allowed: float) -> tuple[Outcome, str] | None:
    was, now = before.engine_agreement, after.engine_agreement
    if was is None or now is None:
        return None if was == now else _not_in_both(was, now)
    return _other_data(before.parity_data, after.parity_data) or _weigh_loss(was, now, was - now, allowed)


def _judge_size(was: int | None, now: int | None, fraction: float) -> tuple[Outcome, str] | None:
    if was is None or now is None:
        return None if was == now else _not_in_both(was, now)
    return _weigh_loss(was, now, now - was, fraction * was)


def _weigh_loss(was: float, now: float, loss: float, allowed: float) -> tuple[Outcome, str]:
    """Judge a number that does not scatter; a loss below 0 is a gain."""
    said = f"{_plain(was)} -> {_plain(now)}, tolerance {allowed:g}"
    if abs(loss) <= allowed + _ROUNDING:
        return Outcome.OK, said
    return (Outcome.REGRESSION if loss > 0 else Outcome.IMPROVEMENT), said


def _not_in_both(was: float | None, now: float | None) -> tuple[Outcome, str]:
    return Outcome.INCOMPARABLE, f"was {_plain(was)}, is {_plain(now)}"


def _other_data(before: DataNote | None, after: DataNote | None) -> tuple[Outcome, str] | None:
    """Return the verdict on two numbers from different data, or None for the same data."""
    if same_data(before, after):
        return None
    was, now = (note and note.words for note in (before, after))
    keys = f" (keys {before.key}, {after.key})" if before and after and was == now else ""
    return Outcome.INCOMPARABLE, f"on other images: was on {was}, is on {now}{keys}"


def _plain(value: float | None) -> str:
    return "absent" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _confirmed(comparisons: Sequence[Comparison], tolerances: Tolerances) -> _Confirmed:
    """Find the cells whose test survives Holm over all cells, slower and faster apart."""
    tested = [(c.cell, c.latency) for c in comparisons if c.latency and not c.same]
    confirmed = {}
    for direction in (_WORSE, _BETTER):
        p_values = holm([_p_value(latency, direction, _bar(latency, tolerances)) for _, latency in tested])
        confirmed[direction] = {cell for (cell, _), p in zip(tested, p_values, strict=True) if p <= tolerances.level}
    return confirmed


def _bar(latency: LatencyChange, tolerances: Tolerances) -> float:
    return math.log1p(tolerances.latency) + latency.doubt


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


def _judge_latency(
    comparison: Comparison, confirmed: _Confirmed, tolerances: Tolerances, elsewhere: Difference | None
) -> Verdict:
    latency = comparison.latency
    if elsewhere is not None:
        return Verdict(comparison.cell, LATENCY, Outcome.INCOMPARABLE, _in_words(elsewhere))
    if comparison.same:
        return Verdict(comparison.cell, LATENCY, Outcome.OK, "the same samples", latency.change if latency else None)
    if latency is None:
        outcome = Outcome.INCONCLUSIVE if comparison.too_few else Outcome.INCOMPARABLE
        return Verdict(comparison.cell, LATENCY, outcome, comparison.why_not or "")
    outcome, reason = _weigh(comparison.cell, latency, confirmed, tolerances)
    interval = latency.log_change
    detectable = math.expm1(math.log1p(tolerances.latency) + interval.estimate - interval.low)
    if outcome is Outcome.INCONCLUSIVE:
        reason = f"{reason}; could have seen +{100 * detectable:.1f} %"
    return Verdict(comparison.cell, LATENCY, outcome, reason, latency.change, detectable)


def _weigh(cell: str, latency: LatencyChange, confirmed: _Confirmed, tolerances: Tolerances) -> tuple[Outcome, str]:
    bar, interval = _bar(latency, tolerances), latency.log_change
    for direction, edge in ((_WORSE, interval.low), (_BETTER, interval.high)):
        if direction * edge > bar:
            return _weigh_effect(latency, direction, bar, tolerances, confirmed=cell in confirmed[direction])
    if latency.contaminated:
        return Outcome.CONTAMINATED, in_words(latency.contaminated)
    if interval.high <= bar:
        return Outcome.OK, f"within {100 * tolerances.latency:g} %"
    return Outcome.INCONCLUSIVE, f"the interval reaches across {100 * tolerances.latency:g} %"


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
