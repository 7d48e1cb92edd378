"""Dense form of a convolution of bytes: four output channels share what they load, and zeros are multiplied.

It pays where most blocks are present: a vector of activations, 512 bits of them, is loaded once for four products, and
the registers hold four times as many sums as the sparse form has for a tile of that size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.block_forms import FORM, VNNI
from sparsemark.direct.blocks import PackedBlocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.blocks import Blocks
    from sparsemark.direct.ir import BlockConvolution
    from sparsemark.direct.layout import Layout

TOGETHER = 4
"""Output channels of a record: those of a word of the output."""

PIXELS = 16
"""Pixels of a vector: 512 bits."""

TILES = ((1, 4), (2, 2), (4, 1), (1, 3), (1, 2), (2, 1), (1, 1))
"""Rows, and vectors of each, of the tiles that the microkernel computes."""

RUNS_HERE = FORM == VNNI
"""Whether this processor has the instructions."""

_WORTH = 1.3
"""Products of this form over those of the sparse one up to which this one may be faster."""


def may_be_faster(convolution: BlockConvolution) -> bool:
    """Whether this form may take less time than blocks one by one do."""
    blocks = convolution.blocks
    if not RUNS_HERE or not len(blocks.out):
        return False
    return TOGETHER * count_records(blocks) <= _WORTH * len(blocks.out)


def count_records(blocks: Blocks) -> int:
    """Return the number of records: places that any of four output channels reads."""
    return len(_records(blocks)[0])


def pack_dense(blocks: Blocks, source: Layout, outputs: int) -> PackedBlocks:
    """Pack blocks of every four output channels together, with zeros for those that are missing.

    Args:
        blocks: of the convolution.
        source: layout of its input, in words.
        outputs: channels, a multiple of four.

    Returns:
        Records of five words: offset in bytes of a pixel, and the block of each of four output channels. Pointers: the
        word at which the records of every four channels begin, and behind them the end.
    """
    quad, record = _records(blocks)
    records = np.zeros((len(quad), 1 + TOGETHER), np.int32)
    records[record, 0] = 4 * (blocks.plane * source.step + blocks.dy * source.row + blocks.dx)
    records[record, 1 + blocks.out % TOGETHER] = np.ascontiguousarray(blocks.weights).view(np.int32).reshape(-1)
    pointers = (1 + TOGETHER) * np.searchsorted(quad, np.arange(outputs // TOGETHER + 1))
    return PackedBlocks(records.reshape(-1), pointers.astype(np.int32))


def _records(blocks: Blocks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the four output channels, by number, of each record, in order, and the record of each block."""
    key = blocks.out // TOGETHER
    for part in (blocks.plane, blocks.dy, blocks.dx):
        least = int(part.min(initial=0))
        key = key * (int(part.max(initial=0)) - least + 1) + part - least
    _, first, record = np.unique(key, return_index=True, return_inverse=True)
    return blocks.out[first] // TOGETHER, record.reshape(-1)
