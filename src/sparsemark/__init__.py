"""Latency and accuracy of pruned networks, measured in pairs against the dense one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsemark.errors import UnsupportedError, UserError
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.specs import Cell, InputSpec, Metric, ModelSpec, Protocol, PruneStep, Pruning, Variant

__all__ = [
    "Cell",
    "InputSpec",
    "Measurement",
    "Metric",
    "ModelSpec",
    "Protocol",
    "PruneStep",
    "Pruning",
    "Run",
    "UnsupportedError",
    "UserError",
    "Variant",
]

_HOMES = {
    "errors": ("UnsupportedError", "UserError"),
    "records.measurement": ("Measurement",),
    "records.run": ("Run",),
    "specs": ("Cell", "InputSpec", "Metric", "ModelSpec", "Protocol", "PruneStep", "Pruning", "Variant"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `sparsemark --help` needs none of them."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"sparsemark.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
