"""The interpreter's machine code: compiled once on a processor, kept on disk, and loaded without its compiler.

Loading takes neither Numba nor, on Linux on x86-64, LLVM. Compiling takes both, in a process of its own; see
`compilation`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.direct.fingerprint import fingerprint
from sparsemark.direct.runtime import object_file
from sparsemark.direct.target import PROCESSOR
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.files import key_of, read_own, write_privately
from sparsemark.machine.versions import installed_version
from sparsemark.references import one_line

if TYPE_CHECKING:
    from pathlib import Path

SYMBOL = "execute"

Execute = Callable[..., int]

_OPERANDS = 19
"""Of `compilation._execute`: 64-bit integers and addresses."""

_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * _OPERANDS)
_UNUSED = (ctypes.c_void_p * 2)()
"""Where Numba's calling convention puts a result and an error; there are none."""
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_UNUSED))  # a thread may write there while the interpreter ends

_DIGEST = hashlib.sha256().digest_size
_LOG = logging.getLogger(__name__)


# Two threads that come first together both do it: that costs less than a lock that a fork may leave locked for ever.
@functools.cache
def load() -> Execute:
    """The compiled interpreter, which does not hold the lock of Python's own: see `compilation._execute`.

    Raises:
        UnsupportedError: it cannot be compiled here.
    """
    key = _key()
    path = paths.machine_code(key)
    kept = _kept(path, key)
    code = _compile() if kept is None else kept
    execute = _link(code)
    if kept is None:
        try:
            write_privately(path, _digest(key, code) + code, paths.user_cache())
        except UserError as error:
            _LOG.warning("direct-csr: its machine code is compiled anew in every process: %s", error)
    return execute


def _key() -> str:
    """Return the key of all that decides the code: its sources, the processor, the compiler."""
    return key_of(fingerprint(), asdict(PROCESSOR), installed_version("llvmlite"), installed_version("numba"))


def _digest(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + code).digest()


def _kept(path: Path, key: str) -> bytes | None:
    """Return the code in a file; None where it is missing, damaged, kept under another key, or another user's.

    Whoever can change the file or its folders could have anything run.
    """
    try:
        content = read_own(path, paths.user_cache())
    except PermissionError as error:
        _LOG.warning("direct-csr: %s: not run, compiled again: %s", path, error.strerror)
        return None
    except OSError:
        return None
    if content is None:
        return None
    code = content[_DIGEST:]
    return code if content[:_DIGEST] == _digest(key, code) else None


def _compile() -> bytes:
    # Here: once it is compiled, programs start without them.
    import subprocess

    from sparsemark.machine.import_path import variables
    from sparsemark.machine.temporary import temporary_folder

    # What the user set for other programs of Numba, such as no compilation at all, is not meant for this one.
    environment = {name: value for name, value in variables().items() if not name.startswith("NUMBA_")}
    try:
        # By way of a file: whatever is printed while Python starts would be taken for code.
        with temporary_folder() as folder:
            path = folder / "execute.o"
            command = [sys.executable, "-P", "-m", "sparsemark.direct.runtime.compilation", str(path)]
            ended = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603 - fixed words
            if not ended.returncode:
                return path.read_bytes()
    except OSError as error:
        raise UnsupportedError(f"direct-csr: cannot be compiled: {error.strerror or error}") from error
    lines = ended.stderr.decode(errors="replace").split("\n")
    reason = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {ended.returncode}")
    raise UnsupportedError(f"direct-csr: cannot be compiled: {reason}")


def _link(code: bytes) -> Execute:
    function = _FUNCTION(_address(code))
    return functools.partial(function, *(ctypes.addressof(_UNUSED) + 8 * n for n in range(2)))


def _address(code: bytes) -> int:
    """Return where the function is, for as long as the process lives.

    A thread may be in it when the interpreter takes everything else down.
    """
    if object_file.IS_KNOWN:
        try:
            return object_file.link(code, SYMBOL)
        except object_file.ObjectFileError as error:
            _LOG.debug("direct-csr: LLVM links its machine code: %s", error)
    import llvmlite.binding as llvm  # only here: its library takes more memory than most networks

    try:
        llvm.initialize_native_target()
        target = llvm.Target.from_triple(PROCESSOR.triple)
        jit = llvm.create_lljit_compiler(
            target.create_target_machine(reloc="pic", codemodel="default"), use_jit_link=True
        )
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol(SYMBOL)
        library = builder.link(jit, "sparsemark")
    except RuntimeError as error:
        raise UnsupportedError(f"direct-csr: its machine code cannot be linked: {one_line(error)}") from error
    address: int = library[SYMBOL]
    library.detach()
    jit.detach()
    return address
