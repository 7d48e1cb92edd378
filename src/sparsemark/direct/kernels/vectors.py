"""Small operations on vectors, and on counters that threads share, written as LLVM IR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sparsemark.direct.kernels.emitter import BYTES, F32, I32, I64, MASK_BITS, UNDEFINED, Emitter, places_of
from sparsemark.direct.target import IS_X86, LANES

if TYPE_CHECKING:
    from collections.abc import Sequence


def _largest_of_four(typing_context: Any, upper: Any, lower: Any, out: Any) -> Any:
    """Write LANES // 2 floats to `out`: the largest in each 2 x 2 square of two rows of LANES floats; addresses."""
    half = ir.VectorType(I32, LANES // 2)

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = Emitter(b)
        upper, lower, out = arguments
        rows = e.larger(e.load(upper), e.load(lower))
        even, odd = (
            b.shuffle_vector(rows, UNDEFINED, ir.Constant(half, list(range(first, LANES, 2)))) for first in (0, 1)
        )
        e.store(e.larger(even, odd), out)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


def _fetch_add(typing_context: Any, address: Any, amount: Any) -> Any:
    """Add to the int64 at an address, atomically; the value before."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        return b.atomic_rmw("add", b.inttoptr(arguments[0], I64.as_pointer()), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


def _wait_for(typing_context: Any, address: Any, least: Any) -> Any:
    """Wait until the int64 at an address is no less than a number; what other threads wrote before is seen then.

    It only reads: an addition of zero would take the line of the cache away from the threads that are still at work.
    """

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        look, done = (b.append_basic_block(name) for name in ("look", "reached"))
        b.branch(look)
        b.position_at_end(look)
        if IS_X86:
            name, kind = "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), [])
            b.call(b.module.globals.get(name) or ir.Function(b.module, kind, name), [])
        found = b.load_atomic(b.inttoptr(arguments[0], I64.as_pointer()), "seq_cst", 8)
        b.cbranch(b.icmp_signed(">=", found, arguments[1]), done, look)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


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


def _halve_columns(typing_context: Any, source: Any, even: Any, odd: Any) -> Any:
    """Read LANES floats; write those in even places to `even`, the others to `odd`; addresses."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = Emitter(b)
        pixels = e.load(arguments[0])
        for start, target in zip((0, 1), arguments[1:], strict=True):
            e.store(b.shuffle_vector(pixels, UNDEFINED, places_of(range(start, LANES, 2))), target)
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


def _turn_square(typing_context: Any, source: Any, pitch: Any, target: Any, target_pitch: Any) -> Any:
    """Write LANES x LANES floats with rows and columns exchanged; addresses, and bytes from one row to the next."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        e = Emitter(b)
        source, pitch, target, target_pitch = arguments
        rows = [e.load(b.add(source, b.mul(pitch, I64(i)))) for i in range(LANES)]
        size = 1
        while size < LANES:  # exchange the off-diagonal squares of this size
            upper = [j if not j & size else LANES + j - size for j in range(LANES)]
            lower = [j + size if not j & size else LANES + j for j in range(LANES)]
            for i in (i for i in range(LANES) if not i & size):
                rows[i], rows[i + size] = (
                    b.shuffle_vector(rows[i], rows[i + size], ir.Constant(MASK_BITS, lanes)) for lanes in (upper, lower)
                )
            size *= 2
        for i, row in enumerate(rows):
            e.store(row, b.add(target, b.mul(target_pitch, I64(i))))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _as_float(typing_context: Any, bits: Any) -> Any:
    """Read the bits of an int32 as a float32."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        return b.bitcast(arguments[0], F32)

    return types.float32(types.int32), generate


# Called from compiled code, without the typing context.
largest_of_four: Any = intrinsic(_largest_of_four)
fetch_add: Any = intrinsic(_fetch_add)
wait_for: Any = intrinsic(_wait_for)
as_float: Any = intrinsic(_as_float)
split_columns: Any = intrinsic(_split_columns)
halve_columns: Any = intrinsic(_halve_columns)
join_columns: Any = intrinsic(_join_columns)
turn_square: Any = intrinsic(_turn_square)
