"""Processors that share a core: a thread on one slows a thread on the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sparsemark.machine import proc

if TYPE_CHECKING:
    from collections.abc import Iterable


def smt() -> bool | None:
    """Return whether cores run several threads at a time; None where that is not shown."""
    return {"0": False, "1": True}.get(proc.first_line("/sys/devices/system/cpu/smt/active") or "")


def siblings(cpus: Iterable[int]) -> list[int] | None:
    """Return the other processors on the cores of these, in order; None where that is not shown for one of them."""
    own = set(cpus)
    shared: set[int] = set()
    for cpu in own:
        core = _numbers(proc.first_line(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or "")
        if cpu not in core:
            return None
        shared |= core
    return sorted(shared - own)


def second_level_cache() -> int | None:
    """Return the bytes of a core's second-level cache; None where the system does not show it."""
    found = re.fullmatch(r"(\d+)([KM]?)", proc.first_line("/sys/devices/system/cpu/cpu0/cache/index2/size") or "")
    return int(found[1]) * {"": 1, "K": 2**10, "M": 2**20}[found[2]] if found else None


def _numbers(text: str) -> set[int]:
    """Return the numbers of a list such as `0-3,8`."""
    ranges = re.findall(r"(\d+)(?:-(\d+))?", text)
    return {number for first, last in ranges for number in range(int(first), int(last or first) + 1)}
