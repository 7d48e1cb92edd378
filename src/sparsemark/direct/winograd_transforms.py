"""Compiled way into Winograd's products and out of them again: see `sparsemark.direct.winograd`."""

from __future__ import annotations

from typing import Any

from sparsemark.direct.isa import (
    ACROSS,
    BIAS,
    BOUNDS,
    CHANNELS,
    FIRST_COLUMN,
    FIRST_ROW,
    INPUT_HEIGHT,
    INPUT_WIDTH,
    INPUTS,
    POOLED_FLOATS,
    RESIDUAL,
    RESIDUAL_STEP,
    SOURCE,
    SOURCE_ROW,
    SOURCE_STEP,
    SPAN_LINES,
    SPAN_PITCH,
    SPAN_PRODUCTS,
    SPAN_STEP,
    SPAN_TILES,
    TARGET,
    TARGET_ROW,
    TARGET_STEP,
    TILE_INPUT,
    TILE_MASKS,
    TILE_OUTPUT,
    TILE_ROWS,
    TILES,
    ZEROS,
)
from sparsemark.direct.jit import compiled
from sparsemark.direct.target import LANES
from sparsemark.direct.winograd import QUARTER
from sparsemark.direct.winograd_kernels import transform_columns, transform_rows, transform_tiles_back


@compiled()
def transform(row: Any, unit: int, arena: Any, tiles: Any, scratch: int) -> None:
    """Transform the tiles of one span: 36 factors of each channel, one lane a tile."""
    base, lines, pitch = arena.ctypes.data, scratch + row[SPAN_LINES], row[SPAN_PITCH]
    count, across = row[SPAN_TILES], row[ACROSS]
    first = unit * count
    quads = tiles[row[TILES] + first // QUARTER : row[TILES] + (first + count) // QUARTER]
    step = 4 * row[INPUTS] * row[SPAN_STEP]
    for channel in range(row[INPUTS]):
        tile = first
        while tile < first + count:
            y, x = tile // across, tile % across
            run = min(across - x, first + count - tile)
            at = lines + quads[(tile - first) // QUARTER, TILE_INPUT]
            _transform_rows(row, arena, channel, at, 4 * y, 4 * x, run)
            tile += run
        out = base + 4 * (scratch + channel * row[SPAN_STEP])
        for v in range(count // LANES):
            at0, at1 = quads[4 * v, TILE_INPUT], quads[4 * v + 1, TILE_INPUT]
            at2, at3 = quads[4 * v + 2, TILE_INPUT], quads[4 * v + 3, TILE_INPUT]
            for j in range(6):
                line = base + 4 * (lines + j * pitch)
                transform_columns(
                    line + 4 * at0, line + 4 * at1, line + 4 * at2, line + 4 * at3, out + 6 * j * step, step
                )
            out += 4 * LANES


@compiled()
def _transform_rows(row: Any, arena: Any, channel: int, line: int, y: int, x: int, count: int) -> None:
    """Six rows of `count` tiles that begin at a pixel, transformed, with zeros for what lies beside the image."""
    base, pitch = arena.ctypes.data, row[SPAN_PITCH]
    start, stop = x + row[FIRST_COLUMN], x + 4 * count + row[FIRST_COLUMN] + 2
    low, high = max(start, 0), min(stop, row[INPUT_WIDTH])
    plane, top = row[SOURCE] + channel * row[SOURCE_STEP] + low, y + row[FIRST_ROW]
    r0, r1 = _row_at(row, base, plane, top), _row_at(row, base, plane, top + 1)
    r2, r3 = _row_at(row, base, plane, top + 2), _row_at(row, base, plane, top + 3)
    r4, r5 = _row_at(row, base, plane, top + 4), _row_at(row, base, plane, top + 5)
    out = base + 4 * (line + low - start)
    for v in range((high - low + LANES - 1) // LANES):
        at = 4 * LANES * v
        transform_rows(r0 + at, r1 + at, r2 + at, r3 + at, r4 + at, r5 + at, out + at, 4 * pitch)
    left, right = min(low, stop) - start, max(high, min(low, stop)) - start
    for j in range(6):
        at = line + j * pitch
        for i in range(left):
            arena[at + i] = 0
        for i in range(right, stop - start):  # over what the last vector wrote too much
            arena[at + i] = 0


@compiled(inline="always")
def _row_at(row: Any, base: int, plane: int, y: int) -> Any:
    """Address of a row of pixels, or of zeros."""
    return base + 4 * (plane + y * row[SOURCE_ROW] if 0 <= y < row[INPUT_HEIGHT] else row[ZEROS])


@compiled()
def transform_back(row: Any, unit: int, arena: Any, tiles: Any, scratch: int) -> None:
    """Pixels of one span from the sums of its products, with what is fused into the convolution."""
    base, count, pooled = arena.ctypes.data, row[SPAN_TILES], row[POOLED_FLOATS] > 0
    first = row[TILES] + unit * count // QUARTER
    step, bounds = 4 * row[CHANNELS] * row[SPAN_STEP], base + 4 * row[BOUNDS]
    for v in range(count // LANES):
        q = first + 4 * v
        m0, m1 = base + 4 * tiles[q, TILE_MASKS], base + 4 * tiles[q + 1, TILE_MASKS]
        m2, m3 = base + 4 * tiles[q + 2, TILE_MASKS], base + 4 * tiles[q + 3, TILE_MASKS]
        rows = tiles[q, TILE_ROWS] + tiles[q + 1, TILE_ROWS] + tiles[q + 2, TILE_ROWS] + tiles[q + 3, TILE_ROWS]
        sums = base + 4 * (scratch + row[SPAN_PRODUCTS] + v * LANES)
        bias, target = base + 4 * row[BIAS], base + 4 * row[TARGET]
        for channel in range(row[CHANNELS]):
            if rows < (8 if pooled else 16):
                _spill(row, channel, arena, tiles, q, sums, scratch + row[SPAN_LINES])
            else:
                out0, out1 = target + 4 * tiles[q, TILE_OUTPUT], target + 4 * tiles[q + 1, TILE_OUTPUT]
                out2, out3 = target + 4 * tiles[q + 2, TILE_OUTPUT], target + 4 * tiles[q + 3, TILE_OUTPUT]
                out_step = 4 * row[TARGET_ROW]
                if pooled:
                    transform_tiles_back(
                        1, sums, step, out0, out1, out2, out3, out_step, m0, m1, m2, m3, bias, bounds, 0
                    )
                else:
                    residual = 0
                    if row[RESIDUAL] >= 0:
                        residual = base + 4 * (row[RESIDUAL] + channel * row[RESIDUAL_STEP]) - target
                    transform_tiles_back(
                        0, sums, step, out0, out1, out2, out3, out_step, m0, m1, m2, m3, bias, bounds, residual
                    )
            sums += 4 * row[SPAN_STEP]
            bias += 4
            target += 4 * row[TARGET_STEP]


@compiled()
def _spill(row: Any, channel: int, arena: Any, tiles: Any, q: int, sums: int, spilled: int) -> None:
    """The same for a vector of tiles of which some rows lie beside the image: by way of the scratch."""
    base, step, pooled = arena.ctypes.data, 4 * row[CHANNELS] * row[SPAN_STEP], row[POOLED_FLOATS] > 0
    wide = LANES // 2 if pooled else LANES
    room, target = 4 * LANES, row[TARGET] + channel * row[TARGET_STEP]
    residual = 16 * LANES if row[RESIDUAL] >= 0 else 0
    if residual > 0:
        for i in range(4):
            at = row[RESIDUAL] + channel * row[RESIDUAL_STEP] + tiles[q + i, TILE_OUTPUT]
            for y in range(tiles[q + i, TILE_ROWS]):
                for x in range(LANES):
                    arena[spilled + residual + i * room + y * LANES + x] = arena[at + y * row[TARGET_ROW] + x]
    out, bias, bounds = base + 4 * spilled, base + 4 * (row[BIAS] + channel), base + 4 * row[BOUNDS]
    m0, m1 = base + 4 * tiles[q, TILE_MASKS], base + 4 * tiles[q + 1, TILE_MASKS]
    m2, m3 = base + 4 * tiles[q + 2, TILE_MASKS], base + 4 * tiles[q + 3, TILE_MASKS]
    out1, out2, out3 = out + 4 * room, out + 8 * room, out + 12 * room
    if pooled:
        transform_tiles_back(1, sums, step, out, out1, out2, out3, 4 * LANES, m0, m1, m2, m3, bias, bounds, 0)
    else:
        transform_tiles_back(
            0, sums, step, out, out1, out2, out3, 4 * LANES, m0, m1, m2, m3, bias, bounds, 4 * residual
        )
    for i in range(4):
        for y in range(tiles[q + i, TILE_ROWS]):
            at = target + tiles[q + i, TILE_OUTPUT] + y * row[TARGET_ROW]
            for x in range(wide):
                arena[at + x] = arena[spilled + i * room + y * LANES + x]
