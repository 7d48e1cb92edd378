"""Encoders: an operation, and the schedule of a convolution, as rows of a program's table."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import block_forms, dense_bytes, isa, wide_blocks
from sparsemark.direct.byte_tiles import tiles_of
from sparsemark.direct.ir import BlockConvolution, Convolution, Matrix
from sparsemark.direct.layout import WORDS, Layout, channel_step
from sparsemark.direct.memory import MARGIN, placed
from sparsemark.direct.packing import pack
from sparsemark.direct.schedule import FIRST_CACHE, tiling_of
from sparsemark.direct.target import LANES
from sparsemark.direct.winograd import PRODUCTS, Spans, origin, records, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.ir import Operation, Tensor
    from sparsemark.direct.packing import PackedWeights
    from sparsemark.direct.schedule import Schedule
    from sparsemark.direct.tables import Tables
    from sparsemark.direct.tiling import Tiling

    Row = NDArray[np.int64]

_KEPT = 192 * 1024
"""Bytes of weights that a second-level cache of 512 KiB keeps beside the activations."""


def encode(tables: Tables, operation: Operation, schedule: Schedule | None) -> list[Row]:
    """Return the rows of one operation, and add to the tables what they refer to."""
    row = _common(operation)
    if isinstance(operation, Convolution):
        if schedule is None or operation.source is None:
            raise ValueError(f"{operation.name}: a convolution has a schedule and reads channels")
        if operation.split is not None:
            return _encode_depthwise(tables, row, operation, schedule, operation.split)
        if schedule.winograd:
            return _encode_winograd(tables, row, operation, schedule, placed(operation.source))
        encode_it = _encode_product if schedule.product else _encode_convolution
        encode_it(tables, row, operation, schedule, placed(operation.source))
    elif isinstance(operation, BlockConvolution):
        _encode_blocks(tables, row, operation, is_dense=schedule is not None and schedule.product)
    elif isinstance(operation, Matrix):
        row[isa.UNITS] = tables.share(len(operation.rows) - 1)
        row[isa.ROW_POINTERS] = tables.add_matrix(operation.rows, operation.columns, operation.values)
        row[isa.BIAS] = tables.add_constant(operation.parameters)
    else:
        _encode_operands(tables, row, operation)
    return [row]


def _common(operation: Operation) -> Row:
    """Row with the columns of all operations, and those that the lowering has set."""
    row = np.zeros(isa.COLUMNS, np.int64)
    target = placed(operation.target)
    row[isa.OP] = operation.code
    row[[isa.TARGET, isa.TARGET_STEP, isa.TARGET_ROW]] = target.position, target.step, target.row
    row[[isa.CHANNELS, isa.HEIGHT, isa.WIDTH]] = target.channels, target.height, target.width
    if operation.target.fill is not None:
        row[isa.FILL] = _word(operation.target.fill)
        row[[isa.ROWS_ABOVE, isa.ROWS_BELOW]] = target.top, target.bottom
    if operation.source is None:
        height, width = operation.numbers[isa.SOURCE_HEIGHT], operation.numbers[isa.SOURCE_WIDTH]
        row[[isa.SOURCE_STEP, isa.SOURCE_ROW]] = height * width, width
    else:
        source = placed(operation.source)
        row[[isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW]] = source.position, source.step, source.row
        if operation.code == isa.TURN:
            row[[isa.SOURCE_STEP, isa.SOURCE_ROW, isa.COLUMN_STRIDE]] = _turned(operation.numbers[isa.KIND], source)
    for column, value in operation.numbers.items():
        row[column] = value
    return row


def _word(byte: int) -> int:
    """Four equal bytes as a signed word."""
    return int(np.full(4, byte, np.uint8).view(np.int32)[0])


def _turned(kind: int, source: Layout) -> tuple[int, int, int]:
    """Distances in the source of TURN of what is a channel, a row and a column apart in the target."""
    if kind == isa.CHANNELS_FIRST:  # (height, width, channels) to (channels, height, width)
        return 1, source.step, source.row
    if kind == isa.CHANNELS_LAST:  # the other way
        return source.row, 1, source.step
    return 1, source.row, source.step  # (tokens, 1, channels) to (channels, 1, tokens), either way


def _encode_operands(tables: Tables, row: Row, operation: Operation) -> None:
    """Encode whatever an operation has: parameters, a second operand, scratch."""
    row[isa.UNITS] = tables.share(operation.target.channels // operation.numbers.get(isa.GROUP_CHANNELS, 1))
    if operation.parameters.size:
        row[isa.PARAMETERS] = tables.add_constant(operation.parameters)
    if operation.more is not None:
        row[isa.MORE_PARAMETERS] = tables.add_constant(operation.more)
    if operation.second is not None:
        second = placed(operation.second)
        scalar = second.height * second.width == 1
        row[[isa.SECOND, isa.SECOND_ROW]] = second.position, 0 if scalar else second.row
        row[isa.SECOND_STEP] = second.step if second.channels == operation.target.channels else 0
    if operation.constant is not None:
        row[isa.SECOND] = tables.add_constant(operation.constant)
    tables.need(operation.scratch)


def _encode_convolution(tables: Tables, row: Row, convolution: Convolution, schedule: Schedule, source: Layout) -> None:
    tiling = _tiling(convolution, schedule, source)
    tiled = -(-convolution.outputs // schedule.channels)
    weights = tables.pack(convolution, source, schedule)
    floats, groups = schedule.vectors * LANES, len(tiling.table) // tiling.group
    # Weights that several groups of tiles read are taken in chunks that stay in the second cache.
    kept = -(-weights.records.nbytes // _KEPT) if groups > 1 else 1
    chunks = min(max(-(-tables.units // groups), kept), tiled)
    row[isa.UNITS] = groups * chunks
    row[[isa.GROUP, isa.GROUPS, isa.CHUNKS]] = tiling.group, groups, chunks
    _encode_tiles(tables, row, convolution, schedule, tiling, weights)
    row[isa.POOLED_FLOATS] = tiling.group * floats if convolution.pooled else 0
    partial = tiled * schedule.channels * floats if weights.blocks > 1 else 0
    tables.need(partial + convolution.outputs * int(row[isa.POOLED_FLOATS]))


def _encode_product(tables: Tables, row: Row, convolution: Convolution, schedule: Schedule, source: Layout) -> None:
    tiling, weights = _tiling(convolution, schedule, source), tables.pack(convolution, source, schedule)
    tiles, tiled = len(tiling.table), -(-convolution.outputs // schedule.channels)
    groups = min(tables.units, tiles)
    kept = -(-weights.records.nbytes // _KEPT) if tiles > 1 else 1
    chunks = min(max(-(-tables.units // groups), kept), tiled)
    row[[isa.OP, isa.UNITS, isa.INPUTS]] = isa.PRODUCT, groups * chunks, source.channels
    row[[isa.GROUP, isa.GROUPS, isa.CHUNKS]] = tiles, groups, chunks
    _encode_tiles(tables, row, convolution, schedule, tiling, weights)


def _encode_blocks(tables: Tables, row: Row, convolution: BlockConvolution, *, is_dense: bool) -> None:
    """Encode a convolution of bytes: its tiles, its records, and what is done to sums."""
    if convolution.source is None or convolution.target.fill is None:
        raise ValueError(f"{convolution.name}: a convolution of bytes reads bytes and makes bytes")
    source, target = placed(convolution.source), placed(convolution.target)
    extents, bias = (target.height, target.width, source.row, target.row), convolution.bias
    if is_dense:
        row[isa.OP] = isa.CONVOLVE_DENSE_BYTES
        packed = dense_bytes.pack_dense(convolution.blocks, source, len(convolution.bias))
        tiles, masks = tiles_of(*extents, dense_bytes.TILES, dense_bytes.PIXELS)
    elif block_forms.FORM == block_forms.VNNI:
        aligned = wide_blocks.is_aligned(convolution, source)
        packed = wide_blocks.pack_wide(convolution.blocks, source, len(convolution.bias), aligned=aligned)
        if convolution.pooled:
            tiles, masks = wide_blocks.pooled_tiles(target.height, convolution.width, source.row, target.row)
        else:
            tiles, masks = wide_blocks.wide_tiles(*extents, aligned=aligned)
        bias = wide_blocks.edges_of(convolution, convolution.source.fill or 0, aligned=aligned)
    else:
        packed = tables.pack_blocks(convolution, source)
        tiles, masks = tiles_of(*extents, block_forms.TILES, WORDS)
    tiles[:, isa.TILE_MASKS] = [tables.add_constant(masks[m]) for m in tiles[:, isa.TILE_MASKS]]
    # Weights that several tiles read are taken in chunks that stay in the second cache.
    kept = -(-packed.records.nbytes // _KEPT) if len(tiles) > 1 else 1
    chunks = min(max(tables.units, kept), target.channels)
    row[[isa.GROUP, isa.GROUPS, isa.CHUNKS, isa.UNITS]] = len(tiles), 1, chunks, chunks
    row[isa.TILES] = tables.add_tiles(tiles)
    row[[isa.RECORDS, isa.POINTERS]] = tables.add_records(packed.records, packed.pointers)
    row[isa.BIAS] = tables.add_constant(bias)
    row[isa.SCALES] = tables.add_constant(convolution.scales)
    row[isa.LEVELS] = tables.add_constant(np.array([*convolution.levels, row[isa.FILL]], np.int32))


def _tiling(convolution: Convolution, schedule: Schedule, source: Layout) -> Tiling:
    tiling = tiling_of(convolution, schedule, source.row)
    if tiling is None or convolution.outputs < schedule.channels:
        raise ValueError(f"{schedule} does not fit {convolution.name}")
    return tiling


def _encode_tiles(  # noqa: PLR0917 - a convolution is that much
    tables: Tables, row: Row, convolution: Convolution, schedule: Schedule, tiling: Tiling, weights: PackedWeights
) -> None:
    """Encode what a microkernel reads: tiles and their masks, packed weights, and what is done to sums."""
    low, high = convolution.clamp
    tiles = tiling.table.copy()
    tiles[:, isa.TILE_MASKS] = [tables.add_constant(tiling.masks[m]) for m in tiles[:, isa.TILE_MASKS]]
    needs_mask = not tiling.masks[:, 2 * schedule.vectors * LANES :].all()
    row[isa.FLAGS] = (
        isa.CLAMP_LOW * (low > -math.inf)
        + isa.CLAMP_HIGH * (high < math.inf)
        + isa.MASK_OUTPUT * needs_mask
        + isa.SWISH * convolution.swish
    )
    row[[isa.MICROKERNEL, isa.BLOCKS]] = schedule.microkernel, weights.blocks
    row[[isa.RIGHT, isa.LEFT]] = schedule.shifts(convolution.taps)
    row[[isa.RECORDS, isa.POINTERS]] = tables.add_records(weights.records, weights.pointers)
    row[isa.TILES] = tables.add_tiles(tiles)
    # Bounds are followed by the zeros that a later block takes for its bias.
    _encode_epilogue(tables, row, convolution, zeros=8)


def _encode_depthwise(
    tables: Tables, row: Row, convolution: Convolution, schedule: Schedule, split: Tensor
) -> list[Row]:
    """Row that splits phases, and that of the convolution which reads them, a few channels at a time."""
    source, count = convolution.source, convolution.outputs
    if source is None:
        raise ValueError(f"{convolution.name}: a convolution reads channels")
    step = channel_step(split.height, split.row, split.top, split.bottom)
    chunks = max(min(tables.units, count), -(-16 * step * count // FIRST_CACHE))
    chunks = min(chunks, count)
    start = LANES + -(-split.top * split.row // LANES) * LANES  # as in the arena
    phases = Layout(4 * -(-count // chunks), split.height, split.width, split.row, split.top, split.bottom, step, start)
    tiling = _tiling(convolution, schedule, phases)
    inner = row.copy()
    inner[[isa.OP, isa.UNITS]] = isa.NOTHING, 0
    inner[[isa.GROUP, isa.GROUPS, isa.CHUNKS]] = len(tiling.table), 1, chunks
    inner[[isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW]] = phases.position, phases.step, phases.row
    inner[[isa.INPUT_HEIGHT, isa.ROWS_ABOVE, isa.ROWS_BELOW]] = phases.height, phases.top, phases.bottom
    inner[isa.ZEROS] = tables.add_constant(np.zeros(max(source.row, LANES), np.float32))
    first = np.arange(chunks) * count // chunks  # as `kernels.units.share` has it
    taps = convolution.taps.unpacked()
    local = taps.plane - 4 * first[np.searchsorted(first, taps.out, side="right") - 1]
    weights = pack(replace(taps, plane=local), phases, count, schedule)
    _encode_tiles(tables, inner, convolution, schedule, tiling, weights)
    row[[isa.OP, isa.UNITS]] = isa.DEPTHWISE, chunks
    row[[isa.SOURCE_HEIGHT, isa.SOURCE_WIDTH]] = source.height, source.width
    tables.need(phases.position + phases.channels * step + MARGIN)
    return [row, inner]


def _encode_epilogue(tables: Tables, row: Row, convolution: Convolution, zeros: int) -> None:
    """Encode what is done to the sums of a convolution: bias, bounds, and what is added."""
    row[isa.BIAS] = tables.add_constant(convolution.parameters)
    row[isa.BOUNDS] = tables.add_constant(np.array([*convolution.clamp, *[0] * zeros], np.float32))
    row[isa.RESIDUAL] = -1
    if convolution.second is not None:
        second = placed(convolution.second)
        row[[isa.RESIDUAL, isa.RESIDUAL_STEP]] = second.position, second.step


def _encode_winograd(
    tables: Tables, row: Row, convolution: Convolution, schedule: Schedule, source: Layout
) -> list[Row]:
    """Row of a convolution by tiles, and that of its products."""
    corner = origin(convolution.taps)
    if corner is None:
        raise ValueError(f"{schedule} does not fit {convolution.name}")
    span = spans(schedule.microkernel, source.channels, convolution.outputs, convolution.height, convolution.width)
    row[[isa.OP, isa.UNITS]] = isa.WINOGRAD, span.count
    row[[isa.INPUTS, isa.INPUT_HEIGHT, isa.INPUT_WIDTH]] = source.channels, source.height, source.width
    row[[isa.FIRST_ROW, isa.FIRST_COLUMN, isa.ACROSS]] = *corner, span.across
    row[[isa.SPAN_TILES, isa.SPAN_STEP, isa.SPAN_OUTPUTS]] = span.tiles, span.step, span.outputs
    row[[isa.SPAN_PRODUCTS, isa.SPAN_LINES, isa.SPAN_PITCH]] = span.products, span.lines, span.pitch
    row[isa.TILES] = tables.add_tiles(_quads(tables, row, convolution, span))
    row[isa.ZEROS] = tables.add_constant(np.zeros(source.width + LANES, np.float32))
    row[isa.POOLED_FLOATS] = convolution.pooled
    _encode_epilogue(tables, row, convolution, zeros=2 * LANES - 2)
    tables.need(span.scratch)
    return [row, _products(tables, convolution, schedule, span, source.channels)]


def _products(tables: Tables, convolution: Convolution, schedule: Schedule, span: Spans, inputs: int) -> Row:
    """Row of Winograd's products: a convolution of channels in the scratch, of one tile."""
    row = np.zeros(isa.COLUMNS, np.int64)
    count = PRODUCTS * span.outputs
    found = records(convolution.taps, inputs, span.outputs, span.step, schedule.channels)
    pointers = np.arange(count // schedule.channels + 1, dtype=np.int32) * inputs
    row[[isa.OP, isa.CHANNELS, isa.TARGET, isa.TARGET_STEP]] = isa.NOTHING, count, span.products, span.step
    row[[isa.MICROKERNEL, isa.BLOCKS, isa.GROUP, isa.GROUPS, isa.CHUNKS]] = schedule.microkernel, 1, 1, 1, 1
    row[[isa.RECORDS, isa.POINTERS]] = tables.add_records(found, pointers)
    row[isa.BIAS] = tables.add_constant(np.zeros(count, np.float32))
    row[isa.BOUNDS] = tables.add_constant(np.zeros(2 + schedule.channels, np.float32))
    row[isa.RESIDUAL] = -1
    masks = tables.add_constant(np.full(3 * span.tiles, -1, np.int32))
    row[isa.TILES] = tables.add_tiles(np.array([[0, 0, masks, (1 << schedule.vectors) - 1, 0, 0]], np.int64))
    return row


def _quads(tables: Tables, row: Row, convolution: Convolution, span: Spans) -> NDArray[np.int64]:
    """Rows of the table of tiles, one for each quarter of a vector of them."""
    place, y, x, rows = span.quads.T
    shrink = 2 if convolution.pooled else 1
    pixels = x[:, None] // shrink + np.arange(LANES // shrink)
    masks = [tables.add_constant(np.where(p < convolution.width // shrink, -1, 0).astype(np.int32)) for p in pixels]
    quads = np.zeros((len(place), isa.TILE_COLUMNS), np.int64)
    quads[:, isa.TILE_INPUT], quads[:, isa.TILE_MASKS] = place, masks
    quads[:, isa.TILE_OUTPUT] = y // shrink * row[isa.TARGET_ROW] + x // shrink
    quads[:, isa.TILE_ROWS] = rows // shrink
    return quads
