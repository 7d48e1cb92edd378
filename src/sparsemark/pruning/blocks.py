"""Blocks of four input channels: whole ones become zero, or two weights of each.

1 x 4 blocks are what vector units load at once. Sources: for blocks, Gray et al., GPU Kernels for Block-Sparse Weights,
2017, whose blocks are square and made for GPUs; for 2 of 4, Mishra et al., Accelerating Sparse Deep Neural Networks,
2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparsemark.pruning.layout import BLOCK, blocks, input_channels
from sparsemark.pruning.magnitude import magnitudes
from sparsemark.pruning.weights import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.pruning.base import Request
    from sparsemark.pruning.masks import Masks
    from sparsemark.pruning.scores import Scores
    from sparsemark.pruning.weights import Weight

_KEPT = 2
"""Weights of four that stay."""


def block_magnitudes(
    module: torch.nn.Module, weights: Sequence[Weight], request: Request
) -> tuple[Scores, tuple[str, ...]]:
    """Return the absolute values of the weights, and name the layers whose last block is padded."""
    padded = {one.name: one.parameter.numel() for one in weights if input_channels(one) % BLOCK}
    note = f"{request.spec.method}: input channels are no multiple of 4, so the last block is padded: {listed(padded)}"
    return magnitudes(module, weights, request)[0], (note,) if padded and request.spec.sparsity else ()


def lowest_blocks(weight: Weight, score: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Return the mask of the blocks of one weight with the lowest mean score."""
    return lowest_blocks_in_network([weight], {weight.key: score}, sparsity)[weight.key]


def lowest_blocks_in_network(weights: Sequence[Weight], scores: Mapping[str, torch.Tensor], sparsity: float) -> Masks:
    """Return masks of the blocks with the lowest mean score over all weights.

    Blocks go until the number of weights in them is nearest to the given fraction; a padded block counts what it holds.
    """
    places = [blocks(weight) for weight in weights]
    sizes = [(place >= 0).sum(dim=1) for place in places]
    means = [
        _values(scores[weight.key], place).sum(dim=1) / size
        for weight, place, size in zip(weights, places, sizes, strict=True)
    ]
    size, order = torch.cat(sizes), torch.cat(means).sort(stable=True).indices
    removed = torch.cat([torch.zeros(1, dtype=size.dtype), size[order].cumsum(0)])
    count = int((removed - sparsity * int(size.sum())).abs().argmin())
    gone = torch.zeros(len(order), dtype=torch.bool)
    gone[order[:count]] = True
    parts = torch.split(gone, [len(place) for place in places])
    return {
        weight.key: _without(weight, place[part]) for weight, place, part in zip(weights, places, parts, strict=True)
    }


def draw_blocks(weight: Weight, generator: torch.Generator) -> torch.Tensor:
    """Draw one number for all values of a block, as `Draw` says; 0 for a block that is zero already.

    The mean of four numbers, one for each value, would seldom be as low as the single one of a padded block.
    """
    place = blocks(weight)
    values = weight.parameter.detach().contiguous().flatten()
    drawn = (1 - torch.rand(len(place), generator=generator)) * (_values(values, place) != 0).any(dim=1)
    found = torch.empty(len(values))
    found[place[place >= 0]] = drawn.repeat_interleave((place >= 0).sum(dim=1))
    return found.reshape(weight.parameter.shape)


def two_of_four(weight: Weight, score: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Return the mask that keeps the two highest scores of each block of four.

    Below a sparsity of a half, as in the rounds of a schedule, only as many blocks lose weights as it takes: those
    whose two lowest scores have the smallest sum. A padded block keeps two as well, so of a layer with fewer than three
    input channels nothing goes.
    """
    place = blocks(weight)
    # Padding comes first, as the zeros that it stands for.
    lowest = _values(score, place).masked_fill(place < 0, -1.0).topk(BLOCK - _KEPT, dim=1, largest=False).indices
    cost = _values(score, place).gather(1, lowest).sum(dim=1)
    share = min(1.0, sparsity * BLOCK / (BLOCK - _KEPT))
    chosen = cost.sort(stable=True).indices[: round(share * len(place))]
    return _without(weight, place.gather(1, lowest)[chosen])


def _values(score: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Return the scores of blocks, 0 where they are padded."""
    return score.contiguous().flatten()[place.clamp(min=0)] * (place >= 0)


def _without(weight: Weight, place: torch.Tensor) -> torch.Tensor:
    """Return the mask of a weight without the elements of these numbers."""
    kept = torch.ones(weight.parameter.numel(), dtype=torch.bool)
    kept[place[place >= 0]] = False
    return kept.reshape(weight.parameter.shape)
