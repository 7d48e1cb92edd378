"""Quantising in plain words: what it costs in score and gains in time, against the same network in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.cells import float32_twin, is_control, is_quantised, models
from sparsemark.analysis.folds import AsOne
from sparsemark.report import wording
from sparsemark.report.scores import Scoring

if TYPE_CHECKING:
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.records.scores import Score
    from sparsemark.report.scores import Scale


def quantising(run: Run) -> list[str]:
    """Write one line for each quantised cell, in the order of the run; folds count as one."""
    as_one = AsOne.of(run.measured())
    measured = as_one.rows
    scoring = Scoring.of(measured)
    several = len(models(measured)) > 1
    lines = []
    for m in measured:
        if not is_quantised(m) or is_control(m):
            continue
        network = f"{m.model} {wording.pruned(m)}" if several else wording.pruned(m)
        said = [_cost(scoring.score(m), scoring.scale(m.model)), _gain(m, as_one)]
        known = [one for one in said if one]
        lines.append(
            f"{wording.runner(m, run.engines)}, {network}, over float32: "
            f"{', '.join(known) if known else 'neither was measured'}."
        )
    return lines


def _cost(score: Score | None, scale: Scale) -> str:
    if score is None or score.float32 is None:
        return ""
    values = f"{scale.metric} {scale.value(score.float32)} -> {scale.value(score.value)}"
    lost = score.float32 - score.value if score.higher_is_better else score.value - score.float32
    if scale.amount(abs(lost)) == scale.amount(0.0):
        return f"{values}, which costs nothing"
    return f"{values}, {'a loss' if lost > 0 else 'a gain'} of {scale.amount(abs(lost))}"


def _gain(m: Measurement, as_one: AsOne) -> str:
    """Return the ratio of both speedups, each from its own paired run."""
    twin = float32_twin(m, as_one.rows)
    gain = as_one.over(m, twin) if twin else None
    return f"{wording.ratio(gain)} as fast" if gain else ""
