"""Compiled operations besides convolution: plain loops that a compiler does well with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.activations import activate
from sparsemark.direct.jit import compiled
from sparsemark.direct.kernels import join_columns, largest_of_four, split_columns
from sparsemark.direct.target import LANES


@compiled(inline="always")
def _share(row: Any, unit: int, count: int) -> Any:
    """First and last of `count` things that are this unit's."""
    return unit * count // row[isa.UNITS], (unit + 1) * count // row[isa.UNITS]


@compiled()
def copy_planes(row: Any, unit: int, source: Any, target: Any) -> None:
    """Copy every n-th row and column; each of PHASES starts of its own makes a plane of the target."""
    first, last = _share(row, unit, row[isa.CHANNELS] // row[isa.PHASES])
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
                        _copy_row(source[s + x0 + done * row[isa.COLUMN_STRIDE] :], places, row[isa.COLUMN_STRIDE])


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
def _copy_row(pixels: Any, places: Any, stride: int) -> None:
    # Arrays of their own, here and below, have indices that begin at 0: the compiler need not test their sign.
    if stride == 1:
        for x in range(len(places)):
            places[x] = pixels[x]
    else:
        for x in range(len(places)):
            places[x] = pixels[x * stride]


@compiled()
def _pool(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Rows of the window first, then its columns; scratch holds one row."""
    first, last = _share(row, unit, row[isa.CHANNELS])
    kind = row[isa.KIND]
    height, width = row[isa.SOURCE_HEIGHT], row[isa.SOURCE_WIDTH]
    window = arena[scratch : scratch + width]
    squares = (
        kind == isa.MAXIMUM
        and row[isa.KERNEL_ROWS] == row[isa.KERNEL_COLUMNS] == row[isa.ROW_STRIDE] == row[isa.COLUMN_STRIDE] == 2
    )
    squares = squares and row[isa.ROW_START] == row[isa.COLUMN_START] == 0 and height % 2 == width % 2 == 0
    for plane in range(first, last):
        for y in range(row[isa.HEIGHT]):
            y0 = row[isa.ROW_START] + y * row[isa.ROW_STRIDE]
            top, bottom = max(y0, 0), min(y0 + row[isa.KERNEL_ROWS], height)
            s = row[isa.SOURCE] + plane * row[isa.SOURCE_STEP] + top * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            done = _pool_row(arena, s, row[isa.SOURCE_ROW], t, width) if squares else 0
            if done == row[isa.WIDTH]:
                continue
            _copy_row(arena[s : s + width], window, 1)
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
                        total = total if total > value else value  # noqa: FURB136 - as above
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
            window[x] = window[x] if window[x] > values[x] else values[x]  # noqa: FURB136 - as above
    else:
        for x in range(len(window)):
            window[x] += values[x]


@compiled()
def _global_pool(row: Any, unit: int, arena: Any) -> None:
    first, last = _share(row, unit, row[isa.CHANNELS])
    for plane in range(first, last):
        s = row[isa.SOURCE] + plane * row[isa.SOURCE_STEP]
        if row[isa.KIND] == isa.MAXIMUM:
            most = arena[s]
            for y in range(row[isa.SOURCE_HEIGHT]):
                for x in range(row[isa.SOURCE_WIDTH]):
                    value = arena[s + y * row[isa.SOURCE_ROW] + x]
                    most = max(value, most)
            arena[row[isa.TARGET] + plane * row[isa.TARGET_STEP]] = most
        else:
            total = np.float64(0)
            for y in range(row[isa.SOURCE_HEIGHT]):
                part = np.float32(0)
                for x in range(row[isa.SOURCE_WIDTH]):
                    part += arena[s + y * row[isa.SOURCE_ROW] + x]
                total += np.float64(part)
            mean = total / np.float64(row[isa.SOURCE_HEIGHT] * row[isa.SOURCE_WIDTH])
            arena[row[isa.TARGET] + plane * row[isa.TARGET_STEP]] = np.float32(mean)


@compiled(fastmath={"reassoc", "contract"})
def multiply(row: Any, unit: int, arena: Any, rows: Any, columns: Any, values: Any) -> None:
    """A sparse matrix times a vector: CHANNELS outputs, ROW_POINTERS the first of them; sums in any order."""
    first, last = _share(row, unit, row[isa.CHANNELS])
    s = row[isa.SOURCE]
    for o in range(first, last):
        start, stop = rows[row[isa.ROW_POINTERS] + o], rows[row[isa.ROW_POINTERS] + o + 1]
        total = np.float32(0)
        if stop > start and columns[stop - 1] - columns[start] == stop - 1 - start:
            # Without a gap: no column need be looked up.
            shift = s + columns[start] - start
            for k in range(start, stop):
                total += values[k] * arena[shift + k]
        else:
            for k in range(start, stop):
                total += values[k] * arena[s + columns[k]]
        arena[row[isa.TARGET] + o] = total + arena[row[isa.BIAS] + o]


@compiled()
def _unary(row: Any, unit: int, arena: Any) -> None:
    first, last = _share(row, unit, row[isa.CHANNELS])
    p, q = arena[row[isa.PARAMETERS]], arena[row[isa.PARAMETERS] + 1]
    for plane in range(first, last):
        for y in range(row[isa.HEIGHT]):
            s = row[isa.SOURCE] + plane * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            activate(row[isa.KIND], arena[s : s + row[isa.WIDTH]], arena[t : t + row[isa.WIDTH]], p, q)


@compiled()
def _binary(row: Any, unit: int, arena: Any) -> None:
    """Two tensors; where SECOND_ROW is 0, the second has one value a plane."""
    first, last = _share(row, unit, row[isa.CHANNELS])
    width = row[isa.WIDTH]
    for plane in range(first, last):
        for y in range(row[isa.HEIGHT]):
            s = row[isa.SOURCE] + plane * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            z = row[isa.SECOND] + plane * row[isa.SECOND_STEP] + y * row[isa.SECOND_ROW]
            if row[isa.SECOND_ROW] == 0:
                _combine_value(row[isa.KIND], arena[s : s + width], arena[z], arena[t : t + width])
            else:
                _combine_rows(row[isa.KIND], arena[s : s + width], arena[z : z + width], arena[t : t + width])


@compiled()
def _combine_rows(kind: int, a: Any, b: Any, target: Any) -> None:
    count = len(target)
    if kind == isa.ADD:
        for x in range(count):
            target[x] = a[x] + b[x]
    elif kind == isa.SUBTRACT:
        for x in range(count):
            target[x] = a[x] - b[x]
    elif kind == isa.MULTIPLY:
        for x in range(count):
            target[x] = a[x] * b[x]
    else:
        for x in range(count):
            target[x] = a[x] / b[x]


@compiled()
def _combine_value(kind: int, a: Any, b: Any, target: Any) -> None:
    count = len(target)
    if kind == isa.ADD:
        for x in range(count):
            target[x] = a[x] + b
    elif kind == isa.SUBTRACT:
        for x in range(count):
            target[x] = a[x] - b
    elif kind == isa.MULTIPLY:
        for x in range(count):
            target[x] = a[x] * b
    else:
        for x in range(count):
            target[x] = a[x] / b


@compiled()
def _channelwise(row: Any, unit: int, arena: Any) -> None:
    """A factor (from PARAMETERS) and a term (from MORE_PARAMETERS) for each channel."""
    first, last = _share(row, unit, row[isa.CHANNELS])
    for plane in range(first, last):
        factor, term = arena[row[isa.PARAMETERS] + plane], arena[row[isa.MORE_PARAMETERS] + plane]
        for y in range(row[isa.HEIGHT]):
            s = row[isa.SOURCE] + plane * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            values, places = arena[s : s + row[isa.WIDTH]], arena[t : t + row[isa.WIDTH]]
            for x in range(len(places)):
                places[x] = values[x] * factor + term


@compiled()
def _interleave(row: Any, unit: int, arena: Any) -> None:
    """Planes, one a phase, become one plane: what a transposed convolution leaves; or one is repeated (nearest)."""
    first, last = _share(row, unit, row[isa.CHANNELS])
    stride = row[isa.COLUMN_STRIDE]
    step = row[isa.SOURCE_STEP] if row[isa.PHASES] > 1 else 0
    for plane in range(first, last):
        for y in range(row[isa.HEIGHT]):
            sy, py = y // row[isa.ROW_STRIDE], y % row[isa.ROW_STRIDE]
            phase = plane * row[isa.PHASES] + (py * stride if row[isa.PHASES] > 1 else 0)
            s = row[isa.SOURCE] + phase * row[isa.SOURCE_STEP] + sy * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
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


@compiled()
def _softmax(row: Any, unit: int, arena: Any) -> None:
    """Over the planes, pixel by pixel."""
    first, last = _share(row, unit, row[isa.HEIGHT])
    for y in range(first, last):
        for x in range(row[isa.WIDTH]):
            s = row[isa.SOURCE] + y * row[isa.SOURCE_ROW] + x
            t = row[isa.TARGET] + y * row[isa.TARGET_ROW] + x
            most, total = arena[s], np.float32(0)
            for plane in range(row[isa.CHANNELS]):
                most = max(most, arena[s + plane * row[isa.SOURCE_STEP]])
            for plane in range(row[isa.CHANNELS]):
                value = np.float32(math.exp(arena[s + plane * row[isa.SOURCE_STEP]] - most))
                arena[t + plane * row[isa.TARGET_STEP]] = value
                total += value
            for plane in range(row[isa.CHANNELS]):
                arena[t + plane * row[isa.TARGET_STEP]] /= total


@compiled(inline="always")
def operate(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Do one unit of an operation."""
    op = row[isa.OP]
    if op == isa.COPY:
        copy_planes(row, unit, arena, arena)
    elif op == isa.POOL:
        _pool(row, unit, arena, scratch)
    elif op == isa.GLOBAL_POOL:
        _global_pool(row, unit, arena)
    elif op == isa.UNARY:
        _unary(row, unit, arena)
    elif op == isa.BINARY:
        _binary(row, unit, arena)
    elif op == isa.CHANNELWISE:
        _channelwise(row, unit, arena)
    elif op == isa.INTERLEAVE:
        _interleave(row, unit, arena)
    elif op == isa.SOFTMAX:
        _softmax(row, unit, arena)
