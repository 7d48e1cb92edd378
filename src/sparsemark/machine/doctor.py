"""Checks for whatever disturbs a measurement on this machine."""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import dataclass

from sparsemark.machine import proc
from sparsemark.machine.noise import STEAL_LIMIT, stolen_fraction
from sparsemark.machine.placement import allowed_cpus, pinned

_WORK = 20_000
"""Additions in one sample of the jitter check: about half a millisecond, as long as a small layer."""

_FEWEST = 8
"""Samples of the jitter check however little time there is: quartiles need them."""

_QUIET = 0.02
"""Spread between quartiles that paired blocks still cancel."""

_FINE = 1e-6
"""Seconds: a thousandth of the fastest network worth timing."""


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


def examine(seconds: float = 1.0) -> list[Check]:
    """Check for other load, a hypervisor's other guests, a moving clock and a coarse timer, for about `seconds`."""
    with stolen_fraction() as stolen:
        jitter = _jitter(seconds)
        steal = stolen()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    governor = proc.first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    resolution = time.get_clock_info("perf_counter").resolution
    cpus = len(allowed_cpus())
    return [
        Check("processors", f"{cpus}", cpus > 1, "with one, whatever else runs takes it from the measurement"),
        Check("load, last minute", f"{load:.2f}", load < cpus / 2, "stop other programs"),
        Check(
            "taken by other guests",
            "not counted here" if steal is None else f"{steal:.1%}",
            not steal or steal <= STEAL_LIMIT,
            "measure at another time",
        ),
        Check(
            "one loop against itself",
            f"{jitter:.1%} between its quartiles",
            jitter < _QUIET,
            "trust ratios, not milliseconds",
        ),
        Check(
            "frequency governor", governor or "not shown", governor in (None, "performance"), "set it to performance"
        ),
        Check("timer", f"{1e9 * resolution:.0f} ns", resolution <= _FINE, "cells under a millisecond will be coarse"),
        Check(
            "pinning",
            "sched_setaffinity" if sys.platform == "linux" else "none",
            sys.platform == "linux",
            "the system may move the thread",
        ),
    ]


def _jitter(seconds: float) -> float:
    """Return the spread between the quartiles of a fixed piece of work, over its median."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    with pinned(1):
        # On the busiest machines the time is over after one sample.
        while time.perf_counter() < end or len(samples) < _FEWEST:
            start = time.perf_counter()
            sum(range(_WORK))
            samples.append(time.perf_counter() - start)
    low, middle, high = statistics.quantiles(samples, n=4)
    return (high - low) / middle
