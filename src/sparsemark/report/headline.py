"""Headline of each network: the fastest cell that is as good as the dense network."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import dense_scores, is_control, is_reference, models, reference_engine
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.contamination import contamination_of, in_words
from sparsemark.analysis.statistics import quotient
from sparsemark.records.measurement import MEASURED
from sparsemark.report import wording
from sparsemark.report.scores import UNSCORED, Scoring
from sparsemark.specs import DENSE, FP32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.report.wording import Notes

_ROUNDING = 1e-12  # a loss of exactly the tolerance is within it, whatever the last bit of the subtraction says

_PLURALS = {UNSCORED: "accuracies"}


def headlines(run: Run) -> list[str]:
    """Return for each network the cell that is fastest at the score of the dense one, and by how much.

    The fastest is the one with the highest lower end of its interval: the highest estimate would often be luck. Engines
    that did not run are named, since one of them might have been faster.
    """
    measured = run.measured()
    if not measured:
        counts = Counter(m.status for m in run.measurements)
        return [f"Nothing was measured: {', '.join(f'{n} {status}' for status, n in counts.items()) or 'no cells'}."]
    scoring = Scoring.of(run.measurements)
    several = len(models(measured)) > 1
    lines = []
    for model in models(measured):
        own = [m for m in run.measurements if m.model == model]
        line = _headline([m for m in own if m.status == MEASURED], own, scoring, run.engines)
        lines.append(f"{model}: {line}" if several else line[0].upper() + line[1:])
    return lines


def _headline(cells: Sequence[Measurement], rows: Sequence[Measurement], scoring: Scoring, notes: Notes) -> str:
    """Write the headline of one network.

    Args:
        cells: that were measured.
        rows: these, and those that were not.
        scoring: of the run.
        notes: on its engines.
    """
    # One image on the fewest threads: other batches and threads are other questions, never the headline.
    job = min(((m.threads or 1, m.batch or 1) for m in cells), default=(1, 1))
    own = [m for m in cells if (m.threads or 1, m.batch or 1) == job and not is_control(m)]
    trusted = [(speedup, m) for m in own if (speedup := speedup_of(m))]
    if not trusted:
        return "no cell has a speedup with an interval."
    within, why_not = _bar([m for _, m in trusted], cells, scoring)
    candidates = [(speedup, m) for speedup, m in trusted if _keeps_score(m, cells, scoring)] if within else trusted
    speedup, best = max(candidates, key=lambda pair: pair[0].low, default=(None, None))
    if speedup is None or best is None or speedup.low <= 1:
        # What did not run pruned stands below the table; without its dense form an engine was no rival at all.
        absent = _did_not_run(rows, job, notes, dense_only=True)
        return f"nothing{within} is faster than {_reference(own[0], notes)}{why_not}{absent}."
    line = (
        f"fastest{within}{why_not}: {wording.pruned(best)} on {wording.runner(best, notes)}, "
        f"{wording.ratio(speedup)} over {_reference(best, notes)}"
    )
    higher, other = max(candidates, key=lambda pair: pair[0].estimate)
    if higher.estimate > speedup.estimate:
        # The table goes by the estimate: the row above this one must not seem forgotten.
        runner = wording.runner(other, notes)
        on = f" on {runner}" if runner != wording.runner(best, notes) else ""
        line += f" (by the lower end of the interval; {wording.pruned(other)}{on} is {wording.ratio(higher)})"
    if found := contamination_of(best):
        # Pairing cancels most of what moved, so the ratio stands, but whoever quotes it must know.
        line += f" (!: {in_words(found)})"
    line += _score_change(best, cells, scoring)
    rivals = [(s, m) for s, m in trusted if m.method == DENSE]
    rival_speedup, rival = max(rivals, key=lambda pair: pair[0].low, default=(None, None))
    if rival is not None and rival_speedup is not None and rival is not best and not is_reference(rival):
        against = wording.ratio(quotient(speedup, rival_speedup))
        line += f"; {against} over the fastest dense engine, {wording.runner(rival, notes)}"
    return f"{line}{_did_not_run(rows, job, notes)}."


def _did_not_run(rows: Sequence[Measurement], job: tuple[int, int], notes: Notes, *, dense_only: bool = False) -> str:
    """Name the engines that have no time for this job, or none of the dense network, each with what kept it from one.

    Args:
        rows: of one network, measured and not.
        job: threads and batch.
        notes: on the engines.
        dense_only: leave out engines that were only asked for pruned networks.
    """
    asked = [m for m in rows if m.control is None and m.engine and (m.threads or job[0], m.batch or job[1]) == job]
    timed = {(wording.runner(m, notes), m.method == DENSE) for m in asked if m.status == MEASURED}
    causes: dict[str, dict[str, None]] = {}
    for m in asked:
        runner, dense = wording.runner(m, notes), m.method == DENSE
        ran = (runner, True) in timed or (runner, False) in timed
        if m.status != MEASURED and (runner, dense) not in timed and (dense or not (ran or dense_only)):
            causes.setdefault(f"dense on {runner}" if ran else runner, {})[m.status.replace("_", " ")] = None
    named = [f"{runner} ({', '.join(words)})" for runner, words in causes.items()]
    return f"; did not run: {', '.join(named)}" if named else ""


def _bar(trusted: Sequence[Measurement], cells: Sequence[Measurement], scoring: Scoring) -> tuple[str, str]:
    """Return up to which loss a cell counts as good as dense, or else why that is not known."""
    scale = scoring.scale(cells[0].model)
    if not any(map(scoring.score, cells)):
        return "", f" ({scale.metric} not measured)"
    held = [dense for m in trusted if (dense := dense_scores(m, cells).get(scale.metric))]
    if not held:
        return "", f" (no dense row to hold {_PLURALS.get(scale.metric, scale.metric)} against)"
    if held[0].tolerance is None:
        return "", f" ({scale.metric} has no tolerance)"
    return f" {scale.within(held[0].tolerance)}", ""


def _score_change(best: Measurement, cells: Sequence[Measurement], scoring: Scoring) -> str:
    scale, score = scoring.scale(best.model), scoring.score(best)
    dense = dense_scores(best, cells).get(scale.metric)
    if score is None or dense is None or is_dense(best):
        return ""
    data = wording.on_caveat(wording.caveat(best.data))
    return f", {scale.metric} {scale.value(dense.value)} -> {scale.value(score.value)}{data}"


def _reference(measurement: Measurement, notes: Notes) -> str:
    return f"dense {wording.engine_name(reference_engine(measurement), notes)}"


def is_dense(measurement: Measurement) -> bool:
    """Return whether a cell is the dense network in the precision it was trained in: its score is the bar itself."""
    return measurement.method == DENSE and measurement.precision in (None, FP32)


def _keeps_score(measurement: Measurement, cells: Sequence[Measurement], scoring: Scoring) -> bool:
    if is_dense(measurement):
        return True
    score = scoring.score(measurement)
    dense = dense_scores(measurement, cells).get(scoring.scale(measurement.model).metric)
    if score is None or dense is None or dense.tolerance is None:
        return False
    return score.loss_against(dense) <= dense.tolerance + _ROUNDING
