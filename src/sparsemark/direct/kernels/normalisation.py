"""Normalisation of images by the mean and variance of groups of their own channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share


@compiled()
def normalise(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Normalise groups of GROUP_CHANNELS channels each.

    PARAMETERS holds a factor for each channel and then epsilon, MORE_PARAMETERS a term for each channel.
    """
    first, last = share(row, unit, row[isa.CHANNELS] // row[isa.GROUP_CHANNELS])
    each, height, width = row[isa.GROUP_CHANNELS], row[isa.HEIGHT], row[isa.WIDTH]
    count, epsilon = np.float64(each * height * width), np.float64(arena[row[isa.PARAMETERS] + row[isa.CHANNELS]])
    for group in range(first, last):
        total, squares = np.float64(0), np.float64(0)
        for channel in range(group * each, (group + 1) * each):
            for y in range(height):
                s = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
                total += np.float64(_sum(arena[s : s + width]))
        mean = total / count
        middle = np.float32(mean)
        for channel in range(group * each, (group + 1) * each):
            for y in range(height):
                s = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
                squares += np.float64(_squares(arena[s : s + width], middle))
        # What rounding the mean adds to the squares.
        rest = mean - np.float64(middle)
        scale = 1.0 / math.sqrt(max(squares / count - rest * rest, 0.0) + epsilon)
        for channel in range(group * each, (group + 1) * each):
            factor = np.float32(np.float64(arena[row[isa.PARAMETERS] + channel]) * scale)
            term = np.float32(np.float64(arena[row[isa.MORE_PARAMETERS] + channel]) - rest * np.float64(factor))
            for y in range(height):
                s = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
                t = row[isa.TARGET] + channel * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
                values, places = arena[s : s + width], arena[t : t + width]
                for x in range(len(places)):
                    places[x] = (values[x] - middle) * factor + term


@compiled(fastmath={"reassoc", "contract"})
def _sum(values: Any) -> Any:
    total = np.float32(0)
    for x in range(len(values)):
        total += values[x]
    return total


@compiled(fastmath={"reassoc", "contract"})
def _squares(values: Any, middle: Any) -> Any:
    total = np.float32(0)
    for x in range(len(values)):
        total += (values[x] - middle) * (values[x] - middle)
    return total
