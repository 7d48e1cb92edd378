"""Changes of a convolution that is run alone: rounded up, thinned out, filled, cut in half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.measurement.explanation.subject import Window


def rounded(count: int, multiple: int) -> int:
    """Return the next multiple."""
    return -(-count // multiple) * multiple


def widened(window: Window, multiple: int, *, inputs: bool) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return weight and source with channels in a multiple; further ones repeat the first, at the same density.

    Args:
        window: of one group.
        multiple: of channels.
        inputs: whether those that it reads are rounded up as well.
    """
    outputs, read = window.weight.shape[:2]
    more = rounded(outputs, multiple) - outputs, rounded(read, multiple) - read if inputs else 0
    weight = np.pad(window.weight, ((0, more[0]), (0, more[1]), (0, 0), (0, 0)), mode="wrap")
    return weight, (1, read + more[1], *window.source[2:])


def thinned(weight: NDArray[Any], density: float) -> NDArray[Any]:
    """Return a weight of which a random share is left."""
    return np.where(np.random.default_rng(0).random(weight.shape) < density, weight, np.float32(0))


def filled(weight: NDArray[Any]) -> NDArray[Any]:
    """Return a weight without zeros; what was one is random, of the size of the others."""
    size = float(np.abs(weight).mean()) or 1.0
    noise = np.random.default_rng(0).uniform(0.5 * size, size, weight.shape).astype(np.float32)
    return np.where(weight == 0, noise, weight)


def subnormal(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where float32 values are smaller than what is computed at full speed, and not zero."""
    found: NDArray[np.bool_] = (values != 0) & (np.abs(values) < np.finfo(np.float32).tiny)
    return found
