"""Inputs of a network in batches of its declared size, checked against what it declares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UserError
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sparsemark.records.scores import DataNote
    from sparsemark.specs import InputSpec, ModelSpec


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
        UserError: an input is missing, is no array of finite numbers, or has another shape than is declared.
    """
    arrays = [_array(found, one, model, where) for found, one in _by_input(given, model, where)]
    counts = [len(array) // one.shape[0] for array, one in zip(arrays, model.inputs, strict=True)]
    if len(set(counts)) > 1:
        raise UserError(f"{where}: {' and '.join(map(str, counts))} batches of its inputs; expected as many of each")
    parts = [np.split(array, count) for array, count in zip(arrays, counts, strict=True)]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]
    return Inputs(list(zip(*parts, strict=True)), digest, note)


def _by_input(given: Any, model: ModelSpec, where: str) -> list[tuple[Any, InputSpec]]:
    """Return what is given for each input: by name, or the one array for the one input."""
    if not isinstance(given, Mapping):
        given = {model.inputs[0].name: given}
    if len(given) != len(model.inputs):
        asked = "one array" if len(model.inputs) == 1 else f"{len(model.inputs)} arrays by name"
        raise UserError(f"{where}: {len(given)} inputs ({', '.join(map(str, given))}); expected {asked}")
    if len(model.inputs) == 1:
        return [(next(iter(given.values())), model.inputs[0])]
    absent = [one.name for one in model.inputs if one.name not in given]
    if absent:
        names = ", ".join(one.name for one in model.inputs)
        raise UserError(f"{where}: no input {absent[0]!r}; expected {names}")
    return [(given[one.name], one) for one in model.inputs]


def _array(given: Any, one: InputSpec, model: ModelSpec, where: str) -> NDArray[Any]:
    try:
        array = np.ascontiguousarray(given, dtype=one.dtype)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {one_line(error)}; expected an array of numbers") from error
    batch, *sizes = one.shape
    if array.shape[1:] != tuple(sizes) or not len(array):
        raise UserError(
            f"{where}: shape {array.shape}; expected (n, {', '.join(map(str, sizes))}), the input {one.shape} of "
            f"{model.name}"
        )
    if len(array) % batch:
        raise UserError(f"{where}: {len(array)} inputs; expected a multiple of the batch of {model.name}, {batch}")
    if not np.isfinite(array).all():
        raise UserError(f"{where}: NaN or infinities; expected finite numbers")
    return array
