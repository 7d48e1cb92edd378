"""Matrix of int8 weights in compressed sparse rows of 1 x 4 blocks, with a scale for each row.

A block is four input channels at one place of the kernel, or four features: what one instruction multiplies. Input
channels that are no multiple of four are padded with zeros.

In a file each block has its four bytes and one byte for its distance from the block before, over all rows; 0 stands for
255 places without a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLOCK = 4
"""Weights in a block."""

_FARTHEST = 255
"""Places that one byte of `gaps` spans."""

_WIDEST = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class BlockMatrix:
    """Blocks row by row.

    Args:
        data: int8, shape (blocks, 4).
        indices: column of each block: (group of four input channels, kernel row, kernel column), flattened.
        indptr: where each row begins, and behind them the number of blocks.
        scales: of each row; a weight is its integer times the scale of its row.
        dense: shape of the weight: rows (output channels), input channels or features, kernel.
    """

    data: NDArray[np.int8]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int32]
    scales: NDArray[np.float32]
    dense: tuple[int, ...]

    @classmethod
    def compress(cls, weight: NDArray[np.int8], scales: NDArray[np.float32]) -> BlockMatrix:
        """Build the matrix from the blocks of a dense weight that are not all zero."""
        blocks = _blocked(weight)
        rows, columns = np.nonzero(blocks.any(axis=2))
        indptr = np.searchsorted(rows, np.arange(len(weight) + 1)).astype(np.int32)
        return cls(blocks[rows, columns], columns.astype(np.int32), indptr, scales, weight.shape)

    @property
    def rows(self) -> NDArray[np.int32]:
        """Row of every block."""
        return np.repeat(np.arange(self.dense[0], dtype=np.int32), np.diff(self.indptr))

    def integers(self) -> NDArray[np.int8]:
        """Return the dense integers."""
        kernel = self.dense[2:]
        groups = -(-self.dense[1] // BLOCK)
        blocks = np.zeros((self.dense[0], groups * math.prod(kernel), BLOCK), np.int8)
        blocks[self.rows, self.indices] = self.data
        whole = blocks.reshape(self.dense[0], groups, *kernel, BLOCK)
        whole = np.moveaxis(whole, -1, 2).reshape(self.dense[0], groups * BLOCK, *kernel)
        return np.ascontiguousarray(whole[:, : self.dense[1]])

    def toarray(self) -> NDArray[np.float32]:
        """Return the dense weight."""
        scales = self.scales.reshape(-1, *[1] * (len(self.dense) - 1))
        found: NDArray[np.float32] = self.integers().astype(np.float32) * scales
        return found

    def tensors(self, name: str) -> dict[str, NDArray[Any]]:
        """Return what a file holds of the matrix."""
        places = self.rows.astype(np.int64) * _width(self.dense) + self.indices
        return {
            f"{name}.blocks": self.data,
            f"{name}.gaps": _gaps(places),
            f"{name}.scales": self.scales,
        }

    @classmethod
    def of_tensors(
        cls, blocks: NDArray[Any], gaps: NDArray[Any], scales: NDArray[Any], dense: Sequence[int]
    ) -> BlockMatrix:
        """Rebuild the matrix; raise ValueError where its parts do not fit each other."""
        dense = tuple(dense)
        if len(dense) not in (2, 4) or not all(type(size) is int and size > 0 for size in dense):
            raise ValueError(f"blocks of a weight of shape {dense}")
        width = _width(dense)
        if dense[0] * width > _WIDEST:
            raise ValueError(f"blocks of a weight of shape {dense}")
        if blocks.dtype != np.int8 or gaps.dtype != np.uint8 or scales.dtype != np.float32:
            raise ValueError(f"blocks of types {blocks.dtype}, {gaps.dtype} and {scales.dtype}")
        if blocks.shape != (len(blocks), BLOCK) or gaps.ndim != 1 or scales.shape != dense[:1]:
            raise ValueError(f"blocks of shape {blocks.shape} and scales of shape {scales.shape} for {dense}")
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise ValueError("scales that are negative or not finite")
        steps = np.where(gaps == 0, _FARTHEST, gaps).astype(np.int64)
        places = (np.cumsum(steps) - 1)[gaps != 0]
        if len(places) != len(blocks) or (len(places) and places[-1] >= dense[0] * width):
            raise ValueError(f"{len(blocks)} blocks in {len(places)} places of {dense[0] * width}")
        if dense[1] % BLOCK:
            last = places % width // math.prod(dense[2:]) == dense[1] // BLOCK
            if blocks[last, dense[1] % BLOCK :].any():
                raise ValueError(f"weights beyond the {dense[1]} input channels")
        indptr = np.searchsorted(places, np.arange(dense[0] + 1) * width).astype(np.int32)
        return cls(blocks, (places % width).astype(np.int32), indptr, scales, dense)


def _width(dense: Sequence[int]) -> int:
    """Blocks in a row."""
    return -(-dense[1] // BLOCK) * math.prod(dense[2:])


def _blocked(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the blocks of each row, shape (rows, blocks, 4)."""
    rows, inputs, *kernel = weight.shape
    groups = -(-inputs // BLOCK)
    whole = np.zeros((rows, groups * BLOCK, *kernel), np.int8)
    whole[:, :inputs] = weight
    apart = np.moveaxis(whole.reshape(rows, groups, BLOCK, *kernel), 2, -1)
    return np.ascontiguousarray(apart).reshape(rows, -1, BLOCK)


def _gaps(places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the distance of each place from the one before, rising from -1, as bytes."""
    distances = np.diff(places, prepend=-1)
    skips = (distances - 1) // _FARTHEST
    ends = np.cumsum(skips + 1)
    gaps = np.zeros(ends[-1] if len(ends) else 0, np.uint8)
    gaps[ends - 1] = distances - _FARTHEST * skips
    return gaps
