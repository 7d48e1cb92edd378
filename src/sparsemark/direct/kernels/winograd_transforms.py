"""Machine code for Winograd's tiles, written as LLVM IR: the transforms of pixels, and of sums back into pixels."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sparsemark.direct.kernels.emitter import BYTES, F32, I32, I64, Emitter, places_of
from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = math.sqrt(2)


def _transform(e: Emitter, d: Sequence[ir.Value]) -> list[ir.Value]:
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


def _transform_back(e: Emitter, m: Sequence[ir.Value]) -> list[ir.Value]:
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
        e = Emitter(b)
        for i, row in enumerate(_transform(e, [e.load(address) for address in arguments[:6]])):
            e.store(row, b.add(arguments[6], b.mul(arguments[7], I64(i))))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), generate


def _transform_columns(typing_context: Any, row0: Any, row1: Any, row2: Any, row3: Any, out: Any, step: Any) -> Any:
    """Transform LANES tiles of six columns each, a quarter of them from each row, where they begin four columns apart.

    The six factors of the tiles go to vectors that are `step` bytes apart; addresses.
    """

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = Emitter(b)
        columns = []
        for begin, wanted in ((0, range(4)), (2, (2, 3))):
            pixels = [e.load(e.plus(address, 4 * begin)) for address in arguments[:4]]
            for first in wanted:
                halves = [b.shuffle_vector(*pixels[i : i + 2], places_of(range(first, 2 * LANES, 4))) for i in (0, 2)]
                columns.append(b.shuffle_vector(*halves, places_of(range(LANES))))
        for i, factor in enumerate(_transform(e, columns)):
            e.store(factor, b.add(arguments[4], b.mul(arguments[5], I64(i))))
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
        e = Emitter(b)
        sums, step = arguments[1:3]
        outs, out_step, masks = arguments[3:7], arguments[7], arguments[8:12]
        bias, bounds, residual = arguments[12:]
        columns = [
            _transform_back(e, [e.load(b.add(sums, b.mul(step, I64(6 * y + x)))) for y in range(6)]) for x in range(6)
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
        adds = b.icmp_signed("!=", residual, I64(0))
        term = e.splat(e.load(bias, F32))
        low, high = (e.splat(e.load(e.plus(bounds, at), F32)) for at in (0, 4))
        wide = LANES // 2 if pools else LANES
        # Constants are as wide as the vectors they meet.
        term, low, high = (b.shuffle_vector(v, v, places_of(range(wide))) for v in (term, low, high))
        kind, quarter = ir.VectorType(F32, wide), LANES // 4
        for y, phases in enumerate(rows):
            for q in range(4):
                pairs = places_of([place for t in range(q * quarter, (q + 1) * quarter) for place in (t, LANES + t)])
                pixels = [b.shuffle_vector(*phases[i : i + 2], pairs) for i in range(0, len(phases), 2)]
                if not pools:
                    half = LANES // 2
                    both = [place for i in range(0, half, 2) for place in (i, i + 1, half + i, half + i + 1)]
                    pixels = [b.shuffle_vector(*pixels, places_of(both))]
                at = b.add(outs[q], b.mul(out_step, I64(y)))
                value = b.fadd(pixels[0], term)
                if not pools:
                    other = b.select(adds, b.add(at, residual), e.plus(bounds, BYTES))
                    value = b.fadd(value, e.load(other))
                for bound, test in ((low, "<"), (high, ">")):
                    # Comparisons are such that NaN stays NaN.
                    value = b.select(b.fcmp_ordered(test, value, bound), bound, value)
                bits = ir.VectorType(I32, wide)
                e.store(b.bitcast(b.and_(b.bitcast(value, bits), e.load(masks[q], bits)), kind), at)
        return context.get_dummy_value()

    return types.void(pooled, *[types.int64] * 14), generate


transform_rows: Any = intrinsic(_transform_rows)
transform_columns: Any = intrinsic(_transform_columns)
transform_tiles_back: Any = intrinsic(_transform_tiles_back)
