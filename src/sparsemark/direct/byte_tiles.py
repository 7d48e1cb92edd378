"""Tiles of a convolution of bytes: rectangles of pixels that one call of a microkernel computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

Size = tuple[int, int]
"""Rows, and vectors of each."""


def tiles_of(  # noqa: PLR0917 - an image in two layouts, and two numbers of a microkernel
    height: int, width: int, source_row: int, target_row: int, sizes: Sequence[Size], pixels: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the table of tiles of an image, and masks of the lanes that are pixels.

    Args:
        height: of the image.
        width: of the image.
        source_row: words from one row to the next of what is read.
        target_row: the same of what is made.
        sizes: rows, and vectors of each, of the tiles that the microkernel computes.
        pixels: of a vector.

    Returns:
        Rows with the columns of `isa.TILE_COLUMNS`, of which TILE_VECTORS is the number of the tile's size in `sizes`,
        and TILE_MASKS that of the masks: int32, shape (n, pixels of the widest tile), a mask for each vector of a row.
    """
    masks: list[NDArray[np.int32]] = []
    rows = []
    for x, vectors in _across(-(-width // pixels), sizes):
        columns = pixels * x + np.arange(pixels * vectors)
        mask = np.zeros(pixels * max(wide for _, wide in sizes), np.int32)
        mask[: len(columns)] = -(columns < width).astype(np.int32)
        masks.append(mask)
        for y, high in _down(height, [high for high, wide in sizes if wide == vectors]):
            tile = np.zeros(isa.TILE_COLUMNS, np.int64)
            tile[[isa.TILE_INPUT, isa.TILE_OUTPUT]] = y * source_row + pixels * x, y * target_row + pixels * x
            tile[[isa.TILE_MASKS, isa.TILE_VECTORS, isa.TILE_ROWS]] = len(masks) - 1, sizes.index((high, vectors)), high
            rows.append(tile)
    return np.array(rows), np.array(masks)


def _across(vectors: int, sizes: Sequence[Size]) -> Iterator[tuple[int, int]]:
    """First vector and number of vectors of each column of tiles."""
    done = 0
    while done < vectors:
        wide = max(wide for _, wide in sizes if wide <= vectors - done)
        yield done, wide
        done += wide


def _down(height: int, heights: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each tile of a column; the last ones may begin early, and repeat rows."""
    sizes = sorted(heights)
    done = 0
    while done < height:
        left = height - done
        # The smallest that takes all that is left, if the image is as high and it wastes less than half.
        high = next((size for size in sizes if left <= size < 2 * left and size <= height), None)
        high = high or max(size for size in sizes if size <= left)
        yield min(done, height - high), high
        done += high
