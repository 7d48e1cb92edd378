"""Sampling: in how many fresh processes a cell is measured, and when there are enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sparsemark.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """Fresh processes that a cell is measured in.

    Args:
        launches: processes that share the timed calls of a cell; 0 measures in this process.
        until: half-width of the interval, as a fraction of the speedup, above which launches are added; None adds none.
        budget_s: seconds of adding, in all.
    """

    launches: int = 3
    until: float | None = None
    budget_s: float = 600.0

    def __post_init__(self) -> None:
        if self.launches < 0:
            raise UserError(f"launches {self.launches}: expected a whole number from 1")
        if self.until is not None and not 0 < self.until < 1:
            raise UserError(f"until {self.until:g}: expected a share between 0 and 100 %")
        if not 0 < self.budget_s < math.inf:
            raise UserError(f"budget {self.budget_s:g}: expected seconds above 0")


IN_THIS_PROCESS = Sampling(launches=0)
"""For a quick look: layout in memory, which differs between processes, is not averaged out."""
