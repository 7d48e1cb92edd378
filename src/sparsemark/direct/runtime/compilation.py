"""Compile entries to object code: `python -m sparsemark.direct.runtime.compilation FOLDER`.

In processes apart, since Numba takes hundreds of megabytes that whoever runs a network has no use for. Several share a
folder, and each takes the next entry that none has begun.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
from numba import types
from numba.core import cgutils, codegen
from numba.core.registry import cpu_target

from sparsemark.direct.kernels.entries import definition, kinds_of, symbol_of
from sparsemark.direct.kernels.interpreter import ENTRIES
from sparsemark.direct.kernels.microkernels import CONVOLVE
from sparsemark.direct.kernels.products import MULTIPLY
from sparsemark.direct.target import PROCESSOR
from sparsemark.machine.children import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_PYTHON = ("Py", "_Py", "NRT_", "numba_")
"""How the names begin of what is there only where Numba is loaded, or needs the interpreter's lock."""

_OF_LOOPS = ("tile_channels", "tile_vectors", CONVOLVE.symbol, MULTIPLY.symbol)
"""How the names begin of what a loop calls until it is copied for each size of a tile."""


class _Library(codegen.JITCodeLibrary):
    """Text of one function and the libraries that it calls.

    Numba's own library makes machine code of each function, and copies into its module those of all that it calls.
    Neither is wanted here: LLVM is given all functions of an entry once.
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


def compile_into(folder: Path) -> None:
    """Compile the entries that no other process has begun, each to `NUMBER.o` in a folder.

    Raises:
        OSError: a file cannot be written.
        RuntimeError: an entry calls what Python would have to be loaded for.
    """
    for number, entry in enumerate(ENTRIES):
        try:
            (folder / f"{number:03}.begun").touch(exist_ok=False)
        except FileExistsError:
            continue
        (folder / f"{number:03}.o").write_bytes(_object_code(entry))


def _object_code(entry: Any) -> bytes:
    """Compile an entry for this processor."""
    kinds = kinds_of(entry)
    entry.compile(kinds)
    result = entry.overloads[kinds]
    module = llvm.parse_assembly(definition(entry, result.fndesc, cpu_target.target_context))
    for text in _sized(result.library.texts()):
        module.link_in(llvm.parse_assembly(text))
    module.verify()
    for one in (*module.functions, *module.global_variables):
        if not one.is_declaration and one.name != symbol_of(entry):
            one.linkage = llvm.Linkage.internal
    machine = llvm.Target.from_triple(PROCESSOR.triple).create_target_machine(
        cpu=PROCESSOR.name, features=PROCESSOR.features, opt=3, reloc="pic", codemodel="default"
    )
    _optimise(module, machine)
    calls = [f.name for f in module.functions if f.is_declaration and f.name.startswith((*_OF_PYTHON, *_OF_LOOPS))]
    if calls:
        raise RuntimeError(f"{symbol_of(entry)} calls {', '.join(calls)}")
    code: bytes = machine.emit_object(module)
    return code


def _remember_types() -> None:
    """Have Numba choose the code for an operation once for the same types of operands.

    It tries candidate by candidate each time that one is met, a fifth of its work.
    """
    functions: Any = types.BaseFunction
    choose: Any = functions.get_call_type
    chosen: dict[Any, Any] = {}

    def remembered(function: Any, context: Any, operands: Any, named: Any) -> Any:
        key = function, tuple(operands), tuple(named.items())
        if key not in chosen:
            chosen[key] = choose(function, context, operands, named)
        return chosen[key]

    functions.get_call_type = remembered


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
    """Run LLVM's passes of level 3, on all functions of a module at once."""
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)


if __name__ == "__main__":
    end_with_parent()
    gc.disable()  # a tenth of the time, in a process that ends right away
    _remember_types()
    cpu_target.target_context._internal_codegen = _Codegen("sparsemark")  # type: ignore[no-untyped-call]
    compile_into(Path(sys.argv[1]))
