"""Packed weights: the non-zeros of a convolution in the order in which a microkernel reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.layout import Layout
    from sparsemark.direct.schedule import Schedule
    from sparsemark.direct.taps import Taps

_FARTHEST = 2**31 - 1
"""Largest byte offset that a record can hold."""


@dataclass(frozen=True)
class PackedWeights:
    """Records of a convolution in the order in which they are read.

    Args:
        records: int32, shape (n, 1 + channels): a byte offset, then weights as their bits.
        pointers: int32; of groups in the order block, output channels, column, one more for the end.
        blocks: of input channels.
    """

    records: NDArray[np.int32]
    pointers: NDArray[np.int32]
    blocks: int


def pack(taps: Taps, source: Layout, outputs: int, schedule: Schedule) -> PackedWeights:
    """Order the non-zeros for a schedule.

    Raises:
        UnsupportedError: the input is too large for 32-bit offsets.
    """
    taps, channels, block = taps.unpacked(), schedule.channels, schedule.block or max(source.channels, 1)
    blocks = max(1, -(-source.channels // block))
    right, left = taps.right, taps.left
    groups, columns = outputs // channels, right + left + 1
    # From the outermost column inwards: those left of the centre, those right of it, the centre.
    column = np.where(taps.dx < 0, taps.dx + right, np.where(taps.dx > 0, right + left - taps.dx, right + left))
    where = (taps.plane // block * groups + taps.out // channels) * columns + column
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
    pointers = np.searchsorted(where[fresh], np.arange(blocks * groups * columns + 1)).astype(np.int32)
    return PackedWeights(bits, pointers, blocks)
