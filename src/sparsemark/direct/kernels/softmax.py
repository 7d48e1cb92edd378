"""Softmax over channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share


@compiled()
def softmax(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Over the channels, pixel by pixel."""
    first, last = share(row, unit, row[isa.HEIGHT])
    for y in range(first, last):
        for x in range(row[isa.WIDTH]):
            s = row[isa.SOURCE] + y * row[isa.SOURCE_ROW] + x
            t = row[isa.TARGET] + y * row[isa.TARGET_ROW] + x
            most, total = arena[s], np.float32(0)
            for channel in range(row[isa.CHANNELS]):
                most = max(most, arena[s + channel * row[isa.SOURCE_STEP]])
            for channel in range(row[isa.CHANNELS]):
                value = np.float32(math.exp(arena[s + channel * row[isa.SOURCE_STEP]] - most))
                arena[t + channel * row[isa.TARGET_STEP]] = value
                total += value
            for channel in range(row[isa.CHANNELS]):
                arena[t + channel * row[isa.TARGET_STEP]] /= total
