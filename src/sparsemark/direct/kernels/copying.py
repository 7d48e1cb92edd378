"""Copies that change rows and columns: phases apart, phases together, pixels repeated."""

from __future__ import annotations

from typing import Any

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share
from sparsemark.direct.kernels.vectors import join_columns, split_columns
from sparsemark.direct.target import LANES


@compiled()
def copy_channels(row: Any, unit: int, source: Any, target: Any) -> None:
    """Copy every n-th row and column; each of PHASES starts makes a channel of the target."""
    first, last = share(row, unit, row[isa.CHANNELS] // row[isa.PHASES])
    down = row[isa.KERNEL_ROWS]
    across = row[isa.PHASES] // down
    for channel in range(first, last):
        for py in range(down):
            for y in range(row[isa.HEIGHT]):
                sy = row[isa.ROW_START] + py + y * row[isa.ROW_STRIDE]
                if sy >= row[isa.SOURCE_HEIGHT]:
                    break
                s = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP] + sy * row[isa.SOURCE_ROW]
                plane = channel * row[isa.PHASES] + py * across
                t = row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
                done = 0
                if across == 2 and row[isa.COLUMN_STRIDE] == 2 and row[isa.COLUMN_START] == 0:
                    done = _split_row(source, s, target, t, row[isa.TARGET_STEP], row[isa.SOURCE_WIDTH])
                for px in range(across):
                    x0 = row[isa.COLUMN_START] + px
                    stop = min(
                        row[isa.WIDTH],
                        (row[isa.SOURCE_WIDTH] - x0 + row[isa.COLUMN_STRIDE] - 1) // row[isa.COLUMN_STRIDE],
                    )
                    if done < stop:
                        places = target[t + px * row[isa.TARGET_STEP] + done : t + px * row[isa.TARGET_STEP] + stop]
                        copy_row(source[s + x0 + done * row[isa.COLUMN_STRIDE] :], places, row[isa.COLUMN_STRIDE])


@compiled()
def _split_row(source: Any, s: int, target: Any, t: int, step: int, width: int) -> int:
    """Even and odd columns of a row, as far as whole vectors go; how many of each."""
    pixels, places = source.ctypes.data + 4 * s, target.ctypes.data + 4 * t
    pairs = width // (2 * LANES)
    for i in range(pairs):
        at = 4 * LANES * i
        split_columns(pixels + 2 * at, places + at, places + at + 4 * step)
    return pairs * LANES


@compiled()
def copy_row(pixels: Any, places: Any, stride: int) -> None:
    """Copy every `stride`-th pixel."""
    # Arrays of their own, here and below, have indices that begin at 0: the compiler need not test their sign.
    if stride == 1:
        for x in range(len(places)):
            places[x] = pixels[x]
    else:
        for x in range(len(places)):
            places[x] = pixels[x * stride]


@compiled()
def copy_input(row: Any, unit: int, image: Any, arena: Any) -> None:
    """Copy the input into the arena."""
    copy_channels(row, unit, image, arena)


@compiled()
def copy(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Copy within the arena."""
    copy_channels(row, unit, arena, arena)


@compiled()
def interleave(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Channels, one a phase, become one: what a transposed convolution leaves; or one is repeated (nearest)."""
    first, last = share(row, unit, row[isa.CHANNELS])
    stride = row[isa.COLUMN_STRIDE]
    step = row[isa.SOURCE_STEP] if row[isa.PHASES] > 1 else 0
    for channel in range(first, last):
        for y in range(row[isa.HEIGHT]):
            sy, py = y // row[isa.ROW_STRIDE], y % row[isa.ROW_STRIDE]
            phase = channel * row[isa.PHASES] + (py * stride if row[isa.PHASES] > 1 else 0)
            s = row[isa.SOURCE] + phase * row[isa.SOURCE_STEP] + sy * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + channel * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            done = _join_row(arena, s, step, t, row[isa.WIDTH]) if stride == 2 else 0
            for px in range(stride):
                count = (row[isa.WIDTH] - px + stride - 1) // stride
                pixels, places = arena[s + px * step : s + px * step + count], arena[t + px : t + row[isa.WIDTH]]
                for x in range(done, count):
                    places[x * stride] = pixels[x]


@compiled()
def _join_row(arena: Any, s: int, step: int, t: int, width: int) -> int:
    """Columns of two rows by turns, as far as whole vectors go; how many of each."""
    even, out = arena.ctypes.data + 4 * s, arena.ctypes.data + 4 * t
    for i in range(width // (2 * LANES)):
        at = 4 * LANES * i
        join_columns(even + at, even + at + 4 * step, out + 2 * at)
    return width // (2 * LANES) * LANES
