"""Operations on bytes, four channels of a pixel in a word: to them and back, copies, pooling, convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import dense_bytes, isa, wide_blocks
from sparsemark.direct.block_forms import FORM, TILES, TOGETHER, VNNI
from sparsemark.direct.kernels.blocks import convolve_blocks, fill_words, larger_bytes, largest_of_squares
from sparsemark.direct.kernels.copying import copy_row
from sparsemark.direct.kernels.dense_bytes import convolve_dense_blocks
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.units import share
from sparsemark.direct.kernels.vectors import split_columns
from sparsemark.direct.kernels.wide_blocks import convolve_wide_blocks, pool_wide_blocks
from sparsemark.direct.layout import WORDS
from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

HALF_EVEN = np.float32(12582912.0)
"""Three times 2 to the 22nd: a small float that it is added to and taken from again is a whole number, ties to even."""


@compiled(inline="always")
def _fill(words: Any, first: int, last: int, fill: Any) -> None:
    """Write a word to places from the first to before the last: mostly a vector or two, with no loop over words."""
    whole = (last - first) // WORDS
    for v in range(whole):
        fill_words(words.ctypes.data + 4 * (first + WORDS * v), fill)
    for i in range(first + WORDS * whole, last):
        words[i] = fill


@compiled()
def surround(row: Any, plane: int, words: Any) -> None:
    """Write what lies around the pixels of a plane of the target."""
    fill = np.int32(row[isa.FILL])
    height, width, step = row[isa.HEIGHT], row[isa.WIDTH], row[isa.TARGET_ROW]
    first = row[isa.TARGET] + plane * row[isa.TARGET_STEP]
    _fill(words, first - row[isa.ROWS_ABOVE] * step - LANES, first, fill)
    for y in range(height):
        _fill(words, first + y * step + width, first + (y + 1) * step, fill)
    _fill(words, first + height * step, first + (height + row[isa.ROWS_BELOW]) * step, fill)


@compiled()
def quantize(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Floats to bytes: the nearest level, ties to even, within a byte."""
    words = arena.view(np.int32)
    first, last = share(row, unit, row[isa.CHANNELS])
    scale, zero = arena[row[isa.PARAMETERS]], arena[row[isa.PARAMETERS] + 1]
    low, high = -zero, np.float32(255) - zero
    width = row[isa.WIDTH]
    for plane in range(first, last):
        for y in range(row[isa.HEIGHT]):
            t = row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            places = words[t : t + width]
            for byte in range(min(4, row[isa.SCALES] - 4 * plane)):
                s = row[isa.SOURCE] + (4 * plane + byte) * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
                values = arena[s : s + width]
                shift = np.int32(8 * byte)
                kept = np.int32(0) if byte == 0 else np.int32(-1)
                for x in range(len(places)):
                    level = values[x] / scale
                    level = max(level, low)
                    level = min(level, high)
                    level = level + HALF_EVEN - HALF_EVEN
                    places[x] = (places[x] & kept) | (np.int32(level + zero) << shift)
        surround(row, plane, words)


@compiled()
def dequantize(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Bytes to floats."""
    words = arena.view(np.int32)
    first, last = share(row, unit, row[isa.CHANNELS])
    scale, zero = arena[row[isa.PARAMETERS]], np.int32(arena[row[isa.PARAMETERS] + 1])
    width = row[isa.WIDTH]
    for channel in range(first, last):
        shift = np.int32(channel % 4 * 8)
        for y in range(row[isa.HEIGHT]):
            s = row[isa.SOURCE] + channel // 4 * row[isa.SOURCE_STEP] + y * row[isa.SOURCE_ROW]
            t = row[isa.TARGET] + channel * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            values, places = words[s : s + width], arena[t : t + width]
            for x in range(len(places)):
                places[x] = np.float32(((values[x] >> shift) & np.int32(255)) - zero) * scale


@compiled()
def copy_bytes(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Copy words; each phase of a stride makes a plane of the target."""
    words, base = arena.view(np.int32), arena.ctypes.data
    across = row[isa.PHASES] // row[isa.KERNEL_ROWS]
    # A unit has the planes of whole rows, of which one pass makes those of even and of odd columns.
    first, last = share(row, unit, row[isa.CHANNELS] // across)
    stride, width, step = row[isa.COLUMN_STRIDE], row[isa.WIDTH], row[isa.TARGET_STEP]
    for planes in range(first, last):
        for y in range(row[isa.HEIGHT]):
            sy = planes % row[isa.KERNEL_ROWS] + y * row[isa.ROW_STRIDE]
            t = row[isa.TARGET] + planes * across * step + y * row[isa.TARGET_ROW]
            s = row[isa.SOURCE] + planes // row[isa.KERNEL_ROWS] * row[isa.SOURCE_STEP] + sy * row[isa.SOURCE_ROW]
            is_inside = sy < row[isa.SOURCE_HEIGHT]
            in_pairs = across == 2 and stride == 2
            if is_inside and in_pairs:
                # Rows are whole vectors; what is written beyond their pixels is replaced by what lies around them.
                pixels, places = base + 4 * s, base + 4 * t
                for at in range(0, 4 * width, 4 * LANES):
                    split_columns(pixels + 2 * at, places + at, places + at + 4 * step)
            for px in range(across):
                place, done = t + px * step, 0
                if is_inside:
                    done = min(width, (row[isa.SOURCE_WIDTH] - px + stride - 1) // stride)
                    if not in_pairs:
                        copy_row(words[s + px :], words[place : place + done], stride)
                for x in range(done, width):
                    words[place + x] = np.int32(row[isa.FILL])
        for px in range(across):
            surround(row, planes * across + px, words)


@compiled()
def pool_bytes(row: Any, unit: int, arena: Any, scratch: int) -> None:
    """Largest of each byte in windows; padding counts for nothing."""
    words = arena.view(np.int32)
    base = arena.ctypes.data
    first, last = share(row, unit, row[isa.CHANNELS])
    height, width = row[isa.SOURCE_HEIGHT], row[isa.SOURCE_WIDTH]
    squares = (
        row[isa.KERNEL_ROWS] == row[isa.KERNEL_COLUMNS] == row[isa.ROW_STRIDE] == row[isa.COLUMN_STRIDE] == 2
        and row[isa.ROW_START] == row[isa.COLUMN_START] == 0
        and 2 * row[isa.HEIGHT] <= height
        and 2 * row[isa.WIDTH] <= width
    )
    whole = row[isa.KERNEL_ROWS] == height and row[isa.KERNEL_COLUMNS] == width and row[isa.ROW_START] == 0
    whole = whole and row[isa.HEIGHT] == row[isa.WIDTH] == 1 and row[isa.COLUMN_START] == 0
    for plane in range(first, last):
        source = row[isa.SOURCE] + plane * row[isa.SOURCE_STEP]
        for y in range(row[isa.HEIGHT]):
            t = row[isa.TARGET] + plane * row[isa.TARGET_STEP] + y * row[isa.TARGET_ROW]
            if whole:
                words[t] = _largest_of_rows(arena, source, row[isa.SOURCE_ROW], height, width, scratch)
                continue
            if squares:
                upper = base + 4 * (source + 2 * y * row[isa.SOURCE_ROW])
                for v in range((row[isa.WIDTH] + WORDS - 1) // WORDS):
                    at = upper + 8 * WORDS * v
                    largest_of_squares(at, at + 4 * row[isa.SOURCE_ROW], base + 4 * (t + WORDS * v))
                continue
            y0 = row[isa.ROW_START] + y * row[isa.ROW_STRIDE]
            for x in range(row[isa.WIDTH]):
                x0 = row[isa.COLUMN_START] + x * row[isa.COLUMN_STRIDE]
                most = np.int32(0)
                for sy in range(max(y0, 0), min(y0 + row[isa.KERNEL_ROWS], height)):
                    at = source + sy * row[isa.SOURCE_ROW]
                    for sx in range(max(x0, 0), min(x0 + row[isa.KERNEL_COLUMNS], width)):
                        most = larger_bytes(most, words[at + sx])
                words[t + x] = most
        surround(row, plane, words)


@compiled()
def _largest_of_rows(arena: Any, source: int, step: int, height: int, width: int, scratch: int) -> Any:
    """Return the largest of each byte of an image: first of each column, in the scratch, then of these."""
    levels = arena.view(np.uint8)
    largest = levels[4 * scratch : 4 * (scratch + width)]
    for x in range(len(largest)):
        largest[x] = 0
    for y in range(height):
        values = levels[4 * (source + y * step) : 4 * (source + y * step + width)]
        for x in range(len(largest)):
            largest[x] = max(largest[x], values[x])
    columns, most = arena.view(np.int32)[scratch : scratch + width], np.int32(0)
    for x in range(len(columns)):
        most = larger_bytes(most, columns[x])
    return most


def _over_tiles(name: str, microkernel: Any, sizes: Sequence[tuple[int, int]], pointers: int, biases: int = 4) -> Any:
    """Return the loop over tiles and output channels, around a microkernel for each size of a tile.

    Args:
        name: of the loop.
        microkernel: computes a tile of four output channels.
        sizes: rows and vectors of the tiles.
        pointers: to the records of four output channels.
        biases: numbers of four output channels.
    """
    calls = "\n".join(
        f"""
            if size == {number}:
                microkernel({rows}, {vectors}, inputs, stride, own, at, bias, scales, levels, masks, out, out_stride)"""
        for number, (rows, vectors) in enumerate(sizes)
    )
    code = f"""
def {name}(row, unit, base, records, pointers, tiles, arena):
    planes, chunks = row[{isa.CHANNELS}], row[{isa.CHUNKS}]
    first_tile, chunk = row[{isa.TILES}] + unit % row[{isa.GROUPS}] * row[{isa.GROUP}], unit // row[{isa.GROUPS}]
    first, last = chunk * planes // chunks, (chunk + 1) * planes // chunks
    own, stride, out_stride = records + 4 * row[{isa.RECORDS}], 4 * row[{isa.SOURCE_ROW}], 4 * row[{isa.TARGET_ROW}]
    levels = base + 4 * row[{isa.LEVELS}]
    for t in range(first_tile, first_tile + row[{isa.GROUP}]):
        inputs, size = base + 4 * (row[{isa.SOURCE}] + tiles[t, {isa.TILE_INPUT}]), tiles[t, {isa.TILE_VECTORS}]
        masks = base + 4 * tiles[t, {isa.TILE_MASKS}]
        for plane in range(first, last):
            at = pointers + 4 * (row[{isa.POINTERS}] + {pointers} * plane)
            bias = base + 4 * (row[{isa.BIAS}] + {biases} * plane)
            scales = base + 4 * (row[{isa.SCALES}] + 4 * plane)
            out = base + 4 * (row[{isa.TARGET}] + plane * row[{isa.TARGET_STEP}] + tiles[t, {isa.TILE_OUTPUT}])
{calls}
    if unit % row[{isa.GROUPS}] == 0:
        words = arena.view(int32)
        for plane in range(first, last):
            surround(row, plane, words)
"""
    namespace: dict[str, Any] = {"microkernel": microkernel, "surround": surround, "int32": np.int32}
    exec(code, namespace)  # noqa: S102 - numbers and names of this package alone
    return compiled()(namespace[name])


_WIDE = 4 * len(wide_blocks.COLUMNS), 4 * wide_blocks.EDGES

convolve_bytes = (
    _over_tiles("convolve_bytes", convolve_wide_blocks, wide_blocks.TILES, *_WIDE)
    if FORM == VNNI
    else _over_tiles("convolve_bytes", convolve_blocks, TILES, 4 * len(TOGETHER))
)
"""One unit of work of a convolution of bytes."""

convolve_pooled_bytes = _over_tiles(
    "convolve_pooled_bytes", pool_wide_blocks, wide_blocks.POOLED_TILES if FORM == VNNI else (), *_WIDE
)
"""The same, with 2 x 2 squares pooled."""

convolve_dense_bytes = _over_tiles(
    "convolve_dense_bytes", convolve_dense_blocks, dense_bytes.TILES if dense_bytes.RUNS_HERE else (), 1
)
"""The same of its dense form."""
