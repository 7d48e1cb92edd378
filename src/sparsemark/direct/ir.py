"""Tensors and operations of a lowered network: the form between its graph and its program."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.blocks import BLOCK
from sparsemark.direct.layout import Layout, row_for, row_of_words
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from sparsemark.direct.blocks import Blocks
    from sparsemark.direct.taps import Taps
    from sparsemark.formats.csr.graph import Graph

_LARGEST = 2**27
"""Floats in one tensor: a larger one is a damaged file rather than an image."""


@dataclass(eq=False)
class Tensor:
    """Channels x height x width. Compact ones have no zeros around them, so that they are vectors as well.

    A part of a whole is every `every`-th of its channels from `first` on.

    With a `fill`, each float is a word of four bytes, of four channels of a pixel, and a byte is the zero point of an
    int8 network: what lies around the pixels, which whoever makes the tensor writes as well.
    """

    channels: int
    height: int
    width: int
    row: int
    compact: bool = False
    top: int = 0
    bottom: int = 0
    whole: Tensor | None = None
    first: int = 0
    every: int = 1
    placed: Layout | None = None
    fill: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width


def planes(channels: int, height: int, width: int, row: int | None = None) -> Tensor:
    """A tensor whose rows are whole vectors."""
    check_size(channels, height, width)
    return Tensor(channels, height, width, row or row_for(width))


def words(channels: int, height: int, width: int, fill: int, row: int | None = None) -> Tensor:
    """A tensor of bytes for so many channels, four in a word."""
    check_size(channels, height, width)
    return Tensor(-(-channels // BLOCK), height, width, row or row_of_words(width), fill=fill)


def vector(channels: int, height: int = 1, width: int = 1) -> Tensor:
    """A compact tensor."""
    check_size(channels, height, width)
    return Tensor(channels, height, width, width, compact=True)


def part_of(whole: Tensor, first: int, channels: int, every: int = 1) -> Tensor:
    """View every `every`-th channel of a tensor from `first` on."""
    check_size(channels, whole.height, whole.width)
    if first < 0 or first + (channels - 1) * every >= whole.channels:
        raise UnsupportedError(f"channels from {first} on, {channels}, of {whole.channels}")
    return Tensor(
        channels, whole.height, whole.width, whole.row, whole.compact, whole=whole, first=first, every=every
    )  # fmt: skip


def check_size(channels: int, height: int, width: int) -> None:
    """Refuse a tensor that is empty or beyond reason; raises UnsupportedError."""
    if min(channels, height, width) < 1 or channels * height * width > _LARGEST:
        raise UnsupportedError(f"a tensor of {channels} x {height} x {width}")


@dataclass(eq=False)
class Operation:
    """One operation of the program.

    Args:
        code: of `isa`.
        name: of the node it comes from.
        source: None for the image.
        target: what it makes.
        second: other operand, or what is added to a convolution.
        numbers: columns of the program that only this operation has.
        parameters: floats that it reads.
        more: further floats: terms of CHANNELWISE and NORMALIZE, places of RESAMPLE.
        constant: second operand of BINARY where no tensor is; its columns SECOND_STEP and SECOND_ROW are in `numbers`.
        scratch: floats that each thread needs for it.
    """

    code: int
    name: str
    source: Tensor | None
    target: Tensor
    second: Tensor | None = None
    numbers: dict[int, int] = field(default_factory=dict)
    parameters: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    more: NDArray[np.float32] | None = None
    constant: NDArray[np.float32] | None = None
    scratch: int = 0

    @property
    def tensors(self) -> list[Tensor]:
        """All that it reads or makes."""
        return [tensor for tensor in (self.source, self.second, self.target) if tensor is not None]

    @property
    def targets(self) -> list[Tensor]:
        """Tensor that it makes, as a list."""
        return [self.target]


@dataclass(eq=False)
class Convolution(Operation):
    """A sparse convolution of stride 1, and what was fused into it. `parameters` is the bias, one a channel.

    It is `bounded` if what reads it next has a limit: sums may then be far larger than anything that becomes of them.
    `swish` is HardSwish of the sums.
    Where it is `split`, its taps read the four phases of each channel of a stride of 2, which lie nowhere but, a few
    channels at a time, in the scratch of a thread; output channel n reads those of channel n alone.
    """

    taps: Taps = field(kw_only=True)
    height: int = field(kw_only=True)
    width: int = field(kw_only=True)
    weights: int = field(kw_only=True)
    clamp: tuple[float, float] = (-math.inf, math.inf)
    pooled: bool = False
    bounded: bool = False
    swish: bool = False
    split: Tensor | None = None

    @property
    def outputs(self) -> int:
        """Output channels, those of every phase of a transposed convolution counted."""
        return self.target.channels

    @property
    def pooled_row(self) -> int | None:
        """Floats in a row after pooling, or None."""
        return self.target.row if self.pooled else None


@dataclass(eq=False)
class BlockConvolution(Operation):
    """A convolution of bytes, of stride 1, and the rounding of its sums to bytes.

    Args:
        blocks: of its weights.
        bias: int32, of each output channel; includes what the zero point of the input adds to its sums.
        scales: float32, of each output channel: what a sum is multiplied with.
        levels: zero point of the output, its least and its largest value.
        weights: zeros counted.
        height, width: before it pools.
        pooled: whether it makes the largest of 2 x 2 squares.
    """

    blocks: Blocks = field(kw_only=True)
    bias: NDArray[np.int32] = field(kw_only=True)
    scales: NDArray[np.float32] = field(kw_only=True)
    levels: tuple[int, int, int] = field(kw_only=True)
    weights: int = field(kw_only=True)
    height: int = field(kw_only=True)
    width: int = field(kw_only=True)
    pooled: bool = False

    @property
    def nonzeros(self) -> int:
        """Weights that are not zero."""
        return int(np.count_nonzero(self.blocks.weights))


@dataclass(eq=False)
class Matrix(Operation):
    """A sparse matrix times a vector."""

    rows: NDArray[np.int32] = field(kw_only=True)
    columns: NDArray[np.int32] = field(kw_only=True)
    values: NDArray[np.float32] = field(kw_only=True)
    weights: int = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class Border:
    """An activation that passes between native operations and the dense engine: compact, so that an array views it."""

    tensor: Tensor
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Dense:
    """Nodes that the dense engine runs between two native calls.

    Args:
        name: of the part.
        graph: its nodes with their constants; its inputs and outputs are what crosses its border.
        sources: inputs that lie in the arena. The others are the image, or what another part left outside of it.
        results: outputs that native operations read. The others stay outside of the arena.
    """

    name: str
    graph: Graph
    sources: Mapping[str, Border]
    results: Mapping[str, Border]

    @property
    def place(self) -> str:
        """Where in the network it is, for an error: `dense part 0, from Conv at stem on`."""
        first = self.graph.nodes[0]
        return f"{self.name}, from {first.op} at {first.name} on"

    @property
    def tensors(self) -> list[Tensor]:
        """All in the arena that it reads or makes."""
        return [border.tensor for border in (*self.sources.values(), *self.results.values())]

    @property
    def targets(self) -> list[Tensor]:
        """Tensors in the arena that it makes."""
        return [border.tensor for border in self.results.values()]


@dataclass(frozen=True)
class Lowered:
    """A network for one shape of input.

    Args:
        shape: of the input.
        operations: that run natively, in order.
        outputs: tensors with the shapes that the network gives them; None for one that a dense part makes.
        dense: parts that the dense engine runs, each with the number of operations that come before it, in order.
    """

    shape: tuple[int, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[tuple[Tensor | None, tuple[int, ...]], ...]
    dense: tuple[tuple[int, Dense], ...] = ()

    def steps(self) -> Iterator[Operation | Dense]:
        """Operations and dense parts in the order in which they run."""
        done = 0
        for before, part in self.dense:
            yield from self.operations[done:before]
            yield part
            done = before
        yield from self.operations[done:]
