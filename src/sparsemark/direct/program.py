"""Program of a network: operations and schedules encoded as the tables that the interpreter reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.ir import Convolution, Matrix
from sparsemark.direct.isa import CLAMP_HIGH, CLAMP_LOW, MASK_OUTPUT, TILE_COLUMNS
from sparsemark.direct.memory import MARGIN, placed
from sparsemark.direct.packing import PackedWeights, pack
from sparsemark.direct.pages import floats
from sparsemark.direct.target import LANES
from sparsemark.direct.tiling import tile
from sparsemark.direct.winograd import PRODUCTS, Spans, origin, records, spans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.direct.ir import Operation
    from sparsemark.direct.layout import Layout
    from sparsemark.direct.schedule import Schedule

_UNITS_A_THREAD = 4
"""Units of work of one operation, so that a thread that was held up leaves the others something to take over."""


@dataclass(frozen=True)
class Program:
    """What `execute` reads, and the memory that it needs.

    Args:
        table: a row an operation.
        tiles, records, pointers: of all convolutions.
        rows, columns, values: of all matrices.
        constants: floats (and masks, as their bits) that begin at `constants_at` in the arena.
        scratch: floats of each thread; they follow the constants.
    """

    table: NDArray[np.int64]
    tiles: NDArray[np.int64]
    records: NDArray[np.int32]
    pointers: NDArray[np.int32]
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    constants: NDArray[np.float32]
    constants_at: int
    scratch: int

    def arena(self, threads: int) -> NDArray[np.float32]:
        """Fresh memory, aligned to a line of the cache, with the constants in place."""
        arena = floats(self.scratch_at(threads) + MARGIN)
        arena[self.constants_at : self.constants_at + len(self.constants)] = self.constants
        return arena

    def scratch_at(self, thread: int) -> int:
        """Where a thread's own floats begin."""
        return self.constants_at + len(self.constants) + thread * self.scratch


class _Constants:
    def __init__(self, start: int) -> None:
        self.start, self.size = start, 0
        self.parts: list[NDArray[np.float32]] = []
        self.places: dict[bytes, int] = {}

    def add(self, values: NDArray[np.float32] | NDArray[np.int32]) -> int:
        content = values.tobytes()
        if content not in self.places:
            padded = np.zeros(-(-max(values.size, 1) // LANES) * LANES, np.float32)
            padded.view(np.int32)[: values.size] = values.reshape(-1).view(np.int32)
            self.places[content] = self.start + self.size
            self.parts.append(padded)
            self.size += padded.size
        return self.places[content]


Packed = dict[tuple["Operation", int, int], PackedWeights]
"""Records of a convolution, by the output channels of a tile and the planes of a block: kernels share them."""


def assemble(
    operations: Sequence[Operation],
    schedules: Mapping[Operation, Schedule],
    start: int,
    threads: int,
    packed: Packed | None = None,
) -> Program:
    """Write the tables.

    Args:
        operations: in order, their tensors placed.
        schedules: one for each convolution among them.
        start: floats of the arena that the tensors take.
        threads: that will share the work.
        packed: of earlier calls, to which new ones are added; ordering non-zeros takes longer than running them.
    """
    builder = _Builder(start, threads, packed)
    for operation in operations:
        builder.add(operation, schedules.get(operation))
    return builder.finish()


class _Builder:
    def __init__(self, start: int, threads: int, packed: Packed | None) -> None:
        self.threads, self.packed = threads, packed
        self.constants = _Constants(start)
        self.table: list[NDArray[np.int64]] = []
        self.tiles: list[NDArray[np.int64]] = []
        self.records: list[NDArray[np.int32]] = []
        self.pointers: list[NDArray[np.int32]] = []
        self.rows: list[NDArray[np.int32]] = []
        self.columns: list[NDArray[np.int32]] = []
        self.values: list[NDArray[np.float32]] = []
        self.scratch = 0

    def add(self, operation: Operation, schedule: Schedule | None) -> None:
        row = np.zeros(isa.COLUMNS, np.int64)
        target = placed(operation.target)
        row[isa.OP] = operation.code
        row[[isa.TARGET, isa.TARGET_STEP, isa.TARGET_ROW]] = target.position, target.step, target.row
        row[[isa.CHANNELS, isa.HEIGHT, isa.WIDTH]] = target.channels, target.height, target.width
        if operation.source is None:
            height, width = operation.numbers[isa.SOURCE_HEIGHT], operation.numbers[isa.SOURCE_WIDTH]
            row[[isa.SOURCE_STEP, isa.SOURCE_ROW]] = height * width, width
        else:
            source = placed(operation.source)
            row[[isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW]] = source.position, source.step, source.row
        for column, value in operation.numbers.items():
            row[column] = value
        more = []
        if isinstance(operation, Convolution) and schedule is not None and schedule.winograd:
            more.append(self._winograd(row, operation, schedule))
        elif isinstance(operation, Convolution) and schedule is not None:
            self._convolution(row, operation, schedule)
        elif isinstance(operation, Matrix):
            self._matrix(row, operation)
        else:
            self._other(row, operation)
        self.table += [row, *more]

    def _convolution(self, row: NDArray[np.int64], operation: Convolution, schedule: Schedule) -> None:
        if operation.source is None:
            raise ValueError("a convolution reads planes")
        source, taps = placed(operation.source), operation.taps
        tiling = tile(
            schedule.vectors,
            operation.height,
            operation.width,
            source.row,
            right=taps.right,
            left=taps.left,
            pooled_row=operation.pooled_row,
        )
        if tiling is None or operation.outputs % schedule.channels:
            raise ValueError(f"{schedule} does not fit {operation.name}")
        read = self._packed(operation, source, schedule)
        floats = schedule.vectors * LANES
        table = tiling.table.copy()
        table[:, isa.TILE_MASKS] = [self.constants.add(tiling.masks[m]) for m in table[:, isa.TILE_MASKS]]
        groups = len(table) // tiling.group
        chunks = (
            1
            if self.threads == 1
            else min(-(-_UNITS_A_THREAD * self.threads // groups), operation.outputs // schedule.channels)
        )
        low, high = operation.clamp
        needs_mask = not tiling.masks[:, 2 * floats :].all()
        flags = CLAMP_LOW * (low > -math.inf) + CLAMP_HIGH * (high < math.inf) + MASK_OUTPUT * needs_mask
        row[isa.UNITS] = groups * chunks
        row[[isa.MICROKERNEL, isa.RIGHT, isa.LEFT, isa.BLOCKS]] = (
            schedule.microkernel,
            taps.right,
            taps.left,
            read.blocks,
        )
        row[[isa.RECORDS, isa.POINTERS]] = sum(r.size for r in self.records), sum(p.size for p in self.pointers)
        row[[isa.TILES, isa.GROUP, isa.CHUNKS, isa.FLAGS]] = sum(map(len, self.tiles)), tiling.group, chunks, flags
        row[isa.BIAS] = self.constants.add(operation.parameters)
        row[isa.BOUNDS] = self.constants.add(np.array([low, high, *[0] * 8], np.float32))
        row[isa.RESIDUAL] = -1
        if operation.second is not None:
            second = placed(operation.second)
            row[[isa.RESIDUAL, isa.RESIDUAL_STEP]] = second.position, second.step
        row[isa.POOLED_FLOATS] = tiling.group * floats if operation.pooled else 0
        partial = operation.outputs * floats if read.blocks > 1 else 0
        self.scratch = max(self.scratch, partial + operation.outputs * int(row[isa.POOLED_FLOATS]))
        self.tiles.append(table)
        self.records.append(read.records)
        self.pointers.append(read.pointers)

    def _packed(self, operation: Convolution, source: Layout, schedule: Schedule) -> PackedWeights:
        key = operation, schedule.channels, schedule.block
        found = self.packed.get(key) if self.packed is not None else None
        if found is None:
            found = pack(operation.taps, source, operation.outputs, schedule)
            if self.packed is not None:
                self.packed[key] = found
        return found

    def _winograd(self, row: NDArray[np.int64], operation: Convolution, schedule: Schedule) -> NDArray[np.int64]:
        """Fill the row of a convolution by tiles; the row of its products."""
        corner = origin(operation.taps)
        if operation.source is None or corner is None:
            raise ValueError(f"{schedule} does not fit {operation.name}")
        source, outputs = placed(operation.source), operation.outputs
        span = spans(schedule.microkernel, source.channels, outputs, operation.height, operation.width)
        row[[isa.OP, isa.UNITS]] = isa.WINOGRAD, span.count
        row[[isa.INPUTS, isa.INPUT_HEIGHT, isa.INPUT_WIDTH]] = source.channels, source.height, source.width
        row[[isa.FIRST_ROW, isa.FIRST_COLUMN, isa.ACROSS]] = *corner, span.across
        row[[isa.SPAN_TILES, isa.SPAN_STEP, isa.SPAN_PRODUCTS]] = span.tiles, span.step, span.products
        row[[isa.SPAN_LINES, isa.SPAN_PITCH, isa.TILES]] = span.lines, span.pitch, sum(map(len, self.tiles))
        self.tiles.append(self._quads(row, operation, span))
        row[isa.ZEROS] = self.constants.add(np.zeros(source.width + LANES, np.float32))
        row[isa.BIAS] = self.constants.add(operation.parameters)
        row[isa.BOUNDS] = self.constants.add(np.array([*operation.clamp, *[0] * (2 * LANES - 2)], np.float32))
        row[isa.RESIDUAL] = -1
        if operation.second is not None:
            second = placed(operation.second)
            row[[isa.RESIDUAL, isa.RESIDUAL_STEP]] = second.position, second.step
        row[isa.POOLED_FLOATS] = operation.pooled
        self.scratch = max(self.scratch, span.scratch)

        products = np.zeros_like(row)
        count = PRODUCTS * outputs
        found = records(operation.taps, source.channels, outputs, span.step, schedule.channels)
        products[[isa.OP, isa.CHANNELS, isa.TARGET, isa.TARGET_STEP]] = isa.NOTHING, count, span.products, span.step
        products[[isa.MICROKERNEL, isa.BLOCKS, isa.GROUP, isa.CHUNKS]] = schedule.microkernel, 1, 1, 1
        products[[isa.RECORDS, isa.POINTERS]] = sum(r.size for r in self.records), sum(p.size for p in self.pointers)
        products[isa.TILES] = sum(map(len, self.tiles))
        products[isa.BIAS] = self.constants.add(np.zeros(count, np.float32))
        products[isa.BOUNDS] = self.constants.add(np.zeros(2 + schedule.channels, np.float32))
        products[isa.RESIDUAL] = -1
        masks = self.constants.add(np.full(3 * span.tiles, -1, np.int32))
        self.tiles.append(np.array([[0, 0, masks, (1 << schedule.vectors) - 1, 0, 0]], np.int64))
        self.records.append(found)
        self.pointers.append(np.arange(count // schedule.channels + 1, dtype=np.int32) * source.channels)
        return products

    def _quads(self, row: NDArray[np.int64], operation: Convolution, span: Spans) -> NDArray[np.int64]:
        """Rows of the table of tiles, one for each quarter of a vector of them."""
        place, y, x, rows = span.quads.T
        shrink = 2 if operation.pooled else 1
        pixels = x[:, None] // shrink + np.arange(LANES // shrink)
        masks = [self.constants.add(np.where(p < operation.width // shrink, -1, 0).astype(np.int32)) for p in pixels]
        table = np.zeros((len(place), isa.TILE_COLUMNS), np.int64)
        table[:, isa.TILE_INPUT], table[:, isa.TILE_MASKS] = place, masks
        table[:, isa.TILE_OUTPUT] = y // shrink * row[isa.TARGET_ROW] + x // shrink
        table[:, isa.TILE_ROWS] = rows // shrink
        return table

    def _matrix(self, row: NDArray[np.int64], operation: Matrix) -> None:
        row[isa.UNITS] = self._share(len(operation.rows) - 1)
        row[isa.RECORDS] = sum(r.size for r in self.rows)
        row[isa.BIAS] = self.constants.add(operation.parameters)
        self.rows.append(operation.rows + sum(v.size for v in self.values))
        self.columns.append(operation.columns)
        self.values.append(operation.values)

    def _other(self, row: NDArray[np.int64], operation: Operation) -> None:
        row[isa.UNITS] = self._share(operation.target.channels)
        if operation.code in (isa.UNARY, isa.CHANNELWISE):
            row[isa.PARAMETERS] = self.constants.add(operation.parameters)
        if operation.more is not None:
            row[isa.SECOND] = self.constants.add(operation.more)
        if operation.second is not None:
            second = placed(operation.second)
            scalar = operation.second.height * operation.second.width == 1
            row[[isa.SECOND, isa.SECOND_STEP, isa.SECOND_ROW]] = (
                second.position,
                second.step,
                0 if scalar else second.row,
            )
        if operation.code == isa.POOL and operation.source is not None:
            self.scratch = max(self.scratch, operation.source.width)

    def _share(self, count: int) -> int:
        return 1 if self.threads == 1 else max(1, min(count, _UNITS_A_THREAD * self.threads))

    def finish(self) -> Program:
        return Program(
            np.array(self.table, np.int64).reshape(-1, isa.COLUMNS),
            np.concatenate(self.tiles) if self.tiles else np.zeros((0, TILE_COLUMNS), np.int64),
            _joined(self.records, np.int32),
            _joined(self.pointers, np.int32),
            _joined(self.rows, np.int32),
            _joined(self.columns, np.int32),
            _joined(self.values, np.float32),
            _joined(self.constants.parts, np.float32),
            self.constants.start,
            -(-self.scratch // LANES) * LANES + LANES,
        )


_Number = TypeVar("_Number", np.int32, np.float32)


def _joined(parts: list[NDArray[_Number]], kind: type[_Number]) -> NDArray[_Number]:
    """One array of all parts, which are dropped as they go: twice the weights would be the peak of all memory."""
    whole = np.empty(sum(part.size for part in parts), kind)
    end = whole.size
    while parts:
        part = parts.pop().reshape(-1)
        whole[end - part.size : end] = part
        end -= part.size
    return whole
