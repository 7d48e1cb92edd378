"""Metrics of a task: what a better score is, and which loss is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sparsemark.errors import UserError


@dataclass(frozen=True)
class Metric:
    """Direction of a metric, and the loss in its own unit up to which two networks count as equally good.

    Without a tolerance a metric is reported and not gated.
    """

    higher_is_better: bool = True
    tolerance: float | None = 0.01

    def __post_init__(self) -> None:
        if not isinstance(self.higher_is_better, bool):
            raise UserError(f"higher_is_better {self.higher_is_better!r}: expected true or false")
        tolerance = self.tolerance
        if tolerance is not None and not (isinstance(tolerance, int | float) and 0 <= tolerance < math.inf):
            raise UserError(f"tolerance {tolerance!r}: expected a number from 0, or None")
