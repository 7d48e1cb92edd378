"""Packed weights: the non-zeros of a convolution in the order in which a microkernel reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.taps import Taps
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.layout import Layout
    from sparsemark.direct.schedule import Schedule

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
    right, left = schedule.shifts(taps)
    groups, columns = -(-outputs // channels), right + left + 1
    # The last group begins as early as it must to be whole, and repeats channels of the one before.
    last = outputs - channels
    own, again = taps.out < (groups - 1) * channels, taps.out >= last
    group = np.concatenate([taps.out[own] // channels, np.full(int(again.sum()), groups - 1)])
    lane = np.concatenate([taps.out[own] % channels, taps.out[again] - last])
    which = np.concatenate([np.flatnonzero(own), np.flatnonzero(again)])
    taps = Taps(taps.out[which], taps.plane[which], taps.dy[which], taps.dx[which], taps.weight[which])
    # From the outermost column inwards: those left of the centre, those right of it, the centre.
    dx = taps.dx * (not schedule.flat)
    column = np.where(dx < 0, dx + right, np.where(dx > 0, right + left - dx, right + left))
    where = (taps.plane // block * groups + group) * columns + column
    offset = 4 * (taps.plane * source.step + taps.dy * source.row + taps.dx - dx)
    if abs(offset).max(initial=0) > _FARTHEST:
        raise UnsupportedError("activations of 2 GiB and more")
    order = np.lexsort((lane, offset, where))
    where, offset, lane = where[order], offset[order], lane[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (where[1:] != where[:-1]) | (offset[1:] != offset[:-1])
    record = np.cumsum(fresh) - 1
    count = int(fresh.sum())
    records = np.zeros((count, 1 + channels), np.float32)
    records[record, 1 + lane] = taps.weight[order]
    bits = records.view(np.int32)
    bits[:, 0] = offset[fresh]
    pointers = np.searchsorted(where[fresh], np.arange(blocks * groups * columns + 1)).astype(np.int32)
    return PackedWeights(bits, pointers, blocks)
