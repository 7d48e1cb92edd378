"""The machine that runs a planned network: one native call an image, whatever the network.

A program is a table of int64 with a row an operation; `isa` names its columns. The machine is compiled once for all
networks, by Numba, and kept on disk. Any number of threads may run one program together. Each has a range of the units
of work of an operation, takes them one by one from its counter, and then those that others have left; it goes on to the
next operation when all units of this one are done. Ranges are of neighbouring rows, so that a thread reads what it made
itself: activations that another core made come slowly where the two share no cache.
"""

from __future__ import annotations

from typing import Any

from sparsemark.direct import isa
from sparsemark.direct.kernels.bytes import convolve_bytes, convolve_dense_bytes, convolve_pooled_bytes
from sparsemark.direct.kernels.convolution import convolve_unit
from sparsemark.direct.kernels.copying import copy_channels
from sparsemark.direct.kernels.depthwise import split_phases
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.matrix import multiply
from sparsemark.direct.kernels.operations import operate
from sparsemark.direct.kernels.products import multiply_unit
from sparsemark.direct.kernels.vectors import fetch_add, wait_for
from sparsemark.direct.kernels.winograd import transform, transform_back
from sparsemark.direct.layout import LINE


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
    thread: int,
    threads: int,
) -> None:
    """Run a program, alone or beside other threads that run the same one.

    Args:
        program: int64, shape (operations, COLUMNS).
        arena: float32; constants, activations, scratch.
        base: address of the arena.
        image: float32, flat; one input.
        records: address of the packed weights.
        pointers: address of the pointers to them.
        tiles: int64, shape (n, 6).
        rows: int32; row pointers of all linear layers, one after the other.
        columns: int32; their columns.
        values: float32; their non-zeros.
        counters: address of lines of the cache, for each operation as many as threads and one more, all 0 at first.
        scratch: where in the arena this thread's own floats begin.
        thread: number of this one.
        threads: that may run the program.
    """
    for i in range(len(program)):
        row = program[i]
        units, own = row[isa.UNITS], counters + LINE * (threads + 1) * i
        groups = row[isa.GROUPS] if row[isa.GROUPS] >= threads else units
        chunks, done, turn = units // max(groups, 1), 0, 0
        while turn < threads:
            # Of each chunk of output channels, a share of the tiles; of an operation without tiles, of all units.
            whose = (thread + turn) % threads
            first = whose * groups // threads
            count = (whose + 1) * groups // threads - first
            number: Any = fetch_add(own + LINE * whose, 1)
            if number >= count * chunks:
                turn += 1
                continue
            unit: Any = number // count * groups + first + number % count
            if row[isa.OP] == isa.CONVOLVE or row[isa.OP] == isa.WINOGRAD or row[isa.OP] == isa.DEPTHWISE:
                kernel, part, data, sums = row, unit, base, base
                if row[isa.OP] == isa.WINOGRAD:
                    transform(row, unit, arena, tiles, scratch)
                    kernel, part = program[i + 1], 0
                    data = sums = base + 4 * scratch
                elif row[isa.OP] == isa.DEPTHWISE:
                    kernel, data = program[i + 1], base + 4 * scratch
                    split_phases(row, kernel, unit, arena, scratch)
                convolve_unit(
                    kernel[isa.MICROKERNEL], kernel, part, base, data, sums, records, pointers, tiles, scratch
                )
                if row[isa.OP] == isa.WINOGRAD:
                    transform_back(row, unit, arena, tiles, scratch)
            elif row[isa.OP] == isa.PRODUCT:
                multiply_unit(row[isa.MICROKERNEL], row, unit, base, records, tiles)
            elif row[isa.OP] == isa.INPUT:
                copy_channels(row, unit, image, arena)
            elif row[isa.OP] == isa.CONVOLVE_BYTES:
                convolve_bytes(row, unit, base, records, pointers, tiles, arena)
            elif row[isa.OP] == isa.CONVOLVE_POOLED_BYTES:
                convolve_pooled_bytes(row, unit, base, records, pointers, tiles, arena)
            elif row[isa.OP] == isa.CONVOLVE_DENSE_BYTES:
                convolve_dense_bytes(row, unit, base, records, pointers, tiles, arena)
            elif row[isa.OP] == isa.LINEAR:
                multiply(row, unit, arena, rows, columns, values)
            else:
                operate(row, unit, arena, scratch)
            done += 1
        finished = own + LINE * threads
        if done:
            fetch_add(finished, done)
        wait_for(finished, units)
