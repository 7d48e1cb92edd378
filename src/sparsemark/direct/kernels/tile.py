"""Tile of sums: output channels x vectors of pixels that stay in registers until they are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.direct import isa
from sparsemark.direct.kernels.emitter import BYTES, F32, I64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llvmlite import ir

    from sparsemark.direct.kernels.emitter import Emitter


class Tile:
    """Accumulators of one tile: `channels` x `vectors` registers."""

    def __init__(self, emitter: Emitter, channels: int, vectors: int) -> None:
        self.e, self.channels, self.vectors = emitter, channels, vectors
        self.sums = emitter.variables(channels * vectors)

    def get(self) -> list[ir.Value]:
        """Return the sums, those of a channel together."""
        return [self.e.b.load(v) for v in self.sums]

    def put(self, values: Sequence[ir.Value]) -> None:
        """Replace the sums."""
        for value, variable in zip(values, self.sums, strict=True):
            self.e.b.store(value, variable)

    def each(self, change: Callable[[ir.Value, int, int], ir.Value]) -> None:
        """Change every sum, given its channel and its vector."""
        self.put([change(v, i // self.vectors, i % self.vectors) for i, v in enumerate(self.get())])

    def add_biases(self, bias: ir.Value) -> None:
        """Add a float of each channel, from an address on."""
        biases = [self.e.splat(self.e.load(self.e.plus(bias, 4 * q), F32)) for q in range(self.channels)]
        self.each(lambda value, q, _: self.e.b.fadd(value, biases[q]))

    def add_start(self, start: ir.Value, stride: ir.Value) -> None:
        """Add what lies at an address, `stride` bytes from one channel to the next; nothing where it is 0."""
        e, b = self.e, self.e.b
        with b.if_then(b.icmp_signed("!=", start, I64(0))):
            rows = [b.add(start, b.mul(stride, I64(q))) for q in range(self.channels)]
            self.each(lambda value, q, i: b.fadd(value, e.load(e.plus(rows[q], BYTES * i))))

    def finish(self, flags: ir.Value, bounds: ir.Value, masks: ir.Value) -> None:
        """Do to the sums what flags ask for: HardSwish, bounds, a mask of the output."""
        e, b = self.e, self.e.b
        with b.if_then(e.has(flags, isa.SWISH)):
            self.each(lambda value, _q, _i: e.hard_swish(value))
        for flag, at, limited in ((isa.CLAMP_LOW, 0, e.at_least), (isa.CLAMP_HIGH, 4, e.at_most)):
            with b.if_then(e.has(flags, flag)):
                limit = e.splat(e.load(e.plus(bounds, at), F32))
                self.each(lambda value, _q, _i: limited(value, limit))  # noqa: B023
        with b.if_then(e.has(flags, isa.MASK_OUTPUT)):
            self.each(lambda value, _q, i: e.masked(value, e.plus(masks, BYTES * (2 * self.vectors + i))))

    def store(self, out: ir.Value, stride: ir.Value, which: ir.Value) -> None:
        """Store the vectors whose bit is set in `which`."""
        e, b = self.e, self.e.b
        rows = [b.add(out, b.mul(stride, I64(q))) for q in range(self.channels)]
        with b.if_else(b.icmp_signed("==", which, I64((1 << self.vectors) - 1))) as (whole, partly):
            for branch, is_whole in ((whole, True), (partly, False)):
                with branch:
                    for i in range(self.vectors):
                        values = [b.load(self.sums[q * self.vectors + i]) for q in range(self.channels)]
                        if is_whole:
                            for row, value in zip(rows, values, strict=True):
                                e.store(value, e.plus(row, BYTES * i))
                        else:
                            with b.if_then(e.has(which, 1 << i)):
                                for row, value in zip(rows, values, strict=True):
                                    e.store(value, e.plus(row, BYTES * i))
