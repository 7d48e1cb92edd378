"""The processor as LLVM sees it: known without Numba, since a network is planned and run without it.

LLVM is asked once for a kind of processor, and what it said is kept: its library takes 43 MB of every process that
loads it, and a tenth of a second.
"""

from __future__ import annotations

import contextlib
import platform
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.files import content_of_note, key_of, note_of, read_own, write_privately
from sparsemark.machine import proc
from sparsemark.machine.versions import installed_version

if TYPE_CHECKING:
    from pathlib import Path

_INSTRUCTIONS = {"x86_64": "flags", "aarch64": "Features"}
"""Field of /proc/cpuinfo that lists a processor's instructions, by architecture. Others list them elsewhere or not."""

_DECIDING = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"),
)
"""Fields that tell kinds of processors apart."""


@dataclass(frozen=True)
class Processor:
    """A kind of processor, in LLVM's words.

    Args:
        triple: of processor, vendor and system.
        name: of the kind.
        features: `+avx2,-avx512f` and so on.
    """

    triple: str
    name: str
    features: str


def this_processor() -> Processor:
    """Return what LLVM says, or said when it was asked for this kind of processor last."""
    described = _described()
    if not described:
        return _ask()
    try:
        path = paths.processor(key_of(installed_version("llvmlite"), described))
    except UserError:  # this user has no folder for it
        return _ask()
    kept = _kept(path)
    if kept is not None:
        return kept
    found = _ask()
    with contextlib.suppress(UserError):  # machine code cannot be kept there either, which is said
        write_privately(path, note_of(asdict(found)), paths.user_cache())
    return found


def _described() -> list[str]:
    """Return what the system says of the first processor; empty where it does not list the processor's instructions."""
    first = proc.read("/proc/cpuinfo").partition("\n\n")[0]
    fields = dict(re.findall(r"^(.*?)\s*:[ \t]*(.*)$", first, re.MULTILINE))
    architecture = platform.machine()
    if not fields.get(_INSTRUCTIONS.get(architecture, "")):
        return []
    return [architecture, *(f"{name}: {fields[name]}" for name in _DECIDING if name in fields)]


def _kept(path: Path) -> Processor | None:
    """Return what is in a file; None where it is missing, damaged, or another user's."""
    try:
        note = read_own(path, paths.user_cache())
        found = content_of_note(note) if note is not None else None
        return Processor(**found) if found is not None else None
    except (OSError, TypeError):
        return None


def _ask() -> Processor:
    import llvmlite.binding as llvm  # here: see above

    try:
        features: str = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell those of every processor
        features = ""
    return Processor(llvm.get_process_triple(), llvm.get_host_cpu_name(), features)


PROCESSOR = this_processor()

FEATURES = {text[1:]: text.startswith("+") for text in PROCESSOR.features.split(",") if text}
"""Whether the processor has a feature, by LLVM's name of it."""

LANES = 16 if FEATURES.get("avx512f") else 8 if FEATURES.get("avx") else 4
"""Floats in one vector register of this processor."""

IS_X86: bool = PROCESSOR.triple.startswith("x86")

REGISTERS = 16 if IS_X86 and not FEATURES.get("avx512f") else 32
"""Vector registers of this processor."""
