"""Clock of a processor: what steers it, and between which frequencies."""

from __future__ import annotations

import re

from sparsemark.machine import proc

NO_TURBO = "/sys/devices/system/cpu/intel_pstate/no_turbo"
BOOST = "/sys/devices/system/cpu/cpufreq/boost"
"""Switches of the clock above its nominal frequency; the first one says 1 where it is off."""


def governor(cpu: int) -> str | None:
    """Return what chooses a processor's frequency, such as `performance`; None where that is not shown."""
    return proc.first_line(f"{_policy(cpu)}/scaling_governor")


def turbo() -> bool | None:
    """Return whether clocks may exceed their nominal frequency while it is cool enough; None where not shown."""
    for path, enabled in ((NO_TURBO, "0"), (BOOST, "1")):
        switch = proc.first_line(path)
        if switch in ("0", "1"):
            return switch == enabled
    return None


def bounds_khz(cpu: int) -> tuple[int | None, int | None]:
    """Return the least and the largest frequency that the governor may choose, None where not shown."""
    return _khz(f"{_policy(cpu)}/scaling_min_freq"), _khz(f"{_policy(cpu)}/scaling_max_freq")


def current_khz(cpu: int) -> int | None:
    """Return a processor's frequency now; None where it is not shown."""
    shown = _khz(f"{_policy(cpu)}/scaling_cur_freq")
    if shown is not None:
        return shown
    of_cpu = rf"^processor\s*: {cpu}\n(?:.+\n)*?cpu MHz\s*: ([\d.]+)"
    block = re.search(of_cpu, proc.read("/proc/cpuinfo"), re.MULTILINE)
    return round(1000 * float(block[1])) if block else None


def _policy(cpu: int) -> str:
    return f"/sys/devices/system/cpu/cpu{cpu}/cpufreq"


def _khz(path: str) -> int | None:
    text = proc.first_line(path) or ""
    return int(text) if text.isdigit() else None
