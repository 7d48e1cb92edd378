"""The smallest weights become zero: over the whole network, in each layer, or below one threshold as the paper says it.

Source: Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.utils import prune as torch_prune

from sparsemark.pruning.base import NO_PLAN
from sparsemark.pruning.masks import prunable_layers

if TYPE_CHECKING:
    from sparsemark.pruning.base import ChannelPlan, Request


def mask_globally(module: torch.nn.Module, request: Request) -> ChannelPlan:
    """Mask the weights with the smallest absolute value in the whole network."""
    weights = [(layer, "weight") for layer in prunable_layers(module)]
    torch_prune.global_unstructured(weights, pruning_method=torch_prune.L1Unstructured, amount=request.spec.sparsity)
    return NO_PLAN


def mask_each_layer(module: torch.nn.Module, request: Request) -> ChannelPlan:
    """Mask the weights with the smallest absolute value of each layer, the same fraction everywhere."""
    for layer in prunable_layers(module):
        torch_prune.l1_unstructured(layer, "weight", request.spec.sparsity)
    return NO_PLAN


def mask_below_threshold(module: torch.nn.Module, request: Request) -> ChannelPlan:
    """Mask weights and biases below one threshold, chosen so that the given fraction of both lies below it.

    This is the paper's wording ("we zero out few weights and biases", "weights less than a threshold are ignored");
    `mask_globally` leaves biases alone.
    """
    layers = prunable_layers(module)
    tensors = [(layer, name) for layer in layers for name in ("weight", "bias") if getattr(layer, name) is not None]
    values = torch.cat([getattr(layer, name).detach().abs().flatten() for layer, name in tensors])
    # Rounded as torch's own pruning rounds a fraction; the largest value always stays.
    below = min(round(request.spec.sparsity * values.numel()), values.numel() - 1)
    threshold = values.sort().values[below]
    for layer, name in tensors:
        torch_prune.custom_from_mask(layer, name, getattr(layer, name).detach().abs() >= threshold)
    return NO_PLAN
