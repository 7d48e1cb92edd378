"""Compiled resampling and padding of planes: every row and column of the target takes one of the source, or blends two.

Which ones, and how, stands in constants: for each row of the target the first row of the source, then the second ones,
then the weights of the second ones; the same for columns. A place of -1 is none: it takes a value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsemark.direct.jit import compiled
from sparsemark.direct.table import (
    COLUMN_PLACES,
    HEIGHT,
    KIND,
    LINEAR_BLEND,
    PARAMETERS,
    ROW_PLACES,
    SOURCE,
    SOURCE_ROW,
    SOURCE_STEP,
    SOURCE_WIDTH,
    TARGET,
    TARGET_ROW,
    TARGET_STEP,
    WIDTH,
)


@compiled()
def resample(row: Any, first: int, last: int, arena: Any, scratch: int) -> None:
    """Make planes `first` to `last`; scratch holds one row of the source."""
    height, width, wide = row[HEIGHT], row[WIDTH], row[SOURCE_WIDTH]
    down, across = row[ROW_PLACES], row[COLUMN_PLACES]
    places, others = arena[across : across + width], arena[across + width : across + 2 * width]
    weights = arena[across + 2 * width : across + 3 * width]
    blended = arena[scratch : scratch + wide]
    value = arena[row[PARAMETERS]]
    for plane in range(first, last):
        for y in range(height):
            t = row[TARGET] + plane * row[TARGET_STEP] + y * row[TARGET_ROW]
            target = arena[t : t + width]
            upper = np.int64(arena[down + y])
            s = row[SOURCE] + plane * row[SOURCE_STEP] + upper * row[SOURCE_ROW]
            if upper < 0:
                for x in range(width):
                    target[x] = value
            elif row[KIND] == LINEAR_BLEND:
                lower = row[SOURCE] + plane * row[SOURCE_STEP] + np.int64(arena[down + height + y]) * row[SOURCE_ROW]
                _blend_rows(arena[s : s + wide], arena[lower : lower + wide], arena[down + 2 * height + y], blended)
                _blend_columns(blended, places, others, weights, target)
            else:
                _place(arena[s : s + wide], places, value, target)


@compiled()
def _blend_rows(upper: Any, lower: Any, weight: Any, target: Any) -> None:
    for x in range(len(target)):
        target[x] = upper[x] + weight * (lower[x] - upper[x])


@compiled()
def _blend_columns(source: Any, places: Any, others: Any, weights: Any, target: Any) -> None:
    for x in range(len(target)):
        left, right = source[np.int32(places[x])], source[np.int32(others[x])]
        target[x] = left + weights[x] * (right - left)


@compiled()
def _place(source: Any, places: Any, value: Any, target: Any) -> None:
    for x in range(len(target)):
        at = np.int32(places[x])
        target[x] = source[at] if at >= 0 else value
