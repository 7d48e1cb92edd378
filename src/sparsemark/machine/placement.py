"""Processors and thread pools that a measurement runs on."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


POOL_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables that set the thread pools of libraries."""

_WAITING, _OURS = "OMP_WAIT_POLICY", "SPARSEMARK_WAITS"
"""Environment variables: how threads of OpenMP wait for each other, and that sparsemark said so, not the user."""


def wait_passively() -> None:
    """Have threads of OpenMP, which torch trains and scores with, sleep while they wait for each other.

    They would keep a processor busy, and beside other work two of them take four times as long as one. Does nothing
    where the user said how they wait; in a process that has loaded OpenMP it comes too late.
    """
    if _WAITING not in os.environ:
        os.environ |= {_WAITING: "PASSIVE", _OURS: "1"}


def measured_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return variables, by default this process's, for one that measures: without what `wait_passively` set."""
    found = dict(os.environ if variables is None else variables)
    if found.pop(_OURS, None):
        found.pop(_WAITING, None)
    return found


def allowed_cpus() -> list[int]:
    """Return the processors that this process may run on."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def check_threads(threads: int, where: str) -> None:
    """Refuse more threads than this process has processors: they would take turns, and their latency says nothing.

    Args:
        threads: asked for.
        where: option or field, for the message.

    Raises:
        UserError: there are fewer processors.
    """
    cpus = len(allowed_cpus())
    if threads > cpus:
        raise UserError(f"{where} {threads}: this process may use {cpus} processors; expected at most {cpus}")


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Pin the calling thread, and what it starts, to `measured_cpus`.

    Does nothing where the system has no such call, or fewer processors.
    """
    cpus = allowed_cpus()
    if sys.platform != "linux" or threads > len(cpus):
        yield
        return
    os.sched_setaffinity(0, measured_cpus(threads))
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def measured_cpus(threads: int) -> list[int]:
    """Return the processors that `pinned` takes: the last ones, since the first serves the interrupts."""
    return allowed_cpus()[-threads:]


def thread_pools() -> list[dict[str, Any]]:
    """Return library, version and threads of every BLAS and OpenMP library that is loaded; JSON values only."""
    from threadpoolctl import threadpool_info

    return [
        {"library": pool["internal_api"], "version": pool["version"], "threads": pool["num_threads"]}
        for pool in threadpool_info()
    ]


@contextmanager
def library_threads(threads: int) -> Iterator[None]:
    """Set the pools of all loaded BLAS and OpenMP libraries, and torch's, for the block; restore them after it.

    A library that is loaded within the block keeps its default. Engines that open sessions take their number of threads
    at that moment.
    """
    from threadpoolctl import threadpool_limits

    # torch sets the pool of its OpenMP library, so its number is read before that one is changed.
    with torch_threads(threads), threadpool_limits(threads):
        yield


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set torch's pool for the block and restore it after it; does nothing where torch is not loaded."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
