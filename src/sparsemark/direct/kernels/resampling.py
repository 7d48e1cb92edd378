"""Resampling and padding of channels: every row and column of the target takes one of the source, or blends two.

Which ones, and how, stands in constants: for each row of the target the first row of the source, then the second ones,
then the weights of the second ones; behind them the same for columns. A place of -1 is none: it takes a value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share


@compiled()
def resample(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Take or blend rows and columns by the places in MORE_PARAMETERS; scratch holds one row of the source."""
    first, last = share(row, unit, row[isa.CHANNELS])
    height, width, wide = row[isa.HEIGHT], row[isa.WIDTH], row[isa.SOURCE_WIDTH]
    down = row[isa.MORE_PARAMETERS]
    across = down + 3 * height
    places, others = arena[across : across + width], arena[across + width : across + 2 * width]
    weights = arena[across + 2 * width : across + 3 * width]
    blended = arena[scratch : scratch + wide]
    value = arena[row[isa.PARAMETERS]]
    for channel in range(first, last):
        for y in range(height):
            t = row[isa.TARGET] + channel * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            target = arena[t : t + width]
            upper = np.int64(arena[down + y])
            start = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP]
            s = start + upper * row[isa.SOURCE_ROW]
            if upper < 0:
                for x in range(width):
                    target[x] = value
            elif row[isa.KIND] == isa.LINEAR_BLEND:
                lower = start + np.int64(arena[down + height + y]) * row[isa.SOURCE_ROW]
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
