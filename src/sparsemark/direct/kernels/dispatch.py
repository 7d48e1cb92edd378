"""Dispatch by a number in a row, generated from a list of entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsemark.direct.kernels.entries import external, operands_of
from sparsemark.direct.kernels.jit import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparsemark.direct.kernels.jit import Function


def dispatched(column: int, functions: Mapping[int, Function]) -> Function:
    """Return a compiled function that calls one of several entries.

    One flat function of comparisons, of which LLVM makes a jump table: nested closures would be a chain of calls.

    Args:
        column: of the row, the first operand, that has the number of the function.
        functions: by their numbers, of the same operands; where a row has another number, nothing is called, so
            `program.assemble` refuses it.
    """
    operands = ", ".join(operands_of(next(iter(functions.values()))))
    lines = [f"def dispatch({operands}):", f"    number = row[{column}]"]
    for number in functions:
        lines += [f"    if number == {number}:", f"        return function{number}({operands})"]
    namespace: dict[str, Any] = {f"function{number}": external(function) for number, function in functions.items()}
    exec("\n".join(lines), namespace)  # noqa: S102 - numbers and names of this package alone
    dispatch: Function = compiled()(namespace["dispatch"])
    return dispatch
