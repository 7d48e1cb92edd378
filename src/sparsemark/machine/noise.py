"""Time lost to other guests and other processes while something ran, and load on the cores that it shared."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sparsemark.machine import proc
from sparsemark.machine.placement import allowed_cpus
from sparsemark.machine.topology import siblings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STEAL_LIMIT = 0.02
"""Share of the time lost to others from which a latency counts as contaminated."""

_STEAL_FIELD = 7
"""Index of `steal` among the numbers of /proc/stat's `cpu` line; see proc(5)."""

_IDLE_FIELDS = slice(3, 5)
"""Those of `idle` and `iowait`."""


@contextmanager
def stolen_fraction() -> Iterator[Callable[[], float | None]]:
    """Yield a function that returns the share of CPU time that a hypervisor took since the block was entered.

    It counts the processors that the caller may run on at entry, so pin first. None where the system does not count it.
    """
    cpus = allowed_cpus()
    before = _cpu_times(cpus)

    def fraction() -> float | None:
        after = _cpu_times(cpus)
        if len(before) <= _STEAL_FIELD or len(after) <= _STEAL_FIELD or sum(after) <= sum(before):
            return None
        return _share(after[_STEAL_FIELD] - before[_STEAL_FIELD], sum(after) - sum(before))

    yield fraction


@contextmanager
def waiting_fraction() -> Iterator[Callable[[], float | None]]:
    """Yield a function that returns the share of the time since entry in which this thread was ready but another ran.

    A process on the same processor does not slow every call by the same share: it lets short calls through and stops
    long ones, so pairs do not cancel it. None where the system does not count it.
    """
    before, start = _run_delay(), time.perf_counter()

    def fraction() -> float | None:
        after, elapsed = _run_delay(), time.perf_counter() - start
        return None if before is None or after is None or not elapsed else _share(after - before, elapsed)

    yield fraction


@contextmanager
def sibling_load() -> Iterator[Callable[[], float | None]]:
    """Yield a function that returns the share of the time since entry in which the sibling threads were busy.

    Siblings are the processors on the same cores as those that the caller may run on at entry, so pin first. None where
    there are none, or the system does not show them.
    """
    cpus = siblings(allowed_cpus()) or []
    before = _cpu_times(cpus)

    def load() -> float | None:
        after = _cpu_times(cpus)
        if sum(after) <= sum(before):
            return None
        idle = sum(after[_IDLE_FIELDS]) - sum(before[_IDLE_FIELDS])
        return 1 - _share(idle, sum(after) - sum(before))

    yield load


def _share(part: float, whole: float) -> float:
    """Return a fraction from 0 to 1: some hypervisors turn `steal` back, and two clocks are never read at once."""
    return min(max(part / whole, 0.0), 1.0)


def _run_delay() -> float | None:
    """Return the seconds that this thread has waited on a run queue so far."""
    fields = proc.read("/proc/thread-self/schedstat").split()
    return int(fields[1]) / 1e9 if len(fields) > 1 else None


def _cpu_times(cpus: Sequence[int]) -> list[int]:
    """Sum the counters of these processors only: all others would dilute what happens on the pinned ones."""
    names = {f"cpu{number}" for number in cpus}
    lines = [line.split() for line in proc.read("/proc/stat").splitlines() if line.startswith("cpu")]
    # The last two fields, guest and guest_nice, are already part of user and nice.
    counters = [[int(value) for value in fields[1:9]] for fields in lines if fields[0] in names]
    return [sum(values) for values in zip(*counters, strict=True)]
