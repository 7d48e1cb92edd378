"""Non-zero weights of a convolution of stride 1, as coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Taps:
    """Non-zeros of a convolution of stride 1: parallel arrays.

    The extents of millions of them are computed once, since every way to run them asks again.

    Args:
        out: output channel.
        plane: input plane.
        dy, dx: row and column of the input relative to the output's.
        weight: float32.
    """

    out: NDArray[np.signedinteger]
    plane: NDArray[np.signedinteger]
    dy: NDArray[np.signedinteger]
    dx: NDArray[np.signedinteger]
    weight: NDArray[np.float32]

    def packed(self) -> Taps:
        """The same to be kept: each array in the smallest type that holds it."""
        return self._converted(_smallest)

    def unpacked(self) -> Taps:
        """The same to be reckoned with: nothing overflows 64 bits."""
        return self._converted(lambda numbers: numbers.astype(np.int64))

    def _converted(self, convert: Callable[[NDArray[np.signedinteger]], NDArray[np.signedinteger]]) -> Taps:
        return Taps(convert(self.out), convert(self.plane), convert(self.dy), convert(self.dx), self.weight)

    @cached_property
    def largest(self) -> float:
        """Largest absolute weight; NaN where one is."""
        return float(np.abs(self.weight).max(initial=0))

    @cached_property
    def right(self) -> int:
        """Columns to the left of the centre, whose sums move right."""
        return max(0, -int(self.dx.min(initial=0)))

    @cached_property
    def left(self) -> int:
        """Columns to the right of the centre."""
        return max(0, int(self.dx.max(initial=0)))

    @cached_property
    def above(self) -> int:
        """Rows of zeros that are needed above the first row."""
        return max(0, -int(self.dy.min(initial=0)))

    @cached_property
    def below(self) -> int:
        """Rows that are read below an output's own."""
        return max(0, int(self.dy.max(initial=0)))


def _smallest(numbers: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    low, high = numbers.min(initial=0), numbers.max(initial=0)
    kinds = (kind for kind in "bhiq" if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return numbers.astype(next(kinds))
