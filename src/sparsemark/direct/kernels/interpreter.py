"""The machine that runs a planned network: one native call an image, whatever the network.

A program is a table of int64 with a row an operation; `isa` names its columns. The machine is compiled once for all
networks, by Numba, and kept on disk. Any number of threads may run one program together. Each has a range of the units
of work of an operation, takes them one by one from its counter, and then those that others have left; it goes on to the
next operation when all units of this one are done. Ranges are of neighbouring rows, so that a thread reads what it made
itself: activations that another core made come slowly where the two share no cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.bytes import convolve_bytes, convolve_dense_bytes, convolve_pooled_bytes
from sparsemark.direct.kernels.convolution import convolve_unit
from sparsemark.direct.kernels.copying import copy_input
from sparsemark.direct.kernels.depthwise import split_phases
from sparsemark.direct.kernels.entries import external
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.matrix import multiply
from sparsemark.direct.kernels.operations import OPERATIONS, operate
from sparsemark.direct.kernels.products import multiply_unit
from sparsemark.direct.kernels.vectors import fetch_add, wait_for
from sparsemark.direct.kernels.winograd import transform, transform_back
from sparsemark.direct.layout import LINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.direct.kernels.jit import Function

_convolve_unit, _multiply_unit = external(convolve_unit), external(multiply_unit)
_transform, _transform_back, _split_phases = external(transform), external(transform_back), external(split_phases)
_convolve_bytes, _convolve_dense_bytes = external(convolve_bytes), external(convolve_dense_bytes)
_convolve_pooled_bytes = external(convolve_pooled_bytes)
_copy_input, _multiply = external(copy_input), external(multiply)


@compiled()
def execute(
    program: Any,
    arena: Any,
    records: int,
    pointers: int,
    tiles: Any,
    rows: Any,
    columns: Any,
    values: Any,
    counters: int,
    image: Any,
    scratch: int,
    thread: int,
    threads: int,
) -> None:
    """Run a program, alone or beside other threads that run the same one.

    Args:
        program: int64, shape (operations, COLUMNS).
        arena: float32; constants, activations, scratch.
        records: address of the packed weights.
        pointers: address of the pointers to them.
        tiles: int64, shape (n, 6).
        rows: int32; row pointers of all linear layers, one after the other.
        columns: int32; their columns.
        values: float32; their non-zeros.
        counters: address of lines of the cache, for each operation as many as threads and one more, all 0 at first.
        image: float32, flat; one input.
        scratch: where in the arena this thread's own floats begin.
        thread: number of this one.
        threads: that may run the program.
    """
    base = np.int64(arena.ctypes.data)
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
                    _transform(row, unit, arena, tiles, scratch)
                    kernel, part = program[i + 1], 0
                    data = sums = base + 4 * scratch
                elif row[isa.OP] == isa.DEPTHWISE:
                    kernel, data = program[i + 1], base + 4 * scratch
                    _split_phases(row, kernel, unit, arena, scratch)
                _convolve_unit(
                    kernel[isa.MICROKERNEL], kernel, part, base, data, sums, records, pointers, tiles, scratch
                )
                if row[isa.OP] == isa.WINOGRAD:
                    _transform_back(row, unit, arena, tiles, scratch)
            elif row[isa.OP] == isa.PRODUCT:
                _multiply_unit(row[isa.MICROKERNEL], row, unit, base, records, tiles)
            elif row[isa.OP] == isa.INPUT:
                _copy_input(row, unit, image, arena)
            elif row[isa.OP] == isa.CONVOLVE_BYTES:
                _convolve_bytes(row, unit, base, records, pointers, tiles, arena)
            elif row[isa.OP] == isa.CONVOLVE_POOLED_BYTES:
                _convolve_pooled_bytes(row, unit, base, records, pointers, tiles, arena)
            elif row[isa.OP] == isa.CONVOLVE_DENSE_BYTES:
                _convolve_dense_bytes(row, unit, base, records, pointers, tiles, arena)
            elif row[isa.OP] == isa.LINEAR:
                _multiply(row, unit, arena, rows, columns, values)
            else:
                operate(row, unit, arena, scratch)
            done += 1
        finished = own + LINE * threads
        if done:
            fetch_add(finished, done)
        wait_for(finished, units)


ENTRIES: Sequence[Function] = (
    *(convolve_unit, convolve_bytes, convolve_pooled_bytes, convolve_dense_bytes, transform_back, multiply_unit),
    *OPERATIONS.values(),
    *(transform, split_phases, copy_input, multiply, execute),
)
"""All entries, in the order in which they are compiled: those that take longest first, and last the one that calls."""
