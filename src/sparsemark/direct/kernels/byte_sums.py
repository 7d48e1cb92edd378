"""Sum of two quantised activations, as quantised."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.bytes import HALF_EVEN, surround
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share


@compiled()
def add_bytes(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Add two activations of bytes: every byte as dequantising, float32 and quantising would have it."""
    words, levels = arena.view(np.int32), arena.view(np.uint8)
    first, last = share(row, unit, row[isa.CHANNELS])
    numbers = arena[row[isa.PARAMETERS] : row[isa.PARAMETERS] + 8]
    scale, zero, other_scale, other_zero, low, high = (
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
    )
    step, place = numbers[6], numbers[7]
    least, most = -place, np.float32(255) - place
    count = 4 * row[isa.WIDTH]
    for plane in range(first, last):
        for y in range(row[isa.HEIGHT]):
            s = 4 * (row[isa.SOURCE] + plane * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW])
            o = 4 * (row[isa.SECOND] + plane * row[isa.SECOND_STEP] + y * row[isa.SECOND_ROW])
            t = 4 * (row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW])
            ones, others, sums = levels[s : s + count], levels[o : o + count], levels[t : t + count]
            for x in range(len(sums)):
                total = (np.float32(ones[x]) - zero) * scale + (np.float32(others[x]) - other_zero) * other_scale
                level = min(max(total, low), high) / step
                level = min(max(level, least), most) + HALF_EVEN - HALF_EVEN
                sums[x] = np.uint8(np.int32(level + place))
        surround(row, plane, words)
