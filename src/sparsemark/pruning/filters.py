"""Whole filters become zero and stay in place: structured sparsity without a change of shape.

Source: Li et al., Pruning Filters for Efficient ConvNets, 2017.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparsemark.errors import UnsupportedError
from sparsemark.pruning.base import Pruned
from sparsemark.pruning.masks import apply
from sparsemark.pruning.output_layers import output_layers
from sparsemark.pruning.weights import named_layers, prunable

if TYPE_CHECKING:
    from sparsemark.pruning.base import Request


def mask_filters(module: torch.nn.Module, request: Request) -> Pruned:
    """Mask the filters with the smallest L1 norm of each layer, except the layers that make the outputs.

    A masked filter still puts out its bias, folded BatchNorm included, so the next layer still has work to do.

    Raises:
        UnsupportedError: every layer makes an output.
    """
    usable = prunable(module, request.inputs)
    kept = {id(layer) for layer in output_layers(module, request.inputs)}
    layers = {id(layer.weight) for _, layer in named_layers(module) if id(layer) not in kept}
    weights = [weight for weight in usable if id(weight.parameter) in layers]
    if not weights:
        raise UnsupportedError("every layer makes an output, so there is no filter to remove")
    masks = {}
    for weight in weights:
        values = weight.parameter.detach().abs()
        norms = values.sum(dim=[axis for axis in range(values.ndim) if axis != weight.outputs])
        left = norms.numel() - round(request.spec.sparsity * norms.numel())
        stays = torch.zeros_like(norms, dtype=torch.bool)
        stays[torch.topk(norms, left).indices] = True
        shape = [-1 if axis == weight.outputs else 1 for axis in range(values.ndim)]
        masks[weight.key] = stays.reshape(shape).expand(values.shape).clone()
    apply(module, masks)
    return Pruned(masks=masks)
