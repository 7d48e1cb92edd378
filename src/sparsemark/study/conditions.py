"""Conditions of a run: the machine, the versions of whatever took part, and how its engines are called and drawn."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sparsemark.engines import ENGINES
from sparsemark.errors import UserError
from sparsemark.formats import FORMATS
from sparsemark.machine.fingerprint import fingerprint, readings
from sparsemark.pruning import PRUNERS
from sparsemark.records.engine_note import EngineNote
from sparsemark.registry import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sparsemark.engines.base import Engine


_COMPILERS = {"numba": "llvmlite"}
"""Modules that come with a required one and compile what it runs: their versions decide a latency too."""


def conditions(engines: Iterable[str], *, measured_now: bool = True) -> dict[str, Any]:
    """Return the machine's fingerprint, with versions of all that these engines, the pruners and formats require.

    Args:
        engines: names of those that took part.
        measured_now: whether this process measured anything. Only then do the clock and load of this moment say
            anything about the result; they are recorded under `readings`.
    """
    modules: dict[str, None] = {}
    for own in (_known(engines), PRUNERS, FORMATS):
        modules |= dict.fromkeys(module for one in own.values() for module in one.requires)
    modules |= {compiler: None for module, compiler in _COMPILERS.items() if module in modules}
    return fingerprint(modules) | ({"readings": readings()} if measured_now else {})


def engine_notes(engines: Iterable[str]) -> dict[str, EngineNote]:
    """Return label, look and device of each engine, for whoever shows the run without having its package."""
    notes = {}
    for name, engine in _known(engines).items():
        look = asdict(engine.look) if engine.look else {}
        notes[name] = EngineNote(engine.label, **look, device=engine.device)
    return notes


def _known(names: Iterable[str]) -> dict[str, Engine]:
    found = {}
    for name in sorted(names):
        try:
            found[name] = find(name, ENGINES, "engine")
        except UserError:  # its cells say so
            continue
    return found
