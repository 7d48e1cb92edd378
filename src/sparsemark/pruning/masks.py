"""Masks on weights, through torch.nn.utils.prune: which weights can carry one, and how its zeros become permanent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils import prune as torch_prune
from torch.utils import _pytree as pytree

from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.nn.modules.conv import _ConvNd

    Layer = _ConvNd | nn.Linear

LAYERS: tuple[type[Layer], ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)
"""Layers whose weights are pruned and counted: their multiply-adds are nearly all of a network's."""


def named_layers(module: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Yield the layers that own their weight, with their names, in order of registration."""
    for name, layer in module.named_modules():
        # A re-parametrised weight (weight_norm, quantisation) is computed at each call and cannot hold a mask.
        masked = "weight_orig" in layer._parameters and "weight_mask" in layer._buffers
        if isinstance(layer, LAYERS) and ("weight" in layer._parameters or masked):
            yield name, layer


def prunable_layers(module: nn.Module) -> list[Layer]:
    """The layers to mask, their weights made contiguous: torch's pruning views them flat, and channels-last cannot be.

    Raises:
        UnsupportedError: there is none, or two layers share a weight.
    """
    layers = [layer for _, layer in named_layers(module)]
    if not layers:
        raise UnsupportedError("no convolution or linear layer with a weight of its own")
    if len({id(layer.weight) for layer in layers}) < len(layers):
        raise UnsupportedError("two layers share one weight, and a mask on the one would untie them")
    for layer in layers:
        layer.weight.data = layer.weight.data.contiguous()
    return layers


def output_layers(module: nn.Module, example: torch.Tensor) -> list[Layer]:
    """Find the layers that make the network's outputs, by walking back from them through the autograd graph.

    Args:
        module: any network; outputs may be a tensor or nested in tuples, lists and dictionaries.
        example: one input.

    Returns:
        The last layers with weights on every path; what they put out is what the user gets, so it must keep its shape.
    """
    owners = {id(layer.weight): layer for _, layer in named_layers(module)}
    frozen = [parameter for parameter in module.parameters() if not parameter.requires_grad]
    try:
        # A frozen weight leaves no trace in the graph.
        for parameter in frozen:
            parameter.requires_grad = True
        with torch.enable_grad():
            outputs = module.eval()(example.clone().requires_grad_())
    finally:
        for parameter in frozen:
            parameter.requires_grad = False
    pending = [leaf.grad_fn for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
    seen = set()
    found: dict[int, Layer] = {}
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        weights = [owners[key] for key in _parameters_of(node) if key in owners]
        if weights:
            found |= {id(layer): layer for layer in weights}
        else:
            pending.extend(parent for parent, _ in node.next_functions)
    return list(found.values())


def _parameters_of(node: torch.autograd.graph.Node) -> list[int]:
    """Parameters that enter this operation, directly or transposed (a linear layer's weight is)."""
    direct = [parent for parent, _ in node.next_functions if parent is not None]
    through = [g for p in direct if p.name() == "TBackward0" for g, _ in p.next_functions if g is not None]
    return [id(p.variable) for p in (*direct, *through) if hasattr(p, "variable")]


def hold_zeros(module: nn.Module) -> None:
    """Mask every weight that is zero, beside the masks attached already, so that fine-tuning cannot bring it back."""
    for layer in prunable_layers(module):
        torch_prune.custom_from_mask(layer, "weight", layer.weight.detach() != 0)


def make_permanent(module: nn.Module) -> None:
    """Write the zeros of attached masks into the weights and drop the masks.

    While a mask is attached every forward multiplies by it, so neither export nor timing may see one.
    """
    for layer in module.modules():
        for name in [name for name, _ in layer.named_parameters(recurse=False) if name.endswith("_orig")]:
            if torch_prune.is_pruned(layer):
                torch_prune.remove(layer, name.removesuffix("_orig"))
