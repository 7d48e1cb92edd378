"""Evaluation of a module by a task, in float32, in PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sparsemark.machine.at_work import at_work
from sparsemark.networks.outputs import output_tensors
from sparsemark.networks.reference import stack
from sparsemark.study.task import REPORT, SELECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from sparsemark.records.scores import Score
    from sparsemark.specs import ModelSpec
    from sparsemark.study.task import Task


def evaluate_parts(module: torch.nn.Module, task: Task, model: ModelSpec) -> Mapping[str, Score]:
    """Score a module on the inputs that are reported, and on those that choices are made on where there are others."""
    scores = evaluate(module, task, model, REPORT)
    if task.has_one_part:
        return scores
    select = evaluate(module, task, model, SELECT)
    return {name: replace(score, select=select[name].value) for name, score in scores.items()}


def evaluate(module: torch.nn.Module, task: Task, model: ModelSpec, part: str) -> Mapping[str, Score]:
    """Score a module on the inputs of a part; it is left in eval mode.

    Raises:
        UserError: the task fails.
    """
    with at_work(f"scoring on the {part} inputs"):
        inputs = task.images(part, model)
        return task.scores(answers(module, inputs.batches), part, inputs)


def evaluate_recalibrated(
    module: torch.nn.Module, task: Task, model: ModelSpec, seed: int
) -> tuple[Mapping[str, Score], Mapping[str, Score]]:
    """Estimate BatchNorm's statistics again; return the reported scores before and after, empty where it has none."""
    from sparsemark.study.finetune import recalibrate  # torch, which a finished study does not need

    before = evaluate(module, task, model, REPORT)
    return before, evaluate(module, task, model, REPORT) if recalibrate(module, task, seed) else {}


def answers(module: torch.nn.Module, batches: Iterable[Sequence[NDArray[Any]]]) -> tuple[NDArray[Any], ...]:
    """Return every output of a module for all batches, each of shape (n, ...); it is left in eval mode."""
    import torch

    module.eval()
    with torch.inference_mode():
        found = [
            # Copied: a network may write into its input.
            [
                output.float().numpy()
                for output in output_tensors(module(*(torch.from_numpy(array.copy()) for array in batch)))
            ]
            for batch in batches
        ]
    return stack(found)
