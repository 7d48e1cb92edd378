"""Emitter of vectors of 512 bits for convolutions of bytes: sixteen pixels of four channels each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sparsemark.direct.dense_bytes import PIXELS, TOGETHER
from sparsemark.direct.kernels.emitter import F32, I32, I64, Emitter, places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

I8, I16 = ir.IntType(8), ir.IntType(16)
WORDS, FLOATS = ir.VectorType(I32, PIXELS), ir.VectorType(F32, PIXELS)
SHORTS, BYTES = ir.VectorType(I16, 2 * PIXELS), ir.VectorType(I8, 4 * PIXELS)
SIZE = 4 * PIXELS
"""Bytes of a vector."""

_AS_SET = I32(4)
"""Rounding mode of a conversion: that of the processor's state, to nearest and ties to even."""


class WideTile(Emitter):
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
        return self.plus(row, SIZE * (index % self.vectors))

    def four(self, address: ir.Value, kind: ir.VectorType) -> list[ir.Value]:
        """Return the numbers of four channels, each in every lane."""
        return [
            self.everywhere(self.load(self.plus(address, 4 * channel), kind.element), kind)
            for channel in range(TOGETHER)
        ]

    def dot(self, total: ir.Value, pixels: ir.Value, weights: ir.Value) -> ir.Value:
        """Add to 32-bit sums the four products of a block."""
        return self.call("llvm.x86.avx512.vpdpbusd.512", WORDS, total, pixels, weights)

    def rounded(self, sums: ir.Value, scale: ir.Value) -> ir.Value:
        """Sums times a scale, to the nearest integer, ties to even."""
        scaled = self.b.fmul(self.b.sitofp(sums, FLOATS), scale)
        every = ir.Constant(I16, 2**16 - 1)
        return self.call("llvm.x86.avx512.mask.cvtps2dq.512", WORDS, scaled, ir.Constant(WORDS, None), every, _AS_SET)

    def paired(self, one: ir.Value, other: ir.Value) -> ir.Value:
        """Integers of two channels, saturated to 16 bits, each quarter of a register four of each."""
        return self.call("llvm.x86.avx512.packssdw.512", SHORTS, one, other)

    def joined(self, pairs: Sequence[ir.Value], zero: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
        """Words of the integers of two pairs of channels: zero point added, within bounds."""
        pairs = [self.call(f"llvm.sadd.sat.v{SHORTS.count}i16", SHORTS, pair, zero) for pair in pairs]
        packed = self.call("llvm.x86.avx512.packuswb.512", BYTES, *pairs)
        # Within each quarter of a register: four pixels of each channel; then the bytes of each pixel side by side.
        lanes = [16 * part + 4 * channel + pixel for part in range(4) for pixel in range(4) for channel in range(4)]
        turned = self.b.shuffle_vector(packed, ir.Constant(BYTES, ir.Undefined), places_of(lanes))
        turned = self.call(f"llvm.umax.v{BYTES.count}i8", BYTES, turned, low)
        return self.b.bitcast(self.call(f"llvm.umin.v{BYTES.count}i8", BYTES, turned, high), WORDS)

    def finish(
        self,
        pairs: Callable[[int], Sequence[ir.Value]],
        levels: ir.Value,
        masks: ir.Value,
        place: tuple[ir.Value, ir.Value],
    ) -> None:
        """Write the words of all vectors, from the integers of two pairs of channels, and what surrounds the image.

        Args:
            pairs: integers of a vector; see `paired`.
            levels: address of the zero point, the least and the largest value, and the word around the image.
            masks: address of a vector for each of a row: not 0 where a pixel is.
            place: address of the first vector, and bytes from one row to the next.
        """
        b = self.b
        zero, low, high, fill = (self.load(self.plus(levels, 4 * k), I32) for k in range(4))
        zeros = self.everywhere(b.trunc(zero, I16), SHORTS)
        bounds = [self.everywhere(b.trunc(bound, I8), BYTES) for bound in (low, high)]
        filled = self.everywhere(fill, WORDS)
        for index in range(self.count):
            mask = self.load(self.plus(masks, SIZE * (index % self.vectors)), WORDS)
            is_pixel = b.icmp_signed("!=", mask, ir.Constant(WORDS, None))
            words = self.joined(pairs(index), zeros, *bounds)
            self.store(b.select(is_pixel, words, filled), self.at(*place, index))


def microkernel(emit: Callable[[WideTile, Sequence[ir.Value]], None]) -> Any:
    """Return an intrinsic that computes one tile of four output channels.

    Args:
        emit: code of a tile; takes the ten operands below.

    Operands of the intrinsic, 64-bit integers unless said otherwise, addresses and strides in bytes:
        rows, vectors: literals; size of the tile.
        inputs: where the tile lies in the first four input channels; stride: from one of its rows to the next.
        records: all of the layer's.
        pointers: int32 that count words of the records: where those of these channels begin, and behind them the end.
        bias: int32 of these channels; scales: four float32.
        levels: four int32: zero point of the output, its least and largest value, and the word around it.
        masks: a vector of int32 for each vector of a row: not 0 where a pixel is.
        out, out_stride: where the words go.
    """

    def typed(
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
        if not (isinstance(rows, types.IntegerLiteral) and isinstance(vectors, types.IntegerLiteral)):
            return None
        size = rows.literal_value, vectors.literal_value

        def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
            emit(WideTile(builder, *size), arguments[2:])
            return context.get_dummy_value()

        return types.void(rows, vectors, *[types.int64] * 10), generate

    return intrinsic(typed)
