"""Subjects of the Python API: a network by module, reference or file, its inputs, task and prunings."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.networks.factory import name_of
from sparsemark.networks.onnx_model import onnx_inputs
from sparsemark.references import ONNX_SUFFIX, held
from sparsemark.specs import InputSpec, ModelSpec, Pruning
from sparsemark.study.task import Task, load_task

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


@contextmanager
def model_of(network: Any, inputs: Any, task: Task | None = None) -> Iterator[ModelSpec]:
    """Yield the spec of a network; that of a module holds within the block.

    Args:
        network: a `torch.nn.Module`, `file.py:factory`, `package.module:factory`, or the path of an ONNX file.
        inputs: as `inputs_of` takes them; None stands for what an ONNX file declares, or the task's images have.
        task: or None.

    Raises:
        UserError: it is none of these, or the inputs are missing or do not fit an ONNX file.
    """
    if isinstance(network, str | Path):
        yield _spec(str(network), inputs, task)
    elif callable(getattr(network, "state_dict", None)) and not isinstance(network, type):
        with held(network) as reference:
            yield _spec(reference, inputs, task)
    else:
        kind = getattr(network, "__name__", type(network).__name__)
        raise UserError(
            f"{kind}: expected a torch.nn.Module, file.py:factory, package.module:factory or the path of an ONNX file"
        )


def _spec(reference: str, inputs: Any, task: Task | None) -> ModelSpec:
    name = name_of(reference)
    if reference.endswith(ONNX_SUFFIX):
        return ModelSpec(name, reference, onnx_inputs(reference, () if inputs is None else inputs_of(inputs)))
    if inputs is None and task is not None:
        return ModelSpec(name, reference, task.declared_inputs())
    if inputs is None:
        raise UserError(
            f"{name}: expected the shape of its input, such as (1, 3, 224, 224), an example of it, or a task's images"
        )
    return ModelSpec(name, reference, inputs_of(inputs))


def inputs_of(given: Any) -> tuple[InputSpec, ...]:
    """Return what a network takes.

    Args:
        given: the shape of one float32 input, batch first; an array or tensor like it; text as after `--input`; an
            `InputSpec`; or a list or tuple of any of these, one for each input.

    Raises:
        UserError: it is none of these, or a size or dtype is not possible.
    """
    if isinstance(given, list | tuple) and not all(isinstance(one, int) for one in given):
        return tuple(one for each in given for one in inputs_of(each))
    if isinstance(given, InputSpec):
        return (given,)
    if isinstance(given, str):
        return (InputSpec.parse(given),)
    if isinstance(given, list | tuple):
        return (InputSpec(tuple(given)),)
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", None)
    if shape is None or dtype is None:
        raise UserError(
            f"input {type(given).__name__}: expected a shape such as (1, 3, 224, 224), an array or a tensor"
        )
    return (InputSpec(tuple(int(size) for size in shape), str(dtype).removeprefix("torch.")),)


def task_of(given: str | os.PathLike[str] | Any | None) -> Task | None:
    """Return a task: of a file, or of a module or object with a task's functions.

    Raises:
        UserError: the file cannot be imported, or a function is missing.
    """
    if given is None or isinstance(given, Task):
        return given
    if isinstance(given, str | Path):
        return load_task(Path(given))
    return Task(given, getattr(given, "__name__", type(given).__name__))


def pruning_of(given: str | Pruning) -> Pruning:
    """Return a pruning, or what is written as after `--prune`; errors as in `Pruning.parse`."""
    return given if isinstance(given, Pruning) else Pruning.parse(given)
