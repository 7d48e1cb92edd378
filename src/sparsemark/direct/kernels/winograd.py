"""Compiled way into Winograd's products and out of them again: see `sparsemark.direct.winograd`."""

from __future__ import annotations

from typing import Any

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.winograd_transforms import transform_columns, transform_rows, transform_tiles_back
from sparsemark.direct.target import LANES
from sparsemark.direct.winograd import QUARTER


@compiled()
def transform(row: Any, unit: int, arena: Any, tiles: Any, scratch: int) -> None:
    """Transform the tiles of one span: 36 factors of each channel, one lane a tile."""
    base, lines, pitch = arena.ctypes.data, scratch + row[isa.SPAN_LINES], row[isa.SPAN_PITCH]
    count, across = row[isa.SPAN_TILES], row[isa.ACROSS]
    first = unit * count
    quads = tiles[row[isa.TILES] + first // QUARTER : row[isa.TILES] + (first + count) // QUARTER]
    step = 4 * row[isa.INPUTS] * row[isa.SPAN_STEP]
    for channel in range(row[isa.INPUTS]):
        tile = first
        while tile < first + count:
            y, x = tile // across, tile % across
            run = min(across - x, first + count - tile)
            at = lines + quads[(tile - first) // QUARTER, isa.TILE_INPUT]
            _transform_rows(row, arena, channel, at, 4 * y, 4 * x, run)
            tile += run
        out = base + 4 * (scratch + channel * row[isa.SPAN_STEP])
        for v in range(count // LANES):
            at0, at1 = quads[4 * v, isa.TILE_INPUT], quads[4 * v + 1, isa.TILE_INPUT]
            at2, at3 = quads[4 * v + 2, isa.TILE_INPUT], quads[4 * v + 3, isa.TILE_INPUT]
            for j in range(6):
                line = base + 4 * (lines + j * pitch)
                transform_columns(
                    line + 4 * at0, line + 4 * at1, line + 4 * at2, line + 4 * at3, out + 6 * j * step, step
                )
            out += 4 * LANES


@compiled()
def _transform_rows(row: Any, arena: Any, channel: int, line: int, y: int, x: int, count: int) -> None:
    """Six rows of `count` tiles that begin at a pixel, transformed, with zeros for what lies beside the image."""
    base, pitch = arena.ctypes.data, row[isa.SPAN_PITCH]
    start, stop = x + row[isa.FIRST_COLUMN], x + 4 * count + row[isa.FIRST_COLUMN] + 2
    low, high = max(start, 0), min(stop, row[isa.INPUT_WIDTH])
    plane, top = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP] + low, y + row[isa.FIRST_ROW]
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
    return base + 4 * (plane + y * row[isa.SOURCE_ROW] if 0 <= y < row[isa.INPUT_HEIGHT] else row[isa.ZEROS])


@compiled()
def transform_back(row: Any, unit: int, arena: Any, tiles: Any, scratch: int) -> None:
    """Pixels of one span from the sums of its products, with what is fused into the convolution."""
    base, count, pooled = arena.ctypes.data, row[isa.SPAN_TILES], row[isa.POOLED_FLOATS] > 0
    first = row[isa.TILES] + unit * count // QUARTER
    step, bounds = 4 * row[isa.SPAN_OUTPUTS] * row[isa.SPAN_STEP], base + 4 * row[isa.BOUNDS]
    for v in range(count // LANES):
        q = first + 4 * v
        m0, m1 = base + 4 * tiles[q, isa.TILE_MASKS], base + 4 * tiles[q + 1, isa.TILE_MASKS]
        m2, m3 = base + 4 * tiles[q + 2, isa.TILE_MASKS], base + 4 * tiles[q + 3, isa.TILE_MASKS]
        rows = (
            tiles[q, isa.TILE_ROWS]
            + tiles[q + 1, isa.TILE_ROWS]
            + tiles[q + 2, isa.TILE_ROWS]
            + tiles[q + 3, isa.TILE_ROWS]
        )
        sums = base + 4 * (scratch + row[isa.SPAN_PRODUCTS] + v * LANES)
        bias, target = base + 4 * row[isa.BIAS], base + 4 * row[isa.TARGET]
        for channel in range(row[isa.CHANNELS]):
            if rows < (8 if pooled else 16):
                _spill(row, channel, arena, tiles, q, sums, scratch + row[isa.SPAN_LINES])
            else:
                out0, out1 = target + 4 * tiles[q, isa.TILE_OUTPUT], target + 4 * tiles[q + 1, isa.TILE_OUTPUT]
                out2, out3 = target + 4 * tiles[q + 2, isa.TILE_OUTPUT], target + 4 * tiles[q + 3, isa.TILE_OUTPUT]
                out_step = 4 * row[isa.TARGET_ROW]
                if pooled:
                    transform_tiles_back(
                        1, sums, step, out0, out1, out2, out3, out_step, m0, m1, m2, m3, bias, bounds, 0
                    )
                else:
                    residual = 0
                    if row[isa.RESIDUAL] >= 0:
                        residual = base + 4 * (row[isa.RESIDUAL] + channel * row[isa.RESIDUAL_STEP]) - target
                    transform_tiles_back(
                        0, sums, step, out0, out1, out2, out3, out_step, m0, m1, m2, m3, bias, bounds, residual
                    )
            sums += 4 * row[isa.SPAN_STEP]
            bias += 4
            target += 4 * row[isa.TARGET_STEP]


@compiled()
def _spill(row: Any, channel: int, arena: Any, tiles: Any, q: int, sums: int, spilled: int) -> None:
    """The same for a vector of tiles of which some rows lie beside the image: by way of the scratch."""
    base, pooled = arena.ctypes.data, row[isa.POOLED_FLOATS] > 0
    step = 4 * row[isa.SPAN_OUTPUTS] * row[isa.SPAN_STEP]
    wide = LANES // 2 if pooled else LANES
    room, target = 4 * LANES, row[isa.TARGET] + channel * row[isa.TARGET_STEP]
    residual = 16 * LANES if row[isa.RESIDUAL] >= 0 else 0
    if residual > 0:
        for i in range(4):
            at = row[isa.RESIDUAL] + channel * row[isa.RESIDUAL_STEP] + tiles[q + i, isa.TILE_OUTPUT]
            for y in range(tiles[q + i, isa.TILE_ROWS]):
                for x in range(LANES):
                    arena[spilled + residual + i * room + y * LANES + x] = arena[at + y * row[isa.TARGET_ROW] + x]
    out, bias, bounds = base + 4 * spilled, base + 4 * (row[isa.BIAS] + channel), base + 4 * row[isa.BOUNDS]
    m0, m1 = base + 4 * tiles[q, isa.TILE_MASKS], base + 4 * tiles[q + 1, isa.TILE_MASKS]
    m2, m3 = base + 4 * tiles[q + 2, isa.TILE_MASKS], base + 4 * tiles[q + 3, isa.TILE_MASKS]
    out1, out2, out3 = out + 4 * room, out + 8 * room, out + 12 * room
    if pooled:
        transform_tiles_back(1, sums, step, out, out1, out2, out3, 4 * LANES, m0, m1, m2, m3, bias, bounds, 0)
    else:
        transform_tiles_back(
            0, sums, step, out, out1, out2, out3, 4 * LANES, m0, m1, m2, m3, bias, bounds, 4 * residual
        )
    for i in range(4):
        for y in range(tiles[q + i, isa.TILE_ROWS]):
            at = target + tiles[q + i, isa.TILE_OUTPUT] + y * row[isa.TARGET_ROW]
            for x in range(wide):
                arena[at + x] = arena[spilled + i * room + y * LANES + x]
