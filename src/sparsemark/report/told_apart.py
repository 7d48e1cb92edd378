"""Lines on networks that a run cannot tell apart: by a score at its ceiling, or by speeds whose intervals overlap."""

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


def ceiling(answer: Answer, scale: Scale) -> str:
    """Return a line saying that every candidate has the best possible score, and what would tell more; else nothing.

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
    # How many are enough is known of single answers alone, as for their intervals.
    if not scale.percent or not allowed or dense.group_count or dense.low is None:
        return f"{said}, the best possible; harder {unit} may"
    least, loss = units_needed(allowed), scale.amount(allowed)
    if units and units >= least:
        return f"{said}, which exclude a loss of {loss}; harder ones may show a smaller one"
    return f"{said}; {least} like that would exclude a loss of {loss}, harder ones may show one"


def runner_up(answer: Answer, best: Standing, notes: Notes) -> str:
    """Return which of those that are as fast as the best, by its interval, has the smallest file; else nothing.

    Args:
        answer: whose best it is.
        best: what was chosen.
        notes: on the engines.
    """
    fast, size = best.speedup, best.measurement.artifact_bytes
    if fast is None or size is None:
        return ""
    rivals = [
        (own, speedup, one)
        for one in answer.keeping
        if (speedup := one.speedup) is not None
        and speedup.high >= fast.low
        and (own := one.measurement.artifact_bytes) is not None
        and own <= _SMALLER * size
    ]
    if not rivals:
        return ""
    own, speedup, one = min(rivals, key=lambda rival: rival[0])
    name = f"{wording.pruned(one.measurement)} on {wording.runner(one.measurement, notes)}"
    files = f"{wording.size(own)} of {wording.size(size)}"
    return f"not told apart from {name}, {wording.ratio(speedup)}, which is smaller ({files})"
