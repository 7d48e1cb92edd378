"""Headline of each network, whether to prune it and what that gains, and the lines that qualify it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import (
    is_control,
    is_dense,
    is_reference,
    is_unpruned,
    models,
    reference_engine,
    way,
)
from sparsemark.analysis.comparison import speedup_over
from sparsemark.analysis.contamination import Disturbance, contamination_of, in_words
from sparsemark.analysis.front import answers
from sparsemark.records.measurement import MEASURED
from sparsemark.report import wording
from sparsemark.report.scores import UNSCORED, Scoring
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sparsemark.analysis.front import Answer, Bar, Standing
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.report.wording import Notes

_PLURALS = {UNSCORED: "accuracies"}

QUIET = "sparsemark doctor shows what disturbs this machine; measure again when that has ended"
"""What to do before anything that a disturbed machine measured is believed."""

ON_SELECT = "on the select inputs, though not on those reported"
"""Said of what keeps its score where choices are made, and not where it is reported."""


def headlines(run: Run, bar: Bar | None = None) -> list[str]:
    """Return for each network whether to prune it, and how fast and how good its best configuration is.

    A network without a score gets no verdict, only a speed. Whatever qualifies either is in `beside`.

    Args:
        run: what was measured.
        bar: what may be lost; None takes each metric's own tolerance.
    """
    if not run.measured():
        counts = Counter(m.status for m in run.measurements)
        return [f"Nothing was measured: {', '.join(f'{n} {status}' for status, n in counts.items()) or 'no cells'}."]
    scoring = Scoring.of(run.measurements)
    several = len(models(run.measured())) > 1
    lines = []
    for answer in answers(run.measurements, bar):
        if any(one.measurement.status == MEASURED for one in answer.standings):
            line = _headline(answer, scoring, run.engines)
            lines.append(f"{answer.model}: {line}" if several else line[0].upper() + line[1:])
    return lines


def _headline(answer: Answer, scoring: Scoring, notes: Notes) -> str:
    if not answer.candidates:
        timed = any(one.measurement.p50_ms is not None for one in answer.standings)
        return f"no cell has a speedup with an interval{'; more timed calls (--rounds) give it one' if timed else ''}."
    reference = reference_name(answer.candidates[0].measurement, notes)
    if unjudged(answer, scoring):
        reached = _reached(answer)
        most = (
            f"pruned, up to {wording.bare_ratio(max(reached))} as fast as {reference}"
            if reached
            else "nothing pruned was timed"
        )
        return f"speed only{', not certain' if disturbance(answer).is_most else ''}: {most}."
    best = answer.best
    on = wording.on_caveat(wording.caveat((best or answer.judged[0]).measurement.data))
    if best is None or (speedup := best.speedup) is None:
        found = f"nothing that keeps the score is faster than {reference}"
    else:
        mark, change = " (!)" if contamination_of(best.measurement) else "", _score_change(best, scoring)
        share = share_without_pruning(answer, best)
        of_it = f" ({share.short()})" if share else ""
        named = _named(best.measurement, notes)
        found = f"{named} is {wording.ratio(speedup)}{mark} as fast as {reference}{of_it}{change}"
        on = "" if change else on
    return f"prune: {_verdict(answer)}{on}, {found}."


def _verdict(answer: Answer) -> str:
    """Return whether to prune, in as few words as there are: `beside` says why it is not certain, `advice` how sure."""
    best = answer.best
    if not has_pruned(answer):
        return "not tried"
    if disturbance(answer).is_most:
        return "not certain"
    if best is None or is_unpruned(best.measurement):
        return "no"
    if doubt(answer):
        return "not certain"
    return "yes" if best.excludes_more else "yes (a larger loss is possible)"


def has_pruned(answer: Answer) -> bool:
    """Return whether pruned networks were asked for, whatever became of them; random masks are controls."""
    rows = (one.measurement for one in answer.standings)
    return any(not is_unpruned(m) and not is_control(m) for m in rows)


def doubt(answer: Answer) -> str:
    """Return why what is chosen may not be the best, empty where nothing speaks against it: it is a candidate then."""
    if disturbance(answer).is_most:
        return disturbance(answer).words
    best = answer.best
    if best is None:
        return ""
    if best.is_contradicted:
        return "the loss is allowed on the select inputs alone"
    share = share_without_pruning(answer, best)
    return f"{wording.ratio(share.more)} over the fastest dense network" if share and share.more.low <= 1 else ""


def unjudged(answer: Answer, scoring: Scoring) -> str:
    """Return why no cell can be held against the dense score; empty where some can."""
    metric = scoring.scale(answer.model).metric
    if not answer.is_scored:
        return "no score was measured" if metric == UNSCORED else f"no {metric} was measured"
    return "" if answer.judged else f"no dense row to hold {_PLURALS.get(metric, metric)} against"


def bar_in_words(answer: Answer, scoring: Scoring, bar: Bar) -> str:
    """Return what a configuration must keep: `within one point of accuracy`, `that keeps 99 % of the dense mae`."""
    scale = scoring.scale(answer.model)
    dense = next(one.dense for one in answer.judged if one.dense is not None)
    share = bar.share(dense)
    return scale.within(bar.allowed(dense)) if share is None else scale.kept(share)


def disturbance(answer: Answer) -> Disturbance:
    """Return how many cells of the network were disturbed; where it is most of them, the answer is in doubt.

    Pairing cancels most of what moved, but then the machine was never quiet.
    """
    return Disturbance.of(one.measurement for one in answer.standings)


def is_disturbed(run: Run, bar: Bar | None = None) -> bool:
    """Return whether for any network of a run most cells were disturbed, or the one that was chosen."""
    scoring = Scoring.of(run.measurements)
    found = [answer for answer in answers(run.measurements, bar) if answer.candidates]
    chosen = [answer.best for answer in found if answer.best is not None and not unjudged(answer, scoring)]
    return any(disturbance(answer).is_most for answer in found) or any(
        contamination_of(one.measurement) for one in chosen
    )


def beside(answer: Answer, scoring: Scoring, bar: Bar, notes: Notes) -> Iterator[str]:
    """Yield what qualifies a headline, a line each: doubts, its conditions, rivals, and engines that did not run.

    Those are named since one of them might have been faster.

    Args:
        answer: with candidates.
        scoring: of the run.
        bar: what may be lost.
        notes: on the engines.
    """
    if why := doubt(answer):
        yield f"not certain: {why}"
    yield _whole(answer, scoring, bar, notes)
    rows = [one.measurement for one in answer.standings]
    own = answer.candidates[0].measurement
    is_judged = not unjudged(answer, scoring)
    best = answer.best if is_judged else None
    if best is not None and (speedup := best.speedup) is not None:
        yield from _beside_best(answer, best, speedup, notes)
    # What did not run pruned stands below the table; without its dense form an engine was no rival at all.
    dense_only = is_judged and best is None
    if absent := _did_not_run(rows, (own.threads or 1, own.batch or 1), notes, dense_only=dense_only):
        yield f"did not run: {absent}"


def _beside_best(answer: Answer, best: Standing, speedup: Interval, notes: Notes) -> Iterator[str]:
    folds = best.folds
    if folds is not None:
        means = (
            "speedup and time are geometric means, in brackets the lowest and the highest end of their intervals; "
            "scores are means"
        )
        yield f"over {wording.several(folds)}: {means if len(folds.members) > 1 else 'the others have no time'}"
    if causes := contamination_of(best.measurement):
        # Pairing cancels most of what moved, so the ratio stands, but whoever quotes it must know.
        where = "" if folds is None else f"in {folds.disturbed} of {len(folds.members)} {folds.unit}: "
        yield f"(!) {where}{in_words(causes)}"
    if share := share_without_pruning(answer, best):
        over = reference_name(best.measurement, notes)
        yield f"{wording.times(speedup)} over {over} in all: {share.in_words(notes)}"
    if higher := _higher_estimate(answer, best.measurement, speedup, notes):
        yield higher


@dataclass(frozen=True)
class Share:
    """Part of a speedup that needs no pruning: the fastest dense network, by another engine or precision.

    Args:
        dense: its row.
        alone: its speedup over the reference.
        more: how many times as fast the pruned network is as it.
        is_same: whether the pruned network runs on the same engine in the same precision, so that pruning is all that
            differs.
    """

    dense: Measurement
    alone: Interval
    more: Interval
    is_same: bool

    def short(self) -> str:
        """Return what is left to the pruning: `1.57x by pruning`."""
        return f"{wording.times(self.more)} {'by pruning' if self.is_same else 'over the fastest dense'}"

    def in_words(self, notes: Notes) -> str:
        """Return both parts: `2.19x by direct CSR int8 without pruning, 1.57x [1.54, 1.61] by pruning`."""
        alone, runner = wording.times(self.alone), wording.runner(self.dense, notes)
        if self.is_same:
            return f"{alone} by {runner} without pruning, {wording.ratio(self.more)} by pruning"
        return f"{alone} by the fastest dense network, on {runner}, {wording.ratio(self.more)} over that"


def share_without_pruning(answer: Answer, best: Standing) -> Share | None:
    """Return what the best gains without pruning; None where the reference is the fastest dense network that keeps."""
    rivals = [(s, one) for one in answer.keeping if (s := one.speedup) and is_unpruned(one.measurement)]
    alone, rival = max(rivals, key=lambda pair: pair[0].low, default=(None, None))
    if alone is None or rival is None or rival is best or is_reference(rival.measurement):
        return None
    if best.folds is None or rival.folds is None:
        more = speedup_over(best.measurement, rival.measurement)
    else:
        more = best.folds.over(rival.folds)
    if more is None:
        return None
    return Share(rival.measurement, alone, more, way(best.measurement) == way(rival.measurement))


def _whole(answer: Answer, scoring: Scoring, bar: Bar, notes: Notes) -> str:
    """Return the conditions of what the headline says: bar, folds, milliseconds."""
    reference = reference_name(answer.candidates[0].measurement, notes)
    if why := unjudged(answer, scoring):
        reached = _reached(answer)
        if not reached:
            return f"speed only: {why}"
        ends = dict.fromkeys(wording.bare_ratio(end) for end in (min(reached), max(reached)))
        subject = "the pruned network reaches" if len(reached) == 1 else "pruned networks reach"
        return f"speed only: {why}; {subject} {' to '.join(ends)} over {reference}"
    within = bar_in_words(answer, scoring, bar)
    found = answer.best
    if found is None or found.speedup is None:
        return f"nothing {within} is faster than {reference}"
    best = found.measurement
    where = f" {ON_SELECT}" if found.is_contradicted else ""
    ms = "" if best.p50_ms is None else f", {wording.milliseconds(best.p50_ms)} ms"
    return f"fastest {within}{where}{wording.over(found.folds)}: {_named(best, notes)}{ms}"


def _reached(answer: Answer) -> list[float]:
    """Return the speedups of pruned networks, without calling one of them the best."""
    return [s.estimate for one in answer.candidates if (s := one.speedup) and not is_unpruned(one.measurement)]


def _named(m: Measurement, notes: Notes) -> str:
    return f"{wording.pruned(m)} on {wording.runner(m, notes)}"


def _higher_estimate(answer: Answer, best: Measurement, speedup: Interval, notes: Notes) -> str:
    """Name a cell with a higher estimate: the table goes by it, and the row above must not seem forgotten."""
    kept = [(s, one.measurement) for one in answer.keeping if (s := one.speedup)]
    higher, other = max(kept, key=lambda pair: pair[0].estimate)
    if higher.estimate <= speedup.estimate:
        return ""
    runner = wording.runner(other, notes)
    on = f" on {runner}" if runner != wording.runner(best, notes) else ""
    over = reference_name(other, notes)
    return (
        f"chosen by the lower end of the interval: {wording.pruned(other)}{on} is {wording.ratio(higher)} over {over}"
    )


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
    return ", ".join(named)


def _score_change(best: Standing, scoring: Scoring) -> str:
    m, score, dense = best.measurement, best.score, best.dense
    if score is None or dense is None or is_dense(m):
        return ""
    scale, data = scoring.scale(m.model), wording.on_caveat(wording.caveat(m.data))
    return f", {scale.step(dense.value, score.value)}{data}"


def reference_name(measurement: Measurement, notes: Notes) -> str:
    """Return what the speedup of a row is over: `dense ONNX Runtime`."""
    return f"dense {wording.engine_name(reference_engine(measurement), notes)}"
