"""Two ways of one thing, timed in pairs of blocks: so many calls of the one, so many of the other, by turns first."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PAIRS = 12
"""Twice what an interval needs."""

_BUDGET = 3.0
"""Seconds for all pairs; what is slower has fewer calls a block, and at least one."""

_MOST_CALLS = 16


def time_pairs(
    before: Callable[[], Any], after: Callable[[], Any], budget: float = _BUDGET
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the median seconds of each block of either, paired by index.

    Args:
        before: what there is.
        after: what is proposed.
        budget: seconds for all of it.
    """
    start = time.perf_counter()
    before()
    after()
    taken = time.perf_counter() - start
    for call in (before, after):
        call()
    calls = max(1, min(_MOST_CALLS, int(budget / (PAIRS * taken)) - 1)) if taken else _MOST_CALLS
    found: dict[int, list[float]] = {0: [], 1: []}
    for index in range(PAIRS):
        for which in (0, 1) if index % 2 else (1, 0):
            found[which].append(_block((before, after)[which], calls))
    return tuple(found[0]), tuple(found[1])


def time_calls(call: Callable[[], Any], budget: float = _BUDGET / 2) -> float:
    """Return the median seconds of a call."""
    call()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < _MOST_CALLS // 2 or (len(times) < 10 * _MOST_CALLS and time.perf_counter() - begun < budget):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _block(call: Callable[[], Any], calls: int) -> float:
    call()  # the other one's block took the caches
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
