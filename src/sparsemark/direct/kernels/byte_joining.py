"""Bytes put together: phases to an image, and the channels of several activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sparsemark.direct import isa
from sparsemark.direct.kernels.bytes import surround
from sparsemark.direct.kernels.copying import interleave
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share
from sparsemark.direct.kernels.wide import BYTES, SIZE, WideTile
from sparsemark.direct.layout import WORDS
from sparsemark.direct.target import FEATURES, LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOKS_UP = bool(FEATURES.get("avx512vbmi")) and max(WORDS, LANES) * 4 == SIZE
"""Whether the processor looks up the bytes of a vector at once, and rows of words are whole vectors of that size."""


@compiled()
def interleave_bytes(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Interleave words as floats are, which no copy changes, and write what lies around the image."""
    interleave(row, unit, arena, scratch)
    words = arena.view(np.int32)
    first, last = share(row, unit, row[isa.CHANNELS])
    for plane in range(first, last):
        surround(row, plane, words)


@compiled()
def requantize(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Bytes of one scale and zero point to those of others, by a table; they may begin within a word of the target."""
    words, levels = arena.view(np.int32), arena.view(np.uint8)
    first, last = share(row, unit, row[isa.CHANNELS])
    table = levels[4 * row[isa.PARAMETERS] : 4 * row[isa.PARAMETERS] + 256]
    count = 4 * row[isa.WIDTH]
    for plane in range(first, last):
        for y in range(row[isa.HEIGHT]):
            t = 4 * (row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW])
            if row[isa.FIRST_BYTE] == 0:
                s = 4 * (row[isa.SOURCE] + plane * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW])
                if _LOOKS_UP:
                    for at in range(0, count, SIZE):
                        _look_up(table.ctypes.data, levels.ctypes.data + s + at, levels.ctypes.data + t + at)
                else:
                    _translate(levels[s : s + count], levels[t : t + count], table, 1)
                continue
            for byte in range(4):
                channel = 4 * plane + byte - row[isa.FIRST_BYTE]
                if 0 <= channel < row[isa.SCALES]:
                    s = row[isa.SOURCE] + channel // 4 * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
                    s = 4 * s + channel % 4
                    _translate(levels[s : s + count - 3], levels[t + byte : t + byte + count - 3], table, 4)
        surround(row, plane, words)


@compiled(inline="always")
def _translate(levels: Any, places: Any, table: Any, step: int) -> None:
    """Look up every `step`-th byte."""
    for x in range(0, len(places), step):
        places[x] = table[levels[x]]


def _look_up_vector(typing_context: Any, table: Any, source: Any, target: Any) -> Any:
    """Look up a vector of bytes in a table of 256; addresses."""

    def generate(context: Any, b: ir.IRBuilder, _: Any, arguments: Sequence[ir.Value]) -> ir.Value:
        tile = WideTile(b, 1, 1)
        table, source, target = arguments
        levels = tile.load(source, BYTES)
        parts = [tile.load(tile.plus(table, SIZE * part), BYTES) for part in range(4)]
        # Seven bits choose among two vectors, the eighth between the results.
        low, high = (
            tile.call("llvm.x86.avx512.vpermi2var.qi.512", BYTES, one, levels, other)
            for one, other in (parts[:2], parts[2:])
        )
        is_high = b.icmp_signed("<", levels, ir.Constant(BYTES, None))
        tile.store(b.select(is_high, high, low), target)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


_look_up: Any = intrinsic(_look_up_vector)
