"""Advice below a headline: how sure the choice is, what to deploy, and why nothing pays where nothing does."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import (
    is_dense,
    is_masked,
    is_quantisation_aware,
    is_reference,
    is_structural,
    is_unpruned,
)
from sparsemark.analysis.front import Bar, answers, fastest, is_constant, on_select
from sparsemark.analysis.groups import units_needed
from sparsemark.records.measurement import CONSTANT
from sparsemark.report import agreement, wording
from sparsemark.report.conditions import epochs_of, has_equal_dense
from sparsemark.report.deployment import Deployment
from sparsemark.report.headline import (
    QUIET,
    bar_in_words,
    beside,
    doubt,
    has_pruned,
    is_disturbed,
    reference_name,
    unjudged,
)
from sparsemark.report.scores import EQUAL, Scoring
from sparsemark.report.told_apart import ceiling, runner_up
from sparsemark.specs import ALL_ONES, DENSE, QAT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sparsemark.analysis.front import Answer, Standing
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.records.scores import Score
    from sparsemark.report.scores import Scale
    from sparsemark.report.wording import Notes

_LISTED = 4
"""Pruned networks whose speed is told where none has a score; the table has the others."""

NEXT = "next: "
"""Beginning of a line that says what to do."""

_SCORE = f"{NEXT}--task FILE.py in sparsemark bench gives every row a score"


def advice(run: Run, bar: Bar | None = None, deployment: Deployment | None = None) -> list[str]:
    """Return what follows each network's headline, in the same order; what a disturbed machine asks for stands first.

    Args:
        run: what was measured.
        bar: what may be lost; None takes each metric's own tolerance.
        deployment: where its files are; None where a result file is all that is known.
    """
    scoring = Scoring.of(run.measurements)
    found = [answer for answer in answers(run.measurements, bar) if answer.candidates]
    lines = [f"{NEXT}{QUIET}"] if is_disturbed(run, bar) else []
    if lines and deployment is not None and deployment.again:
        lines.append(f"{NEXT}{deployment.again}  (times the same networks again, longer; none is fine-tuned anew)")
    for answer in found:
        if unjudged(answer, scoring):
            said = _speed_only(answer, run.engines)
        else:
            said = _choice(answer, scoring, bar or Bar(), deployment or Deployment(), run.engines)
        prefix = f"{answer.model}: " if len(found) > 1 else ""
        lines += [f"{prefix}{line}" for line in (*beside(answer, scoring, bar or Bar(), run.engines), *said)]
    unscored = [one for answer in found if unjudged(answer, scoring) for one in answer.candidates]
    if meaning := agreement.explained([one.measurement for one in unscored]):
        lines.append(meaning)
    return [*lines, _SCORE] if unscored else lines


def _choice(answer: Answer, scoring: Scoring, bar: Bar, deployment: Deployment, notes: Notes) -> Iterator[str]:
    best, within = answer.best, bar_in_words(answer, scoring, bar)
    scale = scoring.scale(answer.model)
    if said := ceiling(answer, scale):
        yield said
    if not has_pruned(answer):
        yield "no network was pruned: --prune does"
    elif best is None or is_unpruned(best.measurement):
        yield f"no pruned network pays: {_why_not(answer, within, scoring, notes)}"
        yield from _nearest(answer, scale, bar, notes)
    if best is None:
        return
    if rival := runner_up(answer, best, notes):
        yield rival
    if not is_unpruned(best.measurement):  # else it is named above
        yield from _just_out(answer, best, within, scale=scale, bar=bar, notes=notes)
    if not is_dense(best.measurement):
        yield _evidence(best, within, scale, bar)
        yield from _finetuning(answer, best, scale)
        sure = fastest(one for one in answer.keeping if one.excludes_more)
        if not best.excludes_more and sure is not None and (speedup := sure.speedup):
            name = f"{wording.pruned(sure.measurement)} on {wording.runner(sure.measurement, notes)}"
            yield f"the fastest that excludes a larger loss: {name}, {_times(speedup, sure.measurement, notes)}"
    yield deployment.line(best, is_certain=not doubt(answer))


def _finetuning(answer: Answer, best: Standing, scale: Scale) -> Iterator[str]:
    """Yield what the dense network has that was fine-tuned as long: a pruned one may have gained no more than that."""
    if not any(m.finetuning_epochs for m in best.cells):
        return
    equal = f"{ALL_ONES}+{QAT}" if is_quantisation_aware(best.measurement) else ALL_ONES
    pairs = _beside_equal(answer, best, equal)
    if pairs:
        value = scale.value(fmean(control.value for _, control in pairs))
        change = scale.lost_in_words(fmean(score.loss_against(control) for score, control in pairs))
        yield (
            f"fine-tuning: the dense network, fine-tuned as long, has {scale.metric} {value}; against it the score "
            f"changes by {change}"
        )
    elif not has_equal_dense((one.measurement for one in answer.standings), equal):
        yield (
            f"fine-tuning: the pruned network had {epochs_of(best.cells)}, the dense one none; --prune {equal} adds "
            "the dense network, fine-tuned as long"
        )


def _beside_equal(answer: Answer, best: Standing, equal: str) -> list[tuple[Score, Score]]:
    """Return the score of each seed or fold of a choice, and that of its control; none where any has no control."""
    scores = {(one.measurement.name, one.measurement.precision): one.score for one in answer.standings}
    controls = [one for one in answer.standings if one.measurement.method == equal and one.score is not None]
    controls.sort(key=lambda one: one.measurement.precision == best.measurement.precision)  # its own precision counts
    by_draw = {(one.measurement.seed, one.measurement.fold): one.score for one in controls}
    pairs = [(scores.get((m.name, m.precision)), by_draw.get((m.seed, m.fold))) for m in best.cells]
    known = [(score, control) for score, control in pairs if score is not None and control is not None]
    return known if len(known) == len(pairs) else []


def _evidence(best: Standing, within: str, scale: Scale, bar: Bar) -> str:
    """Format the evidence for a choice: an estimate, or an interval that excludes a larger loss."""
    score, dense, allowed, loss = best.score, best.dense, best.allowed, best.loss
    if score is None or dense is None or allowed is None or loss is None:
        raise AssertionError("a chosen network has a score and a dense one to hold it against")
    if best.by_select and score.select is not None and dense.select is not None:
        there = f"{scale.value(dense.select)} -> {scale.value(score.select)}"
        limit = ", all that is allowed" if _is_at_the_limit(best, bar) else ""
        chosen = f"chosen on the select inputs ({scale.metric} {there}{limit}), reported on others"
    else:
        limit = ", where it loses all that is allowed" if _is_at_the_limit(best, bar) else ""
        chosen = f"chosen on the inputs that it is reported on{limit}"
    if score.loss_low is None or score.loss_high is None:
        known = "a point estimate, without an interval of the loss"
        if score.low is None:
            known += ": per_group in the task, or a score for each input, would give one"
    else:
        change = scale.lost_in_words(loss, score.loss_low, score.loss_high, allowed)
        known = f"the score changes by {change} (95 %, in pairs)"
        more = f"a larger loss than {scale.amount(allowed)}"
        known += f", which excludes {more}" if best.excludes_more else f": a point estimate, {more} is not excluded"
    contradicted = ""
    if best.is_contradicted:
        contradicted = f"; on those it loses {scale.amount(loss, allowed)}, which is not {within}"
    return f"how sure: {chosen}{contradicted}; {known}{_sample(best, scale)}"


def _judged_by(one: Standing, bar: Bar) -> tuple[float, float] | None:
    """Return the loss by which a row was judged, and what was allowed there; None where it was not."""
    loss = one.loss_on_select if one.by_select else one.loss
    if loss is None or one.dense is None:
        return None
    return loss, bar.allowed(on_select(one.dense) if one.by_select else one.dense)


def _nearest(answer: Answer, scale: Scale, bar: Bar, notes: Notes) -> Iterator[str]:
    """Yield what to try next where nothing pays: less than what lost least of all that would be faster.

    A network that answers without looking at its input is no start: it lost everything.
    """
    dense = max((its.low for one in answer.keeping if (its := one.speedup) is not None), default=1.0)
    lossy = [
        (judged[0], its, one)
        for one in answer.candidates
        if not (one.keeps or is_unpruned(one.measurement) or is_constant(one.measurement))
        and (judged := _judged_by(one, bar)) is not None
        and (its := one.speedup) is not None
        and its.low > max(1.0, dense)
    ]
    if not lossy:
        return
    loss, speedup, one = min(lossy, key=lambda entry: entry[0])
    name = f"{wording.pruned(one.measurement)} on {wording.runner(one.measurement, notes)}"
    where = " on the select inputs" if one.by_select else ""
    tuned = any(m.finetuning_epochs for m in one.cells)
    longer = f", or fine-tune for more than {epochs_of(one.cells)}" if tuned else ""
    yield (
        f"{NEXT}prune less than {name}, which is {_times(speedup, one.measurement, notes)} and loses "
        f"{scale.amount(loss)}{where}, the least of what is faster{longer}"
    )


def _is_at_the_limit(best: Standing, bar: Bar) -> bool:
    """Return whether one more wrong answer, where the network was judged, would have been too many."""
    judged = _judged_by(best, bar)
    return judged is not None and judged[0] > 0 and math.isclose(*judged, abs_tol=EQUAL)


def _just_out(answer: Answer, best: Standing, within: str, *, scale: Scale, bar: Bar, notes: Notes) -> Iterator[str]:
    """Yield the fastest of the rows that are out by less than a table shows, if it is faster than the best."""
    near = {
        id(one): judged
        for one in answer.candidates
        if not one.keeps
        and (judged := _judged_by(one, bar)) is not None
        and judged[0] > judged[1]
        and scale.amount(judged[0]) == scale.amount(judged[1])
    }
    out = fastest(one for one in answer.candidates if id(one) in near)
    if out is None or (speedup := out.speedup) is None or best.speedup is None or speedup.low <= best.speedup.low:
        return
    name = f"{wording.pruned(out.measurement)} on {wording.runner(out.measurement, notes)}"
    where = " on the select inputs" if out.by_select else ""
    times = _times(speedup, out.measurement, notes)
    yield f"{name} is {times}, but loses {scale.amount(*near[id(out)])}{where}: not {within}"


def _worth(count: int) -> str:
    """Return what one of so many is worth in a mean of fractions."""
    points = f"{100 / count:.2g}"
    return f"{points} point{'' if points == '1' else 's'}"


def _sample(best: Standing, scale: Scale) -> str:
    """Return how many inputs or groups there are, what one is worth, and whether they are too few for what is allowed.

    Empty for rows of earlier versions, which do not say.
    """
    score, allowed = best.score, best.allowed
    if score is None or allowed is None or not score.input_count:
        return ""
    inputs = f"{score.input_count} input{'' if score.input_count == 1 else 's'}"
    if not scale.percent or score.low is None:
        return f"; {inputs}"
    if score.group_count:
        return f"; {score.group_count} groups of {inputs} in all, one is {_worth(score.group_count)} on average"
    worth = _worth(score.input_count)
    if best.excludes_more or not allowed:
        return f"; {inputs}, one is {worth}"
    least = units_needed(allowed)
    few = f": too few to exclude that; {least} at least can" if score.input_count < least else ""
    return f"; {inputs}, one is {worth}{few}"


def _why_not(answer: Answer, within: str, scoring: Scoring, notes: Notes) -> str:
    """Return why no pruned network is the fastest that keeps the score."""
    pruned = [one for one in answer.candidates if not is_unpruned(one.measurement)]
    if not pruned:
        return "none was measured"
    reasons = []
    lossy = fastest(one for one in pruned if not one.keeps and one.dense is not None)
    if lossy is not None and (speedup := lossy.speedup) and lossy.loss is not None:
        scale = scoring.scale(answer.model)
        name = f"{wording.pruned(lossy.measurement)} on {wording.runner(lossy.measurement, notes)}"
        lost = f"it loses {scale.amount(lossy.loss, lossy.allowed)}, not {within}"
        why = CONSTANT if is_constant(lossy.measurement) else lost
        reasons.append(f"{name} is {_times(speedup, lossy.measurement, notes)}, but {why}")
    best = answer.best
    if best is not None and (speedup := best.speedup) and not is_reference(best.measurement):
        what = "the dense network" if is_dense(best.measurement) else wording.pruned(best.measurement)
        where = wording.runner(best.measurement, notes)
        reasons.append(f"{what} on {where} is {_times(speedup, best.measurement, notes)}")
    kept = [one for one in pruned if one.keeps]
    if not kept:
        return "; ".join(reasons) or f"none is {within}"
    reasons += _of_zeros(kept, notes)
    channels = [one for one in kept if is_structural(one.measurement)]
    if channels:
        reasons.append(f"the fewer channels that keep the score make it {_best_of(channels, notes)}")
    elif not any(is_structural(one.measurement) for one in pruned):
        reasons.append("no channels were removed, which is what a dense engine gains from")
    return "; ".join(reasons)


def _of_zeros(kept: Sequence[Standing], notes: Notes) -> Iterator[str]:
    """Yield what zeros that cost no score gained: nothing in dense engines, too little in sparse ones."""
    from sparsemark.engines import ENGINES

    masked = [one for one in kept if is_masked(one.measurement) and not is_structural(one.measurement)]
    sparse = [one for one in masked if (name := one.measurement.engine) in ENGINES and ENGINES[name].sparse]
    unused = dict.fromkeys(wording.runner(one.measurement, notes) for one in masked if one not in sparse)
    if unused:
        yield f"the zeros are in {wording.listed(unused)}, which {'does' if len(unused) == 1 else 'do'} not use them"
    if masked and not any(one.measurement.engine == "direct-csr" for one in sparse):
        yield "direct-csr, which does, was not measured"
    if sparse:
        yield f"zeros in a sparse engine make it {_best_of(sparse, notes)}"


def _best_of(standings: Iterable[Standing], notes: Notes) -> str:
    timed = [(speedup, one) for one in standings if (speedup := one.speedup)]
    speedup, one = max(timed, key=lambda pair: pair[0].low)
    name = f"{wording.pruned(one.measurement)} on {wording.runner(one.measurement, notes)}"
    return f"{_times(speedup, one.measurement, notes)} at best ({name})"


def _times(speedup: Interval, m: Measurement, notes: Notes) -> str:
    """Return a speedup with what it is over: a row may be faster than one dense network and slower than another."""
    return f"{wording.ratio(speedup)} over {reference_name(m, notes)}"


def _speed_only(answer: Answer, notes: Notes) -> Iterator[str]:
    """Yield speeds, and how often each network decides as the dense one: there is no score to choose by."""
    timed = [(speedup, one) for one in answer.candidates if (speedup := one.speedup)]
    rows = [one.measurement for one in answer.standings]
    timed.sort(key=lambda pair: -pair[0].low)
    dense = [(speedup, one) for speedup, one in timed if one.measurement.method == DENSE]
    if dense and dense[0][0].low > 1:
        speedup, one = dense[0]
        m = one.measurement
        yield f"dense on {wording.runner(m, notes)}: {_times(speedup, m, notes)}"
    first: dict[str, tuple[Interval, Standing]] = {}
    for speedup, one in timed:
        if not is_unpruned(one.measurement):
            first.setdefault(wording.pruned(one.measurement), (speedup, one))
    for name, (speedup, one) in list(first.items())[:_LISTED]:
        m = one.measurement
        said = [_times(speedup, m, notes)]
        said += filter(None, [agreement.in_words(m, rows), CONSTANT if is_constant(m) else ""])
        yield f"{name} on {wording.runner(m, notes)}: {', '.join(said)}"
    if len(first) > _LISTED:
        yield f"{len(first) - _LISTED} more pruned networks in the table"
