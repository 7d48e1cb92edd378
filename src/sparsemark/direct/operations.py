"""Compiled operations besides convolution: plain loops that a compiler does well with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparsemark.direct.activations import activate
from sparsemark.direct.jit import compiled
from sparsemark.direct.kernels import join_columns, largest_of_four, split_columns
from sparsemark.direct.normalisation import normalise
from sparsemark.direct.registers import LANES
from sparsemark.direct.resampling import resample
from sparsemark.direct.table import (
    ADD,
    AVERAGE,
    AVERAGE_WITH_PADDING,
    BIAS,
    BINARY,
    CHANNELWISE,
    COLUMN_START,
    COLUMN_STRIDE,
    COPY,
    DIVIDE,
    DIVIDE_INTO,
    GLOBAL_POOL,
    GROUP_PLANES,
    HEIGHT,
    INTERLEAVE,
    KERNEL_COLUMNS,
    KERNEL_ROWS,
    KIND,
    MAXIMUM,
    MULTIPLY,
    NORMALIZE,
    OP,
    PARAMETERS,
    PHASES,
    PLANES,
    POOL,
    RECORDS,
    RECTIFY,
    RESAMPLE,
    ROW_START,
    ROW_STRIDE,
    SECOND,
    SECOND_ROW,
    SECOND_STEP,
    SOFTMAX,
    SOURCE,
    SOURCE_HEIGHT,
    SOURCE_ROW,
    SOURCE_STEP,
    SOURCE_WIDTH,
    SUBTRACT,
    SUBTRACT_FROM,
    TARGET,
    TARGET_ROW,
    TARGET_STEP,
    UNARY,
    UNITS,
    WIDTH,
)


@compiled(inline="always")
def _share(row: Any, unit: int, count: int) -> Any:
    """First and last of `count` things that are this unit's."""
    return unit * count // row[UNITS], (unit + 1) * count // row[UNITS]


@compiled()
def copy_planes(row: Any, unit: int, source: Any, target: Any) -> None:
    """Copy every n-th row and column; each of PHASES starts of its own makes a plane of the target."""
    first, last = _share(row, unit, row[PLANES] // row[PHASES])
    down = row[KERNEL_ROWS]
    across = row[PHASES] // down
    for channel in range(first, last):
        for py in range(down):
            for y in range(row[HEIGHT]):
                sy = row[ROW_START] + py + y * row[ROW_STRIDE]
                if sy >= row[SOURCE_HEIGHT]:
                    break
                s = row[SOURCE] + channel * row[SOURCE_STEP] + sy * row[SOURCE_ROW]
                plane = channel * row[PHASES] + py * across
                t = row[TARGET] + plane * row[TARGET_STEP] + y * row[TARGET_ROW]
                done = 0
                if across == 2 and row[COLUMN_STRIDE] == 2 and row[COLUMN_START] == 0:
                    done = _split_row(source, s, target, t, row[TARGET_STEP], row[SOURCE_WIDTH])
                for px in range(across):
                    x0 = row[COLUMN_START] + px
                    stop = min(row[WIDTH], (row[SOURCE_WIDTH] - x0 + row[COLUMN_STRIDE] - 1) // row[COLUMN_STRIDE])
                    if done < stop:
                        places = target[t + px * row[TARGET_STEP] + done : t + px * row[TARGET_STEP] + stop]
                        _copy_row(source[s + x0 + done * row[COLUMN_STRIDE] :], places, row[COLUMN_STRIDE])


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
    first, last = _share(row, unit, row[PLANES])
    kind = row[KIND]
    height, width = row[SOURCE_HEIGHT], row[SOURCE_WIDTH]
    window = arena[scratch : scratch + width]
    squares = kind == MAXIMUM and row[KERNEL_ROWS] == row[KERNEL_COLUMNS] == row[ROW_STRIDE] == row[COLUMN_STRIDE] == 2
    squares = squares and row[ROW_START] == row[COLUMN_START] == 0 and height % 2 == width % 2 == 0
    for plane in range(first, last):
        for y in range(row[HEIGHT]):
            y0 = row[ROW_START] + y * row[ROW_STRIDE]
            top, bottom = max(y0, 0), min(y0 + row[KERNEL_ROWS], height)
            s = row[SOURCE] + plane * row[SOURCE_STEP] + top * row[SOURCE_ROW]
            t = row[TARGET] + plane * row[TARGET_STEP] + y * row[TARGET_ROW]
            done = _pool_row(arena, s, row[SOURCE_ROW], t, width) if squares else 0
            if done == row[WIDTH]:
                continue
            _copy_row(arena[s : s + width], window, 1)
            for _ in range(top + 1, bottom):
                s += row[SOURCE_ROW]
                _take_in(kind == MAXIMUM, arena[s : s + width], window)
            for x in range(done, row[WIDTH]):
                x0 = row[COLUMN_START] + x * row[COLUMN_STRIDE]
                left, right = max(x0, 0), min(x0 + row[KERNEL_COLUMNS], width)
                total = window[left]
                for column in range(left + 1, right):
                    value = window[column]
                    if kind == MAXIMUM:
                        total = total if total > value else value  # noqa: FURB136 - as above
                    else:
                        total += value
                if kind == AVERAGE:
                    total /= np.float32((bottom - top) * (right - left))
                elif kind == AVERAGE_WITH_PADDING:
                    total /= np.float32(row[KERNEL_ROWS] * row[KERNEL_COLUMNS])
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
    first, last = _share(row, unit, row[PLANES])
    for plane in range(first, last):
        s = row[SOURCE] + plane * row[SOURCE_STEP]
        if row[KIND] == MAXIMUM:
            most = arena[s]
            for y in range(row[SOURCE_HEIGHT]):
                for x in range(row[SOURCE_WIDTH]):
                    value = arena[s + y * row[SOURCE_ROW] + x]
                    most = max(value, most)
            arena[row[TARGET] + plane * row[TARGET_STEP]] = most
        else:
            total = np.float64(0)
            for y in range(row[SOURCE_HEIGHT]):
                part = np.float32(0)
                for x in range(row[SOURCE_WIDTH]):
                    part += arena[s + y * row[SOURCE_ROW] + x]
                total += np.float64(part)
            mean = total / np.float64(row[SOURCE_HEIGHT] * row[SOURCE_WIDTH])
            arena[row[TARGET] + plane * row[TARGET_STEP]] = np.float32(mean)


@compiled(fastmath={"reassoc", "contract"})
def multiply(row: Any, unit: int, arena: Any, rows: Any, columns: Any, values: Any) -> None:
    """A sparse matrix times a vector: PLANES outputs, RECORDS the first row pointer; sums in any order."""
    first, last = _share(row, unit, row[PLANES])
    s = row[SOURCE]
    for o in range(first, last):
        start, stop = rows[row[RECORDS] + o], rows[row[RECORDS] + o + 1]
        total = np.float32(0)
        if stop > start and columns[stop - 1] - columns[start] == stop - 1 - start:
            # Without a gap: no column need be looked up.
            shift = s + columns[start] - start
            for k in range(start, stop):
                total += values[k] * arena[shift + k]
        else:
            for k in range(start, stop):
                total += values[k] * arena[s + columns[k]]
        arena[row[TARGET] + o] = total + arena[row[BIAS] + o]


@compiled()
def _unary(row: Any, unit: int, arena: Any) -> None:
    first, last = _share(row, unit, row[PLANES])
    p, q = arena[row[PARAMETERS]], arena[row[PARAMETERS] + 1]
    for plane in range(first, last):
        for y in range(row[HEIGHT]):
            s = row[SOURCE] + plane * row[SOURCE_STEP] + y * row[SOURCE_ROW]
            t = row[TARGET] + plane * row[TARGET_STEP] + y * row[TARGET_ROW]
            activate(row[KIND], arena[s : s + row[WIDTH]], arena[t : t + row[WIDTH]], p, q)


@compiled()
def _binary(row: Any, unit: int, arena: Any) -> None:
    """Two tensors; the second has one value a plane where SECOND_ROW is 0, and one plane where SECOND_STEP is 0."""
    first, last = _share(row, unit, row[PLANES])
    width = row[WIDTH]
    for plane in range(first, last):
        for y in range(row[HEIGHT]):
            s = row[SOURCE] + plane * row[SOURCE_STEP] + y * row[SOURCE_ROW]
            t = row[TARGET] + plane * row[TARGET_STEP] + y * row[TARGET_ROW]
            z = row[SECOND] + plane * row[SECOND_STEP] + y * row[SECOND_ROW]
            if row[SECOND_ROW] == 0:
                _combine_value(row[KIND], arena[s : s + width], arena[z], arena[t : t + width])
            else:
                _combine_rows(row[KIND], arena[s : s + width], arena[z : z + width], arena[t : t + width])


@compiled()
def _combine_rows(kind: int, a: Any, b: Any, target: Any) -> None:
    count = len(target)
    if kind == ADD:
        for x in range(count):
            target[x] = a[x] + b[x]
    elif kind == SUBTRACT:
        for x in range(count):
            target[x] = a[x] - b[x]
    elif kind == MULTIPLY:
        for x in range(count):
            target[x] = a[x] * b[x]
    elif kind == DIVIDE:
        for x in range(count):
            target[x] = a[x] / b[x]
    elif kind == SUBTRACT_FROM:
        for x in range(count):
            target[x] = b[x] - a[x]
    elif kind == DIVIDE_INTO:
        for x in range(count):
            target[x] = b[x] / a[x]


@compiled()
def _combine_value(kind: int, a: Any, b: Any, target: Any) -> None:
    count = len(target)
    if kind == ADD:
        for x in range(count):
            target[x] = a[x] + b
    elif kind == SUBTRACT:
        for x in range(count):
            target[x] = a[x] - b
    elif kind == MULTIPLY:
        for x in range(count):
            target[x] = a[x] * b
    elif kind == DIVIDE:
        for x in range(count):
            target[x] = a[x] / b
    elif kind == SUBTRACT_FROM:
        for x in range(count):
            target[x] = b - a[x]
    elif kind == DIVIDE_INTO:
        for x in range(count):
            target[x] = b / a[x]


@compiled()
def _channelwise(row: Any, unit: int, arena: Any) -> None:
    """A factor (from PARAMETERS) and a term (from SECOND) for each plane; RECTIFY has a factor below zero alone."""
    first, last = _share(row, unit, row[PLANES])
    for plane in range(first, last):
        factor, term = arena[row[PARAMETERS] + plane], arena[row[SECOND] + plane]
        for y in range(row[HEIGHT]):
            s = row[SOURCE] + plane * row[SOURCE_STEP] + y * row[SOURCE_ROW]
            t = row[TARGET] + plane * row[TARGET_STEP] + y * row[TARGET_ROW]
            values, places = arena[s : s + row[WIDTH]], arena[t : t + row[WIDTH]]
            if row[KIND] == RECTIFY:
                for x in range(len(places)):
                    places[x] = values[x] if values[x] >= 0 else values[x] * factor
            else:
                for x in range(len(places)):
                    places[x] = values[x] * factor + term


@compiled()
def _interleave(row: Any, unit: int, arena: Any) -> None:
    """Planes, one a phase, become one plane: what a transposed convolution leaves; or one is repeated (nearest)."""
    first, last = _share(row, unit, row[PLANES])
    stride = row[COLUMN_STRIDE]
    step = row[SOURCE_STEP] if row[PHASES] > 1 else 0
    for plane in range(first, last):
        for y in range(row[HEIGHT]):
            sy, py = y // row[ROW_STRIDE], y % row[ROW_STRIDE]
            phase = plane * row[PHASES] + (py * stride if row[PHASES] > 1 else 0)
            s = row[SOURCE] + phase * row[SOURCE_STEP] + sy * row[SOURCE_ROW]
            t = row[TARGET] + plane * row[TARGET_STEP] + y * row[TARGET_ROW]
            done = _join_row(arena, s, step, t, row[WIDTH]) if stride == 2 else 0
            for px in range(stride):
                count = (row[WIDTH] - px + stride - 1) // stride
                pixels, places = arena[s + px * step : s + px * step + count], arena[t + px : t + row[WIDTH]]
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
    first, last = _share(row, unit, row[HEIGHT])
    for y in range(first, last):
        for x in range(row[WIDTH]):
            s = row[SOURCE] + y * row[SOURCE_ROW] + x
            t = row[TARGET] + y * row[TARGET_ROW] + x
            most, total = arena[s], np.float32(0)
            for plane in range(row[PLANES]):
                most = max(most, arena[s + plane * row[SOURCE_STEP]])
            for plane in range(row[PLANES]):
                value = np.float32(math.exp(arena[s + plane * row[SOURCE_STEP]] - most))
                arena[t + plane * row[TARGET_STEP]] = value
                total += value
            for plane in range(row[PLANES]):
                arena[t + plane * row[TARGET_STEP]] /= total


@compiled(inline="always")
def operate(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Do one unit of an operation."""
    op = row[OP]
    if op == COPY:
        copy_planes(row, unit, arena, arena)
    elif op == POOL:
        _pool(row, unit, arena, scratch)
    elif op == GLOBAL_POOL:
        _global_pool(row, unit, arena)
    elif op == UNARY:
        _unary(row, unit, arena)
    elif op == BINARY:
        _binary(row, unit, arena)
    elif op == CHANNELWISE:
        _channelwise(row, unit, arena)
    elif op == INTERLEAVE:
        _interleave(row, unit, arena)
    elif op == SOFTMAX:
        _softmax(row, unit, arena)
    elif op == RESAMPLE:
        first, last = _share(row, unit, row[PLANES])
        resample(row, first, last, arena, scratch)
    elif op == NORMALIZE:
        first, last = _share(row, unit, row[PLANES] // row[GROUP_PLANES])
        normalise(row, first, last, arena)
