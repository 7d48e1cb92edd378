"""Compile the interpreter to object code: `python -m sparsemark.direct.runtime.compilation FILE`.

A process of its own, since Numba takes hundreds of megabytes that whoever runs a network has no use for.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import numpy as np
from numba import types
from numba.core import cgutils, codegen
from numba.core.registry import cpu_target
from numba.np.arrayobj import get_cfarray_intrinsic

from sparsemark.direct import isa
from sparsemark.direct.kernels.interpreter import execute
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.microkernels import CONVOLVE
from sparsemark.direct.kernels.products import MULTIPLY
from sparsemark.direct.runtime.machine_code import SYMBOL
from sparsemark.direct.target import PROCESSOR
from sparsemark.machine.children import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

_INT64, _INT64S = types.int64, types.CPointer(types.int64)
_INT32S, _FLOATS = types.CPointer(types.int32), types.CPointer(types.float32)
_SIGNATURE = types.void(
    _INT64S, _INT64, _FLOATS, _INT64, _INT64, _INT64, _INT64S, _INT64, _INT32S, _INT64, _INT32S, _FLOATS, _INT64,
    _INT64, _FLOATS, _INT64, _INT64, _INT64, _INT64,
)  # fmt: skip

# `numba.carray` itself is a function that returns an array, which needs reference counts.
_array: Any = get_cfarray_intrinsic("C", None)

_OF_PYTHON = ("Py", "_Py", "NRT_", "numba_")
"""How the names begin of what is there only where Numba is loaded, or needs the interpreter's lock."""

_OF_LOOPS = ("tile_channels", "tile_vectors", CONVOLVE.symbol, MULTIPLY.symbol)
"""How the names begin of what a loop calls until it is copied for each size of a tile."""


class _Library(codegen.JITCodeLibrary):
    """Text of one function and the libraries that it calls.

    Numba's own library makes machine code of each function, and copies into its module those of all that it calls.
    Neither is wanted here: LLVM is given all functions once.
    """

    def __init__(self, owner: Any, name: str) -> None:
        super().__init__(owner, name)  # type: ignore[no-untyped-call]
        self._texts: list[str] = []

    def add_ir_module(self, ir_module: Any) -> None:
        """Keep a module's text."""
        self._texts.append(cgutils.normalize_ir_text(str(ir_module)))

    def finalize(self) -> None:
        """Mark the library complete, as Numba expects; there is no machine code to make yet."""
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        """Return 0, which is to Numba a function that Python cannot call."""
        return 0

    def texts(self) -> list[str]:
        """Return the modules of this library and of all that it calls, each once."""
        libraries = [self]
        for library in libraries:
            libraries += [one for one in dict.fromkeys(library._linking_libraries) if one not in libraries]
        return [text for library in libraries for text in library._texts]


class _Codegen(codegen.JITCPUCodegen):
    """Numba's generator of code, with libraries of text."""

    _library_class = _Library

    def set_env(self, _name: str, _environment: Any) -> None:
        """Do nothing: globals of Python are needed where Python calls a function."""


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
    thread: int,
    threads: int,
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
        thread,
        threads,
    )


def object_code() -> bytes:
    """Compile for this processor; the function is called `SYMBOL`."""
    cpu_target.target_context._internal_codegen = _Codegen("sparsemark")  # type: ignore[no-untyped-call]
    function: Any = compiled()(_execute)
    function.compile(_SIGNATURE)
    (result,) = function.overloads.values()
    module = llvm.parse_assembly("")
    for text in _sized(result.library.texts()):
        module.link_in(llvm.parse_assembly(text))
    module.verify()
    module.get_function(result.fndesc.llvm_func_name).name = SYMBOL
    for one in module.functions:
        if not one.is_declaration and one.name != SYMBOL:
            one.linkage = llvm.Linkage.internal
    machine = llvm.Target.from_triple(PROCESSOR.triple).create_target_machine(
        cpu=PROCESSOR.name, features=PROCESSOR.features, opt=3, reloc="pic", codemodel="default"
    )
    _optimise(module, machine)
    calls = [f.name for f in module.functions if f.is_declaration and f.name.startswith((*_OF_PYTHON, *_OF_LOOPS))]
    if calls:
        raise RuntimeError(f"the interpreter calls {', '.join(calls)}")
    code: bytes = machine.emit_object(module)
    return code


def _sized(texts: list[str]) -> Iterator[str]:
    """Yield modules, with copies of the loops around microkernels for each size of a tile."""
    for text in texts:
        microkernel = next((one for one in (CONVOLVE, MULTIPLY) if f'@"{one.symbol}"' in text), None)
        if microkernel is None:
            yield text
        else:
            yield from microkernel.copies(text)
            yield microkernel.functions()


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
