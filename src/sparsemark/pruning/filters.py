"""Whole filters become zero and stay in place: structured sparsity without a change of shape.

Source: Li et al., Pruning Filters for Efficient ConvNets, 2017.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.utils import prune as torch_prune

from sparsemark.errors import UnsupportedError
from sparsemark.pruning.base import NO_PLAN
from sparsemark.pruning.masks import output_layers, prunable_layers

if TYPE_CHECKING:
    import torch

    from sparsemark.pruning.base import ChannelPlan, Request


def mask_filters(module: torch.nn.Module, request: Request) -> ChannelPlan:
    """Mask the filters with the smallest L1 norm of each layer, except the layers that make the outputs.

    A masked filter still puts out its bias, folded BatchNorm included, so the next layer still has work to do.

    Raises:
        UnsupportedError: every layer makes an output.
    """
    kept = {id(layer) for layer in output_layers(module, request.example)}
    layers = [layer for layer in prunable_layers(module) if id(layer) not in kept]
    if not layers:
        raise UnsupportedError("every layer makes an output, so there is no filter to remove")
    for layer in layers:
        # A transposed convolution's weight is (in, out, ...): its filters lie along the second axis.
        axis = 1 if getattr(layer, "transposed", False) else 0
        torch_prune.ln_structured(layer, "weight", request.spec.sparsity, n=1, dim=axis)
    return NO_PLAN
