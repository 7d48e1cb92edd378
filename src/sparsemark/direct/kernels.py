"""Machine code for the inner loops, written as LLVM IR: what a compiler does not find in plain loops.

A tile of output pixels, `vectors` registers wide, stays in registers while the non-zeros of one output channel (or of
`channels` of them, together) stream past. A record is one non-zero: the byte offset of its input pixel from the tile,
and its weight. Records that share a column offset follow each other, and the *accumulators* are shifted by a lane
between such groups, not the inputs: so every load is aligned, and no shifted copy of the input is needed.

Addresses are plain 64-bit integers, checked where the plan is made: see `sparsemark.direct.layout`.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsemark.direct.registers import LANES
from sparsemark.direct.table import CLAMP_HIGH, CLAMP_LOW, MASK_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR, _MASK = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)
_ZERO = ir.Constant(_VECTOR, [ir.Constant(_F32, 0.0)] * LANES)
_BYTES = 4 * LANES
_ROOT = math.sqrt(2)


def _places(lanes: Iterable[int]) -> ir.Constant:
    """Lanes of two vectors that `shuffle_vector` takes."""
    chosen = list(lanes)
    return ir.Constant(ir.VectorType(_I32, len(chosen)), chosen)


class _Emitter:
    """An IR builder with loads and stores at integer addresses."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder

    def load(self, address: ir.Value, kind: ir.Type = _VECTOR) -> ir.Value:
        loaded = self.b.load(self.b.inttoptr(address, kind.as_pointer()))
        loaded.align = 4
        return loaded

    def store(self, value: ir.Value, address: ir.Value) -> None:
        self.b.store(value, self.b.inttoptr(address, value.type.as_pointer())).align = 4

    def plus(self, address: ir.Value, offset: int) -> ir.Value:
        return self.b.add(address, _I64(offset)) if offset else address

    def splat(self, scalar: ir.Value) -> ir.Value:
        first = self.b.insert_element(_UNDEFINED, scalar, _I32(0))
        return self.b.shuffle_vector(first, _UNDEFINED, ir.Constant(_MASK, [0] * LANES))

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        name = f"llvm.fma.v{LANES}f32"
        module = self.b.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name)
        return self.b.call(function, [x, y, z])

    def times(self, factor: float, value: ir.Value) -> ir.Value:
        return self.b.fmul(ir.Constant(_VECTOR, [ir.Constant(_F32, float(np.float32(factor)))] * LANES), value)

    def larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.b.select(self.b.fcmp_unordered(">", x, y), x, y)

    def masked(self, value: ir.Value, address: ir.Value) -> ir.Value:
        return self.b.bitcast(self.b.and_(self.b.bitcast(value, _MASK), self.load(address, _MASK)), _VECTOR)

    def has(self, flags: ir.Value, flag: int) -> ir.Value:
        return self.b.icmp_signed("!=", self.b.and_(flags, _I64(flag)), _I64(0))

    def variables(self, count: int) -> list[ir.Value]:
        return [cgutils.alloca_once(self.b, _VECTOR) for _ in range(count)]


class _Tile:
    """Accumulators of one tile: `channels` x `vectors` registers."""

    def __init__(self, emitter: _Emitter, channels: int, vectors: int) -> None:
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
        bounds = [b.sext(e.load(e.plus(at, 4 * side), _I32), _I64) for side in (0, 1)]
        start, stop = (b.add(records, b.mul(bound, _I64(size))) for bound in bounds)
        entry, before = b.block, self.get()
        loop, done = b.append_basic_block("records"), b.append_basic_block("summed")
        b.cbranch(b.icmp_signed("<", start, stop), loop, done)
        b.position_at_end(loop)
        record = b.phi(_I64)
        record.add_incoming(start, entry)
        sums = [b.phi(_VECTOR) for _ in before]
        if self.channels == 1:
            # One load for both: it is loads that limit this loop, and a broadcast from a register is none.
            both = e.load(record, _I64)
            offset = b.trunc(both, _I32)
            weights = [e.splat(b.bitcast(b.trunc(b.lshr(both, _I64(32)), _I32), _F32))]
        else:
            offset = e.load(record, _I32)
            weights = [e.splat(e.load(e.plus(record, 4 + 4 * q), _F32)) for q in range(self.channels)]
        base = b.add(inputs, b.sext(offset, _I64))
        after = list(sums)
        for i in range(self.vectors):
            pixels = e.load(e.plus(base, _BYTES * i))
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
        totals = [b.phi(_VECTOR) for _ in before]
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
                lanes = e.b.shuffle_vector(value, following, ir.Constant(_MASK, list(range(1, LANES + 1))))
                return e.masked(lanes, e.plus(masks, _BYTES * i))
            preceding = old[at - 1] if i else _ZERO
            lanes = e.b.shuffle_vector(preceding, value, ir.Constant(_MASK, list(range(LANES - 1, 2 * LANES - 1))))
            return e.masked(lanes, e.plus(masks, _BYTES * (self.vectors + i)))

        self.each(moved)

    def side(
        self, count: ir.Value, *, left: bool, inputs: ir.Value, records: ir.Value, cursor: ir.Value, masks: ir.Value
    ) -> list[ir.Value]:
        """Sum `count` groups from the outermost column inwards, shifting after each."""
        b = self.e.b
        self.put([_ZERO] * len(self.sums))
        done = cgutils.alloca_once(b, _I64)
        b.store(_I64(0), done)
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
        rows = [b.add(out, b.mul(stride, _I64(q))) for q in range(self.channels)]
        with b.if_else(b.icmp_signed("==", which, _I64((1 << self.vectors) - 1))) as (whole, partly):
            for branch, is_whole in ((whole, True), (partly, False)):
                with branch:
                    for i in range(self.vectors):
                        values = [b.load(self.sums[q * self.vectors + i]) for q in range(self.channels)]
                        if is_whole:
                            for row, value in zip(rows, values, strict=True):
                                e.store(value, e.plus(row, _BYTES * i))
                        else:
                            with b.if_then(e.has(which, 1 << i)):
                                for row, value in zip(rows, values, strict=True):
                                    e.store(value, e.plus(row, _BYTES * i))


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
        e, b = _Emitter(builder), builder
        tile = _Tile(e, *counts)
        cursor = cgutils.alloca_once(b, _I64)
        b.store(pointers, cursor)
        stream = {"inputs": inputs, "records": records, "cursor": cursor, "masks": masks}
        from_left = tile.side(right, left=False, **stream)
        kept = e.variables(len(from_left))
        for value, variable in zip(from_left, kept, strict=True):
            b.store(value, variable)
        tile.side(left, left=True, **stream)
        biases = [e.splat(e.load(e.plus(bias, 4 * q), _F32)) for q in range(tile.channels)]
        tile.each(lambda v, q, i: b.fadd(b.fadd(v, b.load(kept[q * tile.vectors + i])), biases[q]))
        with b.if_then(b.icmp_signed("!=", start, _I64(0))):
            rows = [b.add(start, b.mul(start_stride, _I64(q))) for q in range(tile.channels)]
            tile.each(lambda v, q, i: b.fadd(v, e.load(e.plus(rows[q], _BYTES * i))))
        tile.accumulate(inputs, records, cursor)
        # Comparisons are such that NaN stays NaN.
        for flag, bound, test in ((CLAMP_LOW, 0, "<"), (CLAMP_HIGH, 4, ">")):
            with b.if_then(e.has(flags, flag)):
                limit = e.splat(e.load(e.plus(bounds, bound), _F32))
                tile.each(lambda v, _q, _i: b.select(b.fcmp_ordered(test, v, limit), limit, v))  # noqa: B023
        with b.if_then(e.has(flags, MASK_OUTPUT)):
            tile.each(lambda v, _q, i: e.masked(v, e.plus(masks, _BYTES * (2 * tile.vectors + i))))
        tile.store(out, out_stride, which)
        return context.get_dummy_value()

    return signature, generate


def _largest_of_four(typing_context: Any, upper: Any, lower: Any, out: Any) -> Any:
    """Write LANES // 2 floats to `out`: the largest in each 2 x 2 square of two rows of LANES floats; addresses."""
    half = ir.VectorType(_I32, LANES // 2)

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = _Emitter(b)
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
        return b.atomic_rmw("add", b.inttoptr(arguments[0], _I64.as_pointer()), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


def _split_columns(typing_context: Any, source: Any, even: Any, odd: Any) -> Any:
    """Read 2 * LANES floats; write those in even places to `even`, the others to `odd`; addresses."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = _Emitter(b)
        first, second = e.load(arguments[0]), e.load(e.plus(arguments[0], _BYTES))
        for start, target in zip((0, 1), arguments[1:], strict=True):
            places = ir.Constant(_MASK, list(range(start, 2 * LANES, 2)))
            e.store(b.shuffle_vector(first, second, places), target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


def _join_columns(typing_context: Any, even: Any, odd: Any, target: Any) -> Any:
    """Write 2 * LANES floats, by turns from `even` and `odd`; addresses."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = _Emitter(b)
        first, second = (e.load(address) for address in arguments[:2])
        for half in (0, 1):
            pairs = [(half * LANES // 2 + i, LANES + half * LANES // 2 + i) for i in range(LANES // 2)]
            places = ir.Constant(_MASK, [place for pair in pairs for place in pair])
            e.store(b.shuffle_vector(first, second, places), e.plus(arguments[2], half * _BYTES))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


def _transform(e: _Emitter, d: Sequence[ir.Value]) -> list[ir.Value]:
    """Six pixels in a row (of each of many tiles) as the six factors of Winograd's products; see `winograd`."""
    b, times = e.b, e.times
    middle, outer = b.fsub(d[4], times(2.0, d[2])), b.fsub(times(_ROOT / 2, d[3]), times(_ROOT, d[1]))
    middle_2, outer_2 = b.fsub(d[4], times(0.5, d[2])), b.fsub(times(_ROOT, d[3]), times(_ROOT / 2, d[1]))
    return [
        b.fadd(b.fsub(d[0], times(2.5, d[2])), d[4]),
        b.fadd(middle, outer),
        b.fsub(middle, outer),
        b.fadd(middle_2, outer_2),
        b.fsub(middle_2, outer_2),
        b.fadd(b.fsub(d[1], times(2.5, d[3])), d[5]),
    ]


def _transform_back(e: _Emitter, m: Sequence[ir.Value]) -> list[ir.Value]:
    """Six sums of products as the four pixels that they make."""
    b, times = e.b, e.times
    even, odd, even_2, odd_2 = b.fadd(m[1], m[2]), b.fsub(m[1], m[2]), b.fadd(m[3], m[4]), b.fsub(m[3], m[4])
    return [
        b.fadd(m[0], b.fadd(even, even_2)),
        b.fadd(times(_ROOT / 2, odd), times(_ROOT, odd_2)),
        b.fadd(times(0.5, even), times(2.0, even_2)),
        b.fadd(b.fadd(times(_ROOT / 4, odd), times(2 * _ROOT, odd_2)), m[5]),
    ]


def _transform_rows(
    typing_context: Any, row0: Any, row1: Any, row2: Any, row3: Any, row4: Any, row5: Any, out: Any, step: Any
) -> Any:
    """Transform LANES columns of six rows; the six rows that they become are `step` bytes apart; addresses."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = _Emitter(b)
        for i, row in enumerate(_transform(e, [e.load(address) for address in arguments[:6]])):
            e.store(row, b.add(arguments[6], b.mul(arguments[7], _I64(i))))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), generate


def _transform_columns(typing_context: Any, row0: Any, row1: Any, row2: Any, row3: Any, out: Any, step: Any) -> Any:
    """Transform LANES tiles of six columns each, a quarter of them from each row, where they begin four columns apart.

    The six factors of the tiles go to vectors that are `step` bytes apart; addresses.
    """

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = _Emitter(b)
        columns = []
        for begin, wanted in ((0, range(4)), (2, (2, 3))):
            pixels = [e.load(e.plus(address, 4 * begin)) for address in arguments[:4]]
            for first in wanted:
                halves = [b.shuffle_vector(*pixels[i : i + 2], _places(range(first, 2 * LANES, 4))) for i in (0, 2)]
                columns.append(b.shuffle_vector(*halves, _places(range(LANES))))
        for i, factor in enumerate(_transform(e, columns)):
            e.store(factor, b.add(arguments[4], b.mul(arguments[5], _I64(i))))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


def _transform_tiles_back(
    typing_context: Any,
    pooled: Any,
    sums: Any,
    step: Any,
    out0: Any,
    out1: Any,
    out2: Any,
    out3: Any,
    out_step: Any,
    mask0: Any,
    mask1: Any,
    mask2: Any,
    mask3: Any,
    bias: Any,
    bounds: Any,
    residual: Any,
) -> Any:
    """Make the pixels of LANES tiles from the sums of their 36 products.

    Args, 64-bit integers, addresses and strides in bytes:
        pooled: literal; whether the largest of each 2 x 2 pixels is kept.
        sums, step: of the products, and from one to the next.
        out0 to out3: where the first row of each quarter of the tiles goes; `out_step` to the next.
        mask0 to mask3: lanes of the rows of each quarter that are pixels.
        bias: a float.
        bounds: two floats, then, a vector further, zeros.
        residual: how far from its place what is added to a pixel lies; 0: nothing is. Not where it pools.
    """
    if not isinstance(pooled, types.IntegerLiteral):
        return None
    pools = bool(pooled.literal_value)

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = _Emitter(b)
        sums, step = arguments[1:3]
        outs, out_step, masks = arguments[3:7], arguments[7], arguments[8:12]
        bias, bounds, residual = arguments[12:]
        columns = [
            _transform_back(e, [e.load(b.add(sums, b.mul(step, _I64(6 * y + x)))) for y in range(6)]) for x in range(6)
        ]
        rows = [_transform_back(e, [column[y] for column in columns]) for y in range(4)]
        total = functools.reduce(b.fadd, itertools.chain(*rows))
        overflow = b.fsub(total, total)  # 0, or NaN where one of them is not finite
        if pools:
            rows = [
                [e.larger(*(e.larger(row[x], row[x + 1]) for row in rows[y : y + 2])) for x in (0, 2)] for y in (0, 2)
            ]
        # What overflows on the way must not become 0 in a bound, nor be lost in pooling: the convolution may be finite.
        rows = [[b.fadd(pixel, overflow) for pixel in row] for row in rows]
        adds = b.icmp_signed("!=", residual, _I64(0))
        term = e.splat(e.load(bias, _F32))
        low, high = (e.splat(e.load(e.plus(bounds, at), _F32)) for at in (0, 4))
        wide = LANES // 2 if pools else LANES
        # Constants are as wide as the vectors they meet.
        term, low, high = (b.shuffle_vector(v, v, _places(range(wide))) for v in (term, low, high))
        kind, quarter = ir.VectorType(_F32, wide), LANES // 4
        for y, phases in enumerate(rows):
            for q in range(4):
                pairs = _places([place for t in range(q * quarter, (q + 1) * quarter) for place in (t, LANES + t)])
                pixels = [b.shuffle_vector(*phases[i : i + 2], pairs) for i in range(0, len(phases), 2)]
                if not pools:
                    half = LANES // 2
                    both = [place for i in range(0, half, 2) for place in (i, i + 1, half + i, half + i + 1)]
                    pixels = [b.shuffle_vector(*pixels, _places(both))]
                at = b.add(outs[q], b.mul(out_step, _I64(y)))
                value = b.fadd(pixels[0], term)
                if not pools:
                    other = b.select(adds, b.add(at, residual), e.plus(bounds, _BYTES))
                    value = b.fadd(value, e.load(other))
                for bound, test in ((low, "<"), (high, ">")):
                    # Comparisons are such that NaN stays NaN.
                    value = b.select(b.fcmp_ordered(test, value, bound), bound, value)
                bits = ir.VectorType(_I32, wide)
                e.store(b.bitcast(b.and_(b.bitcast(value, bits), e.load(masks[q], bits)), kind), at)
        return context.get_dummy_value()

    return types.void(pooled, *[types.int64] * 14), generate


def _as_float(typing_context: Any, bits: Any) -> Any:
    """Read the bits of an int32 as a float32."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        return b.bitcast(arguments[0], _F32)

    return types.float32(types.int32), generate


# Called from compiled code, without the typing context.
convolve: Any = intrinsic(_convolve)
largest_of_four: Any = intrinsic(_largest_of_four)
fetch_add: Any = intrinsic(_fetch_add)
as_float: Any = intrinsic(_as_float)
split_columns: Any = intrinsic(_split_columns)
join_columns: Any = intrinsic(_join_columns)
transform_rows: Any = intrinsic(_transform_rows)
transform_columns: Any = intrinsic(_transform_columns)
transform_tiles_back: Any = intrinsic(_transform_tiles_back)
