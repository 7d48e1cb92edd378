"""Compiled normalisation of images by the mean and variance of groups of their own channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparsemark.direct.jit import compiled
from sparsemark.direct.table import (
    GROUP_PLANES,
    HEIGHT,
    PARAMETERS,
    PLANES,
    SECOND,
    SOURCE,
    SOURCE_ROW,
    SOURCE_STEP,
    TARGET,
    TARGET_ROW,
    TARGET_STEP,
    WIDTH,
)


@compiled()
def normalise(row: Any, first: int, last: int, arena: Any) -> None:
    """Normalise groups `first` to `last` of GROUP_PLANES channels each.

    PARAMETERS holds a factor for each channel and then epsilon, SECOND a term for each channel.
    """
    each, height, width = row[GROUP_PLANES], row[HEIGHT], row[WIDTH]
    count, epsilon = np.float64(each * height * width), np.float64(arena[row[PARAMETERS] + row[PLANES]])
    for group in range(first, last):
        total, squares = np.float64(0), np.float64(0)
        for plane in range(group * each, (group + 1) * each):
            for y in range(height):
                s = row[SOURCE] + plane * row[SOURCE_STEP] + y * row[SOURCE_ROW]
                total += np.float64(_sum(arena[s : s + width]))
        mean = total / count
        middle = np.float32(mean)
        for plane in range(group * each, (group + 1) * each):
            for y in range(height):
                s = row[SOURCE] + plane * row[SOURCE_STEP] + y * row[SOURCE_ROW]
                squares += np.float64(_squares(arena[s : s + width], middle))
        # What rounding the mean adds to the squares.
        rest = mean - np.float64(middle)
        scale = 1.0 / math.sqrt(max(squares / count - rest * rest, 0.0) + epsilon)
        for plane in range(group * each, (group + 1) * each):
            factor = np.float32(np.float64(arena[row[PARAMETERS] + plane]) * scale)
            term = np.float32(np.float64(arena[row[SECOND] + plane]) - rest * np.float64(factor))
            for y in range(height):
                s = row[SOURCE] + plane * row[SOURCE_STEP] + y * row[SOURCE_ROW]
                t = row[TARGET] + plane * row[TARGET_STEP] + y * row[TARGET_ROW]
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
