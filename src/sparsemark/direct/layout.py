"""Layout of a tensor of channels in the arena.

One plane a channel, rows ROW floats apart, rows of zeros above and below so that no tap needs a test at the border.
Columns need no such zeros: sums are shifted, and what crosses an edge is masked.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparsemark.direct.target import LANES

WORDS = 8
"""Pixels of a vector of bytes, four channels each: 256 bits, on every processor."""

LINE = 64
"""Bytes of a line of the cache."""

PIXELS = 4 * LANES
"""Pixels of a row that are normalised together over their channels: their sums stay in the first-level cache."""


@dataclass(frozen=True)
class Layout:
    """Where a tensor of channels lies.

    Args:
        channels, height, width: its shape.
        row: floats from one row to the next.
        top, bottom: rows of zeros kept above and below.
        step: floats from one plane to the next.
        position: of the first row of the first plane, in floats.
    """

    channels: int
    height: int
    width: int
    row: int
    top: int
    bottom: int
    step: int
    position: int


def row_for(width: int) -> int:
    """Floats in a row of `width` pixels: whole vectors, or a power of two that divides one."""
    return 1 << (width - 1).bit_length() if width <= LANES else -(-width // LANES) * LANES


def row_of_words(width: int, beside: int = 1) -> int:
    """Words in a row of `width` pixels and at least as many pixels `beside` them, which rows share: whole vectors."""
    least = max(WORDS, LANES)
    return -(-(width + beside) // least) * least


def channel_step(height: int, row: int, top: int, bottom: int) -> int:
    """Floats in a plane: an odd number of vectors, since planes a power of two apart fall into one set of the cache."""
    vectors = -(-(height + top + bottom) * row // LANES) + 1
    return (vectors | 1) * LANES
