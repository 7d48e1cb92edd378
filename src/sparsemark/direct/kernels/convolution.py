"""Sparse convolution: tiles, blocks of input channels and chunks of output channels around a microkernel."""

from __future__ import annotations

from typing import Any

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.microkernels import CONVOLVE
from sparsemark.direct.kernels.sizes import tile_channels, tile_vectors
from sparsemark.direct.kernels.vectors import largest_of_four
from sparsemark.direct.target import LANES

_convolve = CONVOLVE.external()


@compiled()
def _pool_squares(row: Any, base: int, full: int, tiles: Any, tile: int, first: int, last: int) -> None:
    """Take the largest of each 2 x 2 square of rows that are still in the cache."""
    width, vectors, rows = 4 * row[isa.SOURCE_ROW], row[isa.SOURCE_ROW] // LANES, tiles[tile, isa.TILE_ROWS] // 2
    source_step, target_step, target_row = 4 * row[isa.POOLED_FLOATS], 4 * row[isa.TARGET_STEP], 4 * row[isa.TARGET_ROW]
    source = full + first * source_step
    target = base + 4 * (row[isa.TARGET] + tiles[tile, isa.TILE_POOLED]) + first * target_step
    for _ in range(first, last):
        for y in range(rows):
            upper, out = source + 2 * y * width, target + y * target_row
            for _ in range(vectors):
                largest_of_four(upper, upper + width, out)
                upper += 4 * LANES
                out += 2 * LANES
        source += source_step
        target += target_step


@compiled()
def convolve_unit(
    _size: int,
    row: Any,
    unit: int,
    base: int,
    data: int,
    sums: int,
    records: int,
    pointers: int,
    tiles: Any,
    scratch: int,
) -> None:
    """One unit of work: one group of tiles, one chunk of output channels; a block's inputs stay in the first cache.

    Where channels are read from lies behind the address `data`, where they are written behind `sums`. `_size` is the
    place of the tile's size in `isa.MICROKERNELS`; see `sizes`.
    """
    channels, vectors = tile_channels(), tile_vectors()
    floats = vectors * LANES
    # Read once: the compiler cannot know that storing a sum leaves the program as it is.
    outputs, blocks, pooled, chunks = row[isa.CHANNELS], row[isa.BLOCKS], row[isa.POOLED_FLOATS], row[isa.CHUNKS]
    right, left, bias_at, bounds = row[isa.RIGHT], row[isa.LEFT], row[isa.BIAS], base + 4 * row[isa.BOUNDS]
    residual, residual_step, all_flags = row[isa.RESIDUAL], row[isa.RESIDUAL_STEP], row[isa.FLAGS]
    own_records, phases = records + 4 * row[isa.RECORDS], right + left + 1
    groups = (outputs + channels - 1) // channels
    # All groups of tiles for one chunk of outputs, whose weights stay in the second cache, then for the next one.
    first_tile, chunk = row[isa.TILES] + unit % row[isa.GROUPS] * row[isa.GROUP], unit // row[isa.GROUPS]
    first, last = chunk * groups // chunks, (chunk + 1) * groups // chunks
    partial = base + 4 * scratch
    full = partial + 4 * groups * channels * floats if blocks > 1 else partial
    target, step = (full, pooled) if pooled else (sums + 4 * row[isa.TARGET], row[isa.TARGET_STEP])
    zeros = bounds + 8
    for t in range(first_tile, first_tile + row[isa.GROUP]):
        pixel, offset = tiles[t, isa.TILE_INPUT], tiles[t, isa.TILE_OUTPUT]
        inputs = data + 4 * (row[isa.SOURCE] + pixel)
        masks, which = base + 4 * tiles[t, isa.TILE_MASKS], tiles[t, isa.TILE_VECTORS]
        for block in range(blocks):
            at = pointers + 4 * (row[isa.POINTERS] + (block * groups + first) * phases)
            for g in range(first, last):
                # The last tile begins as early as it must to be whole, and repeats channels of the one before.
                channel = min(g * channels, outputs - channels)
                mine = partial + 4 * g * channels * floats
                start, start_step, bias = 0, 0, base + 4 * (bias_at + channel)
                if block > 0:
                    start, start_step, bias = mine, floats, zeros
                elif residual >= 0:
                    start = base + 4 * (residual + channel * residual_step + pixel)
                    start_step = residual_step
                out, out_step, kept, flags = mine, floats, (1 << vectors) - 1, 0
                if block == blocks - 1:
                    out, out_step, kept, flags = target + 4 * (channel * step + offset), step, which, all_flags
                _convolve(
                    inputs,
                    own_records,
                    at,
                    right,
                    left,
                    bias,
                    start,
                    4 * start_step,
                    masks,
                    out,
                    4 * out_step,
                    kept,
                    flags,
                    bounds,
                )
                at += 4 * phases
    if pooled:
        _pool_squares(row, base, full, tiles, first_tile, first * channels, min(last * channels, outputs))
