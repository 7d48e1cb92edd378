"""Dispatch by a number in a row, generated from a list of compiled functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsemark.direct.kernels.jit import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparsemark.direct.kernels.jit import Function


def dispatched(column: int, functions: Mapping[int, Function]) -> Function:
    """Return a compiled function that calls one of several, all of the same operands.

    Args:
        column: of the row, the first operand, that has the number of the function.
        functions: by their numbers; where a row has another one, nothing is called.
    """
    chain: Function = _nothing
    for number, function in reversed(functions.items()):
        chain = _case(column, number, function, chain)
    return chain


def _case(column: int, number: int, function: Function, otherwise: Function) -> Function:
    """One comparison: LLVM makes a jump table of the chain."""

    @compiled()
    def case(row: Any, *operands: Any) -> None:
        if row[column] == number:
            function(row, *operands)
        else:
            otherwise(row, *operands)

    return case


@compiled()
def _nothing(row: Any, *operands: Any) -> None:
    pass
