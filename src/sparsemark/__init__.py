"""Does pruning this network make it faster, on this machine, and what does it cost in accuracy?"""

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.specs import Cell, ModelSpec, Protocol, PruneSpec, Variant

__all__ = [
    "Cell",
    "Measurement",
    "ModelSpec",
    "Protocol",
    "PruneSpec",
    "Run",
    "UnsupportedError",
    "UserError",
    "Variant",
]
