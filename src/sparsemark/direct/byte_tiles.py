"""Tiles of a convolution of bytes: rectangles of pixels that one call of a microkernel computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.block_forms import TILES
from sparsemark.direct.layout import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def tiles_of(height: int, width: int, source_row: int, target_row: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the table of tiles of an image, and masks of the lanes that are pixels.

    Args:
        height: of the image.
        width: of the image.
        source_row: words from one row to the next of what is read.
        target_row: the same of what is made.

    Returns:
        Rows with the columns of `isa.TILE_COLUMNS`, of which TILE_VECTORS is the number of the tile's size in `TILES`,
        and TILE_MASKS that of the masks: int32, shape (n, 8 * WORDS), a mask for each vector of a tile's row.
    """
    masks: list[NDArray[np.int32]] = []
    rows = []
    for x, vectors in _across(-(-width // WORDS)):
        columns = WORDS * x + np.arange(WORDS * vectors)
        mask = np.zeros(WORDS * max(v for _, v in TILES), np.int32)
        mask[: len(columns)] = -(columns < width).astype(np.int32)
        masks.append(mask)
        for y, high in _down(height, vectors):
            tile = np.zeros(isa.TILE_COLUMNS, np.int64)
            tile[[isa.TILE_INPUT, isa.TILE_OUTPUT]] = y * source_row + WORDS * x, y * target_row + WORDS * x
            tile[[isa.TILE_MASKS, isa.TILE_VECTORS, isa.TILE_ROWS]] = len(masks) - 1, TILES.index((high, vectors)), high
            rows.append(tile)
    return np.array(rows), np.array(masks)


def _across(vectors: int) -> Iterator[tuple[int, int]]:
    """First vector and number of vectors of each column of tiles."""
    done = 0
    while done < vectors:
        wide = max(wide for _, wide in TILES if wide <= vectors - done)
        yield done, wide
        done += wide


def _down(height: int, vectors: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each tile of a column; the last ones may begin early, and repeat rows."""
    sizes = sorted(high for high, wide in TILES if wide == vectors)
    done = 0
    while done < height:
        left = height - done
        # The smallest that takes all that is left, if the image is as high and it wastes less than half.
        high = next((size for size in sizes if left <= size < 2 * left and size <= height), None)
        high = high or max(size for size in sizes if size <= left)
        yield min(done, height - high), high
        done += high
