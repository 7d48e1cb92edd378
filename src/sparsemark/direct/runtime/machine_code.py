"""The interpreter's machine code: compiled once on a processor, kept on disk, and loaded without its compiler.

Loading takes neither Numba nor, on Linux on x86-64, LLVM. Compiling takes both, in processes apart that share the work;
see `compilation`. What is kept is one file with all object files.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import struct
import sys
import time
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

SYMBOL = "sparsemark_execute"

Execute = Callable[..., None]

_OPERANDS = 20
"""Of `interpreter.execute`: 64-bit integers and addresses; an array is its address and its length."""

_FUNCTION = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * _OPERANDS)

_MOST_PROCESSES = 4
"""That compile at once: each takes 300 MB, and more of them would wait for the longest entry."""

_INTERVAL = 0.02
"""Seconds between two looks whether one of them has ended."""

_LENGTH = struct.Struct("<Q")
"""Of an object file, in front of it."""

_DIGEST = hashlib.sha256().digest_size
_LOG = logging.getLogger(__name__)


# Two threads that come first together both do it: that costs less than a lock that a fork may leave locked for ever.
@functools.cache
def load() -> Execute:
    """The compiled interpreter, which does not hold the lock of Python's own: see `interpreter.execute`.

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


class _KilledError(UnsupportedError):
    """A compiler that a signal ended: mostly the system, when memory ran out."""


def _compile() -> bytes:
    """Compile all entries; return their object files, each behind its length."""
    # Here: once it is compiled, programs start without it.
    from sparsemark.machine.placement import allowed_cpus

    processes = min(len(allowed_cpus()), _MOST_PROCESSES)
    try:
        return _compiled_by(processes)
    except _KilledError:
        if processes == 1:
            raise
        return _compiled_by(1)


def _compiled_by(processes: int) -> bytes:
    from sparsemark.machine.temporary import temporary_folder

    try:
        # By way of files: whatever is printed while Python starts would be taken for code.
        with temporary_folder() as folder:
            _run_compilers(folder, processes)
            code = b"".join(_LENGTH.pack(len(one)) + one for one in _contents(folder))
    except OSError as error:
        raise UnsupportedError(f"direct-csr: cannot be compiled: {error.strerror or error}") from error
    if not code:
        raise UnsupportedError("direct-csr: cannot be compiled: the compiler wrote nothing")
    return code


def _contents(folder: Path) -> list[bytes]:
    """Return the object files in a folder, in the order of the entries."""
    return [path.read_bytes() for path in sorted(folder.glob("*.o"))]


def _run_compilers(folder: Path, processes: int) -> None:
    """Have all entries compiled to files of a folder, by so many processes; errors as in `load`."""
    import subprocess

    from sparsemark.machine.import_path import variables

    # What the user set for other programs of Numba, such as no compilation at all, is not meant for this one.
    environment = {name: value for name, value in variables().items() if not name.startswith("NUMBA_")}
    command = [sys.executable, "-P", "-m", "sparsemark.direct.runtime.compilation", str(folder)]
    with contextlib.ExitStack() as stack:
        logs = {}
        for number in range(processes):
            log = folder / f"{number}.log"  # a pipe that nobody reads could fill up
            with log.open("wb") as printed:
                process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=printed)  # noqa: S603 - fixed words
            stack.enter_context(process)
            stack.callback(process.kill)  # where another one fails, or the user interrupts
            logs[process] = log
        while logs:
            for process in [one for one in logs if one.poll() is not None]:
                log = logs.pop(process)
                if code := process.returncode:
                    kind = _KilledError if code < 0 else UnsupportedError
                    raise kind(f"direct-csr: cannot be compiled: {_reason(log, code)}")
            time.sleep(_INTERVAL)


def _reason(log: Path, code: int) -> str:
    """Return the last line that a process printed; where it printed none, the signal or exit code that ended it."""
    lines = [line.strip() for line in log.read_text(errors="replace").split("\n")]
    ended = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return next((line for line in reversed(lines) if line), ended)


def _objects(code: bytes) -> list[bytes]:
    """Return the object files that `_compile` put together."""
    found, place = [], 0
    while place < len(code):
        (length,) = _LENGTH.unpack_from(code, place)
        place += _LENGTH.size
        found.append(code[place : place + length])
        place += length
    return found


def _link(code: bytes) -> Execute:
    execute: Execute = _FUNCTION(_address(_objects(code)))
    return execute


def _address(objects: list[bytes]) -> int:
    """Return where the function is, for as long as the process lives.

    A thread may be in it when the interpreter takes everything else down.
    """
    if object_file.IS_KNOWN:
        try:
            return object_file.link(objects, SYMBOL)
        except object_file.ObjectFileError as error:
            _LOG.debug("direct-csr: LLVM links its machine code: %s", error)
    import llvmlite.binding as llvm  # only here: its library takes more memory than most networks

    try:
        llvm.initialize_native_target()
        target = llvm.Target.from_triple(PROCESSOR.triple)
        jit = llvm.create_lljit_compiler(
            target.create_target_machine(reloc="pic", codemodel="default"), use_jit_link=True
        )
        builder = llvm.JITLibraryBuilder()
        for one in objects:
            builder.add_object_img(one)
        library = builder.add_current_process().export_symbol(SYMBOL).link(jit, "sparsemark")
    except RuntimeError as error:
        raise UnsupportedError(f"direct-csr: its machine code cannot be linked: {one_line(error)}") from error
    address: int = library[SYMBOL]
    library.detach()
    jit.detach()
    return address
