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

_SPARSE = 16
"""Slots for each non-zero, beyond which sorting these is faster than counting those."""


@dataclass(frozen=True)
class PackedWeights:
    """Records of a convolution in the order in which they are read.

    Args:
        records: int32, shape (n, 1 + channels): a byte offset, then weights as their bits; no offset in a product.
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
    channels, block = schedule.channels, schedule.block or max(source.channels, 1)
    blocks, groups = max(1, -(-source.channels // block)), -(-outputs // channels)
    if outputs % channels:
        taps = _whole_groups(taps, outputs, channels)
    # Places of columns from the outermost one inwards: those left of the centre, those right of it, the centre. In a
    # flat schedule all are the centre's, and what lies beside it is read from where it is.
    right, left = schedule.shifts(taps)
    shifts = [*range(right + left, right - 1, -1), *range(right)]
    around = [*range(taps.right, taps.right + taps.left + 1), *range(taps.right)]
    none = np.zeros(1, np.int64), np.zeros(1 + taps.right + taps.left, np.int64)
    columns, column_of = none if schedule.flat else _occurring(taps.dx, shifts)
    beside, beside_of = _occurring(taps.dx, around) if schedule.flat else none
    above = taps.above
    rows, row_of = _occurring(taps.dy, [*range(above, above + taps.below + 1), *range(above)])
    # A record has a slot by its block, output channels, column, plane, row and what it lies beside: slots rise as
    # records are read, so that nothing has to be sorted. Offsets rise with them, since the rows of a plane never reach
    # into the next one, nor pixels into the next row.
    slots_of_plane = len(rows) * len(beside)
    slots_of_group = block * slots_of_plane
    phases = groups * len(columns)
    slots = blocks * phases * slots_of_group
    kind = np.int32 if max(slots, len(taps.out) * (1 + channels)) <= _FARTHEST else np.int64
    plane, out = np.arange(source.channels, dtype=np.int64), np.arange(groups * channels, dtype=np.int64)
    plane_at = plane // block * phases * slots_of_group + plane % block * slots_of_plane
    out_at = out // channels * len(columns) * slots_of_group
    slot = plane_at.astype(kind)[taps.plane]
    slot += out_at.astype(kind)[taps.out]
    slot += (row_of * len(beside)).astype(kind)[taps.dy]
    slot += (beside_of if schedule.flat else column_of * slots_of_group).astype(kind)[taps.dx]
    taken, record = _distinct(slot, slots)
    group, within = np.divmod(taken, max(slots_of_group, 1))
    which, within = np.divmod(within, max(slots_of_plane, 1))
    row, pixel = np.divmod(within, max(len(beside), 1))
    offset = (group // max(phases, 1) * block + which) * source.step + (rows[row] - above) * source.row
    if schedule.flat:
        offset += beside[pixel] - taps.right
    offset *= 4
    if abs(offset).max(initial=0) > _FARTHEST:
        raise UnsupportedError("activations of 2 GiB and more")
    records = np.zeros((len(taken), 1 + channels), np.float32)
    place = record * (1 + channels)
    place += (1 + out % channels).astype(place.dtype)[taps.out]
    records.reshape(-1)[place] = taps.weight
    bits = records.view(np.int32)
    bits[:, 0] = offset
    counts = np.zeros((blocks * groups, right + left + 1), np.int64)
    counts[:, columns] = np.bincount(group, minlength=blocks * phases).reshape(blocks * groups, len(columns))
    return PackedWeights(bits, np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), blocks)


def pack_all(taps: Taps, inputs: int, outputs: int, channels: int) -> PackedWeights:
    """Order all weights of a convolution of one pixel, zeros among them.

    Args:
        taps: non-zeros.
        inputs: channels that are read.
        outputs: channels that are made.
        channels: of them that are summed together; the last ones begin as early as they must to be so many.

    Returns:
        A record, without an offset, for each input channel of each group of output channels.
    """
    dense = np.zeros((outputs, inputs), np.float32)
    dense[taps.out, taps.plane] = taps.weight
    first = np.minimum(np.arange(0, outputs, channels), outputs - channels)
    together = dense[first[:, None] + np.arange(channels)].transpose(0, 2, 1)
    return PackedWeights(np.ascontiguousarray(together).view(np.int32).reshape(-1, channels), np.zeros(0, np.int32), 1)


def _whole_groups(taps: Taps, outputs: int, channels: int) -> Taps:
    """Return the taps of whole groups: the last begins as early as it must, and repeats channels of the one before.

    Channels of it are counted on from those of the other groups.
    """
    first, last = outputs // channels * channels, outputs - channels
    own, again = np.flatnonzero(taps.out < first), np.flatnonzero(taps.out >= last)
    out = taps.out.astype(np.int64)
    which = np.concatenate([own, again])
    out = np.concatenate([out[own], out[again] - last + first])
    return Taps(out, taps.plane[which], taps.dy[which], taps.dx[which], taps.weight[which])


def _occurring(values: NDArray[np.signedinteger], places: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the values that occur, in order, and the rank of each value's place among them.

    Args:
        values: from below zero to above it.
        places: of each value, of those below zero from the end.
    """
    place = np.array(places)
    occurs = np.zeros(len(place), bool)
    occurs[place[values]] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[place]


def _distinct(slot: NDArray[np.signedinteger], slots: int) -> tuple[NDArray[np.int64], NDArray[np.signedinteger]]:
    """Return the slots that are taken, in order, and the rank of each among them."""
    if slots > _SPARSE * len(slot):
        taken, record = np.unique(slot, return_inverse=True)
        return taken.astype(np.int64), record
    is_taken = np.zeros(slots, bool)
    is_taken[slot] = True
    if is_taken.all():
        return np.arange(slots), slot
    return np.flatnonzero(is_taken), (np.cumsum(is_taken, dtype=slot.dtype) - 1)[slot]
