"""One measurement at a time on a host: a lock of the kernel, held by whatever times an engine.

The kernel frees it however its process ends, so nothing has to be cleaned up and nothing can be left behind.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.files import lock
from sparsemark.machine import proc
from sparsemark.machine.at_work import at_work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LOG = logging.getLogger(__name__)

PATIENCE = 600.0
"""Seconds that a measurement waits for another one: a launch takes seconds."""

_POLL = 0.05
"""Seconds between two tries: short beside a launch, and too seldom to disturb who holds it."""

_REMINDER = 30.0
"""Seconds between two notices of waiting."""

_LONGEST_NAME = 60
"""Characters of a holder's name."""


@contextmanager
def only_measurement(patience: float = PATIENCE) -> Iterator[float]:
    """Hold the host's lock for the block; yield the seconds that it was waited for.

    Where no place for the lock can be opened, or the system knows no such lock, nothing is waited for.

    Args:
        patience: seconds after which waiting ends.

    Raises:
        UserError: another measurement held the lock all that time; names it where the system shows it.
    """
    opened = _open()
    if opened is None:
        yield 0.0
        return
    descriptor, path = opened
    try:
        yield _wait(descriptor, path, patience)
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, patience: float) -> float:
    started = time.monotonic()
    reminded = -_REMINDER
    with _turnstile(path) as turnstile, at_work("waiting for another measurement"):
        for one in (*turnstile, descriptor):
            while not lock(one):
                waited = time.monotonic() - started
                if waited > patience:
                    raise UserError(
                        f"{path}: held by {_holder(descriptor)} for {waited:.0f} s; measure when it has ended"
                    )
                if waited - reminded >= _REMINDER:
                    _LOG.info("waiting for another measurement on this machine: %s", _holder(descriptor))
                    reminded = waited
                time.sleep(_POLL)
    return time.monotonic() - started


@contextmanager
def _turnstile(path: Path) -> Iterator[list[int]]:
    """Open the file whose lock is held by whoever is next, for the block; none where it cannot be opened.

    Without it a command of many launches, which is back at once after each, would leave the others none.
    """
    try:
        descriptor = _opened(path.with_name(f"{path.name}.next"))
    except OSError:
        yield []
        return
    try:
        yield [descriptor]
    finally:
        os.close(descriptor)


def _open() -> tuple[int, Path] | None:
    """Open the first place that can be: for reading only, which is enough to lock and works on another user's file."""
    if sys.platform == "win32":
        return None
    for path in paths.host_locks():
        with suppress(OSError):
            return _opened(path), path
    return None


def _opened(path: Path) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o644)
        with suppress(OSError):
            os.fchmod(descriptor, 0o644)  # whatever the umask, other users wait for it too
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor


def _holder(descriptor: int) -> str:
    """Return the process that holds the lock, as /proc/locks shows it: it writes nothing into the file."""
    found = os.fstat(descriptor)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in proc.read("/proc/locks").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == place:
            name = short_name(proc.read(f"/proc/{fields[4]}/cmdline").split("\0"))
            return f"process {fields[4]}" + (f" ({name})" if name else "")
    return "another process"


def short_name(command: Sequence[str]) -> str:
    """Return what a process is called: `sparsemark bench`, `pytest`, `python -c`; empty where nothing is known of it.

    No folder, option or code of another's command line is shown, which may be long or nobody's business.

    Args:
        command: its command line, the program first.
    """
    program, *rest = [word for word in command if word] or [""]
    name = PurePath(program).name
    if name.startswith("python"):
        # The interpreter says nothing: a script, a module or code follows its own options.
        while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
            rest = rest[1:]
        if rest[:1] == ["-c"]:
            rest, name = [], f"{name} -c"
        elif rest:
            program, *rest = rest[1:] if rest[0] == "-m" and rest[1:] else rest
            name = PurePath(program).name
    shown = [name, *(PurePath(word).name for word in rest[:1] if not word.startswith("-"))]
    text = "".join(one if one.isprintable() else " " for one in " ".join(shown))
    return " ".join(text.split())[:_LONGEST_NAME]
