"""Fixed piece of numerical work, to time a machine by: two dense layers in NumPy.

`relu(x @ w) @ w` with float32 matrices of 256 x 256, 34 million multiply-adds: about a millisecond on one core with
AVX2. As in a network, most of the time goes into products of matrices (NumPy's BLAS), the rest into memory, and each
call returns a new array. Only NumPy is needed, and no change to sparsemark makes it faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sparsemark.measurement.parity import check
from sparsemark.networks.reference import Reference, stack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.measurement.parity import Verified
    from sparsemark.networks.reference import Batch

Number = TypeVar("Number", np.float32, np.float64)

_WIDTH = 256
"""Rows and columns of every matrix."""

_INPUTS = 32
"""Inputs that rotate through the calls, 8 MB in all: more than most caches of one core hold."""

_SEED = 20200420


def inputs() -> tuple[Batch, ...]:
    """Return the inputs that rotate through the calls: one array each, shape (256, 256), float32."""
    rng = np.random.default_rng(_SEED)
    return tuple((rng.standard_normal((_WIDTH, _WIDTH), dtype=np.float32),) for _ in range(_INPUTS))


def yardstick(batches: tuple[Batch, ...]) -> Verified:
    """Build the work in memory of its own and check it against float64.

    Args:
        batches: what it is checked on.

    Raises:
        ParityError: this machine's BLAS computes something else.
    """
    weights = _weights()

    def predict(x: NDArray[np.float32]) -> tuple[NDArray[np.float32]]:
        return (_layers(x, weights),)

    answers = [(_layers(x.astype(np.float64), weights.astype(np.float64)),) for (x,) in batches]
    return check(predict, batches, Reference(stack(answers), tuple(range(len(batches)))))


def _layers(x: NDArray[Number], weights: NDArray[Number]) -> NDArray[Number]:
    result: NDArray[Number] = np.maximum(x @ weights, 0) @ weights
    return result


def _weights() -> NDArray[np.float32]:
    weights = np.random.default_rng(_SEED + 1).standard_normal((_WIDTH, _WIDTH), dtype=np.float32)
    return weights / np.float32(np.sqrt(_WIDTH))
