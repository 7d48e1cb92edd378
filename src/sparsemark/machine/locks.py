"""Locks between processes, by flock(2): the system frees them however the process that holds them ends."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from sparsemark.errors import UserError
from sparsemark.files import lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LONGEST = 4096
"""Bytes of the holder's description that are read."""


@contextmanager
def only_process(path: Path, command: str) -> Iterator[None]:
    """Hold a lock file for the block, with the process and its command in it; it is removed at the end.

    A second process is refused and does not wait: the first may take hours, and a command that waits in silence looks
    as if it hung. Where the file system or the system knows no such lock, nothing is checked.

    Args:
        path: of the lock file.
        command: of this process, for the message of the second one.

    Raises:
        UserError: another process holds the lock, named by its id and command; or the file cannot be made.
    """
    descriptor = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while descriptor is None:
            descriptor = _hold(path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}: {command}\n".encode(errors="replace"), 0)
    except OSError as error:
        if descriptor is not None:
            os.close(descriptor)
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        # Removed before it is freed: whoever opened it meanwhile finds another file, or none, under its name.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _hold(path: Path) -> int | None:
    """Open and lock a file; None where its holder removed it in between.

    Raises:
        UserError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not lock(descriptor):
            _refuse(path, descriptor)
        with suppress(FileNotFoundError):  # its holder removed it in between
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _refuse(path: Path, descriptor: int) -> NoReturn:
    holder = " ".join(os.pread(descriptor, _LONGEST, 0).decode(errors="replace").split())
    raise UserError(f"{path}: held by {holder or 'another process'}; wait for it to end, or stop it")
