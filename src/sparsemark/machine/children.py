"""Child processes: those that a command leaves behind when it is interrupted are ended with it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sparsemark.machine import proc

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE = 1.0
"""Seconds between the request to end and the kill."""

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""

_BEGAN = 19
"""Index of `starttime` among the fields of /proc/PID/stat that follow the name."""

_TICK = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 1.0
"""Seconds in the unit of `starttime`."""


def now() -> float:
    """Return seconds since the system started, the clock by which it notes when a process began."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def children(process: int | None = None, *, since: float = 0.0) -> set[int]:
    """Return the ids of a process's direct children; empty where there is no /proc.

    Args:
        process: this one by default.
        since: only those that began after this moment of `now`.
    """
    parent = os.getpid() if process is None else process
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        state = _state(int(folder.name))
        if state is not None and state.parent == parent and state.began >= since - _TICK:
            found.add(int(folder.name))
    return found


def end(processes: Iterable[int]) -> None:
    """End processes and their descendants: by SIGTERM, and what still runs after a second by SIGKILL."""
    doomed: list[int] = []
    waiting = list(processes)
    while waiting:
        doomed.append(waiting.pop())
        waiting += children(doomed[-1]) - set(doomed)
    _send(doomed, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    while any(map(_runs, doomed)) and time.monotonic() < deadline:
        time.sleep(0.01)
    _send(filter(_runs, doomed), signal.SIGKILL)


def end_with_parent(parent: int | None = None) -> None:
    """Have the system kill this process when its parent ends, by SIGKILL too; Linux only.

    Args:
        parent: its id, where it is known: one that has ended already would not be noticed.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if parent is not None and os.getppid() != parent:
            sys.exit(1)


def _send(processes: Iterable[int], number: int) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except OSError:  # it has ended, or runs under another user
            continue


def _runs(process: int) -> bool:
    state = _state(process)
    return state is not None and state.letter != "Z"


class _State(NamedTuple):
    letter: str
    parent: int
    began: float


def _state(process: int) -> _State | None:
    """Return a process's state as in proc(5); None where it has ended."""
    fields = proc.read(f"/proc/{process}/stat").rpartition(")")[2].split()
    return _State(fields[0], int(fields[1]), int(fields[_BEGAN]) * _TICK) if len(fields) > _BEGAN else None
