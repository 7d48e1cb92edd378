"""Products of all weights of a convolution of one pixel: a matrix times the pixels, in tiles that stay in registers.

A weight has no offset, since each is multiplied: one load serves several output channels, and arithmetic is the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsemark.direct import isa
from sparsemark.direct.kernels.emitter import BYTES, F32, I64, VECTOR, ZERO, Emitter
from sparsemark.direct.kernels.jit import compiled
from sparsemark.direct.kernels.sizes import Microkernel, tile_channels, tile_vectors
from sparsemark.direct.kernels.tile import Tile
from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llvmlite import ir

    from sparsemark.direct.kernels.sizes import Size


class _FullTile(Tile):
    """A tile whose sums are those of all weights."""

    def multiply(self, inputs: ir.Value, step: ir.Value, weights: ir.Value, count: ir.Value, ahead: ir.Value) -> None:
        """Sum over `count` input channels, one at least, `step` bytes from one to the next.

        What lies `ahead` bytes behind the pixels is fetched beside: the next tile begins there.
        """
        e, b = self.e, self.e.b
        entry, before = b.block, self.get()
        loop, done = b.append_basic_block("channels"), b.append_basic_block("multiplied")
        b.branch(loop)
        b.position_at_end(loop)
        left, pixels, weight = b.phi(I64), b.phi(I64), b.phi(I64)
        sums = [b.phi(VECTOR) for _ in before]
        loaded = [e.load(e.plus(pixels, BYTES * i)) for i in range(self.vectors)]
        e.prefetch(b.add(pixels, ahead))
        after = []
        for q in range(self.channels):
            factor = e.splat(e.load(e.plus(weight, 4 * q), F32))
            own = sums[q * self.vectors : (q + 1) * self.vectors]
            after += [e.fma(factor, vector, total) for vector, total in zip(loaded, own, strict=True)]
        fewer = b.sub(left, I64(1))
        following = (fewer, b.add(pixels, step), e.plus(weight, 4 * self.channels))
        for phi, first, then in zip((left, pixels, weight), (count, inputs, weights), following, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(then, loop)
        for total, old, new in zip(sums, before, after, strict=True):
            total.add_incoming(old, entry)
            total.add_incoming(new, loop)
        b.cbranch(b.icmp_signed(">", fewer, I64(0)), loop, done)
        b.position_at_end(done)
        self.put(after)


def _emit(builder: ir.IRBuilder, size: Size, operands: Sequence[ir.Value]) -> None:
    """Emit one tile of some output channels over all input channels.

    Operands, 64-bit integers unless said otherwise, addresses and strides in bytes:
        inputs: where the tile lies in the first input channel; step: to the next one; count: of them.
        weights: a float of each of the tile's channels for each input channel.
        ahead: from the pixels to those that are read next.
        The others: as of `microkernels.CONVOLVE`.
    """
    inputs, step, count, weights, ahead, bias, start, start_stride, masks, out = operands[:10]
    out_stride, which, flags, bounds = operands[10:]
    e, b = Emitter(builder), builder
    tile = _FullTile(e, *size)
    for q in range(tile.channels):
        e.prefetch(b.add(out, b.mul(out_stride, I64(q))), write=True)
    tile.put([ZERO] * len(tile.sums))
    tile.multiply(inputs, step, weights, count, ahead)
    tile.add_biases(bias)
    tile.add_start(start, start_stride)
    tile.finish(flags, bounds, masks)
    tile.store(out, out_stride, which)


MULTIPLY = Microkernel("multiply", 14, isa.PRODUCT_KERNELS, _emit)
_multiply = MULTIPLY.external()


@compiled()
def multiply_unit(_size: int, row: Any, unit: int, base: int, records: int, tiles: Any) -> None:
    """One unit of work: one share of the tiles, one chunk of output channels, whose weights stay in the second cache.

    `_size` is the place of the tile's size in `isa.PRODUCT_KERNELS`; see `sizes`.
    """
    channels, vectors = tile_channels(), tile_vectors()
    # Read once: see `convolution`.
    outputs, inputs, step, target_step = (
        row[isa.CHANNELS],
        row[isa.INPUTS],
        row[isa.SOURCE_STEP],
        row[isa.TARGET_STEP],
    )
    residual, residual_step, flags = row[isa.RESIDUAL], row[isa.RESIDUAL_STEP], row[isa.FLAGS]
    source, target, bias, bounds = row[isa.SOURCE], row[isa.TARGET], row[isa.BIAS], base + 4 * row[isa.BOUNDS]
    weights, count, shares = records + 4 * row[isa.RECORDS], row[isa.GROUP], row[isa.GROUPS]
    groups = (outputs + channels - 1) // channels
    share, chunk, chunks = unit % shares, unit // shares, row[isa.CHUNKS]
    first, last = chunk * groups // chunks, (chunk + 1) * groups // chunks
    for t in range(row[isa.TILES] + share * count // shares, row[isa.TILES] + (share + 1) * count // shares):
        pixels, offset = base + 4 * (source + tiles[t, isa.TILE_INPUT]), tiles[t, isa.TILE_OUTPUT]
        masks, which = base + 4 * tiles[t, isa.TILE_MASKS], tiles[t, isa.TILE_VECTORS]
        ahead = 4 * vectors * LANES
        for g in range(first, last):
            # The last tile begins as early as it must to be whole, and repeats channels of the one before.
            channel = min(g * channels, outputs - channels)
            start = 0
            if residual >= 0:
                start = base + 4 * (residual + channel * residual_step + offset)
            _multiply(
                pixels,
                4 * step,
                inputs,
                weights + 4 * g * channels * inputs,
                ahead,
                base + 4 * (bias + channel),
                start,
                4 * residual_step,
                masks,
                base + 4 * (target + channel * target_step + offset),
                4 * target_step,
                which,
                flags,
                bounds,
            )
