"""Microkernel of the sparse form of a convolution of bytes for AVX-512 with VNNI, written as LLVM IR.

See `sparsemark.direct.wide_blocks`. Sums of one output channel stay in registers, 512 bits each, while its records
stream past: first those of the column right of the centre, whose sums then move left by a lane, then the centre's; the
sums move left again for those of the column left of it, and back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba.core import cgutils

from sparsemark.direct.dense_bytes import PIXELS, TOGETHER
from sparsemark.direct.kernels.emitter import F32, I32, I64, places_of
from sparsemark.direct.kernels.wide import FLOATS, SHORTS, SIZE, WORDS, WideTile, microkernel
from sparsemark.direct.wide_blocks import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

_RECORD = 8
"""Bytes of an offset and four weights."""


class _Sums:
    """Sums of one output channel in a tile."""

    def __init__(self, tile: WideTile) -> None:
        self.tile, self.b = tile, tile.b
        self.variables = [cgutils.alloca_once(self.b, WORDS) for _ in range(tile.count)]

    def get(self) -> list[ir.Value]:
        """Return all vectors."""
        return [self.b.load(variable) for variable in self.variables]

    def put(self, values: Sequence[ir.Value]) -> None:
        """Set all vectors."""
        for variable, value in zip(self.variables, values, strict=True):
            self.b.store(value, variable)

    def accumulate(self, cursor: ir.Value, stop: ir.Value, rows: Sequence[ir.Value]) -> None:
        """Add the records from a cursor to an end; `rows` are addresses of the tile's rows."""
        b, tile = self.b, self.tile
        head, body, done = (b.append_basic_block(name) for name in ("records", "record", "summed"))
        b.branch(head)
        b.position_at_end(head)
        b.cbranch(b.icmp_signed("<", b.load(cursor), stop), body, done)
        b.position_at_end(body)
        record = b.load(cursor)
        offset = b.sext(tile.load(record, I32), I64)
        weights = tile.everywhere(tile.load(tile.plus(record, 4), I32), WORDS)
        for index, variable in enumerate(self.variables):
            place = tile.plus(b.add(rows[index // tile.vectors], offset), SIZE * (index % tile.vectors))
            b.store(tile.dot(b.load(variable), tile.load(place, WORDS), weights), variable)
        b.store(tile.plus(record, _RECORD), cursor)
        b.branch(head)
        b.position_at_end(done)

    def move_left(self, incoming: ir.Value) -> None:
        """Move every row by a lane; the vector's first lane moves in."""
        old, last = self.get(), self.tile.vectors - 1
        lanes = places_of(range(1, PIXELS + 1))
        following = [incoming if i % self.tile.vectors == last else old[i + 1] for i in range(len(old))]
        self.put([self.b.shuffle_vector(one, other, lanes) for one, other in zip(old, following, strict=True)])

    def move_right(self, first: Sequence[ir.Value]) -> None:
        """Move every row by a lane back; the first lane of its own vector moves in."""
        old, moved = self.get(), []
        for index, value in enumerate(old):
            row, vector = divmod(index, self.tile.vectors)
            preceding, lane = (old[index - 1], PIXELS - 1) if vector else (first[row], 0)
            moved.append(self.b.shuffle_vector(preceding, value, places_of([lane, *range(PIXELS, 2 * PIXELS - 1)])))
        self.put(moved)

    def largest(self) -> list[ir.Value]:
        """Return the largest of each 2 x 2 square, row by row; the last vector of a row may be half of one."""
        b, tile, vectors = self.b, self.tile, self.tile.vectors
        old, found = self.get(), []
        places = [places_of(range(start, 2 * PIXELS, 2)) for start in (0, 1)]

        def larger(one: ir.Value, other: ir.Value) -> ir.Value:
            return tile.call(f"llvm.smax.v{PIXELS}i32", WORDS, one, other)

        for first in range(0, len(old), 2 * vectors):
            row = [larger(old[first + i], old[first + vectors + i]) for i in range(vectors)]
            for i in range(0, vectors, 2):
                pair = row[i], row[min(i + 1, vectors - 1)]
                found.append(larger(*(b.shuffle_vector(*pair, lanes) for lanes in places)))
        return found


def emit_pooled_tile(tile: WideTile, arguments: Sequence[ir.Value]) -> None:
    """Emit a tile whose 2 x 2 squares are pooled: half as many rows of half as many vectors."""
    emit_wide_tile(tile, arguments, pooled=True)


def emit_wide_tile(tile: WideTile, arguments: Sequence[ir.Value], *, pooled: bool = False) -> None:
    """Emit the tile.

    The arguments are the operands of `wide.microkernel`. Pointers: for each channel, where the records of each column
    begin. Bias: see `wide_blocks.EDGES`.
    """
    b = tile.b
    inputs, stride, records, pointers, bias, scales, levels, masks, out, out_stride = arguments
    made = WideTile(b, tile.count // tile.vectors // 2, -(-tile.vectors // 2)) if pooled else tile
    sums, rows = _Sums(tile), [b.add(inputs, b.mul(stride, I64(row))) for row in range(tile.count // tile.vectors)]
    with b.goto_entry_block():  # not Numba's own way, which would fill it with zeros at each call
        results = b.alloca(ir.ArrayType(SHORTS, TOGETHER // 2 * made.count))
    cursor, pair = cgutils.alloca_once(b, I64), cgutils.alloca_once(b, I64)

    def rounded(number: ir.Value) -> list[ir.Value]:
        own = b.add(bias, b.mul(number, I64(4)))
        start, from_right, at_left = (
            tile.everywhere(tile.load(tile.plus(own, 4 * TOGETHER * k), I32), WORDS) for k in range(3)
        )
        own = b.add(pointers, b.mul(number, I64(4 * len(COLUMNS))))
        ends = [b.sext(tile.load(tile.plus(own, 4 * k), I32), I64) for k in range(len(COLUMNS) + 1)]
        ends = [b.add(records, b.mul(end, I64(4))) for end in ends]
        sums.put([start] * tile.count)
        b.store(ends[0], cursor)
        with b.if_then(b.icmp_signed("<", ends[0], ends[1])):
            sums.accumulate(cursor, ends[1], rows)
            sums.move_left(from_right)
        sums.accumulate(cursor, ends[2], rows)
        with b.if_then(b.icmp_signed("<", ends[2], ends[3])):
            # Of the first pixels, which are moved out, nothing is missing but what surrounds the image.
            first = [b.add(one, at_left) for one in sums.get()[:: tile.vectors]]
            sums.move_left(start)
            sums.accumulate(cursor, ends[3], rows)
            sums.move_right(first)
        scale = tile.everywhere(tile.load(b.add(scales, b.mul(number, I64(4))), F32), FLOATS)
        return [tile.rounded(total, scale) for total in (sums.largest() if pooled else sums.get())]

    def result(of: ir.Value, index: int) -> ir.Value:
        return b.gep(results, [I32(0), b.add(b.mul(of, I64(made.count)), I64(index))], inbounds=True)

    b.store(I64(0), pair)
    head, body, done = (b.append_basic_block(name) for name in ("pairs", "pair", "whole"))
    b.branch(head)
    b.position_at_end(head)
    b.cbranch(b.icmp_signed("<", b.load(pair), I64(TOGETHER // 2)), body, done)
    b.position_at_end(body)
    number = b.load(pair)
    # The first channel waits in registers: stores of 512 bits take two cycles each, and one of a pair takes half.
    channels = [rounded(b.add(b.mul(number, I64(2)), I64(k))) for k in (0, 1)]
    for index, (one, other) in enumerate(zip(*channels, strict=True)):
        b.store(tile.paired(one, other), result(number, index))
    b.store(b.add(number, I64(1)), pair)
    b.branch(head)
    b.position_at_end(done)
    made.finish(
        lambda index: [b.load(result(I64(k), index)) for k in range(TOGETHER // 2)], levels, masks, (out, out_stride)
    )


# Called from compiled code, without the typing context.
convolve_wide_blocks: Any = microkernel(emit_wide_tile)
pool_wide_blocks: Any = microkernel(emit_pooled_tile)
