"""Quantising: an int8 form of a network's file, calibrated on inputs of training or of choices, never reported ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark import formats, paths
from sparsemark.errors import TaskError
from sparsemark.files import key_of
from sparsemark.machine.fingerprint import package_versions
from sparsemark.pruning.calibration import batches_of
from sparsemark.records.scores import RANDOM_INPUTS
from sparsemark.specs import INT8
from sparsemark.study.batches import in_batches
from sparsemark.study.inputs import random_batches, timed_batches
from sparsemark.study.requirements import calibration_of
from sparsemark.study.task import SELECT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.formats.base import Artifact
    from sparsemark.networks.reference import Batch
    from sparsemark.specs import Cell, ModelSpec, Variant
    from sparsemark.study.batches import Inputs
    from sparsemark.study.stages import Once
    from sparsemark.study.task import Task

_MOST = 128
"""Inputs whose ranges are taken: the quantiser keeps the extremes of all, and more hardly widen them."""

_SEED = 1
"""Of made-up inputs: others than those that the network is timed on."""


@dataclass(frozen=True)
class CalibrationInputs:
    """Inputs that the ranges of activations are taken from.

    Args:
        batches: as the network takes them.
        words: says how many of what they are.
        digest: of their content.
    """

    batches: Sequence[Batch]
    words: str
    digest: str

    @property
    def note(self) -> str:
        """Clause for a row."""
        return f"int8 is calibrated on {self.words}"


class Quantising:
    """Stage from a network's float32 file to its int8 form.

    Args:
        open_task: returns the task of a variant's model, seed and fold, or None.
        once: runs a stage once.
        work: folder of the study.
    """

    def __init__(self, open_task: Callable[[Variant], Task | None], once: Once, work: Path) -> None:
        self._open_task, self._once, self._work = open_task, once, work

    def quantise(self, variant: Variant, artifact: Artifact) -> Artifact:
        """Return the int8 form of a variant's file, unless it is there; errors as in `formats.quantise`."""

        def make() -> Artifact:
            key = key_of(artifact.sha256, self.key(variant, artifact.format))
            stem = paths.artifact_stem(self._work, f"{variant.name}-{INT8}", key)
            return formats.quantise(artifact, stem, self._inputs(variant).batches)

        return self._once(("quantise", artifact.sha256, variant), make)

    def key(self, variant: Variant, form: str) -> str:
        """Return the key of all that decides the int8 form of a file, beside the file."""
        quantiser, calibration = formats.quantiser_of(form), self._inputs(variant)
        return key_of(quantiser.notes(), package_versions(quantiser.requires), calibration.words, calibration.digest)

    def notes(self, cell: Cell) -> tuple[str, ...]:
        """Return what a row must say of the quantiser and of the inputs that it learned from."""
        return (*formats.quantiser_of(cell.format).notes(), self._inputs(cell.variant).note)

    def _inputs(self, variant: Variant) -> CalibrationInputs:
        return self._once(
            ("calibration", variant.model, variant.seed, variant.fold),
            lambda: calibration_inputs(variant, self._open_task(variant)),
        )


def calibration_inputs(variant: Variant, task: Task | None) -> CalibrationInputs:
    """Return training inputs of a task, else those that it makes choices on, else random ones.

    Raises:
        TaskError: the task fails.
    """
    model = variant.model
    if task is not None:
        found = _of_training(variant, task)
        if found is not None:
            return _described(found, "training inputs of the task", model)
        if not task.has_one_part:
            return _described(task.images(SELECT, model), "inputs that the task makes choices on", model)
    why = "" if task is None else ": the task has none but those that it reports"
    batches = random_batches(model, _SEED)
    count = len(batches) * model.input_shape[0]
    return CalibrationInputs(batches, f"{count} {RANDOM_INPUTS}{why}", key_of(RANDOM_INPUTS, _SEED, count))


def _described(inputs: Inputs, words: str, model: ModelSpec) -> CalibrationInputs:
    size = model.input_shape[0]
    batches = timed_batches(inputs, max(1, _MOST // size))
    return CalibrationInputs(batches, f"{len(batches) * size} {words}", key_of(inputs.digest, len(batches)))


def _of_training(variant: Variant, task: Task) -> Inputs | None:
    """Return training inputs in batches; None where the task brings none, too few, or others than are declared."""
    data = calibration_of(task, variant.seed)
    if data is None:
        return None
    model = variant.model
    parts: list[tuple[NDArray[Any], ...]] = []
    with batches_of(data) as batches:
        for given, _ in batches:
            parts.append(tuple(_array(one) for one in _by_place(given, model)))
    size = model.input_shape[0]
    try:
        arrays = [np.concatenate(of) for of in zip(*parts, strict=True)]
        # What is left over is less than a batch.
        whole = {one.name: array[: len(array) // size * size] for one, array in zip(model.inputs, arrays, strict=True)}
        return in_batches(whole, model, task.note, f"{task.name}: batches")
    except (TaskError, ValueError):  # smaller crops, for one: a network may be trained on other sizes
        return None


def _by_place(given: Any, model: ModelSpec) -> Sequence[Any]:
    """Return what is given for each input, in the network's order."""
    if isinstance(given, Mapping):
        return [given[one.name] for one in model.inputs if one.name in given]
    return given if isinstance(given, tuple | list) else [given]


def _array(given: Any) -> NDArray[Any]:
    import torch

    return given.detach().cpu().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)
