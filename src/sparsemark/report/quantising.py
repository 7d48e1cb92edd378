"""Findings of quantising: what it costs in score and gains in time, against the same network in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.cells import float32_twin, is_control, is_quantised, models
from sparsemark.analysis.comparison import speedup_of
from sparsemark.report import wording
from sparsemark.report.finding import QUANTISING, Finding, word_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sparsemark.analysis.folds import AsOne
    from sparsemark.records.scores import Score
    from sparsemark.report.scores import Scale, Scoring
    from sparsemark.report.wording import Notes

_NOT_COMPARED = "speed not compared"


def quantising(as_one: AsOne, scoring: Scoring, notes: Notes) -> Iterator[Finding]:
    """Yield one finding for each quantised cell, in the order of the run.

    Args:
        as_one: measured rows, folds as one.
        scoring: of the run.
        notes: on its engines.
    """
    several = len(models(as_one.rows)) > 1
    for m in as_one.rows:
        if not is_quantised(m) or is_control(m):
            continue
        twin = float32_twin(m, as_one.rows)
        # The ratio of both speedups, each from its own paired run.
        gain = as_one.over(m, twin) if twin else None
        values, change = _cost(scoring.score(m), scoring.scale(m.model))
        caveat = wording.on_caveat(wording.caveat(m.data)) if values else ""
        yield Finding(
            (m.model or "") if several else "",
            QUANTISING,
            wording.runner(m, notes),
            word_of(gain) if gain else _NOT_COMPARED,
            "the same in float32" if gain else "",
            wording.pruned(m),
            speedup_of(m),
            gain,
            values=f"{values}{caveat}",
            change=change,
        )


def _cost(score: Score | None, scale: Scale) -> tuple[str, str]:
    """Return the score in float32 and quantised, and what it changed by; empty where one is not known."""
    if score is None or score.float32 is None:
        return "", ""
    lost = score.float32 - score.value if score.higher_is_better else score.value - score.float32
    return scale.step(score.float32, score.value), scale.lost_in_words(lost)
