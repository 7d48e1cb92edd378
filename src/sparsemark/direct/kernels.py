"""Machine code for the inner loops, written as LLVM IR: what a compiler does not find in plain loops.

A tile of output pixels, `vectors` registers wide, stays in registers while the non-zeros of one output channel (or of
`channels` of them, together) stream past. A record is one non-zero: the byte offset of its input pixel from the tile,
and its weight. Records that share a column offset follow each other, and the *accumulators* are shifted by a lane
between such groups, not the inputs: so every load is aligned, and no shifted copy of the input is needed.

Addresses are plain 64-bit integers that nothing checks here: `layout` and `program` make only such as lie within the
arena, and the tests work out every one of them apart from this code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsemark.direct import isa
from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR, MASK_BITS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
_UNDEFINED = ir.Constant(VECTOR, ir.Undefined)
_ZERO = ir.Constant(VECTOR, [ir.Constant(F32, 0.0)] * LANES)
BYTES = 4 * LANES


def places_of(lanes: Iterable[int]) -> ir.Constant:
    """Lanes of two vectors that `shuffle_vector` takes."""
    chosen = list(lanes)
    return ir.Constant(ir.VectorType(I32, len(chosen)), chosen)


class Emitter:
    """An IR builder with loads and stores at integer addresses."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder

    def load(self, address: ir.Value, kind: ir.Type = VECTOR) -> ir.Value:
        """Return the value at an address."""
        loaded = self.b.load(self.b.inttoptr(address, kind.as_pointer()))
        loaded.align = 4
        return loaded

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """Write a value to an address."""
        self.b.store(value, self.b.inttoptr(address, value.type.as_pointer())).align = 4

    def plus(self, address: ir.Value, offset: int) -> ir.Value:
        """An address, moved on."""
        return self.b.add(address, I64(offset)) if offset else address

    def splat(self, scalar: ir.Value) -> ir.Value:
        """A scalar in every lane."""
        first = self.b.insert_element(_UNDEFINED, scalar, I32(0))
        return self.b.shuffle_vector(first, _UNDEFINED, ir.Constant(MASK_BITS, [0] * LANES))

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """X * y + z."""
        name = f"llvm.fma.v{LANES}f32"
        module = self.b.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(VECTOR, [VECTOR] * 3), name)
        return self.b.call(function, [x, y, z])

    def times(self, factor: float, value: ir.Value) -> ir.Value:
        """A constant times a vector."""
        return self.b.fmul(ir.Constant(VECTOR, [ir.Constant(F32, float(np.float32(factor)))] * LANES), value)

    def larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """The larger, lane by lane."""
        return self.b.select(self.b.fcmp_unordered(">", x, y), x, y)

    def masked(self, value: ir.Value, address: ir.Value) -> ir.Value:
        """A vector with the lanes of a mask at an address."""
        return self.b.bitcast(self.b.and_(self.b.bitcast(value, MASK_BITS), self.load(address, MASK_BITS)), VECTOR)

    def has(self, flags: ir.Value, flag: int) -> ir.Value:
        """Whether a flag is set."""
        return self.b.icmp_signed("!=", self.b.and_(flags, I64(flag)), I64(0))

    def variables(self, count: int) -> list[ir.Value]:
        """Vectors on the stack."""
        return [cgutils.alloca_once(self.b, VECTOR) for _ in range(count)]


class _Tile:
    """Accumulators of one tile: `channels` x `vectors` registers."""

    def __init__(self, emitter: Emitter, channels: int, vectors: int) -> None:
        self.e, self.channels, self.vectors = emitter, channels, vectors
        self.sums = emitter.variables(channels * vectors)

    def get(self) -> list[ir.Value]:
        return [self.e.b.load(v) for v in self.sums]

    def put(self, values: Sequence[ir.Value]) -> None:
        for value, variable in zip(values, self.sums, strict=True):
            self.e.b.store(value, variable)

    def each(self, change: Callable[[ir.Value, int, int], ir.Value]) -> None:
        self.put([change(v, i // self.vectors, i % self.vectors) for i, v in enumerate(self.get())])

    def accumulate(self, inputs: ir.Value, records: ir.Value, cursor: ir.Value) -> None:
        """Add the records of one group; `cursor` moves on to the next group's row pointer."""
        e, b, size = self.e, self.e.b, 4 + 4 * self.channels
        at = b.load(cursor)
        b.store(e.plus(at, 4), cursor)
        bounds = [b.sext(e.load(e.plus(at, 4 * side), I32), I64) for side in (0, 1)]
        start, stop = (b.add(records, b.mul(bound, I64(size))) for bound in bounds)
        entry, before = b.block, self.get()
        loop, done = b.append_basic_block("records"), b.append_basic_block("summed")
        b.cbranch(b.icmp_signed("<", start, stop), loop, done)
        b.position_at_end(loop)
        record = b.phi(I64)
        record.add_incoming(start, entry)
        sums = [b.phi(VECTOR) for _ in before]
        if self.channels == 1:
            # One load for both: it is loads that limit this loop, and a broadcast from a register is none.
            both = e.load(record, I64)
            offset = b.trunc(both, I32)
            weights = [e.splat(b.bitcast(b.trunc(b.lshr(both, I64(32)), I32), F32))]
        else:
            offset = e.load(record, I32)
            weights = [e.splat(e.load(e.plus(record, 4 + 4 * q), F32)) for q in range(self.channels)]
        base = b.add(inputs, b.sext(offset, I64))
        after = list(sums)
        for i in range(self.vectors):
            pixels = e.load(e.plus(base, BYTES * i))
            for q in range(self.channels):
                after[q * self.vectors + i] = e.fma(weights[q], pixels, sums[q * self.vectors + i])
        following = e.plus(record, size)
        record.add_incoming(following, loop)
        for total, old, new in zip(sums, before, after, strict=True):
            total.add_incoming(old, entry)
            total.add_incoming(new, loop)
        b.cbranch(b.icmp_signed("<", following, stop), loop, done)
        b.position_at_end(done)
        # All phis of a block come first.
        totals = [b.phi(VECTOR) for _ in before]
        for total, old, new in zip(totals, before, after, strict=True):
            total.add_incoming(old, entry)
            total.add_incoming(new, loop)
        self.put(totals)

    def shift(self, masks: ir.Value, *, left: bool) -> None:
        """Move every sum by one lane; what would cross the edge of a row is masked to zero."""
        e, old = self.e, self.get()

        def moved(value: ir.Value, q: int, i: int) -> ir.Value:
            at = q * self.vectors + i
            if left:
                following = old[at + 1] if i + 1 < self.vectors else _ZERO
                lanes = e.b.shuffle_vector(value, following, ir.Constant(MASK_BITS, list(range(1, LANES + 1))))
                return e.masked(lanes, e.plus(masks, BYTES * i))
            preceding = old[at - 1] if i else _ZERO
            lanes = e.b.shuffle_vector(preceding, value, ir.Constant(MASK_BITS, list(range(LANES - 1, 2 * LANES - 1))))
            return e.masked(lanes, e.plus(masks, BYTES * (self.vectors + i)))

        self.each(moved)

    def side(
        self, count: ir.Value, *, left: bool, inputs: ir.Value, records: ir.Value, cursor: ir.Value, masks: ir.Value
    ) -> list[ir.Value]:
        """Sum `count` groups from the outermost column inwards, shifting after each."""
        b = self.e.b
        self.put([_ZERO] * len(self.sums))
        done = cgutils.alloca_once(b, I64)
        b.store(I64(0), done)
        head, body, end = (b.append_basic_block(name) for name in ("side", "group", "aligned"))
        b.branch(head)
        b.position_at_end(head)
        b.cbranch(b.icmp_signed("<", b.load(done), count), body, end)
        b.position_at_end(body)
        self.accumulate(inputs, records, cursor)
        self.shift(masks, left=left)
        b.store(self.e.plus(b.load(done), 1), done)
        b.branch(head)
        b.position_at_end(end)
        return self.get()

    def store(self, out: ir.Value, stride: ir.Value, which: ir.Value) -> None:
        """Store the vectors whose bit is set in `which`."""
        e, b = self.e, self.e.b
        rows = [b.add(out, b.mul(stride, I64(q))) for q in range(self.channels)]
        with b.if_else(b.icmp_signed("==", which, I64((1 << self.vectors) - 1))) as (whole, partly):
            for branch, is_whole in ((whole, True), (partly, False)):
                with branch:
                    for i in range(self.vectors):
                        values = [b.load(self.sums[q * self.vectors + i]) for q in range(self.channels)]
                        if is_whole:
                            for row, value in zip(rows, values, strict=True):
                                e.store(value, e.plus(row, BYTES * i))
                        else:
                            with b.if_then(e.has(which, 1 << i)):
                                for row, value in zip(rows, values, strict=True):
                                    e.store(value, e.plus(row, BYTES * i))


def _convolve(
    typing_context: Any,
    channels: Any,
    vectors: Any,
    inputs: Any,
    records: Any,
    pointers: Any,
    right: Any,
    left: Any,
    bias: Any,
    start: Any,
    start_stride: Any,
    masks: Any,
    out: Any,
    out_stride: Any,
    which: Any,
    flags: Any,
    bounds: Any,
) -> Any:
    """Compute one tile of `channels` output channels over one block of input channels.

    Args, 64-bit integers unless said otherwise, addresses and strides in bytes:
        channels, vectors: literals; size of the tile.
        inputs: where the tile lies in the first input plane.
        records: all of the layer's; each is `channels` weights after an int32 offset.
        pointers: of the groups of this block and these channels, `right + left + 1` int32, and one more for the end.
        right, left: groups whose sums move right and left: those of taps left and right of the centre.
        bias: `channels` floats.
        start: sums to go on from, or 0; start_stride: between channels.
        masks: 3 x `vectors` vectors of int32: kept lanes when moving left, when moving right, and of the output.
        out, out_stride: where the sums go, and the step between channels.
        which: bits of the vectors to be stored.
        flags: CLAMP_LOW, CLAMP_HIGH, MASK_OUTPUT.
        bounds: of CLAMP_LOW and CLAMP_HIGH, two floats.
    """
    if not (isinstance(channels, types.IntegerLiteral) and isinstance(vectors, types.IntegerLiteral)):
        return None
    counts = channels.literal_value, vectors.literal_value
    signature = types.void(channels, vectors, *[types.int64] * 14)

    def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        inputs, records, pointers, right, left, bias, start, start_stride, masks, out = arguments[2:12]
        out_stride, which, flags, bounds = arguments[12:]
        e, b = Emitter(builder), builder
        tile = _Tile(e, *counts)
        cursor = cgutils.alloca_once(b, I64)
        b.store(pointers, cursor)
        stream = {"inputs": inputs, "records": records, "cursor": cursor, "masks": masks}
        from_left = tile.side(right, left=False, **stream)
        kept = e.variables(len(from_left))
        for value, variable in zip(from_left, kept, strict=True):
            b.store(value, variable)
        tile.side(left, left=True, **stream)
        biases = [e.splat(e.load(e.plus(bias, 4 * q), F32)) for q in range(tile.channels)]
        tile.each(lambda v, q, i: b.fadd(b.fadd(v, b.load(kept[q * tile.vectors + i])), biases[q]))
        with b.if_then(b.icmp_signed("!=", start, I64(0))):
            rows = [b.add(start, b.mul(start_stride, I64(q))) for q in range(tile.channels)]
            tile.each(lambda v, q, i: b.fadd(v, e.load(e.plus(rows[q], BYTES * i))))
        tile.accumulate(inputs, records, cursor)
        # Comparisons are such that NaN stays NaN.
        for flag, bound, test in ((isa.CLAMP_LOW, 0, "<"), (isa.CLAMP_HIGH, 4, ">")):
            with b.if_then(e.has(flags, flag)):
                limit = e.splat(e.load(e.plus(bounds, bound), F32))
                tile.each(lambda v, _q, _i: b.select(b.fcmp_ordered(test, v, limit), limit, v))  # noqa: B023
        with b.if_then(e.has(flags, isa.MASK_OUTPUT)):
            tile.each(lambda v, _q, i: e.masked(v, e.plus(masks, BYTES * (2 * tile.vectors + i))))
        tile.store(out, out_stride, which)
        return context.get_dummy_value()

    return signature, generate


def _largest_of_four(typing_context: Any, upper: Any, lower: Any, out: Any) -> Any:
    """Write LANES // 2 floats to `out`: the largest in each 2 x 2 square of two rows of LANES floats; addresses."""
    half = ir.VectorType(I32, LANES // 2)

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = Emitter(b)
        upper, lower, out = arguments
        rows = e.larger(e.load(upper), e.load(lower))
        even, odd = (
            b.shuffle_vector(rows, _UNDEFINED, ir.Constant(half, list(range(first, LANES, 2)))) for first in (0, 1)
        )
        e.store(e.larger(even, odd), out)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


def _fetch_add(typing_context: Any, address: Any, amount: Any) -> Any:
    """Add to the int64 at an address, atomically; the value before."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        return b.atomic_rmw("add", b.inttoptr(arguments[0], I64.as_pointer()), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


def _split_columns(typing_context: Any, source: Any, even: Any, odd: Any) -> Any:
    """Read 2 * LANES floats; write those in even places to `even`, the others to `odd`; addresses."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = Emitter(b)
        first, second = e.load(arguments[0]), e.load(e.plus(arguments[0], BYTES))
        for start, target in zip((0, 1), arguments[1:], strict=True):
            places = ir.Constant(MASK_BITS, list(range(start, 2 * LANES, 2)))
            e.store(b.shuffle_vector(first, second, places), target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


def _join_columns(typing_context: Any, even: Any, odd: Any, target: Any) -> Any:
    """Write 2 * LANES floats, by turns from `even` and `odd`; addresses."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = Emitter(b)
        first, second = (e.load(address) for address in arguments[:2])
        for half in (0, 1):
            pairs = [(half * LANES // 2 + i, LANES + half * LANES // 2 + i) for i in range(LANES // 2)]
            places = ir.Constant(MASK_BITS, [place for pair in pairs for place in pair])
            e.store(b.shuffle_vector(first, second, places), e.plus(arguments[2], half * BYTES))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


def _as_float(typing_context: Any, bits: Any) -> Any:
    """Read the bits of an int32 as a float32."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        return b.bitcast(arguments[0], F32)

    return types.float32(types.int32), generate


# Called from compiled code, without the typing context.
convolve: Any = intrinsic(_convolve)
largest_of_four: Any = intrinsic(_largest_of_four)
fetch_add: Any = intrinsic(_fetch_add)
as_float: Any = intrinsic(_as_float)
split_columns: Any = intrinsic(_split_columns)
join_columns: Any = intrinsic(_join_columns)
