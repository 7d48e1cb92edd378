"""Small networks that are pruned, and what is left of them."""

from __future__ import annotations

import torch

from sparsemark.networks.outputs import output_tensors
from sparsemark.pruning import PRUNERS, Request, prune
from sparsemark.pruning.weights import named_layers
from sparsemark.specs import DENSE, PruneStep
from tests.small_networks import build, example

MASKS = [name for name, pruner in PRUNERS.items() if name not in (DENSE, "channels")]


def pruned(network, method, sparsity=0.0, round_to=1, seed=0):
    """A new network of this name, pruned, and what the pruner returned."""
    module = build(network)
    return module, prune(module, Request(PruneStep(method, sparsity, round_to), (example(network),), seed))


def zeros(module):
    return {name: layer.weight == 0 for name, layer in named_layers(module)}


def zeros_in_all(module):
    return sum(int(mask.sum()) for mask in zeros(module).values())


def weights_in_all(module):
    return sum(layer.weight.numel() for _, layer in named_layers(module))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def outputs(module, network):
    with torch.no_grad():
        return output_tensors(module.eval()(example(network)))
