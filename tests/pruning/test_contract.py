"""Contract of every method, on networks as users have them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.networks.outputs import output_tensors
from sparsemark.pruning import PRUNERS, Request, prune
from sparsemark.pruning.layout import blocks
from sparsemark.pruning.masks import held
from sparsemark.pruning.weights import prunable
from sparsemark.specs import DENSE, PruneStep, removes_channels
from tests.pruning.pruned import MASKS, SPARSE, half, learnt_from, outputs, pruned
from tests.small_networks import NETWORKS, build, example

EACH_WEIGHT = ["magnitude", "magnitude-layerwise", "random", "lamp", "taylor", "wanda"]
WITH_NORMS = {"plain", "residual", "unet", "mobile"}
"""Networks with a BatchNorm, without which `channels-bn` has nothing to go by."""


def share(method):
    return 0.5 if method in SPARSE else 0.0


def request(method, *inputs):
    return Request(half(method), inputs, data=learnt_from(*inputs))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", PRUNERS)
def test_output_keeps_its_shape_and_stays_finite(method, network):
    if method.endswith("channels-bn") and network not in WITH_NORMS:
        with pytest.raises(UnsupportedError, match=f"^{method}: the network has no BatchNorm with a scale to go by"):
            pruned(network, method, 0.5)
        return
    module, _ = pruned(network, method, share(method))
    for got, expected in zip(outputs(module, network), outputs(build(network), network), strict=True):
        assert got.shape == expected.shape
        assert got.isfinite().all()


@pytest.mark.parametrize("method", PRUNERS)
def test_nothing_asked_is_nothing_removed(method):
    module, found = pruned("unet", method)
    assert found.plan == ()
    assert all(kept.all() for kept in found.masks.values())
    before = build("unet").state_dict()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("method", SPARSE)
@pytest.mark.parametrize("network", ["plain", "unet"])
def test_nearly_all_can_be_asked(method, network):
    module, _ = pruned(network, method, 0.9999)
    assert all(tensor.isfinite().all() for tensor in outputs(module, network))


@pytest.mark.parametrize("method", MASKS)
@pytest.mark.parametrize("network", ["plain", "unet"])
def test_masks_say_what_is_zero_and_their_zeros_survive_training(method, network):
    module, found = pruned(network, method, share(method))
    assert found.plan == ()
    parameters = dict(module.named_parameters())
    for name, kept in found.masks.items():
        assert torch.equal(parameters[name] != 0, kept), name
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    with held(module, found.masks, "training"):
        for _ in range(2):
            optimizer.zero_grad()
            sum(tensor.square().sum() for tensor in output_tensors(module.train()(example(network)))).backward()
            optimizer.step()
    for name, kept in found.masks.items():
        assert not parameters[name][~kept].any()


@pytest.mark.parametrize("method", SPARSE)
def test_same_request_gives_the_same_network_and_leaves_torchs_generator_alone(method):
    state = torch.random.get_rng_state()
    first, found = pruned("unet", method, 0.5, seed=3)
    torch.manual_seed(99)
    second, again = pruned("unet", method, 0.5, seed=3)
    torch.random.set_rng_state(state)
    assert found.plan == again.plan
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


@pytest.mark.parametrize("method", SPARSE)
def test_channels_last_weights_are_accepted_and_give_the_same(method):
    module = build("plain").to(memory_format=torch.channels_last)
    prune(module, request(method, example("plain").to(memory_format=torch.channels_last)))
    expected = build("plain")
    prune(expected, request(method, example("plain")))
    for got, other in zip(outputs(module, "plain"), outputs(expected, "plain"), strict=True):
        torch.testing.assert_close(got, other)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).relu())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 2)

    def forward(self, x):
        return self.last(self.again(self.again(self.first(x)).relu()))


@pytest.mark.parametrize("method", MASKS)
def test_tied_weights_are_pruned_once_and_stay_tied(method):
    module = Tied()
    found = prune(module, request(method, example("mlp")))
    assert module.second.weight is module.first.weight
    assert sum(name.endswith("weight") for name in found.masks) <= 1
    if method in EACH_WEIGHT:
        assert int((module.first.weight == 0).sum()) == 72


@pytest.mark.parametrize("method", MASKS)
def test_layer_that_is_called_twice_is_pruned_once(method):
    module = Twice()
    prune(module, request(method, example("mlp")))
    assert len(prunable(module, (example("mlp"),))) == 3


@pytest.mark.parametrize("method", [name for name in PRUNERS if name != DENSE])
@pytest.mark.parametrize("module", [nn.ReLU(), nn.Sequential(nn.BatchNorm1d(12), nn.ReLU())])
def test_network_without_layers_is_refused_with_a_reason(method, module):
    with pytest.raises(UnsupportedError, match=r"no weight to prune|every layer makes an output"):
        prune(copy.deepcopy(module), request(method, example("mlp")))


@pytest.mark.parametrize("method", ["filters", "channels"])
def test_network_of_output_layers_only_is_refused_with_a_reason(method):
    with pytest.raises(UnsupportedError, match=r"output|no channel"):
        prune(nn.Sequential(nn.Linear(12, 4)), Request(PruneStep(method, 0.5), (example("mlp"),)))


def test_network_is_left_in_eval_mode_so_that_statistics_do_not_move():
    for method in PRUNERS:
        module = build("plain").train()
        before = module[0][1].running_mean.clone()
        prune(module, request(method, example("plain")))
        assert not module.training
        assert module[0][1].running_mean.numel() <= before.numel()
        if not removes_channels(method):
            assert torch.equal(module[0][1].running_mean, before)


def test_masks_are_held_where_gradients_are_sparse():
    module = nn.Sequential(nn.Embedding(6, 4, sparse=True), nn.Flatten(), nn.Linear(8, 2))
    ids = torch.tensor([[1, 2]])
    masks = prune(module, Request(PruneStep("magnitude", 0.5), (ids,))).masks
    with held(module, masks, "training"):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        module(ids).sum().backward()
        optimizer.step()
    assert not module[0].weight[~masks["0.weight"]].any()


@pytest.mark.parametrize("method", [name for name, pruner in PRUNERS.items() if pruner.control])
@pytest.mark.parametrize("network", ["plain", "unet", "mobile"])
def test_random_control_takes_as_much_of_every_layer_in_the_same_units(method, network):
    module, found = pruned(network, method, 0.4 if method != "nm24" else 0.5)
    control, other = pruned(network, PRUNERS[method].control, 0.4 if method != "nm24" else 0.5, seed=5)
    if removes_channels(method):
        shapes = [{name: p.shape for name, p in one.named_parameters()} for one in (module, control)]
        assert shapes[0] == shapes[1]
        assert found.plan != other.plan
        return
    weights = prunable(build(network), (example(network),))
    # The threshold counts biases as well: so many fewer or more weights go, over all layers together.
    biases = sum(mask.numel() for name, mask in found.masks.items() if name not in {one.key for one in weights})
    assert (biases > 0) == (method == "threshold")
    assert any(not torch.equal(found.masks[one.key], other.masks[one.key]) for one in weights)
    for weight in weights:
        gone, drawn = (int((~masks[weight.key]).sum()) for masks in (found.masks, other.masks))
        most = 4 if "block4" in method else biases
        assert abs(gone - drawn) <= most, weight.key
        if "block4" in method:
            assert torch.equal(whole_blocks(weight, other.masks[weight.key]), other.masks[weight.key])


def whole_blocks(weight, mask):
    """The mask with each block kept where any of its weights is."""
    place = blocks(weight)
    kept = mask.flatten()[place.clamp(min=0)] & (place >= 0)
    whole = torch.zeros(mask.numel(), dtype=torch.bool)
    for row, some in zip(place, kept.any(dim=1), strict=True):
        whole[row[row >= 0]] = some
    return whole.reshape(mask.shape)


@pytest.mark.parametrize("method", [name for name, pruner in PRUNERS.items() if pruner.needs])
def test_method_that_needs_data_without_any_is_one_line(method):
    with pytest.raises(UserError, match=f"^{method}:0.5: needs training batches of a task; there is no task"):
        prune(build("plain"), Request(PruneStep(method, 0.5), (example("plain"),)))


@pytest.mark.parametrize("method", ["lamp", "taylor", "block4", "random-taylor", "random-block4", "random"])
@pytest.mark.parametrize("network", ["plain", "residual", "grouped"])
@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_zeros_are_as_many_as_asked_over_the_network(method, network, sparsity):
    _, found = pruned(network, method, sparsity)
    total = sum(kept.numel() for kept in found.masks.values())
    gone = sum(int((~kept).sum()) for kept in found.masks.values())
    # Random blocks are counted layer by layer, each to the nearest block.
    most = 2 * len(found.masks) if method == "random-block4" else 2 if method == "block4" else 0.5
    assert abs(gone - sparsity * total) <= most
