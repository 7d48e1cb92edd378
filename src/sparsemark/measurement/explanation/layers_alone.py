"""Layers run alone and timed beside a changed form of themselves, the same way in every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.machine.topology import second_level_cache
from sparsemark.measurement.explanation.pairs import PAIRS, time_pairs
from sparsemark.records.explanation import Advice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.measurement.explanation.subject import Window
    from sparsemark.records.explanation import Fact

    Call = Callable[[], Any]
    Alone = Callable[[NDArray[Any], Mapping[str, Any], tuple[int, ...]], Call]

_BUDGET = 2.0
"""Seconds of pairs for all layers together."""

_FLOAT = 4  # bytes


def beyond_cache(windows: Sequence[Window], alone: Alone) -> Advice | None:
    """Time layers whose activations exceed the second-level cache beside twice the same layer on half the rows.

    None where there is none, or the size of the cache is not shown.

    Args:
        windows: convolutions of the network.
        alone: returns a call of one convolution, given weight, attributes and the shape of what it reads.
    """
    size = second_level_cache()
    if size is None:
        return None
    large = [window for window in windows if _bytes(window) > size and window.source[2] % 4 == 0]

    def halves(window: Window) -> Call:
        batch, channels, height, width = window.source
        half = alone(window.weight, window.attributes, (batch, channels, height // 2, width))

        def call() -> None:
            half()
            half()

        return call

    calls = [(alone(window.weight, window.attributes, window.source), halves(window)) for window in large]
    return sum_over_layers("cache", large, calls, {"bytes": size, "largest": max(map(_bytes, large), default=0)})


def _bytes(window: Window) -> int:
    """Of what a layer reads and what it makes."""
    return _FLOAT * int(np.prod(window.source) + np.prod(window.layer.shape))


def sum_over_layers(
    name: str, windows: Sequence[Window], calls: Sequence[tuple[Call, Call]], facts: Mapping[str, Fact]
) -> Advice | None:
    """Time each layer beside its changed form; seconds are sums over the layers. None where there is no layer."""
    if not calls:
        return None
    before, after = np.zeros(PAIRS), np.zeros(PAIRS)
    for pair in calls:
        one, other = time_pairs(*pair, budget=_BUDGET / len(calls))
        before, after = before + one, after + other
    return Advice(name, tuple(w.layer.name for w in windows), tuple(before.tolist()), tuple(after.tolist()), facts)
