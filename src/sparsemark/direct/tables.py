"""Tables of a program in the making: what encoders add to, and where in them it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.blocks import PackedBlocks, pack_blocks
from sparsemark.direct.packing import PackedWeights, pack, pack_all
from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from sparsemark.direct.ir import BlockConvolution, Convolution, Operation
    from sparsemark.direct.layout import Layout
    from sparsemark.direct.schedule import Schedule

_UNITS_A_THREAD = 4
"""Units of work of one operation, so that a thread that was held up leaves the others something to take over."""

Packed = dict[tuple["Operation", int, int, bool, bool], PackedWeights]
"""Packed weights of a convolution, by output channels of a tile, input channels of a block, whether they are flat and
whether they are all: kernels share them."""


class Tables:
    """All that rows of a program refer to.

    Args:
        start: floats of the arena that tensors take; constants follow them.
        threads: that will share the work.
        packed: weights packed by earlier calls, to which new ones are added.
    """

    def __init__(self, start: int, threads: int, packed: Packed | None) -> None:
        self.threads, self.packed = threads, packed
        self.scratch = 0
        self.constants_at, self._constants_size = start, 0
        self._constants: list[NDArray[np.float32]] = []
        self._constant_places: dict[bytes, int] = {}
        self._tiles: list[NDArray[np.int64]] = []
        self._records: list[NDArray[np.int32]] = []
        self._pointers: list[NDArray[np.int32]] = []
        self._rows: list[NDArray[np.int32]] = []
        self._columns: list[NDArray[np.int32]] = []
        self._values: list[NDArray[np.float32]] = []

    def add_constant(self, values: NDArray[np.float32] | NDArray[np.int32]) -> int:
        """Where in the arena these values lie, of which equal ones are kept once."""
        content = values.tobytes()
        if content not in self._constant_places:
            padded = np.zeros(-(-max(values.size, 1) // LANES) * LANES, np.float32)
            padded.view(np.int32)[: values.size] = values.reshape(-1).view(np.int32)
            self._constant_places[content] = self.constants_at + self._constants_size
            self._constants.append(padded)
            self._constants_size += padded.size
        return self._constant_places[content]

    def add_tiles(self, rows: NDArray[np.int64]) -> int:
        """Place of the first of these rows in the table of tiles."""
        self._tiles.append(rows)
        return sum(map(len, self._tiles[:-1]))

    def add_records(self, records: NDArray[np.int32], pointers: NDArray[np.int32]) -> tuple[int, int]:
        """Places of the first of these records and pointers."""
        self._records.append(records)
        self._pointers.append(pointers)
        return _size(self._records[:-1]), _size(self._pointers[:-1])

    def add_matrix(self, rows: NDArray[np.int32], columns: NDArray[np.int32], values: NDArray[np.float32]) -> int:
        """Place of the first row pointer of a matrix."""
        self._rows.append(rows + _size(self._values))
        self._columns.append(columns)
        self._values.append(values)
        return _size(self._rows[:-1])

    def pack(self, convolution: Convolution, source: Layout, schedule: Schedule) -> PackedWeights:
        """Weights of a convolution in the order of a schedule: ordering them takes longer than running them."""
        key = convolution, schedule.channels, schedule.block, schedule.flat, schedule.product
        found = self.packed.get(key) if self.packed is not None else None
        if found is None:
            if schedule.product:
                found = pack_all(convolution.taps, source.channels, convolution.outputs, schedule.channels)
            else:
                found = pack(convolution.taps, source, convolution.outputs, schedule)
            if self.packed is not None:
                self.packed[key] = found
        return found

    def pack_blocks(self, convolution: BlockConvolution, source: Layout) -> PackedBlocks:
        """Blocks of a convolution in the order in which they are read."""
        return pack_blocks(convolution.blocks, source, len(convolution.bias))

    def need(self, scratch: int) -> None:
        """See that each thread has so many floats of scratch."""
        self.scratch = max(self.scratch, scratch)

    @property
    def units(self) -> int:
        """Units of work into which an operation should be divided."""
        return 1 if self.threads == 1 else _UNITS_A_THREAD * self.threads

    def share(self, count: int) -> int:
        """Units of work of `count` things."""
        return max(1, min(count, self.units))

    def tiles(self) -> NDArray[np.int64]:
        """The table of tiles."""
        return np.concatenate(self._tiles) if self._tiles else np.zeros((0, isa.TILE_COLUMNS), np.int64)

    def records(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """All records, and all pointers to them; the parts are gone then."""
        return _joined(self._records, np.int32), _joined(self._pointers, np.int32)

    def matrices(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Row pointers, columns and values of all matrices; the parts are gone then."""
        return _joined(self._rows, np.int32), _joined(self._columns, np.int32), _joined(self._values, np.float32)

    def constants(self) -> NDArray[np.float32]:
        """All constants; the parts are gone then."""
        return _joined(self._constants, np.float32)


_Number = TypeVar("_Number", np.int32, np.float32)


def _size(parts: Iterable[NDArray[_Number]]) -> int:
    return sum(part.size for part in parts)


def _joined(parts: list[NDArray[_Number]], kind: type[_Number]) -> NDArray[_Number]:
    """One array of all parts, which are dropped as they go: twice the weights would be the peak of all memory."""
    whole = np.empty(_size(parts), kind)
    end = whole.size
    while parts:
        part = parts.pop().reshape(-1)
        whole[end - part.size : end] = part
        end -= part.size
    return whole
