"""Pooling over windows and over whole channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.copying import copy_row
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share
from sparsemark.direct.kernels.vectors import largest_of_four
from sparsemark.direct.target import LANES

_RUN = 4096
"""Numbers that are summed in float32 before float64 takes them."""


@compiled()
def pool(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Rows of the window first, then its columns; scratch holds one row."""
    first, last = share(row, unit, row[isa.CHANNELS])
    kind = row[isa.KIND]
    height, width = row[isa.SOURCE_HEIGHT], row[isa.SOURCE_WIDTH]
    window = arena[scratch : scratch + width]
    squares = (
        kind == isa.MAXIMUM
        and row[isa.KERNEL_ROWS] == row[isa.KERNEL_COLUMNS] == row[isa.ROW_STRIDE] == row[isa.COLUMN_STRIDE] == 2
    )
    squares = squares and row[isa.ROW_START] == row[isa.COLUMN_START] == 0 and height % 2 == width % 2 == 0
    for channel in range(first, last):
        for y in range(row[isa.HEIGHT]):
            y0 = row[isa.ROW_START] + y * row[isa.ROW_STRIDE]
            top, bottom = max(y0, 0), min(y0 + row[isa.KERNEL_ROWS], height)
            s = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP] + top * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + channel * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            done = _pool_row(arena, s, row[isa.SOURCE_ROW], t, width) if squares else 0
            if done == row[isa.WIDTH]:
                continue
            copy_row(arena[s : s + width], window, 1)
            for _ in range(top + 1, bottom):
                s += row[isa.SOURCE_ROW]
                _take_in(kind == isa.MAXIMUM, arena[s : s + width], window)
            for x in range(done, row[isa.WIDTH]):
                x0 = row[isa.COLUMN_START] + x * row[isa.COLUMN_STRIDE]
                left, right = max(x0, 0), min(x0 + row[isa.KERNEL_COLUMNS], width)
                total = window[left]
                for column in range(left + 1, right):
                    value = window[column]
                    if kind == isa.MAXIMUM:
                        total = total if total > value else value  # noqa: FURB136 - see `activations._clip`
                    else:
                        total += value
                if kind == isa.AVERAGE:
                    total /= np.float32((bottom - top) * (right - left))
                elif kind == isa.AVERAGE_WITH_PADDING:
                    total /= np.float32(row[isa.KERNEL_ROWS] * row[isa.KERNEL_COLUMNS])
                arena[t + x] = total


@compiled()
def _pool_row(arena: Any, s: int, step: int, t: int, width: int) -> int:
    """The largest of each 2 x 2 square of two rows, as far as whole vectors go; how many."""
    upper, out = arena.ctypes.data + 4 * s, arena.ctypes.data + 4 * t
    for i in range(width // LANES):
        at = 4 * LANES * i
        largest_of_four(upper + at, upper + at + 4 * step, out + at // 2)
    return width // LANES * LANES // 2


@compiled()
def _take_in(maximum: bool, values: Any, window: Any) -> None:
    if maximum:
        for x in range(len(window)):
            window[x] = window[x] if window[x] > values[x] else values[x]  # noqa: FURB136 - see `activations._clip`
    else:
        for x in range(len(window)):
            window[x] += values[x]


@compiled(fastmath={"reassoc"})
def _sum(values: Any) -> Any:
    total = np.float32(0)
    for i in range(len(values)):
        total += values[i]
    return total


@compiled()
def global_pool(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Reduce each channel to one value: its largest, or its mean."""
    first, last = share(row, unit, row[isa.CHANNELS])
    for channel in range(first, last):
        s = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP]
        if row[isa.KIND] == isa.MAXIMUM:
            most = arena[s]
            for y in range(row[isa.SOURCE_HEIGHT]):
                for x in range(row[isa.SOURCE_WIDTH]):
                    value = arena[s + y * row[isa.SOURCE_ROW] + x]
                    most = max(value, most)
            arena[row[isa.TARGET] + channel * row[isa.TARGET_STEP]] = most
        else:
            # Zeros lie between the rows: a plane is one run of numbers. Parts of it, since float32 loses what is added.
            total, wide = np.float64(0), row[isa.SOURCE_ROW]
            extent = (row[isa.SOURCE_HEIGHT] - 1) * wide + row[isa.SOURCE_WIDTH]
            for start in range(0, extent, _RUN):
                total += np.float64(_sum(arena[s + start : s + min(start + _RUN, extent)]))
            mean = total / np.float64(row[isa.SOURCE_HEIGHT] * row[isa.SOURCE_WIDTH])
            arena[row[isa.TARGET] + channel * row[isa.TARGET_STEP]] = np.float32(mean)
