"""Compile the interpreter to object code: `python -m sparsemark.direct.runtime.compilation FILE`.

A process of its own, since Numba takes hundreds of megabytes that whoever runs a network has no use for.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import types
from numba.np.arrayobj import get_cfarray_intrinsic

from sparsemark.direct import isa
from sparsemark.direct.kernels.interpreter import execute
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.runtime.machine_code import SYMBOL
from sparsemark.direct.target import CPU, FEATURES
from sparsemark.machine.children import end_with_parent

_INT64, _INT64S = types.int64, types.CPointer(types.int64)
_INT32S, _FLOATS = types.CPointer(types.int32), types.CPointer(types.float32)
_SIGNATURE = types.void(
    _INT64S, _INT64, _FLOATS, _INT64, _INT64, _INT64, _INT64S, _INT64, _INT32S, _INT64, _INT32S, _FLOATS, _INT64,
    _INT64, _FLOATS, _INT64, _INT64,
)  # fmt: skip

# `numba.carray` itself is a function that returns an array, which needs reference counts.
_array: Any = get_cfarray_intrinsic("C", None)

_OF_PYTHON = ("Py", "_Py", "NRT_", "numba_")
"""How the names begin of what is there only where Numba is loaded, or needs the interpreter's lock."""


def _execute(
    program: Any,
    operations: int,
    arena: Any,
    floats: int,
    records: int,
    pointers: int,
    tiles: Any,
    tile_count: int,
    rows: Any,
    row_count: int,
    columns: Any,
    values: Any,
    nonzeros: int,
    counters: int,
    image: Any,
    pixels: int,
    scratch: int,
) -> None:
    """`execute` as a C function: pointers in place of arrays."""
    memory = _array(arena, (floats,))
    execute(
        _array(program, (operations, isa.COLUMNS)),
        memory,
        np.int64(memory.ctypes.data),
        _array(image, (pixels,)),
        records,
        pointers,
        _array(tiles, (tile_count, isa.TILE_COLUMNS)),
        _array(rows, (row_count,)),
        _array(columns, (nonzeros,)),
        _array(values, (nonzeros,)),
        counters,
        scratch,
    )


def object_code() -> bytes:
    """Compile for this processor; the function is called `SYMBOL`.

    Numba itself is to optimise nothing (`NUMBA_OPT=0`, see `machine_code`): it would do so for each function apart, and
    again for all that call it.
    """
    function: Any = compiled()(_execute)
    function.compile(_SIGNATURE)
    (result,) = function.overloads.values()
    module = llvm.parse_assembly(result.library.get_llvm_str())
    module.get_function(result.fndesc.llvm_func_name).name = SYMBOL
    calls = [f.name for f in module.functions if f.is_declaration and f.name.startswith(_OF_PYTHON)]
    if calls:
        raise RuntimeError(f"the interpreter calls {', '.join(calls)}")
    for one in module.functions:
        if not one.is_declaration and one.name != SYMBOL:
            one.linkage = llvm.Linkage.internal
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=CPU, features=FEATURES.flatten(), opt=3, reloc="pic", codemodel="default"
    )
    _optimise(module, machine)
    code: bytes = machine.emit_object(module)
    return code


def _optimise(module: Any, machine: Any) -> None:
    """Run LLVM's passes of level 3, on all functions at once."""
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)


if __name__ == "__main__":
    end_with_parent()
    gc.disable()  # a tenth of the time, in a process that ends right away
    Path(sys.argv[1]).write_bytes(object_code())
