"""The smallest weights become zero: over the whole network, in each layer, or below one threshold as the paper says it.

Source: Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparsemark.pruning.base import Pruned
from sparsemark.pruning.masks import apply
from sparsemark.pruning.weights import prunable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.pruning.base import Request
    from sparsemark.pruning.masks import Masks
    from sparsemark.pruning.weights import Weight


def mask_globally(module: torch.nn.Module, request: Request) -> Pruned:
    """Mask the weights with the smallest absolute value in the whole network."""
    masks = smallest(prunable(module, request.inputs), request.spec.sparsity)
    apply(module, masks)
    return Pruned(masks=masks)


def mask_each_layer(module: torch.nn.Module, request: Request) -> Pruned:
    """Mask the weights with the smallest absolute value of each layer, the same fraction everywhere."""
    masks: Masks = {}
    for weight in prunable(module, request.inputs):
        masks |= smallest([weight], request.spec.sparsity)
    apply(module, masks)
    return Pruned(masks=masks)


def mask_below_threshold(module: torch.nn.Module, request: Request) -> Pruned:
    """Mask weights and biases below one threshold, chosen so that the given fraction of both lies below it.

    This is the paper's wording ("we zero out few weights and biases", "weights less than a threshold are ignored");
    `mask_globally` leaves biases alone. Biases are those beside a weight: a normalisation's shift is none.
    """
    parameters = dict(module.named_parameters())
    owners = {weight.key.rpartition(".")[0] for weight in prunable(module, request.inputs)}
    names = [weight.key for weight in prunable(module, request.inputs)]
    names += [
        name for name, p in parameters.items() if p.ndim == 1 and "bias" in name and name.rpartition(".")[0] in owners
    ]
    tensors = {name: parameters[name].detach() for name in names}
    values = torch.cat([tensor.abs().flatten() for tensor in tensors.values()])
    # Rounded as torch's own pruning rounds a fraction; the largest value always stays.
    below = min(round(request.spec.sparsity * values.numel()), values.numel() - 1)
    threshold = values.sort().values[below]
    masks = {name: tensor.abs() >= threshold for name, tensor in tensors.items()}
    apply(module, masks)
    return Pruned(masks=masks)


def smallest(weights: Sequence[Weight], sparsity: float) -> Masks:
    """Return masks of the given fraction of weights, those of smallest absolute value over all that are given."""
    return lowest({weight.key: weight.parameter.detach().abs() for weight in weights}, sparsity)


def lowest(scores: dict[str, torch.Tensor], amount: float | int) -> Masks:
    """Return masks of the values with the lowest scores over all tensors.

    Args:
        scores: by parameter name.
        amount: how many, or which fraction of them.
    """
    flat = torch.cat([score.contiguous().flatten() for score in scores.values()])
    count = amount if isinstance(amount, int) else round(amount * flat.numel())
    kept = torch.ones(flat.numel(), dtype=torch.bool)
    kept[torch.topk(flat, count, largest=False).indices] = False
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}
