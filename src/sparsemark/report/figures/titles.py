"""Titles of figures: the answer in one sentence, with its interval, and no finer a rank than the intervals allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_dense, reference_engine
from sparsemark.analysis.front import Bar, answers
from sparsemark.report import wording
from sparsemark.report.figures.changes import change_in_words
from sparsemark.report.figures.series import of_one_split, pruned_in
from sparsemark.report.headline import ON_SELECT, bar_in_words, unjudged
from sparsemark.report.scores import Scoring

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.analysis.front import Standing
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.figures.changes import Change
    from sparsemark.report.scores import Scale
    from sparsemark.report.wording import Notes


_BY_ESTIMATE = "by the estimate"
"""Said where the interval of a change does not exclude a larger loss than is allowed."""


def speed_title(cells: Iterable[Measurement], notes: Notes) -> str:
    """Return the fastest configuration that keeps the score, over its seeds and folds, and what is not told from it.

    Args:
        cells: of one network; what no engine runs is passed over.
        notes: on the engines.
    """
    cells = [m for m in cells if m.engine]
    (answer,) = answers(cells)
    scoring = Scoring.of(cells)
    if not answer.candidates:
        return f"{answer.model}: no cell has a speedup with an interval"
    over = f"dense {wording.engine_name(reference_engine(answer.candidates[0].measurement), notes)}"
    is_judged = not unjudged(answer, scoring)
    within = f", {bar_in_words(answer, scoring, Bar())}" if is_judged else ", speed only"
    judged = answer.keeping if is_judged else answer.candidates
    timed = [(speedup, one) for one in of_one_split(judged) if (speedup := one.speedup)]
    speedup, best = max(timed, key=lambda pair: pair[0].low, default=(None, None))
    if best is None or speedup is None or speedup.low <= 1:
        return f"{answer.model}: nothing is faster than {over}{within}"
    close = [_named(one, notes) for other, one in timed if one is not best and other.high >= speedup.low]
    if best.is_contradicted:
        within += f" {ON_SELECT}"
    elif is_judged and not is_dense(best.measurement) and not best.excludes_more:
        within += f" {_BY_ESTIMATE}"
    others = f"; {close[0] if len(close) == 1 else f'{len(close)} others'} not told apart from it" if close else ""
    return f"{answer.model}: {_named(best, notes)} is {wording.ratio(speedup)} as fast as {over}{within}{others}"


def _named(one: Standing, notes: Notes) -> str:
    return f"{pruned_in(one.measurement)} in {wording.runner(one.measurement, notes)}"


def sweep_title(changes: Sequence[Change], scale: Scale) -> str:
    """Return the most that can be removed while the score is kept: by its interval, and by the estimate alone."""
    pruned = [one for one in changes if not is_control(one.first)]
    model, share = changes[0].first.model, Bar().share(changes[0].cells[0].scores[scale.metric])
    within = f"is {scale.within(changes[0].allowed / scale.factor)}"
    keeps = within if share is None else scale.kept(share).removeprefix("that ")
    likely = min((one for one in pruned if one.keeps), key=_left, default=None)
    sure = min((one for one in pruned if one.surely_keeps), key=_left, default=None)
    if likely is None:
        return f"{model}: nothing pruned {keeps}"
    if sure is None:
        return f"{model}: {_told(likely, scale)} {keeps} {_BY_ESTIMATE}; no interval excludes a larger loss"
    further = f", {_told(likely, scale)} {_BY_ESTIMATE}" if likely.left < sure.left else ""
    return f"{model}: {_told(sure, scale)} {keeps}{further}"


def _left(one: Change) -> float:
    return one.left


def _told(one: Change, scale: Scale) -> str:
    return f"{one.name} ({change_in_words(one, scale)})"


def methods_title(changes: Sequence[Change], scale: Scale) -> str:
    """Return how many prunings lose score by their intervals, and which loses most by the estimate."""
    pruned = [one for one in changes if not is_control(one.first)]
    model, count = changes[0].first.model, len(pruned)
    losing, unknown = sum(one.surely_loses for one in pruned), sum(not one.is_certain for one in pruned)
    worst = max(pruned, key=lambda one: one.loss.estimate)
    if count == 1:
        if unknown:
            return f"{model}: {_told(worst, scale)}, without an interval"
        found = f"loses {scale.metric}" if losing else f"loses no {scale.metric} for certain"
        return f"{model}: {_told(worst, scale)} {found}"
    found = f"{losing or 'none'} of {count} prunings {'lose' if losing > 1 else 'loses'} {scale.metric}"
    others = count - losing - unknown
    rest = (
        f", for {others if unknown else 'the'} other{'s' if others > 1 else ''} no loss is certain"
        if losing and others
        else ""
    )
    blind = f", {unknown} without an interval" if unknown else ""
    certain = "" if losing else " for certain"
    return f"{model}: {found}{certain}{rest}{blind}; the worst estimate: {_told(worst, scale)}"
