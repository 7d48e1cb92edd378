"""Small networks that are pruned, and what is left of them."""

from __future__ import annotations

import torch

from sparsemark.networks.outputs import output_tensors
from sparsemark.pruning import PRUNERS, Request, prune
from sparsemark.pruning.base import Calibration
from sparsemark.pruning.weights import named_layers
from sparsemark.specs import DENSE, PruneStep, removes_channels, usual_sparsity
from tests.small_networks import build, example

SPARSE = [name for name in PRUNERS if usual_sparsity(name) != 0.0]
"""Methods that remove something."""

MASKS = [name for name in PRUNERS if name != DENSE and not removes_channels(name)]


def half(method):
    """The step of a method that removes a half, or nothing where that is what it does."""
    return PruneStep.of(method, 0.0 if method not in SPARSE else 0.5)


def squares(outputs, targets):
    """A loss that depends on every output."""
    return sum((tensor - targets).square().mean() for tensor in output_tensors(outputs))


def learnt_from(*inputs):
    """Calibration on batches of one input each."""
    return Calibration("task.py", lambda: [(one, 1.0) for one in inputs], squares)


def pruned(network, method, sparsity=0.0, round_to=1, seed=0):
    """A new network of this name, pruned, and what the pruner returned."""
    module = build(network)
    data = learnt_from(example(network, 1), example(network, 2))
    return module, prune(module, Request(PruneStep(method, sparsity, round_to), (example(network),), seed, data=data))


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
