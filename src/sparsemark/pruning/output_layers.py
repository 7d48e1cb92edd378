"""Layers that make a network's outputs: what they put out is what the user gets, so it must keep its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparsemark.errors import UnsupportedError
from sparsemark.networks.channel_graph import recurrent_layers
from sparsemark.networks.outputs import output_tensors
from sparsemark.pruning.weights import named_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn
    from torch.autograd.graph import Node

    from sparsemark.pruning.weights import Layer


def output_layers(module: nn.Module, inputs: Sequence[torch.Tensor], *, features: bool = True) -> list[Layer]:
    """Find the last layers with weights on every path, by walking back from the outputs through the autograd graph.

    A recurrent layer ends a path as well, but is none of the layers returned: pruning leaves its outputs as they are.

    Args:
        module: any network, its outputs nested in any way.
        inputs: one value of each.
        features: whether an output from which another output is computed is one.

    Raises:
        UnsupportedError: an output leaves no trace in the graph.
    """
    owners: dict[int, Layer | None] = {
        id(parameter): None for layer in recurrent_layers(module).values() for parameter in layer.parameters()
    }
    owners |= {id(layer.weight): layer for _, layer in named_layers(module)}
    frozen = [parameter for parameter in module.parameters() if not parameter.requires_grad]
    try:
        # A frozen weight leaves no trace in the graph.
        for parameter in frozen:
            parameter.requires_grad = parameter.is_floating_point()
        with torch.enable_grad():
            outputs = module.eval()(*(one.clone() for one in inputs))
    finally:
        for parameter in frozen:
            parameter.requires_grad = False
    tensors = output_tensors(outputs)
    nodes = [tensor.grad_fn for tensor in tensors]
    untraced = [index for index, node in enumerate(nodes) if node is None]
    if len(untraced) == len(nodes) or any(not tensors[index].is_floating_point() for index in untraced):
        raise UnsupportedError(
            f"output {untraced[0]} carries no gradient (no_grad, detach, argmax), so the layers that make it cannot be "
            "found and kept whole"
        )
    if not features:
        nodes = [nodes[index] for index in _last(nodes)]
    pending = list(nodes)
    seen: set[Node] = set()
    found: dict[int, Layer] = {}
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        weights = [owners[key] for key in _parameters_of(node) if key in owners]
        if weights:
            found |= {id(layer): layer for layer in weights if layer is not None}
        else:
            pending.extend(parent for parent, _ in node.next_functions)
    return list(found.values())


def last_outputs(module: nn.Module, inputs: Sequence[torch.Tensor]) -> list[int]:
    """Return the indices of outputs from which no other output is computed."""
    with torch.enable_grad():
        outputs = output_tensors(module.eval()(*(one.clone() for one in inputs)))
    return _last([tensor.grad_fn for tensor in outputs])


def _last(nodes: Sequence[Node | None]) -> list[int]:
    below = [_ancestors(node) for node in nodes]
    return [
        index
        for index, node in enumerate(nodes)
        if not any(node in other for place, other in enumerate(below) if place != index)
    ]


def _ancestors(node: Node | None) -> set[Node]:
    """Return all that an operation is computed from."""
    seen: set[Node] = set()
    pending = [parent for parent, _ in node.next_functions] if node is not None else []
    while pending:
        parent = pending.pop()
        if parent is not None and parent not in seen:
            seen.add(parent)
            pending.extend(above for above, _ in parent.next_functions)
    return seen


def _parameters_of(node: Node) -> list[int]:
    """Parameters that enter this operation, directly or transposed (a linear layer's weight is)."""
    direct = [parent for parent, _ in node.next_functions if parent is not None]
    through = [g for p in direct if p.name() == "TBackward0" for g, _ in p.next_functions if g is not None]
    return [id(p.variable) for p in (*direct, *through) if hasattr(p, "variable")]
