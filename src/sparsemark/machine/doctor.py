"""Checks for whatever disturbs a measurement on this machine."""

from __future__ import annotations

import os
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.machine import frequency
from sparsemark.machine.control_group import limits, throttled_periods
from sparsemark.machine.fingerprint import is_virtual, load_average, transparent_hugepages
from sparsemark.machine.memory import available_bytes
from sparsemark.machine.noise import STEAL_LIMIT, sibling_load, stolen_fraction
from sparsemark.machine.placement import POOL_VARIABLES, allowed_cpus, measured_cpus, pinned
from sparsemark.machine.topology import siblings

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORK = 20_000
"""Additions in one sample of the jitter check: about half a millisecond, as long as a small layer."""

_FEWEST = 8
"""Samples of the jitter check however little time there is: quartiles need them."""

_QUIET = 0.02
"""Spread between quartiles that paired blocks still cancel."""

_FINE = 1e-6
"""Seconds: a thousandth of the fastest network worth timing."""

_SIBLING_LIMIT = 0.05
"""Load of a sibling thread: it slows its neighbour by up to 40 %, so that this much costs what `STEAL_LIMIT` does."""

_MEMORY = 1_000_000_000
"""Bytes that PyTorch, two engines and a small network take; with less, the system moves pages while it measures."""

_NOT_SHOWN = "not shown"


@dataclass(frozen=True)
class Check:
    """One property of the machine, and whether it is fit to measure on.

    Args:
        what: the property.
        found: its value here.
        fit: whether that disturbs no measurement.
        advice: what to do where it does.
    """

    what: str
    found: str
    fit: bool
    advice: str = ""


def examine(seconds: float = 1.0, threads: int = 1) -> list[Check]:
    """Check what disturbs a measurement, the load while a loop runs for about `seconds` included.

    What the system does not show counts as fit: the A/A measurement feels it all the same.

    Args:
        seconds: of the loop.
        threads: that will be measured with.
    """
    return [*_processors(threads), *_meanwhile(seconds, threads), *_clock(threads), *_settings(), *_means()]


def _processors(threads: int) -> Iterator[Check]:
    cpus, limit = len(allowed_cpus()), limits().cpus
    yield Check(
        "processors",
        f"{cpus} of {os.cpu_count()}",
        cpus > threads,
        "with one, whatever else runs takes it from the measurement"
        if cpus == 1
        else f"whatever else runs takes them from a measurement with {threads} threads: use fewer",
    )
    yield Check(
        "limit on their time",
        "none shown" if limit is None else f"{limit:g} processors",
        limit is None or limit >= threads,
        f"threads are stopped beyond it: raise the control group's quota to {threads} or more (docker run --cpus)",
    )
    available = available_bytes()
    yield Check(
        "memory available",
        _NOT_SHOWN if available is None else f"{available / 1e9:.1f} GB",
        available is None or available >= _MEMORY,
        "stop other programs, or raise the container's limit",
    )


def _meanwhile(seconds: float, threads: int) -> Iterator[Check]:
    """Yield what happened to a loop, and beside it."""
    cpus, load = len(allowed_cpus()), load_average()
    beside = siblings(measured_cpus(threads))
    with ExitStack() as stack:
        stack.enter_context(pinned(threads))
        stolen, sibling, throttled = map(stack.enter_context, (stolen_fraction(), sibling_load(), throttled_periods()))
        jitter = _jitter(seconds)
        steal, busy, periods = stolen(), sibling(), throttled()
    yield Check(
        "load, last minute",
        _NOT_SHOWN if load is None else f"{load:.2f}",
        load is None or load < cpus / 2,
        "stop other programs",
    )
    yield Check(
        "taken by other guests",
        "not counted here" if steal is None else f"{steal:.1%}",
        not steal or steal <= STEAL_LIMIT,
        "measure at another time",
    )
    yield Check(
        "stopped by the limit",
        "not counted here" if periods is None else f"{periods} times",
        not periods,
        "raise the control group's quota (docker run --cpus, cpu.max)",
    )
    yield Check(
        "sibling threads",
        _NOT_SHOWN if beside is None else _named(beside, busy),
        busy is None or busy <= _SIBLING_LIMIT,
        f"keep other programs off them, or turn them off: {_turned_off(beside or [])}",
    )
    yield Check(
        "one loop against itself",
        f"{jitter:.1%} between its quartiles",
        jitter < _QUIET,
        "trust ratios, not milliseconds",
    )


def _named(beside: list[int], busy: float | None) -> str:
    if not beside:
        return "none"
    load = "" if busy is None else f", {busy:.0%} busy"
    return f"processor{'s' if len(beside) > 1 else ''} {', '.join(map(str, beside))}{load}"


def _turned_off(cpus: list[int]) -> str:
    numbers = ",".join(map(str, cpus))
    which = f"{{{numbers}}}" if len(cpus) > 1 else numbers
    return f"echo 0 | sudo tee /sys/devices/system/cpu/cpu{which}/online"


def _clock(threads: int) -> Iterator[Check]:
    measured = measured_cpus(threads)[-1]
    governor, turbo = frequency.governor(measured), frequency.turbo()
    yield Check(
        "frequency governor",
        f"{governor or _NOT_SHOWN}{_frequencies(measured)}",
        governor in (None, "performance"),
        "set it to performance: sudo cpupower frequency-set -g performance",
    )
    switch = f"echo 1 | sudo tee {frequency.NO_TURBO}, or echo 0 | sudo tee {frequency.BOOST}"
    yield Check(
        "turbo",
        _switch(turbo),
        not turbo,
        f"the clock follows heat and neighbours, turn it off: {switch}",
    )


def _frequencies(cpu: int) -> str:
    (least, most), current = frequency.bounds_khz(cpu), frequency.current_khz(cpu)
    bounds = "" if least is None or most is None else f", {least / 1e6:.1f} to {most / 1e6:.1f} GHz"
    return bounds + ("" if current is None else f", {current / 1e6:.1f} GHz now")


def _settings() -> Iterator[Check]:
    cpus, pages, virtual = len(allowed_cpus()), transparent_hugepages(), is_virtual()
    pools = {name: os.environ[name] for name in POOL_VARIABLES if name in os.environ}
    too_many = [name for name, text in pools.items() if _threads(text) > cpus]
    yield Check(
        "thread pools",
        ", ".join(f"{name}={text}" for name, text in pools.items()) or "not set",
        not too_many,
        f"threads take turns: at most {cpus} in {', '.join(too_many)}",
    )
    yield Check(
        "transparent huge pages",
        pages or _NOT_SHOWN,
        pages != "always",
        "processes differ by whether they got some: "
        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
    )
    yield Check(
        "virtual machine",
        _NOT_SHOWN if virtual is None else "yes" if virtual else "no",
        not virtual,
        "clock and neighbours are the host's: compare within one job only",
    )


def _threads(text: str) -> int:
    """Return the number of threads of a pool's variable, whose first level counts; 0 where it is none."""
    first = text.partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _means() -> Iterator[Check]:
    resolution = time.get_clock_info("perf_counter").resolution
    yield Check("timer", f"{1e9 * resolution:.0f} ns", resolution <= _FINE, "cells under a millisecond will be coarse")
    yield Check(
        "pinning",
        "sched_setaffinity" if sys.platform == "linux" else "none",
        sys.platform == "linux",
        "the system may move the thread",
    )


def _switch(enabled: bool | None) -> str:
    return _NOT_SHOWN if enabled is None else "on" if enabled else "off"


def _jitter(seconds: float) -> float:
    """Return the spread between the quartiles of a fixed piece of work, over its median."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    # On the busiest machines the time is over after one sample.
    while time.perf_counter() < end or len(samples) < _FEWEST:
        start = time.perf_counter()
        sum(range(_WORK))
        samples.append(time.perf_counter() - start)
    low, middle, high = statistics.quantiles(samples, n=4)
    return (high - low) / middle
