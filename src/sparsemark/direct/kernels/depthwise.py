"""Compiled way into a strided convolution of each channel by itself: its phases, split in a thread's scratch."""

from __future__ import annotations

from typing import Any

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share
from sparsemark.direct.kernels.vectors import halve_columns
from sparsemark.direct.target import LANES


@compiled()
def split_phases(row: Any, kernel: Any, unit: int, arena: Any, scratch: int) -> None:
    """Split each channel of a unit into four planes: even and odd columns of even rows, then those of odd rows.

    They lie where the row of the convolution that reads them, `kernel`, has its source, with zeros all around them.
    """
    first, last = share(row, unit, row[isa.CHANNELS])
    step, wide, height = kernel[isa.SOURCE_STEP], kernel[isa.SOURCE_ROW], kernel[isa.INPUT_HEIGHT]
    above, below = kernel[isa.ROWS_ABOVE] * wide + LANES, kernel[isa.ROWS_BELOW] * wide
    planes = scratch + kernel[isa.SOURCE]
    for channel in range(first, last):
        for phase in range(4):
            plane = planes + phase * step
            _clear(arena[plane - above : plane])
            _clear(arena[plane + height * wide : plane + height * wide + below])
        source = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP]
        for y in range(2 * height):
            pixels = source + y * row[isa.SOURCE_ROW] if y < row[isa.SOURCE_HEIGHT] else kernel[isa.ZEROS]
            even = planes + y % 2 * 2 * step + y // 2 * wide
            _split_row(arena, pixels, row[isa.SOURCE_ROW], kernel[isa.ZEROS], even, even + step, wide)
        planes += 4 * step


@compiled()
def _clear(places: Any) -> None:
    for i in range(len(places)):
        places[i] = 0


@compiled()
def _split_row(arena: Any, pixels: int, count: int, zeros: int, even: int, odd: int, wide: int) -> None:
    """Columns of a row of `count` floats by turns, and zeros behind them; beside the image it holds zeros itself."""
    base = arena.ctypes.data
    if min(count, 2 * wide) < LANES:
        for x in range(wide):
            arena[even + x] = arena[pixels + 2 * x] if 2 * x < count else 0
            arena[odd + x] = arena[pixels + 2 * x + 1] if 2 * x + 1 < count else 0
        return
    for v in range(2 * wide // LANES):
        half = 2 * LANES * v
        at = pixels + LANES * v if LANES * v < count else zeros
        halve_columns(base + 4 * at, base + 4 * even + half, base + 4 * odd + half)
