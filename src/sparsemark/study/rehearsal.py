"""Rehearsal of a task on one batch, before anything is exported: its mistakes must not wait for minutes of work.

It refuses what no other batch could mend. What may be wrong with one batch only, such as a class that is never
predicted in it, is left to the real run.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.errors import NotFiniteError, TaskError
from sparsemark.machine.at_work import at_work
from sparsemark.networks.reference import stack
from sparsemark.registry import missing
from sparsemark.study.evaluation import answers, evaluate_parts
from sparsemark.study.requirements import calibration_of
from sparsemark.study.task import PARTS, REPORT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from sparsemark.records.scores import Score
    from sparsemark.specs import ModelSpec
    from sparsemark.study.task import Task

    Answer = Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]

_WHATEVER_THE_VALUES = (AttributeError, ImportError, NameError, TypeError)
"""Errors of a user's code that come whatever a network answers."""


def try_score(task: Task, model: ModelSpec, answer: Answer) -> None:
    """Score the outputs for the first batch, repeated as if they were those for all.

    Args:
        task: whose score is tried on every part.
        model: declares the inputs.
        answer: returns the outputs for one batch.

    Raises:
        TaskError: the task fails whatever the outputs are.
    """
    for part in (REPORT,) if task.has_one_part else PARTS:
        inputs = task.images(part, model)
        with at_work("trying the score on one batch"):
            outputs = stack([answer(inputs.batches[0])] * len(inputs.batches))
            try:
                task.scores(outputs, part, inputs)
            except TaskError as error:
                if _is_sure(error):
                    raise


def evaluate_tried(module: torch.nn.Module, task: Task, model: ModelSpec) -> Mapping[str, Score]:
    """Score a module as `evaluate_parts` does, once the score was tried on one batch; errors as in both."""
    try_score(task, model, lambda batch: answers(module, [batch]))
    return evaluate_parts(module, task, model)


def try_score_of_file(task: Task, model: ModelSpec) -> None:
    """Try a task's score on what a user's ONNX file answers, as `try_score`; nothing where it cannot be run as it is.

    Raises:
        TaskError: as above.
    """
    if missing(("onnxruntime",)):
        return
    from sparsemark.engines.onnx_runtime import open_session, wrap

    try:
        predict = wrap(open_session(Path(model.reference), 1))
    except Exception:  # whether it can be run is the checks' to say
        return
    try_score(task, model, lambda batch: predict(*batch))


def try_training(module: torch.nn.Module, task: Task) -> None:
    """Pass one training batch forward and backward through a copy of a network.

    Nothing is tried of a task that brings its own loop, or neither.

    Raises:
        TaskError: batches or loss fail; a loss that is not finite is another network's matter.
    """
    data = calibration_of(task, 0)
    if data is None or task.trains_itself:
        return
    from sparsemark.pruning.calibration import batches_of, forward
    from sparsemark.study.finetune import backward

    tried = copy.deepcopy(module).train()
    with suppress(NotFiniteError), at_work("trying a training batch"), batches_of(data) as batches:
        for inputs, targets in batches:
            backward(task.loss(forward(tried, inputs, task.name), targets), task)
            break


def _is_sure(error: TaskError) -> bool:
    """Whether an error of `score` is not due to the values that it was given."""
    cause = error.__cause__
    if isinstance(cause, KeyError):
        return isinstance(next(iter(cause.args), None), str)  # a misspelt name; a class is a number
    return isinstance(cause, _WHATEVER_THE_VALUES) or (cause is None and not isinstance(error, NotFiniteError))
