"""Channels last: a copy that turns axes, and normalisation over the channels of each pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share
from sparsemark.direct.kernels.vectors import turn_square
from sparsemark.direct.layout import PIXELS
from sparsemark.direct.target import LANES


@compiled()
def turn(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Copy what lies COLUMN_STRIDE apart into rows; square by square, where channels or rows of it are neighbours."""
    first, last = share(row, unit, row[isa.CHANNELS])
    by_channel = row[isa.SOURCE_STEP] == 1
    # Of either: how many, and how far apart in source and target. Neighbours in the source are the first of them.
    inner, outer = last - first, row[isa.HEIGHT]
    pitches = (row[isa.SOURCE_STEP], row[isa.TARGET_STEP], row[isa.SOURCE_ROW], row[isa.TARGET_ROW])
    if not by_channel:
        inner, outer = row[isa.HEIGHT], last - first
        pitches = (row[isa.SOURCE_ROW], row[isa.TARGET_ROW], row[isa.SOURCE_STEP], row[isa.TARGET_STEP])
    source = row[isa.SOURCE] + first * row[isa.SOURCE_STEP]
    target = row[isa.TARGET] + first * row[isa.TARGET_STEP]
    stride, width = row[isa.COLUMN_STRIDE], row[isa.WIDTH]
    for o in range(outer):
        for i in range(0, inner, LANES):
            for x in range(0, width, LANES):
                s = source + i * pitches[0] + o * pitches[2] + x * stride
                t = target + i * pitches[1] + o * pitches[3] + x
                if pitches[0] == 1 and i + LANES <= inner and x + LANES <= width:
                    base = arena.ctypes.data
                    turn_square(base + 4 * s, 4 * stride, base + 4 * t, 4 * pitches[1])
                else:
                    for k in range(min(LANES, inner - i)):
                        for p in range(min(LANES, width - x)):
                            arena[t + k * pitches[1] + p] = arena[s + k * pitches[0] + p * stride]


@compiled()
def normalise_pixels(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Normalise each pixel over all channels; parameters as of NORMALIZE, sums in the scratch."""
    across = (row[isa.WIDTH] + PIXELS - 1) // PIXELS
    first, last = share(row, unit, row[isa.HEIGHT] * across)
    channels = row[isa.CHANNELS]
    epsilon = arena[row[isa.PARAMETERS] + channels]
    for block in range(first, last):
        y, start = block // across, block % across * PIXELS
        count = min(PIXELS, row[isa.WIDTH] - start)
        s = row[isa.SOURCE] + y * row[isa.SOURCE_ROW] + start
        t = row[isa.TARGET] + y * row[isa.TARGET_ROW] + start
        mean, scale = arena[scratch : scratch + count], arena[scratch + PIXELS : scratch + PIXELS + count]
        for x in range(count):
            mean[x] = scale[x] = np.float32(0)
        for channel in range(channels):
            values = arena[s + channel * row[isa.SOURCE_STEP] : s + channel * row[isa.SOURCE_STEP] + count]
            for x in range(len(values)):
                mean[x] += values[x]
        for x in range(count):
            mean[x] /= np.float32(channels)
        for channel in range(channels):
            values = arena[s + channel * row[isa.SOURCE_STEP] : s + channel * row[isa.SOURCE_STEP] + count]
            for x in range(len(values)):
                scale[x] += (values[x] - mean[x]) * (values[x] - mean[x])
        for x in range(count):
            scale[x] = np.float32(1) / np.float32(math.sqrt(scale[x] / np.float32(channels) + epsilon))
        for channel in range(channels):
            factor, term = arena[row[isa.PARAMETERS] + channel], arena[row[isa.MORE_PARAMETERS] + channel]
            values = arena[s + channel * row[isa.SOURCE_STEP] : s + channel * row[isa.SOURCE_STEP] + count]
            places = arena[t + channel * row[isa.TARGET_STEP] : t + channel * row[isa.TARGET_STEP] + count]
            for x in range(len(places)):
                places[x] = (values[x] - mean[x]) * scale[x] * factor + term
