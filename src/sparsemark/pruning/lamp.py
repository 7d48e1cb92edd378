"""LAMP: global pruning by a score that says how much of its layer a weight would take with it.

Source: Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.pruning.base import Request
    from sparsemark.pruning.scores import Scores
    from sparsemark.pruning.weights import Weight


def lamp_scores(
    module: torch.nn.Module,  # noqa: ARG001 - as every score function takes it
    weights: Sequence[Weight],
    request: Request,  # noqa: ARG001 - as above
) -> tuple[Scores, tuple[str, ...]]:
    """Return the square of each weight over the sum of the squares in its layer that are no smaller.

    The largest weight of every layer scores 1, so no layer vanishes before all others are as thin.
    """
    return {weight.key: _of_layer(weight.parameter.detach()) for weight in weights}, ()


def _of_layer(values: torch.Tensor) -> torch.Tensor:
    # In float64: sums over a layer lose the differences between its smallest weights.
    squares, order = values.contiguous().flatten().double().square().sort()
    no_smaller = squares.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = squares / no_smaller.clamp(min=torch.finfo(torch.float64).tiny)
    return scores.reshape(values.shape)
