"""Schedules: the ways to run a convolution, apart from what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.direct import isa
from sparsemark.direct.dense_bytes import may_be_faster
from sparsemark.direct.layout import Layout
from sparsemark.direct.memory import placed
from sparsemark.direct.target import LANES
from sparsemark.direct.tiling import overlap_of, tile
from sparsemark.direct.winograd import microkernels

if TYPE_CHECKING:
    from sparsemark.direct.ir import BlockConvolution, Convolution, Tensor
    from sparsemark.direct.taps import Taps
    from sparsemark.direct.tiling import Tiling

FIRST_CACHE = 28 * 1024
"""Bytes of a 32 KiB first-level data cache that a block of input channels may take; the rest streams through."""

_FEWEST_CHANNELS = 4
"""Of a block: with fewer, sums are stored and loaded again more often than a block saves."""

_MOST_OVERLAP = 1.3
"""Pixels that tiles compute, over those of the best ones: beyond, no microkernel makes up for them."""

_MOST_ZEROS = 4
"""Weights for each non-zero up to which a product of all of them may be the fastest way."""


@dataclass(frozen=True)
class Schedule:
    """How one convolution is executed.

    Args:
        microkernel: a place in MICROKERNELS; of a product, in PRODUCT_KERNELS.
        block: input channels that are taken at a time; 0: all.
        winograd: by Winograd's products instead of non-zeros.
        flat: pixels beside the centre are loaded from where they are, in rows that end in zeros; sums are not shifted.
        product: of one pixel, from all weights in their order, zeros among them: no offset is read. Of a convolution of
            bytes, which has no other choice: in its dense form.
    """

    microkernel: int
    block: int = 0
    winograd: bool = False
    flat: bool = False
    product: bool = False

    @property
    def channels(self) -> int:
        """Output channels of a tile."""
        return self._size[0]

    @property
    def vectors(self) -> int:
        """Vectors of a tile."""
        return self._size[1]

    @property
    def key(self) -> tuple[int, int, bool, bool, bool]:
        """All that it is made of, for keys: `dataclasses.astuple` copies deeply, a tenth of the time to load a file."""
        return self.microkernel, self.block, self.winograd, self.flat, self.product

    @property
    def _size(self) -> tuple[int, int]:
        return (isa.PRODUCT_KERNELS if self.product else isa.MICROKERNELS)[self.microkernel]

    def shifts(self, taps: Taps) -> tuple[int, int]:
        """Columns by which sums are shifted to the right, and to the left."""
        return (0, 0) if self.flat else (taps.right, taps.left)


def tiling_of(convolution: Convolution, schedule: Schedule, row: int) -> Tiling | None:
    """Return where the tiles of a convolution lie that reads rows of so many floats; None where they do not fit."""
    right, left = schedule.shifts(convolution.taps)
    return tile(
        schedule.vectors,
        convolution.height,
        convolution.width,
        row,
        right=right,
        left=left,
        pooled_row=convolution.pooled_row,
    )


def options(convolution: Convolution, threads: int = 1) -> list[Schedule]:
    """Ways to run a convolution whose tensors are placed, where so many threads share an image."""
    if convolution.source is None:
        raise ValueError("a convolution reads channels")
    if convolution.split is not None:
        return alone(convolution.taps, convolution.split, height=convolution.height, width=convolution.width)
    found = candidates(
        convolution.taps,
        placed(convolution.source),
        convolution.outputs,
        height=convolution.height,
        width=convolution.width,
        pooled_row=convolution.pooled_row,
    )
    by_tiles = [Schedule(microkernel, winograd=True) for microkernel in microkernels(convolution, threads)]
    return found + by_tiles + _products(convolution)


def byte_options(convolution: BlockConvolution) -> list[Schedule]:
    """Ways to run a convolution of bytes; the first needs no measuring where it is the only one."""
    return [Schedule(0), Schedule(0, product=True)] if may_be_faster(convolution) else [Schedule(0)]


def _products(convolution: Convolution) -> list[Schedule]:
    """Ways to run a convolution of one pixel from all of its weights: none where too many of them are zeros."""
    source, taps = convolution.source, convolution.taps
    if source is None or convolution.pooled or taps.right or taps.left or taps.above or taps.below:
        return []
    if source.channels * convolution.outputs > _MOST_ZEROS * len(taps.weight):
        return []
    return [
        Schedule(microkernel, product=True)
        for microkernel, (channels, _) in enumerate(isa.PRODUCT_KERNELS)
        if convolution.outputs >= channels
    ]


def alone(taps: Taps, split: Tensor, *, height: int, width: int) -> list[Schedule]:
    """Ways to run a convolution of each channel by itself: nothing that one loads serves another."""
    source = Layout(1, split.height, split.width, split.row, 0, 0, 0, 0)
    return candidates(taps, source, 1, height=height, width=width, pooled_row=None)


def candidates(
    taps: Taps, source: Layout, outputs: int, *, height: int, width: int, pooled_row: int | None
) -> list[Schedule]:
    """Ways to run a convolution from its non-zeros that are worth a try, none of which wastes half of its work."""

    def tiled(*, flat: bool) -> list[Schedule]:
        return _in_tiles(taps, source, outputs, height=height, width=width, pooled_row=pooled_row, flat=flat)

    return tiled(flat=False) + (tiled(flat=True) if ends_in_zeros(taps, source, width) else [])


def ends_in_zeros(taps: Taps, source: Layout, width: int) -> bool:
    """Whether taps read beside a row of `width` outputs the zeros at its end, or at the end of the row before.

    Before the first row of a plane, and those of zeros above it, is a vector of zeros: see `layout.channel_step`.
    """
    reach = max(taps.right, taps.left)
    return 0 < reach <= LANES and taps.right <= source.row - source.width and taps.left <= source.row - width


def _in_tiles(
    taps: Taps, source: Layout, outputs: int, *, height: int, width: int, pooled_row: int | None, flat: bool
) -> list[Schedule]:
    right, left = Schedule(0, flat=flat).shifts(taps)
    possible = []
    for microkernel, (channels, vectors) in enumerate(isa.MICROKERNELS):
        if outputs < channels:
            continue
        overlap = overlap_of(vectors, height, width, source.row, right=right, left=left, pooled_row=pooled_row)
        if overlap is not None:
            # The last tile repeats channels where they do not divide into tiles.
            repeated = -(-outputs // channels) * channels / outputs
            possible.append((overlap * repeated, microkernel, vectors))
    if not possible:
        return []
    least = min(overlap for overlap, _, _ in possible)
    found = []
    for overlap, microkernel, vectors in possible:
        if overlap > _MOST_OVERLAP * least:
            continue
        found.append(Schedule(microkernel, flat=flat))
        rows = max(1, vectors * LANES // source.row) + taps.above + taps.below
        fitting = FIRST_CACHE // (4 * rows * min(source.row, vectors * LANES))
        if _FEWEST_CHANNELS <= fitting < source.channels:
            blocks = -(-source.channels // fitting)
            sizes = {-(-source.channels // b) for b in (blocks, max(2, blocks // 2))}
            found += [Schedule(microkernel, size, flat=flat) for size in sorted(sizes)]
    return found
