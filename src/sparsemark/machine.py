"""The machine a number was taken on: what it is, how quiet it was, and how its threads are held still."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.statistics import STEAL_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

LIBRARIES = (
    "sparsemark",
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "ncnn",
    "scipy",
    "numba",
    "numpy",
    "torch-pruning",
    "pytest-benchmark",
)
"""Packages whose versions decide a latency."""

_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")
_WORK = 20_000
"""Additions in one sample of the jitter check: about half a millisecond, as long as a small layer."""

_FEWEST = 8
"""Samples that the jitter check takes however little time there is."""

_QUIET = 0.02
"""Spread between quartiles that paired blocks still cancel."""

_FINE = 1e-6
"""Seconds: a thousandth of the fastest network worth timing."""

_STEAL_FIELD = 7
"""Index of `steal` among the numbers of /proc/stat's `cpu` line; see proc(5)."""


def fingerprint() -> dict[str, Any]:
    """Describe machine and software: JSON values only, nothing that names a person, a host or a path."""
    return {
        **_processor(),
        "cpus_allowed": len(allowed_cpus()),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "turbo": _first_line("/sys/devices/system/cpu/cpufreq/boost"),
        "hypervisor": "hypervisor" in (_cpu_field("flags") or "").split(),
        "memory_bytes": _memory_bytes(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
        "pools": {name: os.environ.get(name) for name in _POOLS},
    }


def identity() -> dict[str, Any]:
    """What of the fingerprint decides a latency; the rest (kernel, governor, load) only colours it."""
    return {**_processor(), "python": platform.python_version()}


def _processor() -> dict[str, Any]:
    return {
        "cpu_model": _cpu_field("model name") or platform.processor() or platform.machine(),
        "cpu_family": _cpu_field("cpu family"),
        "cpu_model_number": _cpu_field("model"),
        "cpu_flags": " ".join(flag for flag in _FLAGS if flag in (_cpu_field("flags") or "").split()),
        "cpu_count": os.cpu_count(),
    }


def package_versions(modules: Iterable[str]) -> dict[str, str | None]:
    """Installed versions of the packages that these modules come from."""
    return {name: _version(name.replace("_", "-")) for name in modules}


def machine_name() -> str:
    """Short name for folders and captions, such as `amd-epyc-2cpu-avx512f`; alike machines have the same."""
    model = re.sub(r"\(.*?\)|\b(cpu|processor|with|\d+-core)\b.*", " ", (fingerprint()["cpu_model"] or "cpu").lower())
    widest = next((flag for flag in ("avx512f", "avx2", "asimd") if flag in fingerprint()["cpu_flags"].split()), "")
    parts = [*re.findall(r"[a-z0-9]+", model), f"{os.cpu_count()}cpu", widest]
    return "-".join(part for part in parts if part)


def commit() -> dict[str, Any]:
    """Commit of the working directory's repository and whether it has changes; empty outside one."""
    try:
        head = _git("rev-parse", "HEAD")
        return {"id": head, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - fixed words


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_field(name: str) -> str | None:
    match = re.search(rf"^{name}\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return match.group(1).strip() if match else None


def _memory_bytes() -> int | None:
    match = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def _first_line(path: str) -> str | None:
    return _read(path).partition("\n")[0] or None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # not Linux, or hidden from this container
        return ""


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


@contextmanager
def stolen_fraction() -> Iterator[Callable[[], float | None]]:
    """Give a function that says which share of CPU time a hypervisor took since the block was entered.

    Of the processors that the caller may run on then, so pin first. None where the system does not count it.
    """
    cpus = allowed_cpus()
    before = _cpu_times(cpus)

    def fraction() -> float | None:
        after = _cpu_times(cpus)
        if len(before) <= _STEAL_FIELD or len(after) <= _STEAL_FIELD or sum(after) <= sum(before):
            return None
        return (after[_STEAL_FIELD] - before[_STEAL_FIELD]) / (sum(after) - sum(before))

    yield fraction


@contextmanager
def waiting_fraction() -> Iterator[Callable[[], float | None]]:
    """Give a function that says which share of the time since then this thread was ready, but another one ran.

    A process on the same processor does not make a call slower by a share: it lets short calls through and stops long
    ones, so pairs do not cancel it. None where the system does not count it.
    """
    before, start = _run_delay(), time.perf_counter()

    def fraction() -> float | None:
        after, elapsed = _run_delay(), time.perf_counter() - start
        return None if before is None or after is None or not elapsed else (after - before) / elapsed

    yield fraction


def _run_delay() -> float | None:
    """Seconds that this thread has waited on a run queue so far."""
    fields = _read("/proc/thread-self/schedstat").split()
    return int(fields[1]) / 1e9 if len(fields) > 1 else None


def _cpu_times(cpus: Sequence[int]) -> list[int]:
    """Sum the counters of these processors: those of all others would dilute what happens on the pinned ones."""
    names = {f"cpu{number}" for number in cpus}
    lines = [line.split() for line in _read("/proc/stat").splitlines() if line.startswith("cpu")]
    # The last two fields, guest and guest_nice, are already part of user and nice.
    counters = [[int(value) for value in fields[1:9]] for fields in lines if fields[0] in names]
    return [sum(values) for values in zip(*counters, strict=True)]


@dataclass(frozen=True)
class Check:
    """One thing that makes a machine fit to measure on, or not; `advice` is for where it does not."""

    what: str
    found: str
    fit: bool
    advice: str = ""


def examine(seconds: float = 1.0) -> list[Check]:
    """Look for what disturbs a measurement, for about `seconds`.

    Other load, a hypervisor's other guests, clocks that move, a coarse timer.
    """
    with stolen_fraction() as stolen:
        jitter = _jitter(seconds)
        steal = stolen()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    governor = _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
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
    """Spread of a fixed piece of work between its quartiles, over its median."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    with pinned(1):
        # Quartiles need samples, and on the busiest machines the time is over after one.
        while time.perf_counter() < end or len(samples) < _FEWEST:
            start = time.perf_counter()
            sum(range(_WORK))
            samples.append(time.perf_counter() - start)
    low, middle, high = statistics.quantiles(samples, n=4)
    return (high - low) / middle
