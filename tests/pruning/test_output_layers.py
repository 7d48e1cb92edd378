"""Layers that make the outputs are found, without being named, by every path."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsemark.errors import UnsupportedError
from sparsemark.pruning import Request, prune
from sparsemark.pruning.output_layers import output_layers
from sparsemark.pruning.weights import named_layers
from sparsemark.specs import PruneStep
from tests.small_networks import NETWORKS, OUTPUT_LAYERS, build, example


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("frozen", [False, True])
def test_output_layers_are_found_without_being_named(network, frozen):
    module = build(network).requires_grad_(requires_grad=not frozen)
    names = {id(layer): name for name, layer in named_layers(module)}
    found = output_layers(module, (example(network),))
    assert {names[id(layer)] for layer in found} == OUTPUT_LAYERS[network]
    assert all(parameter.requires_grad is not frozen for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())


class Nested(nn.Module):
    """Outputs in a dictionary: features, and what is made of them by way of a residual and a token-wise layer."""

    def __init__(self):
        super().__init__()
        self.inner, self.features, self.skip = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(12, 8)
        self.tokens = nn.Linear(4, 5, bias=False)

    def forward(self, x):
        features = self.features(self.inner(x).relu())
        return {"features": features, "sum": [features + self.skip(x)], "tokens": self.tokens(x.view(1, 3, 4)), "n": 3}


def test_output_layers_in_nested_outputs_by_every_path():
    module = Nested()
    names = {id(layer): name for name, layer in named_layers(module)}
    assert {names[id(m)] for m in output_layers(module, (example("mlp"),))} == {"features", "skip", "tokens"}


@pytest.mark.parametrize("method", ["filters", "channels"])
@pytest.mark.parametrize("ending", ["no_grad", "argmax"])
def test_an_output_without_a_gradient_is_refused_since_its_layers_cannot_be_found(method, ending):
    class Ends(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))

        def forward(self, x):
            if ending == "argmax":
                return self.body(x).argmax(1)
            with torch.no_grad():
                return self.body(x)

    with pytest.raises(UnsupportedError, match="output 0 carries no gradient"):
        prune(Ends(), Request(PruneStep(method, 0.5), (example("mlp"),)))
