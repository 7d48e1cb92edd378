"""Emitter of LLVM IR: loads and stores at integer addresses, and arithmetic on vectors.

Addresses are plain 64-bit integers that nothing checks here: `tiling`, `packing` and `encoders` make only such as lie
within the arena, and the tests work out every one of them apart from this code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from collections.abc import Iterable

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR, MASK_BITS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
UNDEFINED = ir.Constant(VECTOR, ir.Undefined)
ZERO = ir.Constant(VECTOR, [ir.Constant(F32, 0.0)] * LANES)
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

    def prefetch(self, address: ir.Value, *, write: bool = False) -> None:
        """Have a line of the cache fetched; an address that cannot be read does no harm."""
        module, pointer = self.b.module, ir.IntType(8).as_pointer()
        name = "llvm.prefetch.p0"
        kind = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
        function = module.globals.get(name) or ir.Function(module, kind, name)
        self.b.call(function, [self.b.inttoptr(address, pointer), I32(int(write)), I32(3), I32(1)])

    def plus(self, address: ir.Value, offset: int) -> ir.Value:
        """An address, moved on."""
        return self.b.add(address, I64(offset)) if offset else address

    def splat(self, scalar: ir.Value) -> ir.Value:
        """A scalar in every lane."""
        first = self.b.insert_element(UNDEFINED, scalar, I32(0))
        return self.b.shuffle_vector(first, UNDEFINED, ir.Constant(MASK_BITS, [0] * LANES))

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """X * y + z."""
        name = f"llvm.fma.v{LANES}f32"
        module = self.b.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(VECTOR, [VECTOR] * 3), name)
        return self.b.call(function, [x, y, z])

    def times(self, factor: float, value: ir.Value) -> ir.Value:
        """A constant times a vector."""
        return self.b.fmul(self.constant(factor), value)

    def constant(self, number: float) -> ir.Value:
        """A number in every lane."""
        return ir.Constant(VECTOR, [ir.Constant(F32, float(np.float32(number)))] * LANES)

    def at_most(self, value: ir.Value, bound: ir.Value) -> ir.Value:
        """A vector, nowhere above another; NaN stays NaN."""
        return self.b.select(self.b.fcmp_ordered(">", value, bound), bound, value)

    def at_least(self, value: ir.Value, bound: ir.Value) -> ir.Value:
        """A vector, nowhere below another; NaN stays NaN."""
        return self.b.select(self.b.fcmp_ordered("<", value, bound), bound, value)

    def hard_swish(self, value: ir.Value) -> ir.Value:
        """The product with itself of what a straight line makes of it, from 0 at -3 to 1 at 3; see `activations`."""
        line = self.b.fadd(self.times(1 / 6, value), self.constant(0.5))
        return self.b.fmul(value, self.at_most(self.at_least(line, ZERO), self.constant(1.0)))

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
