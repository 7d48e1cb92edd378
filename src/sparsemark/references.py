"""`file.py:factory` or `package.module:factory` to a callable, with errors that say what was looked for."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType


ONNX_SUFFIX = ".onnx"
"""Of a reference that is a file, not a factory."""


def nearest(name: str, known: Iterable[str], kind: str) -> str:
    """One line for a name that is not known, with the nearest one that is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r}{hint} (known: {', '.join(known)})"


def resolve(reference: str) -> Callable[..., Any]:
    """Import what `reference` names.

    Args:
        reference: `file.py:factory`, whose folder becomes importable as if the file were run, or
            `package.module:factory`, looked for from the working directory as well.

    Raises:
        UserError: no such file, module or attribute; the import fails; what is named cannot be called.
    """
    location, separator, attribute = reference.rpartition(":")
    if not separator or not location or not attribute:
        raise UserError(f"{reference!r}: expected file.py:factory, package.module:factory or model.onnx")
    module = _load_file(Path(location)) if location.endswith(".py") else _import_module(location)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise UserError(f"{location}: {nearest(attribute, names, 'factory')}") from None
    if not callable(found):
        raise UserError(f"{reference}: expected something to call, found {type(found).__name__}")
    return found  # type: ignore[no-any-return]  # callable() says no more than that


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    # Named by its path: two users' files called model.py can be loaded in one process.
    name = f"_sparsemark_reference_{path.resolve()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: expected a Python file")
    folder = str(path.resolve().parent)
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


def _import_module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise UserError(f"{name}: importing it failed: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """Kind and message of an error, whatever its message's own lines."""
    return " ".join(f"{type(error).__name__}: {error}".split())
