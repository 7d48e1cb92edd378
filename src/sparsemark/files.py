"""Files: written whole or not at all, locked, digests of their content, and TOML or JSON read as a type."""

from __future__ import annotations

import errno
import functools
import glob
import hashlib
import json
import os
import re
import stat
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import UnionType
from typing import IO, TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

from sparsemark.errors import UserError, WriteError
from sparsemark.references import nearest

T = TypeVar("T")

_MOST_LINKS = 40
"""Links followed from one name to the next, as Linux has it: a circle has no end."""
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
"""Of what only its user may read, change or enter."""

_ABANDONED = 60.0
"""Seconds without a write after which a temporary file of a process that is gone is removed."""

_LONGEST = 200
"""Characters of a value in a message."""

_CHECK = "check"
"""Field of a note: hash of its other fields."""

_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
"""msgspec's names of types, as TOML's users know them."""

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def replacing(path: Path, *, keep_mode: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside a file, and rename it to the file once the block has ended without an error.

    The file is what `path` names, at the end of symbolic links. Temporary files for the same path that a killed process
    left are removed.

    Args:
        path: of the file.
        keep_mode: whether an existing file's mode outlives its content.

    Raises:
        UserError: where the disk is full or the folder cannot be written; the file is then as it was.
        BrokenPipeError: `path` names a pipe that nobody reads any more.
    """
    # A link stays a link: a rename onto it would leave the file that it points to as it was.
    real = Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114 - no error for a long name
    temporary = real.with_name(f".{real.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        if os.path.islink(real):  # noqa: PTH114 - as above
            real.stat()  # raises: links in a circle
        real.parent.mkdir(parents=True, exist_ok=True)
        in_place = is_stream(path)
        yield path if in_place else temporary
        if not in_place:
            if keep_mode and real.exists():
                temporary.chmod(stat.S_IMODE(real.stat().st_mode))
            temporary.replace(real)
            _remove_abandoned(real)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        # Where the folder itself is at fault this fails too, and must not hide the reason.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.*.tmp"):
        with suppress(OSError, ValueError):
            process = int(temporary.name.removeprefix(f".{path.name}.").partition(".")[0])
            # On a shared disk the process may run on another machine, and still be writing.
            if time.time() - temporary.stat().st_mtime > _ABANDONED and not _is_alive(process):
                temporary.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def check_writable(path: Path) -> None:
    """Create the folder of a file that is to be written later, and check that the file can be written.

    Raises:
        UserError: it cannot, or `path` is a folder itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error
    if path.is_dir():
        raise WriteError(f"{path}: cannot be written: it is a folder, expected the name of a file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise WriteError(f"{path}: cannot be written: permission denied")


def is_stream(path: Path) -> bool:
    """Return whether a path names a device, a pipe or a file that is open here, such as `/dev/stdout`.

    A rename would replace it, so it is written directly; no other file belongs beside it.
    """
    return _descriptor(path) is not None or (path.exists() and not path.is_file())


def _descriptor(path: Path) -> int | None:
    """Return the number of the open file that a path names, as `/dev/stdout` and links to it do; else None."""
    folders = {os.path.realpath(folder) for folder in ("/dev/fd", "/proc/self/fd")}
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if folder in folders and path.name.isdecimal():
            return int(path.name)
        if not os.path.islink(path):  # noqa: PTH114 - as above
            return None
        path = Path(folder) / path.readlink()
    return None


def _open_to_write(path: Path) -> IO[bytes]:
    number = _descriptor(path)
    # Opening the name of a redirected stdout would truncate its file, and with it what was printed before.
    return path.open("wb") if number is None else os.fdopen(os.dup(number), "wb")


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all; errors as in `replacing`.

    To `/dev/stdout` and the like it is written where the process's own output stands.
    """
    with replacing(path) as target, _open_to_write(target) as file:
        file.write(content)
        file.flush()
        if target != path:
            os.fsync(file.fileno())


def write_privately(path: Path, content: bytes, root: Path) -> None:
    """Write a file that only this user can read or change, in folders that only this user can enter.

    Args:
        path: below `root`.
        content: written whole or not at all, mode 0600.
        root: the folder, and those between it and the file, are made with mode 0700, or set to it.

    Raises:
        UserError: a folder belongs to another user, or as in `replacing`.
    """
    folders = [root, *reversed([folder for folder in path.parents if root in folder.parents])]
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        for folder in folders:
            folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            if not is_own(folder.stat()):
                folder.chmod(_FOLDER_MODE)
            if not is_own(folder.stat()):
                raise PermissionError(errno.EPERM, f"{folder} belongs to another user")
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error
    if path.is_symlink():  # else what it points to would be written
        path.unlink()
    with replacing(path, keep_mode=False) as target:
        if target != path:
            target.unlink(missing_ok=True)  # a killed process of the same id may have left it
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def read_own(path: Path, root: Path) -> bytes | None:
    """Return the content of a file that only this user can change; None where it is absent.

    Args:
        path: below `root`.
        root: the folder, and those between it and the file, must be this user's alone as well.

    Raises:
        PermissionError: another user owns the file or a folder, or can change it.
        OSError: it cannot be read, or is a link.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        folders = [root, *(folder for folder in path.parents if root in folder.parents)]
        if not all(map(is_own, [os.fstat(file.fileno()), *(folder.stat() for folder in folders)])):
            raise PermissionError(errno.EPERM, "another user owns it or can change it")
        return file.read()


def is_own(found: os.stat_result) -> bool:
    """Return whether this user owns a file or folder, and neither its group nor others can change it."""
    if not hasattr(os, "geteuid"):  # Windows, where a user's cache is in the user's profile
        return True
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file or folder by flock(2) and return whether this process holds it.

    True where the system or the file system knows no such locks.

    Args:
        descriptor: the lock ends when it is closed, however the process ends.
        wait: for the process that holds it.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network file system without locks
        return True
    return True


def note_of(content: Mapping[str, Any]) -> bytes:
    """Return a JSON object with a checksum of itself, for `read_note`."""
    return json.dumps({**content, _CHECK: key_of(content)}).encode()


def read_note(path: Path) -> dict[str, Any] | None:
    """Return what `note_of` was given; None where the file is absent, damaged or was changed."""
    try:
        return content_of_note(path.read_bytes())
    except OSError:
        return None


def content_of_note(note: bytes) -> dict[str, Any] | None:
    """Return the same of a file's content."""
    try:
        found = json.loads(note)
        content = {name: value for name, value in found.items() if name != _CHECK}
        return content if found[_CHECK] == key_of(content) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def content_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def code_digest(folder: Path) -> str:
    """SHA-256 of all Python files in a folder, in hex: what was made by other code is not taken for its own."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        sha.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()


def key_of(*parts: Any) -> str:
    """Name a stage's inputs by 16 hex digits: the same parts give the same key in every process."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def convert_document(value: Any, kind: type[T], where: str) -> T:
    """Convert parsed TOML or JSON to a `msgspec.Struct` that forbids unknown fields, or to another type of msgspec's.

    Args:
        value: what the parser returned.
        kind: the type.
        where: file, for the message.

    Raises:
        UserError: `FILE: prune[0].sparsity: 0.3, expected a list`, naming the field by its path, and the
            nearest known name of one that is not known.
    """
    import msgspec

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {_explain(str(error), value, kind)}") from None


def _explain(message: str, value: Any, kind: Any) -> str:
    """Format msgspec's message: the field first, then the value found, then what was expected."""
    problem, _, place = message.partition(" - at `$")
    at = ""
    for index, name in re.findall(r"\[(\d+|\.\.\.)\]|\.(\w+)", place):
        if name:
            value, kind, at = value[name], _fields(kind)[name], f"{at}.{name}"
        elif index == "...":
            key = _key_of_misfit(value, kind)
            value, kind, at = value[key], _parts(kind)[-1], f"{at}.{key}"
        else:
            # A tuple may hold one type for all items, or one for each.
            parts = _parts(kind)
            value, kind, at = value[int(index)], parts[min(int(index), len(parts) - 1)], f"{at}[{index}]"
    at = at.removeprefix(".")
    if field := re.search(r"unknown field `(.*)`", problem):
        prefix = f"{at}." if at else ""
        return f"{prefix}{field[1]}: {nearest(field[1], _fields(kind), 'field')}"
    if field := re.search(r"missing required field `(.*)`", problem):
        prefix = f"{at}." if at else ""
        return f"{prefix}{field[1]}: missing, expected {_kind_in_words(_fields(kind)[field[1]])}"
    found = re.sub(r"`(\w+)`", lambda match: _KINDS.get(match[1], match[1]), problem[0].lower() + problem[1:])
    if match := re.match(r"Expected `([^`]*)`, got", problem):
        kinds = [_KINDS.get(one, one) for one in match[1].split(" | ") if one != "null"]  # TOML has no null
        found = f"{_shown(value)}, expected {' or '.join(kinds)}"
    return f"{at}: {found}" if at else found


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def _key_of_misfit(value: Any, kind: Any) -> Any:
    """Return the first key of a table whose value does not convert; msgspec's message leaves it out."""
    import msgspec

    for key, one in value.items():
        try:
            msgspec.convert(one, _parts(kind)[-1])
        except msgspec.ValidationError:
            return key
    raise AssertionError(f"every value converts to {kind}")


def _fields(kind: Any) -> dict[str, Any]:
    import msgspec

    structs = [one for one in _union(kind) if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    return {field.name: field.type for field in msgspec.structs.fields(structs[0])} if structs else {}


def _parts(kind: Any) -> tuple[Any, ...]:
    """Return the types of what a container holds, of a union's container where one is left open."""
    return next(parts for one in _union(kind) if (parts := tuple(p for p in get_args(one) if p is not ...)))


def _union(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _kind_in_words(kind: Any) -> str:
    name = getattr(get_origin(kind) or kind, "__name__", "")
    return {"tuple": "a list", "list": "a list", "dict": "a table"}.get(name, _KINDS.get(name, "a table"))
