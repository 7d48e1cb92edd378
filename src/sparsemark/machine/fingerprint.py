"""Fingerprint of the machine: processor, limits, system, library versions, commit; and readings of the moment."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sparsemark.files import key_of
from sparsemark.machine import frequency, proc, topology
from sparsemark.machine.control_group import limits
from sparsemark.machine.placement import POOL_VARIABLES, allowed_cpus, measured_cpus, thread_pools
from sparsemark.machine.versions import installed_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PACKAGES = ("sparsemark", "numpy", "torch", "onnx", "pytest-benchmark")
"""Packages behind every measurement, whatever pruner, format and engine it uses."""

_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")

VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}
"""Vector instructions that tell apart processors of one name, the widest first: flag, and what makers call it."""


def fingerprint(modules: Iterable[str] = ()) -> dict[str, Any]:
    """Return a description of machine and software: JSON values only, no name of a person, a host or a path.

    What is not shown here is None.

    Args:
        modules: required by what is measured; the versions of their packages are recorded too.
    """
    packages = dict.fromkeys([*_PACKAGES, *map(_package, modules)])
    (measured,) = measured_cpus(1)
    least, most = frequency.bounds_khz(measured)
    return {
        **_processor(),
        "microcode": microcode(),
        "cpus_allowed": len(allowed_cpus()),
        "smt": topology.smt(),
        "governor": frequency.governor(measured),
        "turbo": frequency.turbo(),
        "frequency_min_khz": least,
        "frequency_max_khz": most,
        "hypervisor": is_virtual(),
        "memory_bytes": _memory_bytes(),
        "transparent_hugepages": transparent_hugepages(),
        "control_group": asdict(limits()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: installed_version(name) for name in packages},
        "pools": {name: os.environ.get(name) for name in POOL_VARIABLES},
    }


def readings() -> dict[str, Any]:
    """Return what is another thing at any other moment on the same machine; None where it is not shown.

    The clock, the load, since which start of the system, on which processor a thread is measured and which ones share
    its core, and the thread pools of the libraries that are loaded so far.
    """
    (measured,) = measured_cpus(1)
    return {
        "boot_id": boot_id(),
        "measured_cpu": measured if sys.platform == "linux" else None,  # elsewhere nothing is pinned
        "sibling_cpus": topology.siblings((measured,)),
        "frequency_khz": frequency.current_khz(measured),
        "load_1min": load_average(),
        "thread_pools": thread_pools(),
    }


def microcode() -> str | None:
    """Return the version of the processor's microcode."""
    return _cpu_field("microcode")


def boot_id() -> str | None:
    """Return what identifies the system's latest start."""
    return proc.first_line("/proc/sys/kernel/random/boot_id")


def load_average() -> float | None:
    """Return the number of threads that ran or waited for a processor, averaged over a minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def is_virtual() -> bool | None:
    """Return whether the processor says that it is a hypervisor's; None where its flags are not shown."""
    flags = _cpu_field("flags")
    return None if flags is None else "hypervisor" in flags.split()


def sums_bytes_exactly() -> bool:
    """Return whether products of 8-bit integers are summed without saturation: on x86-64 only with VNNI."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint((_cpu_field("flags") or "").split())


def transparent_hugepages() -> str | None:
    """Return to whom the system gives huge pages: `always`, `madvise` or `never`; None where that is not shown."""
    chosen = re.search(r"\[(\w+)\]", proc.read("/sys/kernel/mm/transparent_hugepage/enabled"))
    return chosen[1] if chosen else None


def identity() -> dict[str, Any]:
    """Return the part of the fingerprint that decides a latency; the rest (kernel, governor, load) only colours it."""
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
    """Return the installed versions of the packages that these modules belong to, by module."""
    return {module: installed_version(_package(module)) for module in modules}


def machine_name(info: Mapping[str, Any] | None = None) -> str:
    """Return a short name for folders and captions, such as `amd-epyc-2cpu-avx512f`; machines alike share it.

    Args:
        info: fingerprint from a result file; None is this machine.
    """
    processor = _processor() if info is None else _processor_of(info)
    model = str(processor["cpu_model"] or "cpu").lower()
    model = re.sub(r"\(.*?\)|\b(cpu|processor|with|\d+-core)\b.*", " ", model)
    count, widest = processor["cpu_count"], widest_vectors(processor)
    parts = [*re.findall(r"[a-z0-9]+", model), f"{count}cpu" if isinstance(count, int) else "", widest]
    return "-".join(part for part in parts if part) or "unnamed"


def widest_vectors(info: Mapping[str, Any]) -> str:
    """Return the flag of the widest vectors of a fingerprint, a key of `VECTORS`; empty where none is noted."""
    flags = str(info.get("cpu_flags")).split()
    return next((flag for flag in VECTORS if flag in flags), "")


def machine_key(info: Mapping[str, Any]) -> str:
    """Return a key of the machine in a result file's fingerprint: latencies with the same key can be compared."""
    return key_of(_processor_of(info))


def _processor_of(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: info.get(name) for name in _processor()}


def commit() -> dict[str, Any]:
    """Return the commit of the working directory's repository and whether files have changed; empty outside one."""
    from subprocess import CalledProcessError

    try:
        head = _git("rev-parse", "HEAD")
        return {"id": head, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, CalledProcessError):
        return {}


def _git(*arguments: str) -> str:
    import subprocess

    command = ["git", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - fixed words


def _package(module: str) -> str:
    """Return the name of the package that a module belongs to; the module's own, with hyphens, where none is found.

    Most packages bear the name of their module. The table of all modules is read only for the others: that takes 0.2 s.
    """
    top = module.partition(".")[0]
    usual = top.replace("_", "-")
    if installed_version(usual) is None and importlib.util.find_spec(top) is not None:
        return next(iter(_packages().get(top, ())), usual)
    return usual


@functools.cache
def _packages() -> Mapping[str, list[str]]:
    from importlib.metadata import packages_distributions

    return packages_distributions()


def _cpu_field(name: str) -> str | None:
    match = re.search(rf"^{name}\s*:\s*(.*)$", proc.read("/proc/cpuinfo"), re.MULTILINE)
    return match.group(1).strip() if match else None


def _memory_bytes() -> int | None:
    match = re.search(r"^MemTotal:\s*(\d+) kB", proc.read("/proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None
