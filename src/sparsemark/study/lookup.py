"""`predict` of a simple task: an engine's outputs, looked up by their inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import TaskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sparsemark.study.batches import Inputs


class Lookup:
    """`predict` of the simple form: outputs that the engine already gave, found by the content of each input."""

    def __init__(self, inputs: Inputs, outputs: tuple[NDArray[Any], ...], name: str) -> None:
        rows = [np.concatenate(arrays) for arrays in zip(*inputs.batches, strict=True)]
        self._rows = {_content(values): index for index, values in enumerate(zip(*rows, strict=True))}
        self._inputs, self._outputs, self._name = [(array.shape[1:], array.dtype) for array in rows], outputs, name

    def __call__(self, *images: Any) -> tuple[NDArray[Any], ...]:
        """Return every output for some of the inputs."""
        if len(images) != len(self._inputs):
            raise TaskError(f"{self._name}: score: predict got {len(images)} inputs, expected {len(self._inputs)}")
        arrays = []
        for given, (shape, dtype) in zip(images, self._inputs, strict=True):
            array = np.ascontiguousarray(given, dtype=dtype)
            if array.shape[1:] != shape:
                raise TaskError(f"{self._name}: score: predict got shape {array.shape}, expected (n, {shape})")
            arrays.append(array)
        try:
            chosen = [self._rows[_content(values)] for values in zip(*arrays, strict=True)]
        except (KeyError, ValueError):
            raise TaskError(f"{self._name}: score: predict got an input that images() does not hold") from None
        return tuple(output[chosen] for output in self._outputs)


def _content(values: Sequence[NDArray[Any]]) -> bytes:
    return b"".join(value.tobytes() for value in values)
