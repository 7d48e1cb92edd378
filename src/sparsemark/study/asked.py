"""Prunings and inputs of a network, as a user asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.machine.memory import check_inputs_fit
from sparsemark.networks.factory import name_of
from sparsemark.networks.onnx_model import onnx_inputs
from sparsemark.references import ONNX_SUFFIX, check_reference
from sparsemark.specs import QAT, InputSpec, ModelSpec, Pruning
from sparsemark.study.batch_sizes import with_batch
from sparsemark.study.inputs import held_inputs
from sparsemark.study.task import load_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_QAT = f"+{QAT}"
"""End of a pruning that is fine-tuned for int8; it has no sparsity."""


def prunings(texts: Iterable[str]) -> list[Pruning]:
    """Read prunings whose last step may list several sparsities: `magnitude:0.5,0.9`, `block4:0.8,0.9+qat`.

    Raises:
        UserError: as `Pruning.parse`, or a step before the last lists several.
    """
    return [Pruning.parse(one) for text in texts for one in _each(text)]


def _each(text: str) -> list[str]:
    """Return a text for each sparsity of the last step, as in a study file; all of a product would be many."""
    pruned = text.removesuffix(_QAT)
    before, plus, last = pruned.rpartition("+")
    for step in before.split("+"):
        if "," in step.partition(":")[2]:
            raise UserError(f"--prune {text!r}: several sparsities in {step!r}; expected them in the last step only")
    method, colon, numbers = last.partition(":")
    shares, multiple, of = numbers.partition(":")
    aware = text.removeprefix(pruned)
    return [f"{before}{plus}{method}{colon}{share}{multiple}{of}{aware}" for share in shares.split(",")]


def model(reference: str, texts: Sequence[str], batches: Sequence[int], task: Path | None) -> ModelSpec:
    """Return a network with its inputs: as given, else as its ONNX file declares them or the task's images have them.

    Args:
        reference: of the network.
        texts: inputs, as `InputSpec.parse` reads them; none for what is known without.
        batches: that it is called with; it is pruned and trained with the smallest. None for what the inputs say.
        task: file of a task, or None.

    Raises:
        UserError: nobody says what a factory's network takes; an input is malformed, too large for this machine, or not
            what the file declares.
    """
    asked = ModelSpec(name_of(reference), reference, _inputs(reference, texts, task))
    called = [with_batch(asked, batch) for batch in batches] or [asked]
    largest = max(called, key=lambda one: one.input_shape[0])
    check_inputs_fit(largest.inputs, "--input" if texts else reference, held_inputs(has_task=task is not None))
    if batches and asked.is_onnx:
        for one in called:
            onnx_inputs(reference, one.inputs)
    smallest = min(called, key=lambda one: one.input_shape[0])
    return ModelSpec(asked.name, reference, smallest.inputs)


def _inputs(reference: str, texts: Sequence[str], task: Path | None) -> tuple[InputSpec, ...]:
    given = tuple(map(InputSpec.parse, texts))
    if reference.endswith(ONNX_SUFFIX):
        return onnx_inputs(reference, given)
    if given:
        return given
    check_reference(reference)  # before what is missing beside it
    if task is not None:
        return load_task(task).declared_inputs()
    raise UserError(
        f"{reference}: no --input; expected the sizes of one call, batch first, such as --input 1,3,224,224, or "
        "--input ids=1,128:int64 for each of several, or --task FILE.py, whose images have them"
    )
