"""Controls for a pruning result: nothing removed, a mask of ones, and as many weights removed at random."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch.nn.utils import prune as torch_prune

from sparsemark.pruning.base import NO_PLAN
from sparsemark.pruning.magnitude import mask_globally
from sparsemark.pruning.masks import prunable_layers

if TYPE_CHECKING:
    from sparsemark.pruning.base import ChannelPlan, Request


def leave_alone(module: torch.nn.Module, request: Request) -> ChannelPlan:  # noqa: ARG001 - a pruner that removes nothing
    """Leave the network as it was trained."""
    return NO_PLAN


def mask_nothing(module: torch.nn.Module, request: Request) -> ChannelPlan:  # noqa: ARG001 - whatever is asked, all stays
    """Attach masks of ones: fine-tuned as long as the pruned networks, the dense control of latency and of accuracy."""
    for layer in prunable_layers(module):
        torch_prune.identity(layer, "weight")
    return NO_PLAN


def mask_at_random(module: torch.nn.Module, request: Request) -> ChannelPlan:
    """Mask weights at random, as many in each layer as global magnitude would: a control for the choice of weights."""
    layers = prunable_layers(module)
    twin = copy.deepcopy(module)
    mask_globally(twin, request)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        for layer, pruned in zip(layers, prunable_layers(twin), strict=True):
            zeros = int(torch.count_nonzero(pruned.weight == 0))
            # Zeros that are there already count, as they do for magnitude.
            order = (1 - torch.rand_like(layer.weight)) * (layer.weight != 0)
            torch_prune.l1_unstructured(layer, "weight", zeros, importance_scores=order)
    return NO_PLAN
