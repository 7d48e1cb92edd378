"""Loops around microkernels: translated by Numba once, then copied as text and optimised by LLVM for each tile size.

Such a loop reads its tile size from `tile_channels` and `tile_vectors` and calls its microkernel by a symbol. In each
copy these symbols carry the size in their names; the functions behind them are constants and a microkernel of that
size, which LLVM inlines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types

from sparsemark.direct.kernels.emitter import I64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

tile_channels: Any = types.ExternalFunction("tile_channels", types.int64())
"""Output channels of the tile."""

tile_vectors: Any = types.ExternalFunction("tile_vectors", types.int64())
"""Vectors of each output channel of the tile."""

Size = tuple[int, int]
"""Output channels and vectors."""


@dataclass(frozen=True)
class Microkernel:
    """A function of 64-bit integers that is emitted for several sizes of its tile.

    Args:
        symbol: by which the loop around it calls it.
        operands: how many.
        sizes: of the tile; the first operand of the loop is the place of one of them. With any other number the loop
            does nothing, so `program.assemble` refuses it.
        emit: write the body, given a builder, the size and the operands.
    """

    symbol: str
    operands: int
    sizes: Sequence[Size]
    emit: Callable[[ir.IRBuilder, Size, Sequence[ir.Value]], None]

    def external(self) -> Any:
        """Return the function that the loop calls."""
        return types.ExternalFunction(self.symbol, types.int64(*[types.int64] * self.operands))

    def functions(self) -> str:
        """Return a module with what the copies of the loop call."""
        module = ir.Module()
        for size in self.sizes:
            for name, count in zip(("tile_channels", "tile_vectors"), size, strict=True):
                builder = self._begin(module, _sized(name, self.symbol, size), 0)
                builder.ret(I64(count))
            builder = self._begin(module, _sized(self.symbol, self.symbol, size), self.operands)
            self.emit(builder, size, builder.function.args)
            builder.ret(I64(0))
        return str(module)

    def copies(self, loop: str) -> list[str]:
        """Return the modules that replace the loop's: a copy for each size, and a choice among them."""
        heads = _HEAD.findall(loop)
        if len(heads) != 1:
            raise ValueError(f"{self.symbol}: expected one function in the module that calls it, found {len(heads)}")
        ((name, operands),) = heads
        pairs = _OPERAND.findall(operands)
        number = " ".join(pairs[_FIRST_OPERAND])
        copies, targets, cases = [], [], []
        for place, size in enumerate(self.sizes):
            copy = loop.replace(f'@"{name}"', f'@"{name}.{place}"')
            for symbol in ("tile_channels", "tile_vectors", self.symbol):
                copy = copy.replace(f'@"{symbol}"', f'@"{_sized(symbol, self.symbol, size)}"')
            copies.append(copy)
            targets.append(f"i64 {place}, label %case{place}")
            # Apart: LLVM takes half as long again over one function of them all.
            call = f'call i32 @"{name}.{place}"({operands}) noinline'
            cases.append(f"case{place}:\n  %status{place} = {call}\n  ret i32 %status{place}")
        kinds = ", ".join(kind for kind, _ in pairs)
        declared = "\n".join(f'declare i32 @"{name}.{place}"({kinds})' for place in range(len(self.sizes)))
        choice = f"switch {number}, label %none [{' '.join(targets)}]"
        body = "\n".join([choice, *cases, "none:", "  ret i32 0"])
        return [*copies, f'{declared}\ndefine i32 @"{name}"({operands}) {{\n{body}\n}}']

    @staticmethod
    def _begin(module: ir.Module, name: str, operands: int) -> ir.IRBuilder:
        function = ir.Function(module, ir.FunctionType(I64, [I64] * operands), name)
        function.attributes.add("alwaysinline")
        return ir.IRBuilder(function.append_basic_block("entry"))


_HEAD = re.compile(r'^define [^@]*@"([^"]+)"\((.*)\)[^)]*$', re.MULTILINE)
"""Name and operands of a function."""

_OPERAND = re.compile(r'(.+?) (%(?:"[^"]*"|[^", ]+))(?:, |$)')
"""Type and name of one operand; the types of structures hold commas."""

_FIRST_OPERAND = 2
"""Of a function of Numba: where its result goes and where its error goes come before."""


def _sized(name: str, symbol: str, size: Size) -> str:
    return f"{name}.{symbol}.{size[0]}x{size[1]}"
