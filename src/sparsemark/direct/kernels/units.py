"""Share of one unit of work."""

from __future__ import annotations

from typing import Any

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled


@compiled(inline="always")
def share(row: Any, unit: int, count: int) -> Any:
    """First and last of `count` things that are this unit's."""
    return unit * count // row[isa.UNITS], (unit + 1) * count // row[isa.UNITS]
