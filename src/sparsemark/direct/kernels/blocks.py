"""Microkernel of a convolution of bytes over blocks of four input channels, written as LLVM IR.

Activations are unsigned bytes, four channels of a pixel side by side: a word of 32 bits. A vector is eight pixels.
Weights are signed bytes; a record has the offset of a pixel and the four weights of a block. A tile of output pixels of
one output channel stays in registers, as 32-bit sums, while its records stream past. Four channels make the words of
the output.

How a block is multiplied depends on the processor:

- `PAIRS`, for AVX2: `vpmaddubsw` adds two products in 16 bits, which could saturate; `vpmaddwd` adds two of these in 32
  bits. `sparsemark.direct.blocks` puts only such blocks together, four or two, whose sums fit into 16 bits whatever the
  activations are; then one `vpmaddwd` serves them all.
- `PLAIN`: products in 32 bits, for any processor.

Processors with AVX-512 and VNNI run `kernels.wide_blocks` instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsemark.direct.block_forms import FORM, PAIRS, PLAIN, TOGETHER
from sparsemark.direct.kernels.emitter import I32, I64
from sparsemark.direct.layout import WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_I8, _I16, _F32 = ir.IntType(8), ir.IntType(16), ir.FloatType()
_WORDS = ir.VectorType(I32, WORDS)
_BYTES = ir.VectorType(_I8, 4 * WORDS)
_SHORTS = ir.VectorType(_I16, 2 * WORDS)
_FLOATS = ir.VectorType(_F32, WORDS)
_SIZE = 4 * WORDS
"""Bytes of a vector."""


def _same(kind: ir.VectorType, number: int) -> ir.Constant:
    return ir.Constant(kind, [number] * kind.count)


class Tile:
    """Emitter of one tile: `rows` rows of `vectors` vectors, of four output channels one after the other."""

    def __init__(self, builder: ir.IRBuilder, rows: int, vectors: int, form: str) -> None:
        self.b, self.rows, self.vectors, self.form = builder, rows, vectors, form
        self.count = rows * vectors

    def load(self, address: ir.Value, kind: ir.Type) -> ir.Value:
        """Return the value at an address."""
        loaded = self.b.load(self.b.inttoptr(address, kind.as_pointer()))
        loaded.align = 4
        return loaded

    def plus(self, address: ir.Value, offset: int) -> ir.Value:
        """An address, moved on."""
        return self.b.add(address, I64(offset)) if offset else address

    def splat(self, scalar: ir.Value, kind: ir.VectorType) -> ir.Value:
        """A scalar in every lane."""
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.b.insert_element(undefined, scalar, I32(0))
        return self.b.shuffle_vector(first, undefined, _same(ir.VectorType(I32, kind.count), 0))

    def call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        """Call an intrinsic of LLVM."""
        module = self.b.module
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        function = module.globals.get(name) or ir.Function(module, kind, name)
        return self.b.call(function, list(operands))

    def at(self, base: ir.Value, stride: ir.Value, index: int) -> ir.Value:
        """Address of a vector of the tile."""
        row = self.b.add(base, self.b.mul(stride, I64(index // self.vectors)))
        return self.plus(row, _SIZE * (index % self.vectors))

    def products(self, pixels: ir.Value, weights: ir.Value) -> ir.Value:
        """Sums of two neighbouring products each, in 16 bits."""
        b = self.b
        operands = b.bitcast(pixels, _BYTES), b.bitcast(weights, _BYTES)
        return self.call("llvm.x86.avx2.pmadd.ub.sw", _SHORTS, *operands)

    def dot(self, total: ir.Value, pixels: Sequence[ir.Value], weights: Sequence[ir.Value]) -> ir.Value:
        """Add to 32-bit sums the four products of each of some blocks."""
        b = self.b
        if self.form == PAIRS:
            sums = self.products(pixels[0], weights[0])
            for one, weight in zip(pixels[1:], weights[1:], strict=True):
                sums = b.add(sums, self.products(one, weight))
            return b.add(total, self.call("llvm.x86.avx2.pmadd.wd", _WORDS, sums, _same(_SHORTS, 1)))
        for one, weight in zip(pixels, weights, strict=True):
            for byte in range(4):
                pixel = b.and_(b.lshr(one, _same(_WORDS, 8 * byte)), _same(_WORDS, 255))
                factor = b.ashr(b.shl(weight, _same(_WORDS, 24 - 8 * byte)), _same(_WORDS, 24))
                total = b.add(total, b.mul(pixel, factor))
        return total

    def records(
        self, sums: Sequence[ir.Value], together: int, cursor: ir.Value, stop: ir.Value, inputs: Sequence[ir.Value]
    ) -> None:
        """Add the records of `together` blocks each, from a cursor on."""
        b, (base, stride) = self.b, inputs
        head, body, done = (b.append_basic_block(name) for name in ("blocks", "block", "summed"))
        b.branch(head)
        b.position_at_end(head)
        b.cbranch(b.icmp_signed("<", b.load(cursor), stop), body, done)
        b.position_at_end(body)
        at = b.load(cursor)
        places = [b.add(base, b.sext(self.load(self.plus(at, 4 * k), I32), I64)) for k in range(together)]
        weights = [self.splat(self.load(self.plus(at, 4 * (together + k)), I32), _WORDS) for k in range(together)]
        for index, variable in enumerate(sums):
            pixels = [self.load(self.at(place, stride, index), _WORDS) for place in places]
            b.store(self.dot(b.load(variable), pixels, weights), variable)
        b.store(self.plus(at, 8 * together), cursor)
        b.branch(head)
        b.position_at_end(done)

    def rounded(self, sums: ir.Value, scale: ir.Value) -> ir.Value:
        """Sums times a scale, to the nearest integer, ties to even."""
        scaled = self.b.fmul(self.b.sitofp(sums, _FLOATS), scale)
        if self.form == PLAIN:
            return self.b.fptosi(self.call(f"llvm.rint.v{WORDS}f32", _FLOATS, scaled), _WORDS)
        return self.call("llvm.x86.avx.cvt.ps2dq.256", _WORDS, scaled)

    def joined(self, four: Sequence[ir.Value], zero: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
        """Words of the integers of four channels, zero point added, within bounds; all three in every lane."""
        b = self.b
        if self.form == PLAIN:
            words = _same(_WORDS, 0)
            for channel, value in enumerate(four):
                moved = b.add(value, zero)
                moved = self.call(f"llvm.smax.v{WORDS}i32", _WORDS, moved, low)
                moved = self.call(f"llvm.smin.v{WORDS}i32", _WORDS, moved, high)
                words = b.or_(words, b.shl(moved, _same(_WORDS, 8 * channel)))
            return words
        # Within each half of a register: four of each channel, then the bytes of each pixel next to each other.
        zeros = self.splat(b.trunc(zero, _I16), _SHORTS)
        halves = [
            self.call(
                "llvm.sadd.sat.v16i16",
                _SHORTS,
                self.call("llvm.x86.avx2.packssdw", _SHORTS, four[k], four[k + 1]),
                zeros,
            )
            for k in (0, 2)
        ]
        packed = self.call("llvm.x86.avx2.packuswb", _BYTES, *halves)
        lanes = [half + 4 * channel + pixel for half in (0, 16) for pixel in range(4) for channel in range(4)]
        turned = b.shuffle_vector(
            packed, ir.Constant(_BYTES, ir.Undefined), ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
        )
        bounds = [self.splat(b.trunc(bound, _I8), _BYTES) for bound in (low, high)]
        turned = self.call("llvm.umax.v32i8", _BYTES, turned, bounds[0])
        return b.bitcast(self.call("llvm.umin.v32i8", _BYTES, turned, bounds[1]), _WORDS)


def emit_tile(builder: ir.IRBuilder, rows: int, vectors: int, form: str, arguments: Sequence[ir.Value]) -> None:
    """Emit the tile; the arguments are those of `convolve_blocks`, 64-bit integers."""
    b = builder
    inputs, stride, records, pointers, bias, scales, levels, masks, out, out_stride = arguments
    tile = Tile(b, rows, vectors, form)
    sums = [cgutils.alloca_once(b, _WORDS) for _ in range(tile.count)]
    with b.goto_entry_block():  # not Numba's own way, which would fill it with zeros at each call
        results = b.alloca(ir.ArrayType(_WORDS, 4 * tile.count))
    cursor, channel = cgutils.alloca_once(b, I64), cgutils.alloca_once(b, I64)
    b.store(I64(0), channel)
    head, body, done = (b.append_basic_block(name) for name in ("channels", "channel", "whole"))
    b.branch(head)
    b.position_at_end(head)
    b.cbranch(b.icmp_signed("<", b.load(channel), I64(4)), body, done)
    b.position_at_end(body)
    number = b.load(channel)
    start = tile.splat(tile.load(b.add(bias, b.mul(number, I64(4))), I32), _WORDS)
    for variable in sums:
        b.store(start, variable)
    own = b.add(pointers, b.mul(number, I64(4 * len(TOGETHER))))
    ends = [b.sext(tile.load(tile.plus(own, 4 * k), I32), I64) for k in range(len(TOGETHER) + 1)]
    ends = [b.add(records, b.mul(end, I64(4))) for end in ends]
    b.store(ends[0], cursor)
    for together, end in zip(TOGETHER, ends[1:], strict=True):
        # Blocks are put together only where that saves instructions: see `sparsemark.direct.blocks`.
        if together == 1 or form == PAIRS:
            tile.records(sums, together, cursor, end, (inputs, stride))
    scale = tile.splat(tile.load(b.add(scales, b.mul(number, I64(4))), _F32), _FLOATS)
    for index, variable in enumerate(sums):
        at = b.add(b.mul(number, I64(tile.count)), I64(index))
        b.store(tile.rounded(b.load(variable), scale), b.gep(results, [I32(0), at], inbounds=True))
    b.store(b.add(number, I64(1)), channel)
    b.branch(head)
    b.position_at_end(done)
    zero, low, high, fill = (tile.load(tile.plus(levels, 4 * k), I32) for k in range(4))
    if form == PLAIN:
        zero, low, high = (tile.splat(one, _WORDS) for one in (zero, low, high))
    filled = tile.splat(fill, _WORDS)
    for index in range(tile.count):
        four = [b.load(b.gep(results, [I32(0), I64(q * tile.count + index)], inbounds=True)) for q in range(4)]
        words = tile.joined(four, zero, low, high)
        mask = tile.load(tile.plus(masks, _SIZE * (index % vectors)), _WORDS)
        chosen = b.select(b.icmp_signed("!=", mask, _same(_WORDS, 0)), words, filled)
        b.store(chosen, b.inttoptr(tile.at(out, out_stride, index), _WORDS.as_pointer())).align = 4


def _convolve_blocks(
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

    Args, 64-bit integers unless said otherwise, addresses and strides in bytes:
        rows, vectors: literals; size of the tile.
        inputs: where the tile lies in the first four input channels; stride: from one of its rows to the next.
        records: all of the layer's.
        pointers: of these channels, int32 that count words: for each channel where its records of four, of two and of
            one block begin; behind them the end.
        bias: four int32; scales: four float32.
        levels: four int32: zero point of the output, its least and largest value, and the word around it.
        masks: a vector of int32 for each vector of a row: not 0 where a pixel is.
        out, out_stride: where the words go.
    """
    if not (isinstance(rows, types.IntegerLiteral) and isinstance(vectors, types.IntegerLiteral)):
        return None
    counts = rows.literal_value, vectors.literal_value
    signature = types.void(rows, vectors, *[types.int64] * 10)

    def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        emit_tile(builder, *counts, FORM, arguments[2:])
        return context.get_dummy_value()

    return signature, generate


# Called from compiled code, without the typing context.
convolve_blocks: Any = intrinsic(_convolve_blocks)


def _largest_of_squares(typing_context: Any, upper: Any, lower: Any, out: Any) -> Any:
    """Write a vector of words: the largest of each byte in each 2 x 2 square of two rows of two vectors; addresses."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        tile = Tile(b, 1, 1, FORM)
        upper, lower, out = arguments
        halves = [
            tile.call(
                f"llvm.umax.v{4 * WORDS}i8",
                _BYTES,
                *(b.bitcast(tile.load(tile.plus(one, at), _WORDS), _BYTES) for one in (upper, lower)),
            )
            for at in (0, _SIZE)
        ]
        pair = [b.bitcast(half, _WORDS) for half in halves]
        even, odd = (
            b.bitcast(
                b.shuffle_vector(*pair, ir.Constant(_WORDS, list(range(start, 2 * WORDS, 2)))),
                _BYTES,
            )
            for start in (0, 1)
        )
        largest = b.bitcast(tile.call(f"llvm.umax.v{4 * WORDS}i8", _BYTES, even, odd), _WORDS)
        b.store(largest, b.inttoptr(out, _WORDS.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


largest_of_squares: Any = intrinsic(_largest_of_squares)


def _larger_bytes(typing_context: Any, one: Any, other: Any) -> Any:
    """Return a word of the larger of each byte of two."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        four = ir.VectorType(_I8, 4)
        words = [b.bitcast(argument, four) for argument in arguments]
        return b.bitcast(Tile(b, 1, 1, FORM).call("llvm.umax.v4i8", four, *words), I32)

    return types.int32(types.int32, types.int32), generate


larger_bytes: Any = intrinsic(_larger_bytes)


def _fill_words(typing_context: Any, out: Any, word: Any) -> Any:
    """Write a vector of equal words at an address."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        out, word = arguments
        b.store(Tile(b, 1, 1, FORM).splat(word, _WORDS), b.inttoptr(out, _WORDS.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.int32), generate


fill_words: Any = intrinsic(_fill_words)
