"""Program of a network: steps and choices encoded as the tables that the interpreter reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sparsemark.direct import table as op
from sparsemark.direct.layout import Choice, Planes, Stream, stream, tile
from sparsemark.direct.memory import MARGIN, placed
from sparsemark.direct.pages import floats
from sparsemark.direct.registers import LANES
from sparsemark.direct.steps import Convolution, Matrix
from sparsemark.direct.table import CLAMP_HIGH, CLAMP_LOW, MASK_OUTPUT, TILE_COLUMNS
from sparsemark.direct.winograd import PRODUCTS, Spans, origin, records, spans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.direct.steps import Step

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


Streams = dict[tuple["Step", int, int], Stream]
"""Records of a convolution, by the output channels of a tile and the planes of a block: kernels share them."""


def assemble(
    steps: Sequence[Step], choices: Mapping[Step, Choice], start: int, threads: int, streams: Streams | None = None
) -> Program:
    """Write the tables.

    Args:
        steps: in order, their tensors placed.
        choices: one for each convolution among them.
        start: floats of the arena that the tensors take.
        threads: that will share the work.
        streams: of earlier calls, to which new ones are added; ordering non-zeros takes longer than running them.
    """
    builder = _Builder(start, threads, streams)
    for step in steps:
        builder.add(step, choices.get(step))
    return builder.finish()


class _Builder:
    def __init__(self, start: int, threads: int, streams: Streams | None) -> None:
        self.threads, self.streams = threads, streams
        self.constants = _Constants(start)
        self.table: list[NDArray[np.int64]] = []
        self.tiles: list[NDArray[np.int64]] = []
        self.records: list[NDArray[np.int32]] = []
        self.pointers: list[NDArray[np.int32]] = []
        self.rows: list[NDArray[np.int32]] = []
        self.columns: list[NDArray[np.int32]] = []
        self.values: list[NDArray[np.float32]] = []
        self.scratch = 0

    def add(self, step: Step, choice: Choice | None) -> None:
        row = np.zeros(op.COLUMNS, np.int64)
        target = placed(step.target)
        row[op.OP] = step.code
        row[[op.TARGET, op.TARGET_STEP, op.TARGET_ROW]] = target.position, target.step, target.row
        row[[op.PLANES, op.HEIGHT, op.WIDTH]] = target.channels, target.height, target.width
        if step.source is None:
            height, width = step.numbers[op.SOURCE_HEIGHT], step.numbers[op.SOURCE_WIDTH]
            row[[op.SOURCE_STEP, op.SOURCE_ROW]] = height * width, width
        else:
            source = placed(step.source)
            row[[op.SOURCE, op.SOURCE_STEP, op.SOURCE_ROW]] = source.position, source.step, source.row
        for column, value in step.numbers.items():
            row[column] = value
        more = []
        if isinstance(step, Convolution) and choice is not None and choice.winograd:
            more.append(self._winograd(row, step, choice))
        elif isinstance(step, Convolution) and choice is not None:
            self._convolution(row, step, choice)
        elif isinstance(step, Matrix):
            self._matrix(row, step)
        else:
            self._other(row, step)
        self.table += [row, *more]

    def _convolution(self, row: NDArray[np.int64], step: Convolution, choice: Choice) -> None:
        if step.source is None:
            raise ValueError("a convolution reads planes")
        source, taps = placed(step.source), step.taps
        tiling = tile(
            choice.vectors,
            step.height,
            step.width,
            source.row,
            right=taps.right,
            left=taps.left,
            pooled_row=step.pooled_row,
        )
        if tiling is None or step.outputs % choice.channels:
            raise ValueError(f"{choice} does not fit {step.name}")
        read = self._stream(step, source, choice)
        floats = choice.vectors * LANES
        table = tiling.table.copy()
        table[:, op.TILE_MASKS] = [self.constants.add(tiling.masks[m]) for m in table[:, op.TILE_MASKS]]
        groups = len(table) // tiling.group
        chunks = (
            1
            if self.threads == 1
            else min(-(-_UNITS_A_THREAD * self.threads // groups), step.outputs // choice.channels)
        )
        low, high = step.clamp
        needs_mask = not tiling.masks[:, 2 * floats :].all()
        flags = CLAMP_LOW * (low > -math.inf) + CLAMP_HIGH * (high < math.inf) + MASK_OUTPUT * needs_mask
        row[op.UNITS] = groups * chunks
        row[[op.VARIANT, op.RIGHT, op.LEFT, op.BLOCKS]] = choice.variant, taps.right, taps.left, read.blocks
        row[[op.RECORDS, op.POINTERS]] = sum(r.size for r in self.records), sum(p.size for p in self.pointers)
        row[[op.TILES, op.GROUP, op.CHUNKS, op.FLAGS]] = sum(map(len, self.tiles)), tiling.group, chunks, flags
        row[op.BIAS] = self.constants.add(step.parameters)
        row[op.BOUNDS] = self.constants.add(np.array([low, high, *[0] * 8], np.float32))
        row[op.RESIDUAL] = -1
        if step.second is not None:
            second = placed(step.second)
            row[[op.RESIDUAL, op.RESIDUAL_STEP]] = second.position, second.step
        row[op.POOLED_FLOATS] = tiling.group * floats if step.pooled else 0
        partial = step.outputs * floats if read.blocks > 1 else 0
        self.scratch = max(self.scratch, partial + step.outputs * int(row[op.POOLED_FLOATS]))
        self.tiles.append(table)
        self.records.append(read.records)
        self.pointers.append(read.pointers)

    def _stream(self, step: Convolution, source: Planes, choice: Choice) -> Stream:
        key = step, choice.channels, choice.planes
        found = self.streams.get(key) if self.streams is not None else None
        if found is None:
            found = stream(step.taps, source, step.outputs, choice)
            if self.streams is not None:
                self.streams[key] = found
        return found

    def _winograd(self, row: NDArray[np.int64], step: Convolution, choice: Choice) -> NDArray[np.int64]:
        """Fill the row of a convolution by tiles; the row of its products."""
        corner = origin(step.taps)
        if step.source is None or corner is None:
            raise ValueError(f"{choice} does not fit {step.name}")
        source, outputs = placed(step.source), step.outputs
        span = spans(choice.variant, source.channels, outputs, step.height, step.width)
        row[[op.OP, op.UNITS]] = op.WINOGRAD, span.count
        row[[op.INPUTS, op.INPUT_HEIGHT, op.INPUT_WIDTH]] = source.channels, source.height, source.width
        row[[op.FIRST_ROW, op.FIRST_COLUMN, op.ACROSS]] = *corner, span.across
        row[[op.SPAN_TILES, op.SPAN_STEP, op.SPAN_PRODUCTS]] = span.tiles, span.step, span.products
        row[[op.SPAN_LINES, op.SPAN_PITCH, op.TILES]] = span.lines, span.pitch, sum(map(len, self.tiles))
        self.tiles.append(self._quads(row, step, span))
        row[op.ZEROS] = self.constants.add(np.zeros(source.width + LANES, np.float32))
        row[op.BIAS] = self.constants.add(step.parameters)
        row[op.BOUNDS] = self.constants.add(np.array([*step.clamp, *[0] * (2 * LANES - 2)], np.float32))
        row[op.RESIDUAL] = -1
        if step.second is not None:
            second = placed(step.second)
            row[[op.RESIDUAL, op.RESIDUAL_STEP]] = second.position, second.step
        row[op.POOLED_FLOATS] = step.pooled
        self.scratch = max(self.scratch, span.scratch)

        products = np.zeros_like(row)
        count = PRODUCTS * outputs
        found = records(step.taps, source.channels, outputs, span.step, choice.channels)
        products[[op.OP, op.PLANES, op.TARGET, op.TARGET_STEP]] = op.NOTHING, count, span.products, span.step
        products[[op.VARIANT, op.BLOCKS, op.GROUP, op.CHUNKS]] = choice.variant, 1, 1, 1
        products[[op.RECORDS, op.POINTERS]] = sum(r.size for r in self.records), sum(p.size for p in self.pointers)
        products[op.TILES] = sum(map(len, self.tiles))
        products[op.BIAS] = self.constants.add(np.zeros(count, np.float32))
        products[op.BOUNDS] = self.constants.add(np.zeros(2 + choice.channels, np.float32))
        products[op.RESIDUAL] = -1
        masks = self.constants.add(np.full(3 * span.tiles, -1, np.int32))
        self.tiles.append(np.array([[0, 0, masks, (1 << choice.vectors) - 1, 0, 0]], np.int64))
        self.records.append(found)
        self.pointers.append(np.arange(count // choice.channels + 1, dtype=np.int32) * source.channels)
        return products

    def _quads(self, row: NDArray[np.int64], step: Convolution, span: Spans) -> NDArray[np.int64]:
        """Rows of the table of tiles, one for each quarter of a vector of them."""
        place, y, x, rows = span.quads.T
        shrink = 2 if step.pooled else 1
        pixels = x[:, None] // shrink + np.arange(LANES // shrink)
        masks = [self.constants.add(np.where(p < step.width // shrink, -1, 0).astype(np.int32)) for p in pixels]
        table = np.zeros((len(place), op.TILE_COLUMNS), np.int64)
        table[:, op.TILE_INPUT], table[:, op.TILE_MASKS] = place, masks
        table[:, op.TILE_OUTPUT] = y // shrink * row[op.TARGET_ROW] + x // shrink
        table[:, op.TILE_ROWS] = rows // shrink
        return table

    def _matrix(self, row: NDArray[np.int64], step: Matrix) -> None:
        row[op.UNITS] = self._share(len(step.rows) - 1)
        row[op.RECORDS] = sum(r.size for r in self.rows)
        row[op.BIAS] = self.constants.add(step.parameters)
        self.rows.append(step.rows + sum(v.size for v in self.values))
        self.columns.append(step.columns)
        self.values.append(step.values)

    def _other(self, row: NDArray[np.int64], step: Step) -> None:
        row[op.UNITS] = self._share(step.target.channels // step.numbers.get(op.GROUP_PLANES, 1))
        if step.code in (op.UNARY, op.CHANNELWISE, op.RESAMPLE, op.NORMALIZE):
            row[op.PARAMETERS] = self.constants.add(step.parameters)
        if step.more is not None and step.code == op.RESAMPLE:
            rows = self.constants.add(step.more)
            row[[op.ROW_PLACES, op.COLUMN_PLACES]] = rows, rows + 3 * step.target.height
        elif step.more is not None:
            row[op.SECOND] = self.constants.add(step.more)
        if step.second is not None:
            second = placed(step.second)
            scalar = step.second.height * step.second.width == 1
            row[[op.SECOND, op.SECOND_ROW]] = second.position, 0 if scalar else second.row
            row[op.SECOND_STEP] = second.step if second.channels == step.target.channels else 0
        if step.code in (op.POOL, op.RESAMPLE) and step.source is not None:
            self.scratch = max(self.scratch, step.source.width)

    def _share(self, count: int) -> int:
        return 1 if self.threads == 1 else max(1, min(count, _UNITS_A_THREAD * self.threads))

    def finish(self) -> Program:
        return Program(
            np.array(self.table, np.int64).reshape(-1, op.COLUMNS),
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
