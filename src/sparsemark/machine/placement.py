"""Processors and thread pools that a measurement runs on."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def allowed_cpus() -> list[int]:
    """Processors this process may run on."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Hold the calling thread, and what it starts, on the last `threads` processors: the first serves the interrupts.

    Does nothing where the system has no such call, or fewer processors than that.
    """
    cpus = allowed_cpus()
    if sys.platform != "linux" or threads > len(cpus):
        yield
        return
    os.sched_setaffinity(0, cpus[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


@contextmanager
def library_threads(threads: int) -> Iterator[None]:
    """Set torch's pool for the block; the other engines take their number when they are loaded."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
