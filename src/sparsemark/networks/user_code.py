"""Code of users: the files that make a network or a task, so that nothing made is kept when one of them changes."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import sys
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark.files import content_hash, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OWN = __name__.partition(".")[0]

_INSTALLED = ("site-packages", "dist-packages")
"""Folders of packages that have versions."""


def code_key(reference: str) -> str:
    """Return the key of the code behind `file.py:factory` or `package.module:factory`.

    It covers every file that is reached by import statements, those in functions too, and lies outside of what is
    installed. An installed package counts by its version; what is imported by a name made at run time is not seen.
    """
    location = reference.rpartition(":")[0]
    if location.endswith(".py"):
        first = Path(location)
        return file_key(first) if first.is_file() else reference
    files = [file for file in _found(location.split("."), _search_path(Path.cwd())) if file.suffix == ".py"]
    if files:
        return key_of(reference, [file_key(file) for file in files])
    try:
        return key_of(reference, importlib.metadata.version(location.partition(".")[0]))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return reference


def file_key(file: Path) -> str:
    """Return the key of a Python file and of what it imports, as `code_key` does."""
    return key_of(content_hash(file), imports_key(file))


def imports_key(file: Path) -> str:
    """Return the key of what a Python file imports, as `code_key` does, without the file itself."""
    root = file.resolve().parent
    return key_of([(os.path.relpath(one, root), content_hash(one)) for one in imported_files(file)])


def imported_files(file: Path) -> list[Path]:
    """Return the files that a Python file imports, directly or not, sorted; without the file itself."""
    first = file.resolve()
    path = _search_path(first.parent)
    found, pending = {first}, [first]
    while pending:
        one = pending.pop()
        if one.suffix != ".py":
            continue  # compiled
        for names, folders in _imports(one, path):
            new = {each.resolve() for each in _found(names, folders)} - found
            found |= new
            pending += new
    return sorted(found - {first})


def _imports(file: Path, path: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Sequence[str]]]:
    """Yield the parts of each name that a file imports, and the folders where it is looked for."""
    state = file.stat()
    for level, names in _statements(file, state.st_mtime_ns, state.st_size):
        if level:
            folders = [str(file.parents[level - 1])] if level <= len(file.parents) else []
            yield ("__init__",), folders
            yield names, folders
        elif names[0] != _OWN:
            yield names, path


@lru_cache(maxsize=4096)
def _statements(file: Path, _modified_ns: int, _size: int) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return the level and the parts of each name that a file imports; of `from a import b` also those of `a.b`."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # importing it fails, and says so
        return ()
    found: dict[tuple[int, tuple[str, ...]], None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= dict.fromkeys((0, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            before = tuple((node.module or "").split(".")) if node.module else ()
            found |= dict.fromkeys((node.level, (*before, alias.name)) for alias in node.names)
    return tuple(found)


def _found(names: Sequence[str], folders: Sequence[str] | None) -> Iterator[Path]:
    """Yield the files of a dotted name in these folders, those of its packages first, as far as they exist."""
    for name in names:
        spec = PathFinder.find_spec(name, folders) if folders else None
        if spec is None:
            return
        if spec.origin is not None and Path(spec.origin).is_file():
            yield Path(spec.origin)
        folders = list(spec.submodule_search_locations or ())


def _search_path(folder: Path) -> list[str]:
    """Return the folders where imports are looked for, outside of what is installed: as when a network is built."""
    here = Path.cwd()
    every = [*(Path(entry or here) for entry in sys.path), folder, here]
    prefixes = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)}
    own = [
        one
        for one in map(Path.resolve, every)
        if one.is_dir() and not any(part in _INSTALLED for part in one.parts) and not _is_standard(one, prefixes)
    ]
    return [str(one) for one in dict.fromkeys(own)]


def _is_standard(folder: Path, prefixes: set[Path]) -> bool:
    """Return whether a folder holds Python's own library: a project may well lie inside a prefix such as /usr."""
    return any(folder.is_relative_to(prefix / "lib") for prefix in prefixes) and (
        folder.name.startswith("python") or folder.parent.name.startswith("python")
    )
