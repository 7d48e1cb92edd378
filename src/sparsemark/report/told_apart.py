"""What a run cannot tell apart: scores at the best possible value, and speeds whose intervals overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_unpruned
from sparsemark.analysis.front import on_select
from sparsemark.analysis.groups import units_needed
from sparsemark.report import wording

if TYPE_CHECKING:
    from sparsemark.analysis.front import Answer, Standing
    from sparsemark.report.scores import Scale
    from sparsemark.report.wording import Notes

_SMALLER = 0.95
"""Part of a file's size below which another file is smaller by more than its names and its packing."""

_SHOWN = 1e-3
"""Difference of scores, in their unit or relative to the larger one, that a table shows."""


def ceiling(answer: Answer, scale: Scale) -> str:
    """Return that all that can be chosen has the best possible score, with how many inputs would tell more, or nothing.

    Args:
        answer: with a score.
        scale: of the headline metric.
    """
    judged = answer.judged
    dense = next((one.dense for one in judged if one.dense is not None), None)
    if dense is None or all(is_unpruned(one.measurement) for one in judged):
        return ""
    best = 1.0 if scale.higher_is_better else 0.0
    scores = [score for one in judged for score in (one.score, one.dense) if score is not None]
    if any(value != best for score in scores for value in (score.value, on_select(score).value)):
        return ""
    units, unit = (dense.group_count, "groups") if dense.group_count else (dense.input_count, "inputs")
    on = f" on all {units} {unit}" if units else ""
    said = f"{scale.metric} cannot tell these networks apart: dense or pruned, each has {scale.value(best)}{on}"
    allowed = judged[0].allowed
    if not scale.percent or not allowed:
        return f"{said}, the best possible; harder {unit} may"
    least, loss = units_needed(allowed), scale.amount(allowed)
    if units and units >= least:
        return f"{said}, which exclude a loss of {loss}; harder ones may show a smaller one"
    return f"{said}; {least} like that would exclude a loss of {loss}, harder ones may show one"


def runner_up(answer: Answer, best: Standing, scale: Scale, notes: Notes) -> str:
    """Return what is as fast as the best, by its interval, and smaller or better; empty where nothing is.

    Args:
        answer: whose best it is.
        best: what was chosen.
        scale: of the headline metric.
        notes: on the engines.
    """
    speedup = best.speedup
    found = []
    for one in answer.keeping:
        its = one.speedup
        if one is best or speedup is None or its is None or its.high < speedup.low:
            continue
        if gains := [gain for gain in (_smaller(one, best), _better(one, best, scale)) if gain]:
            found.append((len(gains), -(one.measurement.artifact_bytes or 0), its, one, gains))
    if not found:
        return ""
    _, _, its, one, gains = max(found, key=lambda entry: entry[:2])
    name = f"{wording.pruned(one.measurement)} on {wording.runner(one.measurement, notes)}"
    return f"not told apart from {name}, {wording.ratio(its)}, which is {' and '.join(gains)}"


def _smaller(one: Standing, best: Standing) -> str:
    own, other = one.measurement.artifact_bytes, best.measurement.artifact_bytes
    if own is None or other is None or own > _SMALLER * other:
        return ""
    return f"smaller ({wording.size(own)} of {wording.size(other)})"


def _better(one: Standing, best: Standing, scale: Scale) -> str:
    """Return how much better the score is, by the loss: folds and seeds have other dense scores."""
    if one.score is None or best.score is None or one.loss is None or best.loss is None:
        return ""
    gained = best.loss - one.loss
    shown = _SHOWN if scale.percent else _SHOWN * max(abs(one.score.value), abs(best.score.value))
    if gained < shown:
        return ""
    return f"better ({scale.metric} {scale.value(one.score.value)}, {scale.value(best.score.value)})"
