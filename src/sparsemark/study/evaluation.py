"""Evaluation of a module by a task, in float32, in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.networks.outputs import output_tensors
from sparsemark.networks.reference import stack

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from sparsemark.records.scores import Score
    from sparsemark.specs import ModelSpec
    from sparsemark.study.task import Task


def evaluate(module: torch.nn.Module, task: Task, model: ModelSpec, part: str) -> Mapping[str, Score]:
    """Score a module on the inputs of a part; it is left in eval mode.

    Raises:
        UserError: the task fails.
    """
    import torch

    inputs = task.images(part, model)
    module.eval()
    with torch.inference_mode():
        answers = [
            # Copied: a network may write into its input.
            [
                output.float().numpy()
                for output in output_tensors(module(*(torch.from_numpy(array.copy()) for array in batch)))
            ]
            for batch in inputs.batches
        ]
    return task.scores(stack(answers), part, inputs)
