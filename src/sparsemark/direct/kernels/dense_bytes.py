"""Microkernel of the dense form of a convolution of bytes, for AVX-512 with VNNI, written as LLVM IR.

A record has the offset of a pixel and the blocks of four output channels: see `sparsemark.direct.dense_bytes`. Sums of
all four stay in registers, 512 bits each, as do the four blocks, each in every lane: one load of sixteen pixels serves
four products, so that loads across two lines of the cache do not hold up the multiplier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba.core import cgutils

from sparsemark.direct.dense_bytes import TOGETHER
from sparsemark.direct.kernels.emitter import I32, I64
from sparsemark.direct.kernels.wide import FLOATS, WORDS, WideTile, microkernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llvmlite import ir


def emit_dense_tile(tile: WideTile, arguments: Sequence[ir.Value]) -> None:
    """Emit the tile; the arguments are the operands of `wide.microkernel`, of which a bias has four numbers."""
    b = tile.b
    inputs, stride, records, pointers, bias, scales, levels, masks, out, out_stride = arguments
    sums = [[cgutils.alloca_once(b, WORDS) for _ in range(tile.count)] for _ in range(TOGETHER)]
    for variables, start in zip(sums, tile.four(bias, WORDS), strict=True):
        for variable in variables:
            b.store(start, variable)
    first, stop = (b.add(records, b.mul(b.sext(tile.load(tile.plus(pointers, at), I32), I64), I64(4))) for at in (0, 4))
    cursor = cgutils.alloca_once(b, I64)
    b.store(first, cursor)
    head, body, done = (b.append_basic_block(name) for name in ("records", "record", "summed"))
    b.branch(head)
    b.position_at_end(head)
    b.cbranch(b.icmp_signed("<", b.load(cursor), stop), body, done)
    b.position_at_end(body)
    record = b.load(cursor)
    place = b.add(inputs, b.sext(tile.load(record, I32), I64))
    weights = tile.four(tile.plus(record, 4), WORDS)
    for index in range(tile.count):
        pixels = tile.load(tile.at(place, stride, index), WORDS)
        for variables, weight in zip(sums, weights, strict=True):
            b.store(tile.dot(b.load(variables[index]), pixels, weight), variables[index])
    b.store(tile.plus(record, 4 * (1 + TOGETHER)), cursor)
    b.branch(head)
    b.position_at_end(done)
    factors = tile.four(scales, FLOATS)

    def pairs(index: int) -> list[ir.Value]:
        four = [tile.rounded(b.load(own[index]), factor) for own, factor in zip(sums, factors, strict=True)]
        return [tile.paired(*four[:2]), tile.paired(*four[2:])]

    tile.finish(pairs, levels, masks, (out, out_stride))


# Called from compiled code, without the typing context.
convolve_dense_blocks: Any = microkernel(emit_dense_tile)
