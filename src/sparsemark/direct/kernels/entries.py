"""Entries: functions that are compiled to an object file each, and call each other by symbols.

So several processes can compile at once. To C an entry is a function of 64-bit integers without a result: an array is
passed as its address and its length, while its other dimensions are constants that LLVM knows on both sides.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from sparsemark.direct import isa
from sparsemark.direct.kernels.emitter import I64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.direct.kernels.jit import Function

_ARRAYS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "program": (types.int64, (isa.COLUMNS,)),
    "row": (types.int64, ()),
    "kernel": (types.int64, ()),
    "tiles": (types.int64, (isa.TILE_COLUMNS,)),
    "arena": (types.float32, ()),
    "image": (types.float32, ()),
    "rows": (types.int32, ()),
    "columns": (types.int32, ()),
    "values": (types.float32, ()),
}
"""Type and inner dimensions of operands that are arrays, by name; all others are int64."""


def symbol_of(entry: Function) -> str:
    """Return the symbol of an entry."""
    name = _python(entry).__name__
    return f"sparsemark_{name}"


def kinds_of(entry: Function) -> tuple[Any, ...]:
    """Return the types of an entry's operands."""
    return tuple(map(_kind, operands_of(entry)))


def operands_of(entry: Function) -> tuple[str, ...]:
    """Return the names of an entry's operands."""
    return tuple(inspect.signature(_python(entry)).parameters)


def external(entry: Function) -> Any:
    """Return a function of the same operands that calls an entry by its symbol."""
    kinds = kinds_of(entry)

    def typed(_typing_context: Any, *_operands: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
            passed: list[ir.Value] = []
            for kind, argument in zip(kinds, arguments, strict=True):
                if isinstance(kind, types.Array):
                    array = make_array(kind)(context, builder, argument)
                    length = builder.extract_value(array.shape, 0)
                    passed += [builder.ptrtoint(array.data, I64), length]
                else:
                    passed.append(argument)
            builder.call(cgutils.get_or_insert_function(builder.module, _type(kinds), symbol_of(entry)), passed)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    # Numba reads the number of operands from here.
    names = "_typing_context", *operands_of(entry)
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return intrinsic(typed)


def definition(entry: Function, described: Any, context: Any) -> str:
    """Return a module that defines an entry's symbol.

    Args:
        entry: the entry.
        described: Numba's description of the function that it compiled for `kinds_of(entry)`.
        context: Numba's, of the target.
    """
    kinds, module = kinds_of(entry), ir.Module()
    function = ir.Function(module, _type(kinds), symbol_of(entry))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    operands, arguments = iter(function.args), []
    for name, kind in zip(operands_of(entry), kinds, strict=True):
        argument = next(operands)
        if isinstance(kind, types.Array):
            argument = _array(context, builder, kind, argument, next(operands), _ARRAYS[name][1])
        arguments.append(argument)
    callee = context.declare_function(module, described)
    context.call_conv.call_function(builder, callee, types.none, kinds, arguments)
    builder.ret_void()
    return str(module)


def _python(entry: Function) -> Any:
    function: Any = entry
    return function.py_func


def _kind(name: str) -> Any:
    if name not in _ARRAYS:
        return types.int64
    number, inner = _ARRAYS[name]
    return types.Array(number, 1 + len(inner), "C")


def _type(kinds: Sequence[Any]) -> ir.FunctionType:
    count = sum(2 if isinstance(kind, types.Array) else 1 for kind in kinds)
    return ir.FunctionType(ir.VoidType(), [I64] * count)


def _array(
    context: Any, builder: ir.IRBuilder, kind: Any, address: ir.Value, length: ir.Value, inner: tuple[int, ...]
) -> ir.Value:
    """Return Numba's view of an array in memory, row by row."""
    array = make_array(kind)(context, builder)
    size = kind.dtype.bitwidth // 8
    populate_array(
        array,
        data=builder.inttoptr(address, array.data.type),
        shape=[length, *map(I64, inner)],
        strides=[I64(size * math.prod(inner[k:])) for k in range(kind.ndim)],
        itemsize=size,
        meminfo=None,
    )
    return array._getvalue()
