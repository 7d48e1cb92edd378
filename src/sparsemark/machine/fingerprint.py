"""Fingerprint of the machine: processor, system, library versions, commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

from sparsemark.machine import proc
from sparsemark.machine.placement import allowed_cpus

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


def fingerprint() -> dict[str, Any]:
    """Describe machine and software: JSON values only, nothing that names a person, a host or a path."""
    return {
        **_processor(),
        "cpus_allowed": len(allowed_cpus()),
        "governor": proc.first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "turbo": proc.first_line("/sys/devices/system/cpu/cpufreq/boost"),
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
    match = re.search(rf"^{name}\s*:\s*(.*)$", proc.read("/proc/cpuinfo"), re.MULTILINE)
    return match.group(1).strip() if match else None


def _memory_bytes() -> int | None:
    match = re.search(r"^MemTotal:\s*(\d+) kB", proc.read("/proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None
