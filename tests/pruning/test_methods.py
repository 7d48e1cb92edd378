"""Each method removes what was asked for, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.errors import UserError
from sparsemark.pruning import Request, prune
from sparsemark.pruning.weights import named_layers
from sparsemark.specs import PruneStep
from tests.pruning.pruned import pruned, weights_in_all, zeros, zeros_in_all
from tests.small_networks import NETWORKS, OUTPUT_LAYERS, build, example


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9])
def test_magnitude_zeroes_the_smallest_weights_of_the_network(network, sparsity):
    module, _ = pruned(network, "magnitude", sparsity)
    before = build(network)
    assert zeros_in_all(module) == round(sparsity * weights_in_all(module))
    masked = torch.cat([m.flatten() for m in zeros(module).values()])
    magnitudes = torch.cat([layer.weight.detach().abs().flatten() for _, layer in named_layers(before)])
    assert magnitudes[masked].max() <= magnitudes[~masked].min()


@pytest.mark.parametrize("network", NETWORKS)
def test_layerwise_magnitude_zeroes_the_same_fraction_of_each_layer(network):
    module, _ = pruned(network, "magnitude-layerwise", 0.7)
    for (name, layer), (_, before) in zip(named_layers(module), named_layers(build(network)), strict=True):
        mask = layer.weight == 0
        assert int(mask.sum()) == round(0.7 * layer.weight.numel()), name
        assert before.weight[mask].abs().max() <= before.weight[~mask].abs().min()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.29, 0.7, 0.97])
def test_threshold_zeroes_weights_and_biases_below_one_value(network, sparsity):
    module, _ = pruned(network, "threshold", sparsity)
    both = [t.detach().flatten() for _, m in named_layers(module) for t in (m.weight, m.bias) if t is not None]
    after = torch.cat(both)
    assert int((after == 0).sum()) == round(sparsity * after.numel())
    before = torch.cat([getattr(m, n).detach().flatten() for _, m in named_layers(build(network)) for n in parts(m)])
    assert before[after == 0].abs().max() <= before[after != 0].abs().min()
    if sparsity > 0.9:
        assert any(layer.bias is not None and (layer.bias == 0).any() for _, layer in named_layers(module))


def parts(layer):
    return [name for name in ("weight", "bias") if getattr(layer, name) is not None]


@pytest.mark.parametrize("network", NETWORKS)
def test_random_zeroes_as_many_of_each_layer_as_magnitude_but_others(network):
    chosen, _ = pruned(network, "magnitude", 0.6)
    control, _ = pruned(network, "random", 0.6)
    ours, theirs = zeros(control), zeros(chosen)
    assert {name: int(mask.sum()) for name, mask in ours.items()} == {n: int(m.sum()) for n, m in theirs.items()}
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("network", NETWORKS)
def test_filters_are_zeroed_whole_smallest_first_and_output_layers_stay(network):
    module, _ = pruned(network, "filters", 0.5)
    for (name, layer), (_, before) in zip(named_layers(module), named_layers(build(network)), strict=True):
        transposed = getattr(layer, "transposed", False)
        after = (layer.weight.transpose(0, 1) if transposed else layer.weight).flatten(1)
        dead = (after == 0).all(dim=1)
        if name in OUTPUT_LAYERS[network]:
            assert not dead.any()
            assert torch.equal(layer.weight, before.weight)
        else:
            assert int(dead.sum()) == round(0.5 * len(dead))
            assert (after[~dead] != 0).all()
            norms = (before.weight.transpose(0, 1) if transposed else before.weight).flatten(1).abs().sum(dim=1)
            assert norms[dead].max() <= norms[~dead].min()


def test_random_depends_on_its_seed_and_on_nothing_else():
    state = torch.random.get_rng_state()
    one, _ = pruned("plain", "random", 0.5, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    two, _ = pruned("plain", "random", 0.5, seed=2)
    assert any(not torch.equal(zeros(one)[name], zeros(two)[name]) for name in zeros(one))


@pytest.mark.parametrize("network", ["plain", "unet"])
def test_random_counts_the_zeros_that_are_there(network):
    module, _ = pruned(network, "magnitude", 0.6)
    before = zeros(module)
    prune(module, Request(PruneStep("random", 0.8), (example(network),), 3))
    assert zeros_in_all(module) == round(0.8 * weights_in_all(module))
    assert all(zeros(module)[name][mask].all() for name, mask in before.items())


@given(
    st.sampled_from(["magnitude", "magnitude-layerwise", "threshold", "filters"]), st.tuples(*[st.floats(0, 0.99)] * 2)
)
@settings(max_examples=30, deadline=None)
def test_what_is_zero_stays_zero_when_more_is_asked(method, sparsities):
    less, more = (zeros(pruned("unet", method, sparsity)[0]) for sparsity in sorted(sparsities))
    for name, mask in less.items():
        assert more[name][mask].all()


def test_zeros_that_came_with_the_network_are_beyond_what_random_takes():
    module = build("plain")
    with torch.no_grad():
        module[0][0].weight[:2] = 0
    twin = copy.deepcopy(module)
    counts = []
    for method, network in (("magnitude", module), ("random", twin)):
        before = zeros_in_all(network)
        found = prune(network, Request(PruneStep(method, 0.3), (example("plain"),)))
        counts.append(zeros_in_all(network) - before)
        assert found.notes == ()
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("method", ["magnitude", "random", "magnitude-layerwise"])
def test_a_pruner_that_changed_nothing_says_so(method):
    module, _ = pruned("plain", "magnitude-layerwise", 0.8)
    before = zeros_in_all(module)
    found = prune(module, Request(PruneStep(method, 0.5), (example("plain"),)))
    assert zeros_in_all(module) == before
    assert found.notes == (f"{method}:0.5 changed nothing: as many weights were zero already",)


def test_unknown_method_gets_the_nearest_name():
    with pytest.raises(UserError, match="unknown pruner 'magnitud'; did you mean 'magnitude'"):
        prune(build("mlp"), Request(PruneStep("magnitud", 0.5), (example("mlp"),)))
