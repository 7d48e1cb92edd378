"""Requirements of prunings: what they need of a task, and files of ratios, checked before anything is measured."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.files import content_hash
from sparsemark.pruning import PRUNERS
from sparsemark.pruning.base import LOSS, Calibration
from sparsemark.pruning.calibration import CALIBRATION_BATCHES, digest
from sparsemark.pruning.ratios import Ratios, load_ratios
from sparsemark.registry import find

if TYPE_CHECKING:
    from sparsemark.specs import PruneStep, Pruning, Variant
    from sparsemark.study.task import Task


def has_requirements(pruning: Pruning) -> bool:
    """Whether a pruning needs more than the network: a task need not be opened to check the others."""
    return any(step.ratios or find(step.method, PRUNERS, "pruner").needs for step in pruning.steps)


def check_requirements(variant: Variant, task: Task | None) -> None:
    """Check that a variant's pruning can be carried out.

    Raises:
        UserError: a method needs training batches that the task does not bring; or a file of ratios cannot be read, is
            of another network, or is for a method that takes none.
    """
    for step in variant.pruning.steps:
        pruner = find(step.method, PRUNERS, "pruner")
        if pruner.needs and (task is None or not task.has("batches")):
            what = "training batches and their loss" if pruner.needs == LOSS else "training batches"
            whose = "there is no task" if task is None else f"{task.name} has no batches and loss"
            raise UserError(f"{step.text}: needs {what}; {whose}")
        if step.ratios and not pruner.takes_ratios:
            raise UserError(f"{step.text}: {step.method} takes no ratios of single layers, expected {step.method}:S")
        ratios = ratios_of(step)
        if ratios is not None and not variant.model.is_onnx:
            from sparsemark.networks.factory import build_model  # torch, which most studies do not need here

            ratios.check(build_model(variant.model, variant.seed))


def ratios_of(step: PruneStep) -> Ratios | None:
    """Return the ratios that a step names, or None; errors as in `load_ratios`."""
    return load_ratios(Path(step.ratios)) if step.ratios else None


def calibration_of(task: Task | None, seed: int) -> Calibration | None:
    """Return the data that pruning may learn from: the first training batches of a seed; None where there are none."""
    if task is None or not task.has("batches"):
        return None
    return Calibration(task.name, lambda: islice(task.batches(seed), CALIBRATION_BATCHES), task.loss)


def ingredients(variant: Variant, task: Task | None) -> list[str]:
    """Return digests of the files and data that a variant's pruning depends on, beside the network and its own text."""
    found = [content_hash(Path(step.ratios)) for step in variant.pruning.steps if step.ratios]
    data = calibration_of(task, variant.seed)
    if data is not None and any(find(step.method, PRUNERS, "pruner").needs for step in variant.pruning.steps):
        found.append(digest(data))
    return found
