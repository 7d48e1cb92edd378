"""Sparse form of a convolution of bytes for AVX-512 with VNNI: vectors of 512 bits, none of which crosses a line.

A vector of sixteen pixels is a line of the cache. Pixels beside the centre are loaded as the centre's are, from where
a line begins, and the sums of a column are moved by a lane instead: a load across two lines takes the time of two.
Tiles are then whole rows, so that what moves in at an edge is known: the sums of what surrounds the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.blocks import PackedBlocks, records_of
from sparsemark.direct.byte_tiles import tiles_of
from sparsemark.direct.dense_bytes import PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.blocks import Blocks
    from sparsemark.direct.ir import BlockConvolution, Tensor
    from sparsemark.direct.layout import Layout

TILES = (
    *((1, 14), (1, 8), (1, 7), (2, 4), (1, 4), (2, 3), (1, 3)),
    *((4, 2), (2, 2), (1, 2), (8, 1), (4, 1), (2, 1), (1, 1)),
)
"""Rows, and vectors of each, of the tiles that the microkernel computes."""

POOLED_TILES = ((2, 8), (2, 4), (2, 3), (4, 2), (2, 2), (8, 1), (2, 1))
"""The same, before pooling, where it pools 2 x 2 squares."""

COLUMNS = (1, 0, -1)
"""Columns of the input relative to the output's, in the order in which an output channel has its blocks."""

EDGES = 3
"""Rows of four int32 that a microkernel has of its output channels: their bias; the sum that moves in from the right
edge after the first column; what the last column adds at the left edge."""


def is_aligned(convolution: BlockConvolution, source: Layout | Tensor) -> bool:
    """Whether sums may be moved instead of loads; where not, all blocks count as the centre's."""
    dx, vectors = convolution.blocks.dx, -(-convolution.width // PIXELS)
    is_near = dx.min(initial=0) >= -1 and dx.max(initial=0) <= 1
    # Nothing but what surrounds the image may lie to the right of a tile.
    return is_near and vectors in {wide for _, wide in TILES} and source.width <= PIXELS * vectors


def is_pooled_in_tiles(convolution: BlockConvolution) -> bool:
    """Whether a convolution may make the largest of 2 x 2 squares instead of what it makes."""
    source, vectors = convolution.source, -(-convolution.width // PIXELS)
    if source is None or vectors not in {wide for _, wide in POOLED_TILES}:
        return False
    # With a scale below zero the largest sum makes the least byte.
    return is_aligned(convolution, source) and bool((convolution.scales >= 0).all())


def pack_wide(blocks: Blocks, source: Layout, outputs: int, *, aligned: bool) -> PackedBlocks:
    """Pack blocks by output channel and column: records of an offset in bytes and four weights.

    Args:
        blocks: of the convolution.
        source: layout of its input, in words.
        outputs: channels, a multiple of four.
        aligned: see `is_aligned`.
    """
    dx = blocks.dx if aligned else np.zeros_like(blocks.dx)
    offsets = 4 * (blocks.plane * source.step + blocks.dy * source.row + blocks.dx - dx)
    columns = [np.flatnonzero(dx == column)[:, None] for column in COLUMNS]
    return records_of(blocks.out, offsets, blocks.weights, columns, outputs)


def edges_of(convolution: BlockConvolution, fill: int, *, aligned: bool) -> NDArray[np.int32]:
    """Return EDGES of every four output channels: int32, shape (planes, EDGES, 4); `fill` is a byte.

    Where loads are not aligned, no sums are moved.
    """
    blocks, outputs = convolution.blocks, len(convolution.bias)
    sums = (fill if aligned else 0) * blocks.weights.sum(axis=1, dtype=np.int64)
    right, left = (
        np.bincount(blocks.out[chosen], sums[chosen], outputs).astype(np.int32)
        for chosen in (blocks.dx == COLUMNS[0], blocks.dx == COLUMNS[-1])
    )
    edges = np.stack([convolution.bias, convolution.bias + right, left])
    return np.ascontiguousarray(edges.reshape(EDGES, -1, 4).transpose(1, 0, 2))


def wide_tiles(
    height: int, width: int, source_row: int, target_row: int, *, aligned: bool
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return tiles and masks as `byte_tiles.tiles_of` does; aligned ones take whole rows."""
    sizes = [size for size in TILES if not aligned or size[1] == -(-width // PIXELS)]
    tiles, masks = tiles_of(height, width, source_row, target_row, sizes, PIXELS)
    tiles[:, isa.TILE_VECTORS] = [TILES.index(sizes[size]) for size in tiles[:, isa.TILE_VECTORS]]
    return tiles, masks


def pooled_tiles(
    height: int, width: int, source_row: int, target_row: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the same of a convolution that pools, by places in POOLED_TILES; `height` is that of what it makes."""
    sizes = [size for size in POOLED_TILES if size[1] == -(-width // PIXELS)]
    halves = [(rows // 2, vectors) for rows, vectors in sizes]
    tiles, _ = tiles_of(height, width, 2 * source_row, target_row, halves, PIXELS)
    tiles[:, isa.TILE_VECTORS] = [POOLED_TILES.index(sizes[size]) for size in tiles[:, isa.TILE_VECTORS]]
    columns = np.arange(PIXELS * -(-sizes[0][1] // 2))
    return tiles, -(columns < width // 2).astype(np.int32)[None]
