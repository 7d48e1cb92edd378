"""Temporary folders: removed at the end of the block, and by a later process where this one was killed."""

from __future__ import annotations

import functools
import os
import shutil
import stat
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark.files import lock

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "sparsemark-work-"
"""How the names of the folders begin."""

_YOUNG = 60.0
"""Seconds for which a folder that nobody has locked is left alone: its process may be about to."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder and remove it after the block, an interrupt within the removal included.

    The folder is locked while its process lives. The first call of a process removes folders of this user that no
    process has locked, which SIGKILL or a crash left.

    Raises:
        OSError: the folder cannot be made.
    """
    remove_abandoned(Path(tempfile.gettempdir()))
    folder = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
    descriptor = None
    try:
        descriptor = _open(Path(folder.name))
        if descriptor is not None:
            lock(descriptor)
        yield Path(folder.name)
    finally:
        try:
            folder.cleanup()
        except KeyboardInterrupt:
            folder.cleanup()
            raise
        finally:
            if descriptor is not None:
                os.close(descriptor)


@functools.cache
def remove_abandoned(where: Path) -> None:
    """Remove this user's temporary folders that no process has locked; once a process."""
    for folder in where.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            if not own or time.time() - found.st_mtime < _YOUNG:
                continue
            descriptor = _open(folder)
            if descriptor is None:
                continue
            try:
                if lock(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _open(folder: Path) -> int | None:
    """Open a folder to lock it; None where the system cannot."""
    if sys.platform == "win32":
        return None
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
