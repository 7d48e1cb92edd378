"""Convolutions of 3 x 3 by tiles of 4 x 4 pixels: 36 products for each pair of channels, where plain sums take 144.

Winograd's minimal filtering, F(4 x 4, 3 x 3), after Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016. The points of interpolation are 0, +-sqrt(1/2), +-sqrt(2) and infinity: with the usual 0, +-1, +-2 the
rounding error is about twice as large. Zeros among the weights save nothing here, so it is for layers that have few.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.ir import Convolution
    from sparsemark.direct.taps import Taps

OUT, IN = 4, 6
"""Rows and columns of a tile: of the output, and of the input that it reads."""

PRODUCTS = IN * IN
"""Of a tile, for each pair of channels."""

_KERNEL = 3

_SHARING = 4
"""Output channels that share a load: with fewer, loads would be the limit, as they are where there are zeros."""

_MOST_WEIGHTS = 1 << 22
"""Transformed weights of a layer, beyond which reading them takes longer than what they save."""

_MOST_SCRATCH = 1 << 22
"""Floats of a thread's scratch, beyond which no cache holds what is written there to be read at once."""

_LARGEST_WEIGHT = 1e30
"""Sums of larger ones might overflow where the convolution itself does not."""

_WEIGHTS = np.array(
    [
        [1, 0, 0],
        [-2 / 3, -sqrt(2) / 3, -1 / 3],
        [-2 / 3, sqrt(2) / 3, -1 / 3],
        [1 / 6, sqrt(2) / 6, 1 / 3],
        [1 / 6, -sqrt(2) / 6, 1 / 3],
        [0, 0, 1],
    ]
)
"""What transforms the weights; what does it to pixels is in `winograd_kernels`."""


QUARTER = LANES // 4
"""Tiles whose pixels make one vector of a row: so many, or a multiple of it, are in a row of tiles."""

_EDGE = 2 * LANES
"""Floats of a line behind the pixels of a row of tiles: two are read, and whole vectors are written."""


@dataclass(frozen=True)
class Spans:
    """How the tiles of a channel are taken together, and where they lie in a thread's scratch, all in floats.

    Args:
        across: tiles in a row of them; some may lie beside the image.
        quads: int64, shape (n, 4): for each QUARTER of tiles, in order, where its pixels lie in a line, its row and
            column of pixels, and how many of its rows lie within the image.
        tiles: of a span, one a lane.
        step: from one channel of transformed pixels, or of products, to the next.
        outputs: channels of products: with those of zeros that fill the last tile.
        products: where the channels of products begin; those of pixels begin at 0.
        lines: where rows of pixels lie on their way in and out; `pitch` from one to the next.
        pitch: floats of such a row.
        scratch: of all of it.
    """

    across: int
    quads: NDArray[np.int64]
    tiles: int
    step: int
    outputs: int
    products: int
    lines: int
    pitch: int
    scratch: int

    @property
    def count(self) -> int:
        """Spans of a channel."""
        return len(self.quads) * QUARTER // self.tiles


def spans(microkernel: int, inputs: int, outputs: int, height: int, width: int) -> Spans:
    """Take as many tiles together as a microkernel has lanes.

    Args:
        microkernel: by which products are summed.
        inputs: channels of the input.
        outputs: channels of the output.
        height: of the output.
        width: of the output.
    """
    channels, vectors = isa.MICROKERNELS[microkernel]
    tiles, outputs = vectors * LANES, -(-outputs // channels) * channels
    across, down = -(-width // LANES) * QUARTER, -(-height // OUT)
    count = -(-across * down // tiles)
    first = np.arange(0, count * tiles, QUARTER)
    y, x = first // across, first % across
    runs = y - first // tiles * tiles // across  # rows of tiles that a span has begun
    place = first % tiles * OUT + runs * _EDGE
    quads = np.stack([place, OUT * y, OUT * x, np.clip(height - OUT * y, 0, OUT)], axis=1)
    step = (tiles // LANES | 1) * LANES  # odd: see `layout.channel_step`
    # All lines together also have room for the spilled rows of one vector of tiles, and for what is added to them.
    pitch = int(place.max()) + OUT * LANES + _EDGE
    products = PRODUCTS * inputs * step
    lines = products + PRODUCTS * outputs * step
    return Spans(across, quads, tiles, step, outputs, products, lines, pitch, lines + IN * pitch)


def origin(taps: Taps) -> tuple[int, int] | None:
    """First row and column that a square of 3 x 3 around all taps reads; None where they need a larger one."""
    if max(taps.above + taps.below, taps.right + taps.left) >= _KERNEL:
        return None
    return taps.below - _KERNEL + 1, taps.left - _KERNEL + 1


def microkernels(convolution: Convolution, threads: int) -> list[int]:
    """Places in MICROKERNELS that may run a convolution in tiles: none where that cannot pay, or does not fit."""
    if (
        convolution.source is None
        or origin(convolution.taps) is None
        or (convolution.pooled and convolution.second is not None)
    ):
        return []
    inputs, outputs = convolution.source.channels, convolution.outputs
    if PRODUCTS * inputs * outputs > _MOST_WEIGHTS:
        return []
    # Rounding is several times that of plain sums, and in proportion to them: too much for what a bound leaves of them.
    if convolution.bounded or convolution.swish or not convolution.taps.largest < _LARGEST_WEIGHT:
        return []
    # Rows of pixels are read and written in whole vectors.
    if convolution.source.row % LANES or convolution.target.row % (LANES // 2 if convolution.pooled else LANES):
        return []
    return [
        microkernel
        for microkernel, (channels, _) in enumerate(isa.MICROKERNELS)
        if channels == _SHARING
        and (span := spans(microkernel, inputs, outputs, convolution.height, convolution.width)).count >= threads
        and span.scratch <= _MOST_SCRATCH
        # Tiles that lie beside the image, and channels of zeros, take as long as others.
        and PRODUCTS * inputs * span.outputs * span.count * span.tiles
        < len(convolution.taps.weight) * convolution.height * convolution.width
    ]


def records(taps: Taps, inputs: int, outputs: int, step: int, channels: int) -> NDArray[np.int32]:
    """Weights of the products as `convolve` reads them.

    Args:
        taps: within a square of 3 x 3.
        inputs: channels of the input.
        outputs: channels of products; those beyond the layer's own have weights of zero.
        step: floats from one channel of transformed pixels to the next.
        channels: outputs that share a record.

    Returns:
        Shape (36 * outputs / channels * inputs, 1 + channels).
    """
    corner = origin(taps)
    if corner is None:
        raise ValueError("taps beyond a square of 3 x 3")
    taps = taps.unpacked()
    dense = np.zeros((outputs, inputs, _KERNEL, _KERNEL), np.float32)
    dense[taps.out, taps.plane, taps.dy - corner[0], taps.dx - corner[1]] = taps.weight
    found = np.empty((PRODUCTS, outputs // channels, inputs, 1 + channels), np.float32)
    offsets = 4 * step * np.arange(PRODUCTS * inputs, dtype=np.int32)
    found.view(np.int32)[..., 0] = offsets.reshape(PRODUCTS, 1, inputs)
    # In float64, a few outputs at a time: all of them would take more memory than the network.
    both = np.kron(_WEIGHTS, _WEIGHTS).T
    for group in range(outputs // channels):
        few = dense[group * channels : (group + 1) * channels]
        products = (few.reshape(-1, _KERNEL * _KERNEL) @ both).reshape(channels, inputs, PRODUCTS)
        found[:, group, :, 1:] = products.transpose(2, 1, 0)
    return found.view(np.int32).reshape(-1, 1 + channels)
