"""Microkernels of a sparse convolution, written as LLVM IR: what a compiler does not find in plain loops.

A tile of output pixels, `vectors` registers wide, stays in registers while the non-zeros of one output channel (or of
`channels` of them, together) stream past. A record is one non-zero: the byte offset of its input pixel from the tile,
and its weight. Records that share a column offset follow each other, and the *accumulators* are shifted by a lane
between such groups, not the inputs: so every load is aligned, and no shifted copy of the input is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llvmlite import ir
from numba.core import cgutils

from sparsemark.direct import isa
from sparsemark.direct.kernels.emitter import BYTES, F32, I32, I64, MASK_BITS, VECTOR, ZERO, Emitter
from sparsemark.direct.kernels.sizes import Microkernel
from sparsemark.direct.kernels.tile import Tile
from sparsemark.direct.target import LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.direct.kernels.sizes import Size


class _SparseTile(Tile):
    """A tile whose sums are those of non-zeros."""

    def accumulate(self, inputs: ir.Value, records: ir.Value, cursor: ir.Value) -> None:
        """Add the records of one group; `cursor` moves on to the next group's row pointer."""
        e, b, size = self.e, self.e.b, 4 + 4 * self.channels
        at = b.load(cursor)
        b.store(e.plus(at, 4), cursor)
        bounds = [b.sext(e.load(e.plus(at, 4 * side), I32), I64) for side in (0, 1)]
        start, stop = (b.add(records, b.mul(bound, I64(size))) for bound in bounds)
        entry, before = b.block, self.get()
        loop, done = b.append_basic_block("records"), b.append_basic_block("summed")
        b.cbranch(b.icmp_signed("<", start, stop), loop, done)
        b.position_at_end(loop)
        record = b.phi(I64)
        record.add_incoming(start, entry)
        sums = [b.phi(VECTOR) for _ in before]
        if self.channels == 1:
            # One load for both: it is loads that limit this loop, and a broadcast from a register is none.
            both = e.load(record, I64)
            offset = b.trunc(both, I32)
            weights = [e.splat(b.bitcast(b.trunc(b.lshr(both, I64(32)), I32), F32))]
        else:
            offset = e.load(record, I32)
            weights = [e.splat(e.load(e.plus(record, 4 + 4 * q), F32)) for q in range(self.channels)]
        base = b.add(inputs, b.sext(offset, I64))
        after = list(sums)
        for i in range(self.vectors):
            pixels = e.load(e.plus(base, BYTES * i))
            for q in range(self.channels):
                after[q * self.vectors + i] = e.fma(weights[q], pixels, sums[q * self.vectors + i])
        following = e.plus(record, size)
        record.add_incoming(following, loop)
        for total, old, new in zip(sums, before, after, strict=True):
            total.add_incoming(old, entry)
            total.add_incoming(new, loop)
        b.cbranch(b.icmp_signed("<", following, stop), loop, done)
        b.position_at_end(done)
        # All phis of a block come first.
        totals = [b.phi(VECTOR) for _ in before]
        for total, old, new in zip(totals, before, after, strict=True):
            total.add_incoming(old, entry)
            total.add_incoming(new, loop)
        self.put(totals)

    def shift(self, masks: ir.Value, *, left: bool) -> None:
        """Move every sum by one lane; what would cross the edge of a row is masked to zero."""
        e, old = self.e, self.get()

        def moved(value: ir.Value, q: int, i: int) -> ir.Value:
            at = q * self.vectors + i
            if left:
                following = old[at + 1] if i + 1 < self.vectors else ZERO
                lanes = e.b.shuffle_vector(value, following, ir.Constant(MASK_BITS, list(range(1, LANES + 1))))
                return e.masked(lanes, e.plus(masks, BYTES * i))
            preceding = old[at - 1] if i else ZERO
            lanes = e.b.shuffle_vector(preceding, value, ir.Constant(MASK_BITS, list(range(LANES - 1, 2 * LANES - 1))))
            return e.masked(lanes, e.plus(masks, BYTES * (self.vectors + i)))

        self.each(moved)

    def side(
        self, count: ir.Value, *, left: bool, inputs: ir.Value, records: ir.Value, cursor: ir.Value, masks: ir.Value
    ) -> list[ir.Value]:
        """Sum `count` groups from the outermost column inwards, shifting after each."""
        b = self.e.b
        self.put([ZERO] * len(self.sums))
        done = cgutils.alloca_once(b, I64)
        b.store(I64(0), done)
        head, body, end = (b.append_basic_block(name) for name in ("side", "group", "aligned"))
        b.branch(head)
        b.position_at_end(head)
        b.cbranch(b.icmp_signed("<", b.load(done), count), body, end)
        b.position_at_end(body)
        self.accumulate(inputs, records, cursor)
        self.shift(masks, left=left)
        b.store(self.e.plus(b.load(done), 1), done)
        b.branch(head)
        b.position_at_end(end)
        return self.get()


def _convolve(builder: ir.IRBuilder, size: Size, operands: Sequence[ir.Value]) -> None:
    """Emit one tile of some output channels over one block of input channels.

    Operands, 64-bit integers unless said otherwise, addresses and strides in bytes:
        inputs: where the tile lies in the first input channel.
        records: all of the layer's; each is `channels` weights after an int32 offset.
        pointers: of the groups of this block and these channels, `right + left + 1` int32, and one more for the end.
        right, left: groups whose sums move right and left: those of taps left and right of the centre.
        bias: `channels` floats.
        start: sums to go on from, or 0; start_stride: between channels.
        masks: 3 x `vectors` vectors of int32: kept lanes when moving left, when moving right, and of the output.
        out, out_stride: where the sums go, and the step between channels.
        which: bits of the vectors to be stored.
        flags: SWISH, CLAMP_LOW, CLAMP_HIGH, MASK_OUTPUT.
        bounds: of CLAMP_LOW and CLAMP_HIGH, two floats.
    """
    inputs, records, pointers, right, left, bias, start, start_stride, masks, out = operands[:10]
    out_stride, which, flags, bounds = operands[10:]
    e, b = Emitter(builder), builder
    tile = _SparseTile(e, *size)
    cursor = cgutils.alloca_once(b, I64)
    b.store(pointers, cursor)
    stream = {"inputs": inputs, "records": records, "cursor": cursor, "masks": masks}
    from_left = tile.side(right, left=False, **stream)
    kept = e.variables(len(from_left))
    for value, variable in zip(from_left, kept, strict=True):
        b.store(value, variable)
    tile.side(left, left=True, **stream)
    tile.each(lambda v, q, i: b.fadd(v, b.load(kept[q * tile.vectors + i])))
    tile.add_biases(bias)
    tile.add_start(start, start_stride)
    tile.accumulate(inputs, records, cursor)
    tile.finish(flags, bounds, masks)
    tile.store(out, out_stride, which)


CONVOLVE = Microkernel("convolve", 14, isa.MICROKERNELS, _convolve)
