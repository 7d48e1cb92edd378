"""Files that are whole or absent: atomic writes, content hashes, and the errors of a disk in one line."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there once the block has ended without an error.

    Raises:
        UserError: where the disk is full or the folder cannot be written; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A rename onto a device or a pipe would replace it, so such a path is written directly.
        target = temporary if path.is_file() or not path.exists() else path
        yield target
        if target is temporary:
            temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        # Where the folder itself is at fault this fails too, and must not hide the reason.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Make the folder of a file that is to be written later, and see that it could be.

    Raises:
        UserError: it could not, or `path` is a folder itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    if path.is_dir():
        raise UserError(f"{path}: cannot be written: it is a folder, expected the name of a file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{path}: cannot be written: permission denied")


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all; errors as in `replacing`."""
    with replacing(path) as target, target.open("wb") as file:
        file.write(content)
        file.flush()
        if target != path:
            os.fsync(file.fileno())


def content_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(*parts: Any) -> str:
    """Name a stage's inputs by 16 hex digits: the same parts give the same key in every process."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
