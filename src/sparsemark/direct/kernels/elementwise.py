"""Operations on each value by itself, or on pairs of them."""

from __future__ import annotations

from typing import Any

from sparsemark.direct import isa
from sparsemark.direct.kernels.activations import activate
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share


@compiled()
def unary(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Apply an activation to every value."""
    first, last = share(row, unit, row[isa.CHANNELS])
    p, q = arena[row[isa.PARAMETERS]], arena[row[isa.PARAMETERS] + 1]
    width = row[isa.WIDTH]
    if width == row[isa.HEIGHT] == row[isa.SOURCE_STEP] == row[isa.TARGET_STEP] == 1:
        width, last = last - first, first + 1  # a vector is one row
    for channel in range(first, last):
        for y in range(row[isa.HEIGHT]):
            s = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + channel * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            activate(row[isa.KIND], arena[s : s + width], arena[t : t + width], p, q)


@compiled()
def binary(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Two tensors; the second has one value a channel where SECOND_ROW is 0, and one channel where SECOND_STEP is 0."""
    first, last = share(row, unit, row[isa.CHANNELS])
    width, height = row[isa.WIDTH], row[isa.HEIGHT]
    flat = row[isa.SECOND_ROW] == 0 and row[isa.KIND] == isa.MULTIPLY and row[isa.SOURCE_ROW] == row[isa.TARGET_ROW]
    for channel in range(first, last):
        if flat:
            # Zeros between the rows stay zeros, so a plane is one row; but not if the factor makes NaN of them.
            factor = arena[row[isa.SECOND] + channel * row[isa.SECOND_STEP]]
            finite = factor - factor == 0
            width = (row[isa.HEIGHT] - 1) * row[isa.SOURCE_ROW] + row[isa.WIDTH] if finite else row[isa.WIDTH]
            height = 1 if finite else row[isa.HEIGHT]
        for y in range(height):
            s = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + channel * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            z = row[isa.SECOND] + channel * row[isa.SECOND_STEP] + y * row[isa.SECOND_ROW]
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
    elif kind == isa.DIVIDE:
        for x in range(count):
            target[x] = a[x] / b[x]
    elif kind == isa.SUBTRACT_FROM:
        for x in range(count):
            target[x] = b[x] - a[x]
    elif kind == isa.DIVIDE_INTO:
        for x in range(count):
            target[x] = b[x] / a[x]


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
    elif kind == isa.DIVIDE:
        for x in range(count):
            target[x] = a[x] / b
    elif kind == isa.SUBTRACT_FROM:
        for x in range(count):
            target[x] = b - a[x]
    elif kind == isa.DIVIDE_INTO:
        for x in range(count):
            target[x] = b / a[x]


@compiled()
def channelwise(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """A factor (from PARAMETERS) and a term (from MORE_PARAMETERS) a channel; of RECTIFY a factor below zero alone."""
    first, last = share(row, unit, row[isa.CHANNELS])
    for channel in range(first, last):
        factor, term = arena[row[isa.PARAMETERS] + channel], arena[row[isa.MORE_PARAMETERS] + channel]
        for y in range(row[isa.HEIGHT]):
            s = row[isa.SOURCE] + channel * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + channel * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            values, places = arena[s : s + row[isa.WIDTH]], arena[t : t + row[isa.WIDTH]]
            if row[isa.KIND] == isa.RECTIFY:
                for x in range(len(places)):
                    places[x] = values[x] if values[x] >= 0 else values[x] * factor
            else:
                for x in range(len(places)):
                    places[x] = values[x] * factor + term
