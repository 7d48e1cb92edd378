"""Memory layout of channels, tiles and non-zeros.

Activations are planar: one plane a channel, rows ROW floats apart, rows of zeros above and below so that no tap needs a
test at the border. Columns need no such zeros: sums are shifted, and what crosses an edge is masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.registers import LANES
from sparsemark.direct.table import VARIANTS
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FIRST_CACHE = 28 * 1024
"""Bytes of a 32 KiB first-level data cache that a block of input channels may take; the rest streams through."""

_FEWEST_PLANES = 4
"""Of a block: with fewer, sums are stored and loaded again more often than a block saves."""

_FARTHEST = 2**31 - 1
"""Largest byte offset that a record can hold."""


@dataclass(frozen=True)
class Planes:
    """Where a tensor of channels lies.

    Args:
        channels, height, width: its shape.
        row: floats from one row to the next.
        top, bottom: rows of zeros kept above and below.
        step: floats from one plane to the next.
        position: of the first row of the first plane, in floats.
    """

    channels: int
    height: int
    width: int
    row: int
    top: int
    bottom: int
    step: int
    position: int


def row_for(width: int) -> int:
    """Floats in a row of `width` pixels: whole vectors, or a power of two that divides one."""
    return 1 << (width - 1).bit_length() if width <= LANES else -(-width // LANES) * LANES


def step_for(height: int, row: int, top: int, bottom: int) -> int:
    """Floats in a plane: an odd number of vectors, since planes a power of two apart fall into one set of the cache."""
    vectors = -(-(height + top + bottom) * row // LANES) + 1
    return (vectors | 1) * LANES


@dataclass(frozen=True)
class Taps:
    """Non-zeros of a convolution of stride 1: parallel arrays.

    Args:
        out: output channel.
        plane: input plane.
        dy, dx: row and column of the input relative to the output's.
        weight: float32.
    """

    out: NDArray[np.signedinteger]
    plane: NDArray[np.signedinteger]
    dy: NDArray[np.signedinteger]
    dx: NDArray[np.signedinteger]
    weight: NDArray[np.float32]

    def packed(self) -> Taps:
        """The same to be kept: each array in the smallest type that holds it."""
        return self._converted(_smallest)

    def unpacked(self) -> Taps:
        """The same to be reckoned with: nothing overflows 64 bits."""
        return self._converted(lambda numbers: numbers.astype(np.int64))

    def _converted(self, convert: Callable[[NDArray[np.signedinteger]], NDArray[np.signedinteger]]) -> Taps:
        return Taps(convert(self.out), convert(self.plane), convert(self.dy), convert(self.dx), self.weight)

    @property
    def right(self) -> int:
        """Columns to the left of the centre, whose sums move right."""
        return max(0, -int(self.dx.min(initial=0)))

    @property
    def left(self) -> int:
        """Columns to the right of the centre."""
        return max(0, int(self.dx.max(initial=0)))

    @property
    def above(self) -> int:
        """Rows of zeros that are needed above the first row."""
        return max(0, -int(self.dy.min(initial=0)))

    @property
    def below(self) -> int:
        """Rows that are read below an output's own."""
        return max(0, int(self.dy.max(initial=0)))


def _smallest(numbers: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    low, high = numbers.min(initial=0), numbers.max(initial=0)
    kinds = (kind for kind in "bhiq" if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return numbers.astype(next(kinds))


@dataclass(frozen=True)
class Choice:
    """How one convolution is executed.

    Args:
        variant: a place in VARIANTS.
        planes: of the input, that are taken at a time; 0: all.
        winograd: by Winograd's products instead of non-zeros.
    """

    variant: int
    planes: int = 0
    winograd: bool = False

    @property
    def channels(self) -> int:
        """Output channels of a tile."""
        return VARIANTS[self.variant][0]

    @property
    def vectors(self) -> int:
        """Vectors of a tile."""
        return VARIANTS[self.variant][1]


@dataclass(frozen=True)
class Tiling:
    """Tiles of one output plane.

    Args:
        table: int64, shape (n, 6); the columns are the interpreter's, its masks places in `masks`.
        masks: int32, shape (m, 3 * vectors * LANES).
        group: tiles that are taken together, since their rows are pooled together.
        overlap: pixels computed, over pixels wanted.
    """

    table: NDArray[np.int64]
    masks: NDArray[np.int32]
    group: int
    overlap: float


@lru_cache(maxsize=1024)  # asked for again at every choice
def tile(
    vectors: int, height: int, width: int, row: int, *, right: int, left: int, pooled_row: int | None
) -> Tiling | None:
    """Cover a plane with tiles of `vectors` vectors, or return None where such tiles do not fit it.

    Args:
        vectors: in a tile.
        height: of the output.
        width: of the output.
        row: floats from one row to the next, of the output and of the input.
        right: columns by which sums are shifted to the right.
        left: the same to the left.
        pooled_row: floats in a row after 2 x 2 pooling, None where there is none.
    """
    floats = vectors * LANES
    if right == left == 0 and pooled_row is None:
        starts, extent = _flat_starts(height * row, floats), (0, vectors)
        spans = [(start, *extent) for start in starts]
    elif row <= floats:
        if floats % row:
            return None
        spans = [
            (start * row, 0, vectors) for start in _row_starts(height, floats // row, pooled=pooled_row is not None)
        ]
    elif pooled_row is not None:
        return None
    else:
        chunks = _chunks(row // LANES, vectors, -(-right // LANES), -(-left // LANES))
        if not chunks:
            return None
        spans = [(y * row + LANES * first, a, b) for y in range(height) for first, a, b in chunks]
    group = 1
    if pooled_row is not None:
        rows = floats // row
        group = 1 if rows % 2 == 0 else 2
        if row % LANES or height % 2 or (height // rows) % group or height < rows * group or height % (rows * group):
            return None
    return _table(spans, vectors, height=height, width=width, row=row, group=group, pooled_row=pooled_row)


def _flat_starts(extent: int, floats: int) -> list[int]:
    """Tiles of a plane without regard to rows; the last one overlaps the one before."""
    whole = -(-extent // LANES) * LANES
    starts = list(range(0, max(whole - floats, 0) + 1, floats))
    if starts[-1] + floats < whole:
        starts.append(whole - floats)
    return starts


def _row_starts(height: int, rows: int, *, pooled: bool) -> list[int]:
    starts = list(range(0, max(height - rows, 0) + 1, rows))
    if starts[-1] + rows < height and not pooled:
        starts.append(height - rows)
    return starts


def _chunks(wide: int, vectors: int, right: int, left: int) -> list[tuple[int, int, int]]:
    """Cover `wide` vectors of a row; the first `right` and the last `left` of a tile lack their neighbours' share."""
    if vectors <= right + left:
        return []
    chunks, covered, first = [], 0, 0
    while covered < wide:
        first = min(max(covered - right, 0), wide - vectors)
        stop = vectors if first + vectors == wide else vectors - left
        chunks.append((first, covered - first, stop))
        covered = first + stop
    return chunks


def _table(
    spans: list[tuple[int, int, int]],
    vectors: int,
    *,
    height: int,
    width: int,
    row: int,
    group: int,
    pooled_row: int | None,
) -> Tiling:
    floats = vectors * LANES
    lanes = np.arange(floats)
    masks: dict[tuple[int, int], int] = {}
    contents: list[NDArray[np.int32]] = []
    stored: list[int] = []
    rows = []
    for n, (start, first, stop) in enumerate(spans):
        # What a mask holds depends on the column of the first lane, and on how many lanes lie below the plane.
        key = start % row, max(start + floats - height * row, 0)
        if key not in masks:
            x, y = (start + lanes) % row, (start + lanes) // row
            wanted = (x < width) & (y < height)
            masks[key] = len(contents)
            contents.append(np.where(np.concatenate([x != row - 1, x != 0, wanted]), -1, 0).astype(np.int32))
            # A vector wholly beside or below the plane would be stored into the next one.
            seen = [bool(vector.any()) for vector in wanted.reshape(vectors, LANES)]
            stored.append(sum(1 << i for i in range(vectors) if seen[i] or pooled_row))
        which = stored[masks[key]] & ((1 << stop) - (1 << first))
        place = n % group * floats
        pooled = (start - place) // row // 2 * pooled_row if pooled_row is not None else 0
        rows.append((start, start if pooled_row is None else place, masks[key], which, pooled, group * floats // row))
    computed = len(spans) * floats
    return Tiling(np.array(rows, np.int64), np.array(contents), group, computed / (height * width))


@dataclass(frozen=True)
class Stream:
    """Records of a convolution in the order in which they are read.

    Args:
        records: int32, shape (n, 1 + channels): a byte offset, then weights as their bits.
        pointers: int32; of groups in the order block, output channels, column, one more for the end.
        blocks: of input planes.
    """

    records: NDArray[np.int32]
    pointers: NDArray[np.int32]
    blocks: int


def stream(taps: Taps, source: Planes, outputs: int, choice: Choice) -> Stream:
    """Order the non-zeros for a choice.

    Raises:
        UnsupportedError: the input is too large for 32-bit offsets.
    """
    taps, channels, planes = taps.unpacked(), choice.channels, choice.planes or max(source.channels, 1)
    blocks = max(1, -(-source.channels // planes))
    right, left = taps.right, taps.left
    groups, phases = outputs // channels, right + left + 1
    # From the outermost column inwards: those left of the centre, those right of it, the centre.
    phase = np.where(taps.dx < 0, taps.dx + right, np.where(taps.dx > 0, right + left - taps.dx, right + left))
    where = (taps.plane // planes * groups + taps.out // channels) * phases + phase
    offset = 4 * (taps.plane * source.step + taps.dy * source.row)
    if abs(offset).max(initial=0) > _FARTHEST:
        raise UnsupportedError("activations of 2 GiB and more")
    order = np.lexsort((taps.out, offset, where))
    where, offset, out = where[order], offset[order], taps.out[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (where[1:] != where[:-1]) | (offset[1:] != offset[:-1])
    record = np.cumsum(fresh) - 1
    count = int(fresh.sum())
    records = np.zeros((count, 1 + channels), np.float32)
    records[record, 1 + out % channels] = taps.weight[order]
    bits = records.view(np.int32)
    bits[:, 0] = offset[fresh]
    pointers = np.searchsorted(where[fresh], np.arange(blocks * groups * phases + 1)).astype(np.int32)
    return Stream(bits, pointers, blocks)


def candidates(
    taps: Taps, source: Planes, outputs: int, *, height: int, width: int, pooled_row: int | None
) -> list[Choice]:
    """Ways to execute a convolution that are worth trying, none of which wastes half of its work."""
    possible = []
    for variant, (channels, vectors) in enumerate(VARIANTS):
        if outputs % channels:
            continue
        tiling = tile(vectors, height, width, source.row, right=taps.right, left=taps.left, pooled_row=pooled_row)
        if tiling is not None:
            possible.append((tiling.overlap, variant, vectors))
    if not possible:
        return []
    least = min(overlap for overlap, _, _ in possible)
    found = []
    for overlap, variant, vectors in possible:
        if overlap > 1.3 * least:
            continue
        found.append(Choice(variant))
        rows = max(1, vectors * LANES // source.row) + taps.above + taps.below
        fitting = FIRST_CACHE // (4 * rows * min(source.row, vectors * LANES))
        if _FEWEST_PLANES <= fitting < source.channels:
            blocks = -(-source.channels // fitting)
            found += [Choice(variant, -(-source.channels // b)) for b in {blocks, max(2, blocks // 2)}]
    return found
