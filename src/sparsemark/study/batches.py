"""Inputs of a network in batches of its declared size, checked against what it declares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import TaskError
from sparsemark.references import one_line
from sparsemark.specs import FLOAT32, INPUT_DTYPES, InputSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sparsemark.records.scores import DataNote
    from sparsemark.specs import ModelSpec


NUMBERS = "biuf"
"""Kinds of NumPy's dtypes that are real numbers."""


@dataclass(frozen=True)
class Inputs:
    """Inputs of a network, all finite, and a digest of their content. A batch is a tuple: an array of each input."""

    batches: Sequence[tuple[NDArray[Any], ...]]
    digest: str
    note: DataNote


def in_batches(given: Any, model: ModelSpec, note: DataNote, where: str) -> Inputs:
    """Return a user's arrays in batches.

    Args:
        given: an array, shape (n, ...), or such arrays by input.
        model: declares the inputs.
        note: on the data.
        where: they come from, for messages.

    Raises:
        TaskError: an input is missing, is no array of finite numbers, or has another shape than is declared.
    """
    arrays = [_array(found, one, model, where) for found, one in _by_input(given, model, where)]
    counts = [len(array) // one.shape[0] for array, one in zip(arrays, model.inputs, strict=True)]
    if len(set(counts)) > 1:
        raise TaskError(f"{where}: {' and '.join(map(str, counts))} batches of its inputs; expected as many of each")
    parts = [np.split(array, count) for array, count in zip(arrays, counts, strict=True)]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]
    return Inputs(list(zip(*parts, strict=True)), digest, note)


def declared_by(given: Any, where: str) -> tuple[InputSpec, ...]:
    """Return the inputs that a user's arrays are of, one image a call; floating ones are float32.

    Raises:
        TaskError: an array does not say it.
    """
    arrays = given if isinstance(given, Mapping) else {"": given}
    found = []
    for name, values in arrays.items():
        array = _numbers(values, where)
        dtype = FLOAT32 if array.dtype.kind == "f" else array.dtype.name
        if array.ndim == 0 or dtype not in INPUT_DTYPES:
            raise TaskError(f"{where}: shape {array.shape}, {dtype}; expected (n, ...), or say the sizes with --input")
        found.append(InputSpec((1, *array.shape[1:]), dtype, str(name) if len(arrays) > 1 else ""))
    return tuple(found)


def _by_input(given: Any, model: ModelSpec, where: str) -> list[tuple[Any, InputSpec]]:
    """Return what is given for each input: by name, or the one array for the one input."""
    if not isinstance(given, Mapping):
        given = {model.inputs[0].name: given}
    if len(given) != len(model.inputs):
        asked = "one array" if len(model.inputs) == 1 else f"{len(model.inputs)} arrays by name"
        raise TaskError(f"{where}: {len(given)} inputs ({', '.join(map(str, given))}); expected {asked}")
    if len(model.inputs) == 1:
        return [(next(iter(given.values())), model.inputs[0])]
    absent = [one.name for one in model.inputs if one.name not in given]
    if absent:
        names = ", ".join(one.name for one in model.inputs)
        raise TaskError(f"{where}: no input {absent[0]!r}; expected {names}")
    return [(given[one.name], one) for one in model.inputs]


def _numbers(given: Any, where: str) -> NDArray[Any]:
    """Return a user's array; text is none, though NumPy would read numbers in it."""
    try:
        array = np.asarray(given)
    except Exception as error:  # lists of different lengths, a tensor on another device
        raise TaskError(f"{where}: {one_line(error)}; expected an array of numbers") from error
    if array.dtype.kind not in NUMBERS:
        raise TaskError(f"{where}: dtype {array.dtype}; expected an array of real numbers")
    return array


def _array(given: Any, one: InputSpec, model: ModelSpec, where: str) -> NDArray[Any]:
    found = _numbers(given, where)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities are refused below, other integers here
        array = np.ascontiguousarray(found, dtype=one.dtype)
    if one.dtype != FLOAT32 and not np.array_equal(array, found):
        raise TaskError(f"{where}: values of dtype {found.dtype} that {one.dtype} does not hold; expected {one.dtype}")
    batch, *sizes = one.shape
    if array.shape[1:] != tuple(sizes) or not len(array):
        raise TaskError(
            f"{where}: shape {array.shape}; expected (n, {', '.join(map(str, sizes))}), the input {one.shape} of "
            f"{model.name}"
        )
    if len(array) % batch:
        raise TaskError(f"{where}: {len(array)} inputs; expected a multiple of the batch of {model.name}, {batch}")
    if not np.isfinite(array).all():
        raise TaskError(f"{where}: NaN or infinities; expected finite numbers")
    return array
