"""Groups of a kept network's scores, where the version that made its checkpoint did not record them.

Two networks are told apart by their groups, pair by pair: without those of one of them nothing is said of the pair.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.files import note_of, read_note, write_atomically
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.records.scores import SingleInputs
from sparsemark.study.evaluation import evaluate
from sparsemark.study.task import REPORT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from sparsemark.study.prepare import Prepared
    from sparsemark.study.task import Task

_SAME = 1e-6
"""Difference up to which a score that is computed again is the one that was recorded."""


def with_groups(prepared: Prepared, task: Task | None, work: Path) -> Prepared:
    """Return a network with the groups of its scores, computed once from the data that it was scored on.

    Scores stay as they were recorded: one that comes out differently here gets no groups.

    Args:
        prepared: returned as it is where its scores have groups, or the task has other data.
        task: of its model, seed and fold.
        work: folder in which what was computed is kept.
    """
    scores, data = prepared.scores, prepared.data
    if task is None or data is None or data.key != task.note.key or not scores:
        return prepared
    if next(iter(scores.values())).groups is not None:
        return prepared
    note = paths.groups_note(work, prepared.sha256)
    known = read_note(note)
    found: Mapping[str, Any] = _evaluated(prepared, task) if known is None else known
    if known is None:
        write_atomically(note, note_of(found))
    grouped = {
        name: replace(score, groups={group: (value, weight) for group, (value, weight) in one["groups"].items()})
        for name, score in scores.items()
        if (one := found.get(name)) and math.isclose(one["value"], score.value, abs_tol=_SAME)
    }
    return replace(prepared, scores={**scores, **grouped})


def _evaluated(prepared: Prepared, task: Task) -> Mapping[str, Any]:
    module = load_checkpoint(prepared.source.path).build()
    scores = evaluate(module, task, prepared.variant.model, REPORT)
    return {
        name: {"value": score.value, "groups": score.groups}
        for name, score in scores.items()
        if score.groups is not None and not isinstance(score.groups, SingleInputs)
    }
