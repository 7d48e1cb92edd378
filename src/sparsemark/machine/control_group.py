"""Control group of this process (cgroup, versions 2 and 1): its limits, and how often it was throttled."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from sparsemark.machine import proc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_ROOT = "/sys/fs/cgroup"

_UNLIMITED = 1 << 60
"""Bytes from which a memory limit is none: version 1 writes the largest number of its counter."""


@dataclass(frozen=True)
class Limits:
    """Limits of a control group and of the groups above it, None where there is none or it is not shown.

    Args:
        cpus: processors whose time it may take in each period, such as 1.5; the thread is stopped beyond.
        cpuset: numbers of the processors that it may run on, such as `0-3,8`.
        memory_bytes: memory that it may hold.
    """

    cpus: float | None
    cpuset: str | None
    memory_bytes: int | None


def limits() -> Limits:
    """Read the limits of this process's control group; the least of a group and those above it counts."""
    cpusets = _shown("cpuset", _text, "cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus")
    return Limits(_cpus(), next(iter(cpusets), None), memory_limit())


def memory_limit() -> int | None:
    """Return the bytes of memory that this process's control group may hold, None where it has no limit."""
    return min(_shown("memory", _bytes, "memory.max", "memory.limit_in_bytes"), default=None)


@contextmanager
def throttled_periods() -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the number of periods since entry in which the CPU limit stopped this process.

    Each lasts up to a whole period, mostly 100 ms. None where the system does not count them.
    """
    before = _throttled()

    def periods() -> int | None:
        after = _throttled()
        return None if before is None or after is None else max(0, after - before)

    yield periods


def _cpus() -> float | None:
    quotas = _shown("cpu", _quota, "cpu.max")
    if not quotas:  # version 1 has them in two files
        both = (_shown("cpu", _integer, name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        quotas = [quota / period for quota, period in zip(*both, strict=False) if quota > 0 and period > 0]
    return min(quotas, default=None)


def _throttled() -> int | None:
    counts = _shown("cpu", _count, "cpu.stat")
    return sum(counts) if counts else None


def _shown(controller: str, parse: Callable[[str], T | None], *names: str) -> list[T]:
    """Read a file of this process's control group and of those above it, its own first.

    Args:
        controller: `cpu`, `cpuset` or `memory`.
        parse: returns the value of a text, None where it holds none.
        names: of the file, those of version 2 first; the first that shows a value anywhere is taken.
    """
    for name in names:
        for mount, group in _groups(controller):
            texts = (proc.read(f"{mount}{folder / name}") for folder in (group, *group.parents))
            values = [value for value in map(parse, texts) if value is not None]
            if values:
                return values
    return []


def _groups(controller: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield where the groups of a controller may be mounted, and the path of this process's group below that.

    A container sees its own group at the root, whatever path it is given: then only the root is found.
    """
    root = PurePosixPath("/")
    paths = {"": root, controller: root}
    for line in proc.read("/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        outside = ".." in path.split("/")  # of the part of the tree that this container is shown
        for name in {controllers, *controllers.split(",")}:
            paths[name] = root if outside else PurePosixPath("/", path)
    for name, group in paths.items():
        if not name:
            yield _ROOT, group
        elif controller in name.split(","):
            yield f"{_ROOT}/{name}", group


def _text(text: str) -> str | None:
    return text.strip() or None


def _integer(text: str) -> int | None:
    found = re.match(r"-?\d+\s*$", text)
    return int(found[0]) if found else None


def _bytes(text: str) -> int | None:
    limit = _integer(text)
    return limit if limit is not None and limit < _UNLIMITED else None


def _quota(text: str) -> float | None:
    found = re.match(r"(\d+) ([1-9]\d*)\s*$", text)
    return int(found[1]) / int(found[2]) if found else None


def _count(text: str) -> int | None:
    found = re.search(r"^nr_throttled (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None
