"""Inputs that networks are verified, scored and timed on: a task's, or random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.files import key_of
from sparsemark.records.scores import RANDOM_INPUTS, DataNote
from sparsemark.specs import FLOAT32
from sparsemark.study.batches import Inputs
from sparsemark.study.task import REPORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sparsemark.specs import InputSpec, ModelSpec, Variant
    from sparsemark.study.task import Task

_RANDOM = 32
"""Batches made up where there is no task: enough that a cache cannot hold on to one."""


def held_inputs(*, has_task: bool) -> int:
    """Return how many inputs are certain to be in memory at the same time."""
    return 1 if has_task else _RANDOM


def inputs_of(variant: Variant, task: Task | None) -> Inputs:
    """Return the inputs that a task reports on; without one random ones, since latency does not depend on a picture."""
    if task is not None:
        return task.images(REPORT, variant.model)
    batches = random_batches(variant.model, seed=0)
    kinds = {"standard normal" if one.dtype == FLOAT32 else "0 and 1 where integer" for one in variant.model.inputs}
    words = ", ".join(sorted(kinds, reverse=True))
    asked = [one.text for one in variant.model.inputs]
    return Inputs(batches, key_of(words, asked, _RANDOM), DataNote(f"{RANDOM_INPUTS}, {words}"))


def random_batches(model: ModelSpec, seed: int) -> list[tuple[NDArray[Any], ...]]:
    """Return made-up batches of a network's inputs."""
    generator = np.random.default_rng(seed)
    return [tuple(_random(one, generator) for one in model.inputs) for _ in range(_RANDOM)]


def _random(one: InputSpec, generator: np.random.Generator) -> NDArray[Any]:
    if one.dtype == FLOAT32:
        return generator.standard_normal(one.shape, dtype=np.float32)
    # Of indices, lengths and masks alike, 0 and 1 are valid values.
    return generator.integers(0, 2, one.shape).astype(one.dtype)


def timed_batches(inputs: Inputs, count: int) -> Sequence[tuple[NDArray[Any], ...]]:
    """Return `count` batches spread evenly over all: neighbours in a volume are alike."""
    chosen = np.linspace(0, len(inputs.batches) - 1, min(count, len(inputs.batches))).astype(int)
    return [inputs.batches[index] for index in chosen]
