"""Latency and accuracy of pruned networks, measured in pairs against the dense one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsemark.api.benchmarking import benchmark
    from sparsemark.api.exporting import export
    from sparsemark.api.loading import Loaded, load
    from sparsemark.api.runs import Run
    from sparsemark.errors import InputError, UnsupportedError, UserError
    from sparsemark.records.measurement import Measurement
    from sparsemark.specs import Cell, InputSpec, Metric, ModelSpec, Protocol, PruneStep, Pruning, Variant

__all__ = [
    "Cell",
    "InputError",
    "InputSpec",
    "Loaded",
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
    "benchmark",
    "export",
    "load",
]

_HOMES = {
    "api.benchmarking": ("benchmark",),
    "api.exporting": ("export",),
    "api.loading": ("Loaded", "load"),
    "api.runs": ("Run",),
    "errors": ("InputError", "UnsupportedError", "UserError"),
    "records.measurement": ("Measurement",),
    "specs": ("Cell", "InputSpec", "Metric", "ModelSpec", "Protocol", "PruneStep", "Pruning", "Variant"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `sparsemark --help` needs none of them."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"sparsemark.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
