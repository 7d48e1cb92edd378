"""Requirements of prunings: what they need of a task, files of ratios, and the key of all that decides them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import pruning
from sparsemark.errors import UserError
from sparsemark.files import code_digest, content_hash, key_of
from sparsemark.machine.fingerprint import package_versions
from sparsemark.pruning import PRUNERS
from sparsemark.pruning.base import LOSS, Calibration
from sparsemark.pruning.calibration import CALIBRATION_BATCHES, digest
from sparsemark.pruning.ratios import Ratios, load_ratios
from sparsemark.pruning.schedules import rounds
from sparsemark.registry import find
from sparsemark.specs import ONE_SHOT, QAT

if TYPE_CHECKING:
    from sparsemark.specs import PruneStep, Pruning, Variant
    from sparsemark.study.task import Task

NOT_PRUNED = "an ONNX file cannot be pruned here; expected the factory that builds the network, as FILE.py:FACTORY"


def has_requirements(pruning: Pruning) -> bool:
    """Whether a pruning needs more than the network: a task need not be opened to check the others."""
    return any(step.ratios or find(step.method, PRUNERS, "pruner").needs for step in pruning.steps)


def check_finetuning(variant: Variant, task: Task | None, epochs: int) -> None:
    """Check that a pruning that needs fine-tuning can have it.

    Raises:
        UserError: there is no task, it has no batches and loss, or there are too few epochs.
    """
    pruning = variant.pruning
    if not pruning.needs_finetuning:
        return
    if task is None or not task.can_finetune:
        why = "a schedule fine-tunes between its rounds" if pruning.schedule != ONE_SHOT else f"{QAT} fine-tunes"
        whose = "no task" if task is None else f"{task.name} has neither batches and loss nor train"
        raise UserError(f"{pruning.text}: {why}; {whose}")
    rounds(pruning, epochs)
    if not epochs:
        raise UserError(f"{pruning.text}: 0 epochs of fine-tuning; {QAT} needs at least one")


def check_requirements(variant: Variant, task: Task | None) -> None:
    """Check that a variant's pruning can be carried out.

    Raises:
        UserError: a method needs training batches that the task does not bring; or a file of ratios cannot be read, is
            of another network, or is for a method that takes none; or the model is at fault.
    """
    for step in variant.pruning.steps:
        pruner = find(step.method, PRUNERS, "pruner")
        if pruner.needs and (task is None or not task.has("batches")):
            what = "training batches and their loss" if pruner.needs == LOSS else "training batches"
            whose = "there is no task" if task is None else f"{task.name} has no batches and loss"
            raise UserError(f"{step.text}: needs {what}; {whose}")
        if step.ratios and not pruner.takes_ratios:
            plain = step.method if step.is_of_usual_sparsity else f"{step.method}:{step.sparsity:g}"
            raise UserError(
                f"{step.method}@{step.ratios}: {step.method} takes no file of ratios; expected {plain}, or a method "
                f"that takes one, such as magnitude@{step.ratios}:0.8"
            )
        ratios = ratios_of(step)
        if ratios is not None and not variant.model.is_onnx:
            from sparsemark.networks.factory import build_whole  # torch, which most studies do not need here

            ratios.check(build_whole(variant.model, variant.seed)[0])


def ratios_of(step: PruneStep) -> Ratios | None:
    """Return the ratios that a step names, or None; errors as in `load_ratios`."""
    return load_ratios(Path(step.ratios)) if step.ratios else None


def calibration_of(task: Task | None, seed: int) -> Calibration | None:
    """Return the data that pruning may learn from: the first training batches of a seed; None where there are none."""
    if task is None or not task.has("batches"):
        return None
    return Calibration(task.name, lambda: islice(task.batches(seed), CALIBRATION_BATCHES), task.loss, seed)


def pruning_key(dense: str, variant: Variant, task: Task | None) -> str:
    """Return the key of all that decides how a network is pruned, before anything is fine-tuned.

    Args:
        dense: key of the unpruned network, as from `source_key`.
        variant: what is pruned.
        task: which methods may learn from, or None.
    """
    pruners = [find(step.method, PRUNERS, "pruner") for step in variant.pruning.steps]
    requires = package_versions(module for pruner in pruners for module in pruner.requires)
    code = code_digest(Path(pruning.__file__).parent), code_digest(Path(__file__).parent)
    return key_of(dense, variant.pruning.text, variant.seed, requires, ingredients(variant, task), *code)


def ingredients(variant: Variant, task: Task | None) -> list[str]:
    """Return digests of the files and data that a variant's pruning depends on, beside the network and its own text."""
    found = [content_hash(Path(step.ratios)) for step in variant.pruning.steps if step.ratios]
    data = calibration_of(task, variant.seed)
    if data is not None and any(find(step.method, PRUNERS, "pruner").needs for step in variant.pruning.steps):
        found.append(digest(data))
    return found
