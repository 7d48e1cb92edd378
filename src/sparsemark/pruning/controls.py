"""Controls for a pruning result: nothing removed, a mask of ones, and as many weights removed at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparsemark.pruning.base import Pruned
from sparsemark.pruning.magnitude import lowest, smallest
from sparsemark.pruning.masks import apply
from sparsemark.pruning.weights import prunable

if TYPE_CHECKING:
    from sparsemark.pruning.base import Request
    from sparsemark.pruning.masks import Masks


def leave_alone(module: torch.nn.Module, request: Request) -> Pruned:  # noqa: ARG001 - a pruner that removes nothing
    """Leave the network as it was trained."""
    return Pruned()


def mask_nothing(module: torch.nn.Module, request: Request) -> Pruned:
    """Mask with ones: fine-tuned as long as the pruned networks, the dense control of latency and of accuracy."""
    weights = prunable(module, request.inputs)
    return Pruned(masks={weight.key: torch.ones_like(weight.parameter, dtype=torch.bool) for weight in weights})


def mask_at_random(module: torch.nn.Module, request: Request) -> Pruned:
    """Mask weights at random, as many of each as global magnitude would, beyond zeros that are there already.

    A control for the choice of weights.
    """
    weights = prunable(module, request.inputs)
    chosen = smallest(weights, request.spec.sparsity)
    masks: Masks = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        for weight in weights:
            values = weight.parameter.detach().contiguous()
            zero = values == 0
            more = int(torch.count_nonzero(~chosen[weight.key] & ~zero))
            # Zeros come first in the order, as they do for magnitude.
            order = (1 - torch.rand_like(values)) * ~zero
            masks |= lowest({weight.key: order}, int(zero.sum()) + more)
    apply(module, masks)
    return Pruned(masks=masks)
