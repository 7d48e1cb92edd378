"""Inputs that networks are verified, scored and timed on: a task's, or random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.files import key_of
from sparsemark.records.scores import DataNote
from sparsemark.study.task import REPORT, Inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sparsemark.specs import Variant
    from sparsemark.study.task import Task

_RANDOM = 32
"""Inputs made up where there is no task: enough that a cache cannot hold on to one."""


def held_inputs(*, has_task: bool) -> int:
    """Return how many inputs are certain to be in memory at the same time."""
    return 1 if has_task else _RANDOM


def inputs_of(variant: Variant, task: Task | None) -> Inputs:
    """Return the inputs that a task reports on; without one random ones, since latency does not depend on a picture."""
    if task is not None:
        return task.images(REPORT, variant.model)
    shape = variant.model.input_shape
    generator = np.random.default_rng(0)
    batches = [generator.standard_normal(shape, dtype=np.float32) for _ in range(_RANDOM)]
    return Inputs(batches, key_of("standard normal", shape, _RANDOM), DataNote("random inputs, standard normal"))


def timed_images(inputs: Inputs, count: int) -> Sequence[NDArray[np.float32]]:
    """Return `count` batches spread evenly over all: neighbours in a volume are alike."""
    chosen = np.linspace(0, len(inputs.batches) - 1, min(count, len(inputs.batches))).astype(int)
    return [inputs.batches[index] for index in chosen]
