"""Blocks of a convolution of bytes: as coordinates, and packed in the order in which the microkernel reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.block_forms import FORM, PAIRS, TOGETHER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.layout import Layout

    Numbers = NDArray[np.int64]

BLOCK = 4
"""Channels of a word."""

_MOST = 128
"""Largest sum of the positive weights, and of the negative ones, of a pair of channels over blocks that are added in
16 bits: 255 times 128 is below 32767."""


_TRIES = 24
"""Times that blocks are put together anew."""

_WORTHWHILE = 200
"""A further try is made where the last one took more than one in so many of the blocks that were left."""


@dataclass(frozen=True)
class Blocks:
    """Blocks of a convolution of stride 1 whose weights are not all zero: parallel arrays.

    Args:
        out: output channel.
        plane: of the input's words.
        dy, dx: row and column of the input relative to the output's.
        weights: int8, shape (n, 4).
    """

    out: Numbers
    plane: Numbers
    dy: Numbers
    dx: Numbers
    weights: NDArray[np.int8]

    def chosen(self, which: NDArray[np.bool_]) -> Blocks:
        """Return some of them."""
        return Blocks(self.out[which], self.plane[which], self.dy[which], self.dx[which], self.weights[which])

    @classmethod
    def of_weights(cls, out: Numbers, channel: Numbers, dy: Numbers, dx: Numbers, weight: NDArray[np.int8]) -> Blocks:
        """Collect single weights into blocks; each has its input channel."""
        kept = weight != 0
        out, channel, dy, dx, weight = (one[kept] for one in (out, channel, dy, dx, weight))
        keys, place = np.unique(np.stack([out, channel // BLOCK, dy, dx]), axis=1, return_inverse=True)
        weights = np.zeros((keys.shape[1], BLOCK), np.int8)
        weights[place.reshape(-1), channel % BLOCK] = weight
        out, plane, dy, dx = keys
        return cls(out, plane, dy, dx, weights)


@dataclass(frozen=True)
class PackedBlocks:
    """Records of all output channels, int32, and where in them those of each kind begin; see `kernels.blocks`."""

    records: NDArray[np.int32]
    pointers: NDArray[np.int32]


def pack_blocks(blocks: Blocks, source: Layout, outputs: int, form: str = FORM) -> PackedBlocks:
    """Pack blocks for inputs of a layout.

    Args:
        blocks: of the convolution.
        source: of its input, in words.
        outputs: channels, a multiple of four; those without blocks are padding.
        form: how blocks are multiplied.
    """
    offsets = 4 * (blocks.plane * source.step + blocks.dy * source.row + blocks.dx)
    out, weights = blocks.out, blocks.weights
    if form == PAIRS:
        out, offsets, weights = _halved(out, offsets, weights)
    left = np.arange(len(out))
    kinds = []
    for together in TOGETHER:
        if together == 1:
            groups = left[:, None]
        elif form != PAIRS:
            groups = left[:0, None].repeat(together, axis=1)
        else:
            groups, left = _together(left, out, _sums(weights), together)
        kinds.append(groups)
    return records_of(out, offsets, weights, kinds, outputs)


def _halved(out: Numbers, offsets: Numbers, weights: NDArray[np.int8]) -> tuple[Numbers, Numbers, NDArray[np.int8]]:
    """Split blocks of which a pair of products alone could exceed 16 bits in two, whose weights sum to theirs."""
    large = (_sums(weights) > _MOST).any(axis=1)
    half = weights[large] // 2
    rest = (weights[large].astype(np.int16) - half).astype(np.int8)
    kept = weights.copy()
    kept[large] = half
    return (
        np.concatenate([out, out[large]]),
        np.concatenate([offsets, offsets[large]]),
        np.concatenate([kept, rest]),
    )


def _sums(weights: NDArray[np.int8]) -> NDArray[np.int16]:
    """Sums of positive and of negative weights, as sizes, of each pair of channels: shape (n, 4)."""
    pairs = weights.astype(np.int16).reshape(-1, 2, 2)
    return np.concatenate([np.maximum(pairs, 0).sum(axis=2), -np.minimum(pairs, 0).sum(axis=2)], axis=1)


def _together(which: Numbers, out: Numbers, sums: NDArray[np.int16], together: int) -> tuple[Numbers, Numbers]:
    """Group blocks of one output channel whose sums stay within 16 bits; return groups and what is left.

    Large blocks are put with small ones at first: those of a channel, sorted by size, fill the groups to and fro. Of
    what is left, other blocks are put together until hardly any more fit.
    """
    order = np.lexsort((sums[which].max(axis=1), out[which]))
    random = np.random.default_rng(0)
    found = []
    for _ in range(_TRIES):
        members, which = _grouped(which[order], out, together)
        fits = (sums[members].sum(axis=1, dtype=np.int32) <= _MOST).all(axis=1)
        found.append(members[fits])
        which = np.concatenate([which, members[~fits].reshape(-1)])
        if len(members[fits]) * _WORTHWHILE < len(which):
            break
        order = np.lexsort((random.random(len(which)), out[which]))
    return np.concatenate(found), which


def _grouped(order: Numbers, out: Numbers, together: int) -> tuple[Numbers, Numbers]:
    """Group blocks that are sorted by output channel, to and fro; also those that fill no group."""
    channel = out[order]
    first = np.searchsorted(channel, channel)
    count = np.searchsorted(channel, channel, side="right") - first
    place, groups = np.arange(len(order)) - first, count // together
    inside = place < groups * together
    turn, column = np.divmod(place[inside], groups[inside])
    column = np.where(turn % 2 == 0, column, groups[inside] - 1 - column)
    # Groups of all channels, one after the other: the members of each are as many as there are turns.
    number = first[inside] + column
    return order[inside][np.argsort(number, kind="stable")].reshape(-1, together), order[~inside]


def records_of(
    out: Numbers, offsets: Numbers, weights: NDArray[np.int8], kinds: list[Numbers], outputs: int
) -> PackedBlocks:
    """Lay groups of each kind out by output channel, kind, and the place of the first input.

    Args:
        out: output channel of each block.
        offsets: in bytes, of what each reads.
        weights: of each.
        kinds: numbers of the blocks in each group of a kind: shape (groups, blocks of a group).
        outputs: channels.

    Returns:
        Records: offsets and then weights of a group. Pointers: for each channel and kind the word where they begin.
    """
    words = np.ascontiguousarray(weights).view(np.int32).reshape(-1)
    key, size, start = [], [], []
    for kind, groups in enumerate(kinds):
        key.append(out[groups[:, 0]] * len(kinds) + kind)
        size.append(np.full(len(groups), 2 * groups.shape[1]))
        start.append(offsets[groups].min(axis=1) if len(groups) else np.zeros(0, np.int64))
    keys, sizes = np.concatenate(key), np.concatenate(size)
    order = np.lexsort((np.concatenate(start), keys))
    ends = np.cumsum(sizes[order])
    begins = np.empty(len(order), np.int64)
    begins[order] = ends - sizes[order]
    records = np.zeros(int(ends[-1]) if len(ends) else 0, np.int32)
    done = 0
    for groups in kinds:
        own = begins[done : done + len(groups), None] + np.arange(groups.shape[1])
        records[own] = offsets[groups]
        records[own + groups.shape[1]] = words[groups]
        done += len(groups)
    places = np.searchsorted(keys[order], np.arange(len(kinds) * outputs + 1))
    pointers = np.concatenate([[0], ends])[places].astype(np.int32)
    return PackedBlocks(records, pointers)
