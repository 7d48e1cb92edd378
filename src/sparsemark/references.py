"""References: `file.py:factory` or `package.module:factory` to a callable; names and errors in one line."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType, ModuleType


ONNX_SUFFIX = ".onnx"
"""Of a reference that is a file, not a factory."""

_SAVED = "torch", "load", ", weights_only=True"
_WEIGHTS = {".pt": _SAVED, ".pth": _SAVED, ".ckpt": _SAVED, ".safetensors": ("safetensors.torch", "load_file", "")}
"""Suffixes of files that hold weights without the code that runs them: module, function and option that read them."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
"""Sequences that colour a terminal."""


_HELD: dict[str, Callable[[], Any]] = {}
"""What this process holds, by reference."""

_HOLDING = "<held>"
"""How references begin that only the process knows that holds what they name."""

_NUMBERS = count(1)


def nearest(name: str, known: Iterable[str], kind: str) -> str:
    """Return one line for an unknown name, with the nearest known one."""
    import difflib

    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r}{hint} (known: {', '.join(known)})"


@contextmanager
def held(value: Any) -> Iterator[str]:
    """Yield a reference to a value of this process, such as a module that no factory makes; known within the block."""
    reference = f"{_HOLDING}{next(_NUMBERS)}:{type(value).__name__}"
    _HELD[reference] = lambda: value
    try:
        yield reference
    finally:
        del _HELD[reference]


def is_held(reference: str) -> bool:
    """Return whether a reference names a value of some process, which no other process can make."""
    return reference.startswith(_HOLDING)


def resolve(reference: str) -> Callable[..., Any]:
    """Import and return the callable that `reference` names.

    Args:
        reference: `file.py:factory`, whose folder becomes importable as if the file were run, or
            `package.module:factory`. Both find modules from the working directory as well.

    Raises:
        UserError: no such file, module or attribute; the import fails; what is named cannot be called.
    """
    location, _, attribute = reference.rpartition(":")
    if is_held(reference):
        if reference in _HELD:
            return _HELD[reference]
        raise UserError(
            f"{attribute}: a module that another process holds; give file.py:factory in place of the module, or "
            "measure in one process (launches=0)"
        )
    check_reference(reference)
    module = load_file(Path(location)) if location.endswith(".py") else _import_module(location)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise UserError(f"{location}: {nearest(attribute, names, 'factory')}") from None
    if not callable(found):
        raise UserError(f"{reference}: expected something to call, found {type(found).__name__}")
    return found  # type: ignore[no-any-return]  # callable() narrows to no signature


def check_reference(reference: str) -> None:
    """Check that a reference has the form of one to a factory.

    Raises:
        UserError: it has not; of a file of weights, shows a factory that loads them.
    """
    for path in (reference, reference.rpartition(":")[0]):
        if Path(path).suffix in _WEIGHTS:
            module, function, option = _WEIGHTS[Path(path).suffix]
            raise UserError(
                f"{path}: holds weights, not the code that runs them; expected FILE.py:build, where FILE.py has "
                f"def build(): net = Net(); net.load_state_dict({module}.{function}({path!r}{option})); return net"
            )
    location, _, attribute = reference.rpartition(":")
    if not location or not attribute:
        raise UserError(f"{reference!r}: expected file.py:factory, package.module:factory or model.onnx")


def load_file(path: Path) -> ModuleType:
    """Import a Python file, once a process; its folder and the working directory become importable.

    Raises:
        UserError: no such file, or importing it fails.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    name = _module_name(path.resolve())
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: expected a Python file")
    # Its folder as if the file were run, and the working directory, where its package may be.
    for folder in (str(path.resolve().parent), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.append(folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(f"{path}: importing it failed: {one_line(error)}") from error
    return module


def _module_name(path: Path) -> str:
    """Return an identifier for a file's module, other than that of a file of the same name elsewhere.

    It becomes part of TorchScript's class names, and pnnx aborts on slashes, dots and dashes in them.
    """
    stem = re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    return f"_sparsemark_{stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


def _import_module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise UserError(f"{name}: importing it failed: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """Return type and message of an error, the message's lines joined."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def line_in(error: BaseException, file: Path | None) -> str:
    """Return ` (task.py, line 14)`, the innermost line of a file that an error came through; empty where none is."""
    import traceback

    lines = [] if file is None else [at for one, at in traceback.walk_tb(error.__traceback__) if _is_of(one, file)]
    return f" ({file.name}, line {lines[-1]})" if file is not None and lines else ""


def _is_of(frame: FrameType, file: Path) -> bool:
    return Path(frame.f_code.co_filename).resolve() == file.resolve()


def root_cause(error: BaseException) -> str:
    """Return type and first line of the error at the end of the chain of causes.

    Compilers and exporters wrap what stopped them in advice of many lines, and colour it.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    plain = _ESCAPES.sub("", str(error))
    first = next((line.strip() for line in plain.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"
