"""Rounding of float64 results to float32, where one wants to see what that alone costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

    Rounding = Callable[[Array], Array]
    """Takes float64 and returns float64 that float32 holds exactly."""


def to_nearest(values: Array) -> Array:
    """Round as processors do."""
    return values.astype(np.float32).astype(np.float64)


def at_random(rng: np.random.Generator) -> Rounding:
    """Return a rounding to one of the two nearest numbers, the nearer one the likelier: right on average.

    Runs that round at random differ as programs do that add in another order, which one run to the nearest cannot show
    (Parker, Monte Carlo Arithmetic, 1997).

    Args:
        rng: draws anew for each number.
    """

    def rounded(values: Array) -> Array:
        nearest = values.astype(np.float32)
        other = np.nextafter(nearest, np.where(values > nearest, np.inf, -np.inf).astype(np.float32))
        width = np.abs(other.astype(np.float64) - nearest)
        # Of what is not finite the share is not a number, and the nearest stays.
        further = rng.random(values.shape) < np.abs(values - nearest) / width
        return np.where(further, other, nearest).astype(np.float64)

    return rounded
