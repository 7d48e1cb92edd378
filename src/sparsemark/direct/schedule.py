"""Schedules: the ways to run a convolution, apart from what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.direct import isa
from sparsemark.direct.memory import placed
from sparsemark.direct.target import LANES
from sparsemark.direct.tiling import tile
from sparsemark.direct.winograd import microkernels

if TYPE_CHECKING:
    from sparsemark.direct.ir import Convolution
    from sparsemark.direct.layout import Layout
    from sparsemark.direct.taps import Taps

FIRST_CACHE = 28 * 1024
"""Bytes of a 32 KiB first-level data cache that a block of input channels may take; the rest streams through."""

_FEWEST_CHANNELS = 4
"""Of a block: with fewer, sums are stored and loaded again more often than a block saves."""

_MOST_OVERLAP = 1.3
"""Pixels that a tiling computes, over those of the best one: beyond, no microkernel makes up for them."""


@dataclass(frozen=True)
class Schedule:
    """How one convolution is executed.

    Args:
        microkernel: a place in MICROKERNELS.
        block: input channels that are taken at a time; 0: all.
        winograd: by Winograd's products instead of non-zeros.
    """

    microkernel: int
    block: int = 0
    winograd: bool = False

    @property
    def channels(self) -> int:
        """Output channels of a tile."""
        return isa.MICROKERNELS[self.microkernel][0]

    @property
    def vectors(self) -> int:
        """Vectors of a tile."""
        return isa.MICROKERNELS[self.microkernel][1]


def options(convolution: Convolution, threads: int = 1) -> list[Schedule]:
    """Ways to run a convolution whose tensors are placed, where so many threads share an image."""
    if convolution.source is None:
        raise ValueError("a convolution reads channels")
    found = candidates(
        convolution.taps,
        placed(convolution.source),
        convolution.outputs,
        height=convolution.height,
        width=convolution.width,
        pooled_row=convolution.pooled_row,
    )
    return found + [Schedule(microkernel, winograd=True) for microkernel in microkernels(convolution, threads)]


def candidates(
    taps: Taps, source: Layout, outputs: int, *, height: int, width: int, pooled_row: int | None
) -> list[Schedule]:
    """Ways to run a convolution from its non-zeros that are worth a try, none of which wastes half of its work."""
    possible = []
    for microkernel, (channels, vectors) in enumerate(isa.MICROKERNELS):
        if outputs % channels:
            continue
        tiling = tile(vectors, height, width, source.row, right=taps.right, left=taps.left, pooled_row=pooled_row)
        if tiling is not None:
            possible.append((tiling.overlap, microkernel, vectors))
    if not possible:
        return []
    least = min(overlap for overlap, _, _ in possible)
    found = []
    for overlap, microkernel, vectors in possible:
        if overlap > _MOST_OVERLAP * least:
            continue
        found.append(Schedule(microkernel))
        rows = max(1, vectors * LANES // source.row) + taps.above + taps.below
        fitting = FIRST_CACHE // (4 * rows * min(source.row, vectors * LANES))
        if _FEWEST_CHANNELS <= fitting < source.channels:
            blocks = -(-source.channels // fitting)
            found += [Schedule(microkernel, -(-source.channels // b)) for b in {blocks, max(2, blocks // 2)}]
    return found
