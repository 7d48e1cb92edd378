"""Gate on two result files: verdicts on a candidate against a baseline, with reasons.

A latency is a regression only if four things agree: the lower end of its interval clears the tolerance, the change is
worth at least a floor in milliseconds, each half of the blocks shows it alone, and its test (rank-sum, or sign test
where the blocks are paired) survives Holm over all cells. Scores, agreement and bytes do not scatter between runs of
one artifact and are compared exactly, each with its own tolerance. A score without a tolerance is not judged.

On another machine latencies are incomparable, slower or faster: how many times as fast as the reference a cell is
depends on the processor, its caches and its instructions. So is a cell that is unsupported or absent there, as an
engine may be. The rest holds wherever a file runs, and is judged as ever: scores, agreement, bytes, parity, and a cell
that breaks.

Processes of one binary differ, by memory layout and by what their neighbours do, and one process a side cannot tell
that from a change: it alarms beyond 10 % only. Several launches show how far they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from sparsemark.analysis.comparison import Comparison, compare, other_machine
from sparsemark.analysis.latency import confirmed_cells, judge_latency
from sparsemark.analysis.merging import load_run
from sparsemark.analysis.verdicts import LATENCY, NoBaselineError, Outcome, Tolerances, Verdict
from sparsemark.records.measurement import MEASURED, PARITY_FAILED, UNSUPPORTED, Measurement
from sparsemark.records.scores import same_data

if TYPE_CHECKING:
    from pathlib import Path

    from sparsemark.analysis.comparison import Difference
    from sparsemark.records.run import Run
    from sparsemark.records.scores import DataNote, Score

JudgeTimes = Callable[[Comparison], Iterator[Verdict]]
"""Yields the verdicts on the time of a cell that is measured in both runs."""

_ROUNDING = 1e-12  # a drop of exactly the tolerance is allowed, whatever the last bit of the subtraction says


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


def gate(
    baseline: Run, candidate: Run, tolerances: Tolerances | None = None, judge_times: JudgeTimes | None = None
) -> list[Verdict]:
    """Judge every quantity of every cell, in the order of the baseline.

    Args:
        baseline: what was.
        candidate: what is.
        tolerances: what the candidate may lose.
        judge_times: yields the verdicts on a cell's time; None judges what the two runs show.

    Raises:
        NoBaselineError: the runs have no cell in common.
        UserError: a run names one cell twice.
    """
    tolerances = tolerances or Tolerances()
    comparisons = compare(baseline, candidate)
    elsewhere = other_machine(baseline, candidate)
    if not any(c.baseline and c.candidate for c in comparisons):
        raise NoBaselineError("baseline: it has no cell in common with the candidate")
    if judge_times is None:
        confirmed = confirmed_cells(comparisons, tolerances)
        judge_times = partial(judge_latency, confirmed=confirmed, tolerances=tolerances, elsewhere=elsewhere)
    return [verdict for one in comparisons for verdict in _judge(one, judge_times, tolerances, elsewhere)]


def _judge(
    comparison: Comparison, judge_times: JudgeTimes, tolerances: Tolerances, elsewhere: Difference | None
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
        yield from judge_times(comparison)
    yield from _judge_scores(comparison.cell, before, after, tolerances)
    for quantity, judged in (
        ("agreement", _judge_agreement(before, after, "engine_agreement", tolerances.agreement)),
        ("agreement with dense", _judge_agreement(before, after, "agreement_with_dense", tolerances.agreement)),
        ("size", _judge_bytes(before.artifact_bytes, after.artifact_bytes, tolerances.size)),
        ("memory", None if elsewhere else _judge_bytes(before.peak_rss_bytes, after.peak_rss_bytes, tolerances.memory)),
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


def _judge_agreement(before: Measurement, after: Measurement, field: str, allowed: float) -> tuple[Outcome, str] | None:
    was, now = getattr(before, field), getattr(after, field)
    if was is None or now is None:
        return None if was == now else _not_in_both(was, now)
    return _other_data(before.parity_data, after.parity_data) or _weigh_loss(was, now, was - now, allowed)


def _judge_bytes(was: int | None, now: int | None, fraction: float) -> tuple[Outcome, str] | None:
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
