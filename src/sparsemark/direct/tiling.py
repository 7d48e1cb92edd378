"""Tiling of an output channel: where the tiles of a microkernel begin, and which of their lanes count."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Tiling:
    """Tiles of one output plane.

    Args:
        table: int64, shape (n, 6); the columns are the interpreter's, its masks places in `masks`.
        masks: int32, shape (m, 3 * vectors * LANES).
        group: tiles that are taken together, since their rows are pooled together.
    """

    table: NDArray[np.int64]
    masks: NDArray[np.int32]
    group: int


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
    covered = _covered(vectors, height, row, right, left, pooled_row)
    if covered is None:
        return None
    spans, group = covered
    return _table(spans, vectors, height=height, width=width, row=row, group=group, pooled_row=pooled_row)


@lru_cache(maxsize=1024)
def overlap_of(
    vectors: int, height: int, width: int, row: int, *, right: int, left: int, pooled_row: int | None
) -> float | None:
    """Return the pixels computed over those wanted, for the same tiles, or None: masks take longer than that."""
    covered = _covered(vectors, height, row, right, left, pooled_row)
    return None if covered is None else len(covered[0]) * vectors * LANES / (height * width)


def _covered(  # noqa: PLR0917 - as of `tile`
    vectors: int, height: int, row: int, right: int, left: int, pooled_row: int | None
) -> tuple[list[tuple[int, int, int]], int] | None:
    """Return the first float of each tile with its first vector that counts and the one behind the last, and the group.

    None where such tiles do not fit.
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
    return spans, group


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
    return Tiling(np.array(rows, np.int64), np.array(contents), group)
