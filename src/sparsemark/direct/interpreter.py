"""The machine that runs a planned network: one native call an image, whatever the network.

A program is a table of int64 with a row an operation; `table` names its columns. The machine is compiled once for all
networks, by Numba, and kept on disk. Any number of threads may run one program together: each takes units of work from
a counter, and goes on to the next operation when all units of this one are done.
"""

from __future__ import annotations

from typing import Any

from numba.misc.special import literally

from sparsemark.direct import isa
from sparsemark.direct.jit import compiled
from sparsemark.direct.kernels import convolve, fetch_add, largest_of_four
from sparsemark.direct.operations import copy_planes, multiply, operate
from sparsemark.direct.target import LANES
from sparsemark.direct.winograd_transforms import transform, transform_back


@compiled(inline="always")
def execute(
    program: Any,
    arena: Any,
    base: int,
    image: Any,
    records: int,
    pointers: int,
    tiles: Any,
    rows: Any,
    columns: Any,
    values: Any,
    counters: int,
    scratch: int,
) -> None:
    """Run a program, alone or beside other threads that run the same one.

    Args:
        program: int64, shape (operations, COLUMNS).
        arena: float32; constants, activations, scratch.
        base: address of the arena.
        image: float32, flat; one input.
        records: address of what `convolve` reads.
        pointers: the same.
        tiles: int64, shape (n, 6).
        rows: int32; row pointers of all linear layers, one after the other.
        columns: int32; their columns.
        values: float32; their non-zeros.
        counters: address of two int64 an operation, all 0 at first.
        scratch: where in the arena this thread's own floats begin.
    """
    for i in range(len(program)):
        row = program[i]
        taken, finished = counters + 16 * i, counters + 16 * i + 8
        while True:
            unit: Any = fetch_add(taken, 1)
            if unit >= row[isa.UNITS]:
                break
            if row[isa.OP] == isa.CONVOLVE or row[isa.OP] == isa.WINOGRAD:
                # Called from one place only: each call is a copy of all kernels to compile.
                kernel, part, data = row, unit, base
                if row[isa.OP] == isa.WINOGRAD:
                    transform(row, unit, arena, tiles, scratch)
                    kernel, part, data = program[i + 1], 0, base + 4 * scratch
                _convolve(kernel, part, base, data, records, pointers, tiles, scratch)
                if row[isa.OP] == isa.WINOGRAD:
                    transform_back(row, unit, arena, tiles, scratch)
            elif row[isa.OP] == isa.INPUT:
                copy_planes(row, unit, image, arena)
            elif row[isa.OP] == isa.LINEAR:
                multiply(row, unit, arena, rows, columns, values)
            else:
                operate(row, unit, arena, scratch)
            fetch_add(finished, 1)
        while fetch_add(finished, 0) < row[isa.UNITS]:
            pass


@compiled(inline="always")
def _convolve(row: Any, unit: int, base: int, data: int, records: int, pointers: int, tiles: Any, scratch: int) -> None:
    microkernel = row[isa.MICROKERNEL]
    if microkernel == 0:
        _tiles(1, 1, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 1:
        _tiles(1, 4, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 2:
        _tiles(1, 7, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 3:
        _tiles(1, 8, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 4:
        _tiles(1, 12, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 5:
        _tiles(1, 14, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 6:
        _tiles(1, 16, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 7:
        _tiles(2, 7, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 8:
        _tiles(2, 8, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 9:
        _tiles(4, 1, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 10:
        _tiles(4, 4, row, unit, base, data, records, pointers, tiles, scratch)
    elif microkernel == 11:
        _tiles(4, 6, row, unit, base, data, records, pointers, tiles, scratch)


@compiled()
def _tiles(
    channels: int,
    vectors: int,
    row: Any,
    unit: int,
    base: int,
    data: int,
    records: int,
    pointers: int,
    tiles: Any,
    scratch: int,
) -> None:
    """One group of tiles, one chunk of the output channels; the inputs of a block stay in the first cache meanwhile."""
    literally(channels)
    literally(vectors)
    floats = vectors * LANES
    # Read once: the compiler cannot know that storing a sum leaves the program as it is.
    outputs, blocks, pooled, chunks = row[isa.CHANNELS], row[isa.BLOCKS], row[isa.POOLED_FLOATS], row[isa.CHUNKS]
    right, left, bias_at, bounds = row[isa.RIGHT], row[isa.LEFT], row[isa.BIAS], base + 4 * row[isa.BOUNDS]
    residual, residual_step, all_flags = row[isa.RESIDUAL], row[isa.RESIDUAL_STEP], row[isa.FLAGS]
    own_records, groups, phases = records + 4 * row[isa.RECORDS], outputs // channels, right + left + 1
    first_tile = row[isa.TILES] + unit // chunks * row[isa.GROUP]
    first, last = unit % chunks * groups // chunks, (unit % chunks + 1) * groups // chunks
    partial = base + 4 * scratch
    full = partial + 4 * outputs * floats if blocks > 1 else partial
    target, step = (full, pooled) if pooled else (data + 4 * row[isa.TARGET], row[isa.TARGET_STEP])
    zeros = bounds + 8
    for t in range(first_tile, first_tile + row[isa.GROUP]):
        pixel, offset = tiles[t, isa.TILE_INPUT], tiles[t, isa.TILE_OUTPUT]
        inputs = data + 4 * (row[isa.SOURCE] + pixel)
        masks, which = base + 4 * tiles[t, isa.TILE_MASKS], tiles[t, isa.TILE_VECTORS]
        for block in range(blocks):
            at = pointers + 4 * (row[isa.POINTERS] + (block * groups + first) * phases)
            for g in range(first, last):
                channel = g * channels
                mine = partial + 4 * channel * floats
                start, start_step, bias = 0, 0, base + 4 * (bias_at + channel)
                if block > 0:
                    start, start_step, bias = mine, floats, zeros
                elif residual >= 0:
                    start = base + 4 * (residual + channel * residual_step + pixel)
                    start_step = residual_step
                out, out_step, kept, flags = mine, floats, (1 << vectors) - 1, 0
                if block == blocks - 1:
                    out, out_step, kept, flags = target + 4 * (channel * step + offset), step, which, all_flags
                convolve(
                    channels,
                    vectors,
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
        _pool_squares(row, base, full, tiles, first_tile, first * channels, last * channels)


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
