"""Zeros that are written into the weights are held through training, whichever steps they came from."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import prune as torch_prune

from sparsemark.networks.factory import output_tensors
from sparsemark.pruning import Request, prune
from sparsemark.pruning.masks import hold_zeros, make_permanent, named_layers
from sparsemark.specs import PruneStep
from tests.small_networks import build, example


def masked(network, sparsity):
    """A new network of this name, zeros of the smallest weights written into them."""
    module = build(network)
    prune(module, Request(PruneStep("magnitude", sparsity), example(network)))
    make_permanent(module)
    return module


def zeros(module):
    return {name: layer.weight == 0 for name, layer in named_layers(module)}


def outputs(module, network):
    with torch.no_grad():
        return output_tensors(module.eval()(example(network)))


def step(module, network):
    """One step of an optimiser that moves every weight with a gradient."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        sum(tensor.square().sum() for tensor in output_tensors(module.train()(example(network)))).backward()
        optimizer.step()
    outputs(module, network)


@pytest.mark.parametrize("network", ["plain", "unet", "grouped", "mlp"])
def test_zeros_that_are_written_into_the_weights_are_held_through_training(network):
    module = masked(network, 0.5)
    before = zeros(module)
    hold_zeros(module)
    assert torch_prune.is_pruned(module)
    weights = {name: layer.weight.detach().clone() for name, layer in named_layers(module)}
    step(module, network)
    after = zeros(module)
    assert all(after[name][mask].all() for name, mask in before.items())
    assert any(not torch.equal(layer.weight, weights[name]) for name, layer in named_layers(module)), "nothing moved"
    make_permanent(module)
    assert all(zeros(module)[name][mask].all() for name, mask in before.items())
    assert set(module.state_dict()) == set(build(network).state_dict())


def test_zeros_that_are_not_held_come_back():
    """Or the tests above would show nothing."""
    module = masked("plain", 0.5)
    before = zeros(module)
    step(module, "plain")
    assert not all(zeros(module)[name][mask].all() for name, mask in before.items())


@pytest.mark.parametrize("network", ["plain", "unet"])
def test_zeros_are_held_beside_masks_that_are_attached(network):
    """As when filters are masked after single weights: both stay zero, whatever is trained."""
    module = masked(network, 0.5)
    first = zeros(module)
    prune(module, Request(PruneStep("filters", 0.4), example(network)))
    second = zeros(module)
    hold_zeros(module)
    step(module, network)
    after = zeros(module)
    for mask in (first, second):
        assert all(after[name][held].all() for name, held in mask.items())
    make_permanent(module)
    assert all(zeros(module)[name][held].all() for name, held in first.items())


def test_nothing_is_held_where_nothing_is_zero():
    module = build("plain")
    hold_zeros(module)
    expected = outputs(build("plain"), "plain")
    for got, other in zip(outputs(module, "plain"), expected, strict=True):
        assert torch.equal(got, other)
    make_permanent(module)
    assert not any(mask.any() for mask in zeros(module).values())
