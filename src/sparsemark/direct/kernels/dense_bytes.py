"""Microkernel of the dense form of a convolution of bytes, for AVX-512 with VNNI, written as LLVM IR.

A record has the offset of a pixel and the blocks of four output channels: see `sparsemark.direct.dense_bytes`. Sums of
all four stay in registers, 512 bits each, as do the four blocks, each in every lane: one load of sixteen pixels serves
four products, so that loads across two lines of the cache do not hold up the multiplier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsemark.direct.dense_bytes import PIXELS, TOGETHER
from sparsemark.direct.kernels.emitter import F32, I32, I64, Emitter, places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_I8, _I16 = ir.IntType(8), ir.IntType(16)
_WORDS, _FLOATS = ir.VectorType(I32, PIXELS), ir.VectorType(F32, PIXELS)
_SHORTS, _BYTES = ir.VectorType(_I16, 2 * PIXELS), ir.VectorType(_I8, 4 * PIXELS)
_SIZE = 4 * PIXELS
"""Bytes of a vector."""

_AS_SET = I32(4)
"""Rounding mode of a conversion: that of the processor's state, to nearest and ties to even."""


class _Tile(Emitter):
    """Emitter of one tile: `rows` rows of `vectors` vectors, of four output channels together."""

    def __init__(self, builder: ir.IRBuilder, rows: int, vectors: int) -> None:
        super().__init__(builder)
        self.vectors, self.count = vectors, rows * vectors

    def call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        """Call an intrinsic of LLVM."""
        module = self.b.module
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        return self.b.call(module.globals.get(name) or ir.Function(module, kind, name), list(operands))

    def everywhere(self, scalar: ir.Value, kind: ir.VectorType) -> ir.Value:
        """A scalar in every lane."""
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.b.insert_element(undefined, scalar, I32(0))
        return self.b.shuffle_vector(first, undefined, places_of([0] * kind.count))

    def at(self, base: ir.Value, stride: ir.Value, index: int) -> ir.Value:
        """Address of a vector of the tile."""
        row = self.b.add(base, self.b.mul(stride, I64(index // self.vectors)))
        return self.plus(row, _SIZE * (index % self.vectors))

    def four(self, address: ir.Value, kind: ir.VectorType) -> list[ir.Value]:
        """Return the numbers of four channels, each in every lane."""
        return [
            self.everywhere(self.load(self.plus(address, 4 * channel), kind.element), kind)
            for channel in range(TOGETHER)
        ]

    def rounded(self, sums: ir.Value, scale: ir.Value) -> ir.Value:
        """Sums times a scale, to the nearest integer, ties to even."""
        scaled = self.b.fmul(self.b.sitofp(sums, _FLOATS), scale)
        every = ir.Constant(_I16, 2**16 - 1)
        return self.call("llvm.x86.avx512.mask.cvtps2dq.512", _WORDS, scaled, ir.Constant(_WORDS, None), every, _AS_SET)

    def joined(self, four: Sequence[ir.Value], zero: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
        """Words of the integers of four channels: zero point added, within bounds."""
        pairs = [
            self.call("llvm.x86.avx512.packssdw.512", _SHORTS, one, other)
            for one, other in zip(four[::2], four[1::2], strict=True)
        ]
        pairs = [self.call(f"llvm.sadd.sat.v{_SHORTS.count}i16", _SHORTS, pair, zero) for pair in pairs]
        packed = self.call("llvm.x86.avx512.packuswb.512", _BYTES, *pairs)
        # Within each quarter of a register: four pixels of each channel; then the bytes of each pixel side by side.
        lanes = [16 * part + 4 * channel + pixel for part in range(4) for pixel in range(4) for channel in range(4)]
        turned = self.b.shuffle_vector(packed, ir.Constant(_BYTES, ir.Undefined), places_of(lanes))
        turned = self.call(f"llvm.umax.v{_BYTES.count}i8", _BYTES, turned, low)
        return self.b.bitcast(self.call(f"llvm.umin.v{_BYTES.count}i8", _BYTES, turned, high), _WORDS)


def emit_dense_tile(builder: ir.IRBuilder, rows: int, vectors: int, arguments: Sequence[ir.Value]) -> None:
    """Emit the tile; the arguments are those of `convolve_dense_blocks`, 64-bit integers."""
    b = builder
    inputs, stride, records, pointers, bias, scales, levels, masks, out, out_stride = arguments
    tile = _Tile(b, rows, vectors)
    sums = [[cgutils.alloca_once(b, _WORDS) for _ in range(tile.count)] for _ in range(TOGETHER)]
    for variables, start in zip(sums, tile.four(bias, _WORDS), strict=True):
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
    weights = tile.four(tile.plus(record, 4), _WORDS)
    for index in range(tile.count):
        pixels = tile.load(tile.at(place, stride, index), _WORDS)
        for variables, weight in zip(sums, weights, strict=True):
            total = b.load(variables[index])
            b.store(tile.call("llvm.x86.avx512.vpdpbusd.512", _WORDS, total, pixels, weight), variables[index])
    b.store(tile.plus(record, 4 * (1 + TOGETHER)), cursor)
    b.branch(head)
    b.position_at_end(done)
    zero, low, high, fill = (tile.load(tile.plus(levels, 4 * k), I32) for k in range(4))
    zeros = tile.everywhere(b.trunc(zero, _I16), _SHORTS)
    bounds = [tile.everywhere(b.trunc(bound, _I8), _BYTES) for bound in (low, high)]
    filled, factors = tile.everywhere(fill, _WORDS), tile.four(scales, _FLOATS)
    for index in range(tile.count):
        four = [tile.rounded(b.load(own[index]), factor) for own, factor in zip(sums, factors, strict=True)]
        mask = tile.load(tile.plus(masks, _SIZE * (index % vectors)), _WORDS)
        is_pixel = b.icmp_signed("!=", mask, ir.Constant(_WORDS, None))
        tile.store(b.select(is_pixel, tile.joined(four, zeros, *bounds), filled), tile.at(out, out_stride, index))


def _convolve_dense_blocks(
    typing_context: Any,
    rows: Any,
    vectors: Any,
    inputs: Any,
    stride: Any,
    records: Any,
    pointers: Any,
    bias: Any,
    scales: Any,
    levels: Any,
    masks: Any,
    out: Any,
    out_stride: Any,
) -> Any:
    """Compute one tile of four output channels.

    Args, those of `blocks.convolve_blocks` but:
        pointers: of these channels, two int32 that count words: where their records begin and end.
    """
    if not (isinstance(rows, types.IntegerLiteral) and isinstance(vectors, types.IntegerLiteral)):
        return None
    counts = rows.literal_value, vectors.literal_value
    signature = types.void(rows, vectors, *[types.int64] * 10)

    def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        emit_dense_tile(builder, *counts, arguments[2:])
        return context.get_dummy_value()

    return signature, generate


# Called from compiled code, without the typing context.
convolve_dense_blocks: Any = intrinsic(_convolve_dense_blocks)
