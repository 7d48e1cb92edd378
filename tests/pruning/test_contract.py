"""Contract of every method, on networks as users have them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sparsemark.errors import UnsupportedError
from sparsemark.networks.outputs import output_tensors
from sparsemark.pruning import PRUNERS, Request, prune
from sparsemark.pruning.masks import held
from sparsemark.pruning.weights import prunable
from sparsemark.specs import DENSE, WITHOUT_SPARSITY, PruneStep
from tests.pruning.pruned import MASKS, outputs, pruned
from tests.small_networks import NETWORKS, build, example

EACH_WEIGHT = ["magnitude", "magnitude-layerwise", "random"]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", PRUNERS)
def test_output_keeps_its_shape_and_stays_finite(method, network):
    module, _ = pruned(network, method, 0.0 if method in WITHOUT_SPARSITY else 0.5)
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


@pytest.mark.parametrize("method", [name for name in PRUNERS if name not in WITHOUT_SPARSITY])
@pytest.mark.parametrize("network", ["plain", "unet"])
def test_nearly_all_can_be_asked(method, network):
    module, _ = pruned(network, method, 0.9999)
    assert all(tensor.isfinite().all() for tensor in outputs(module, network))


@pytest.mark.parametrize("method", MASKS)
@pytest.mark.parametrize("network", ["plain", "unet"])
def test_masks_say_what_is_zero_and_their_zeros_survive_training(method, network):
    module, found = pruned(network, method, 0.0 if method in WITHOUT_SPARSITY else 0.5)
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


@pytest.mark.parametrize("method", [name for name in PRUNERS if name not in WITHOUT_SPARSITY])
def test_same_request_gives_the_same_network_and_leaves_torchs_generator_alone(method):
    state = torch.random.get_rng_state()
    first, found = pruned("unet", method, 0.5, seed=3)
    torch.manual_seed(99)
    second, again = pruned("unet", method, 0.5, seed=3)
    torch.random.set_rng_state(state)
    assert found.plan == again.plan
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


@pytest.mark.parametrize("method", [name for name in PRUNERS if name not in WITHOUT_SPARSITY])
def test_channels_last_weights_are_accepted_and_give_the_same(method):
    module = build("plain").to(memory_format=torch.channels_last)
    prune(module, Request(PruneStep(method, 0.5), (example("plain").to(memory_format=torch.channels_last),)))
    expected, _ = pruned("plain", method, 0.5)
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
    found = prune(module, Request(PruneStep(method, 0.0 if method in WITHOUT_SPARSITY else 0.5), (example("mlp"),)))
    assert module.second.weight is module.first.weight
    assert sum(name.endswith("weight") for name in found.masks) <= 1
    if method in EACH_WEIGHT:
        assert int((module.first.weight == 0).sum()) == 72


@pytest.mark.parametrize("method", MASKS)
def test_layer_that_is_called_twice_is_pruned_once(method):
    module = Twice()
    prune(module, Request(PruneStep(method, 0.0 if method in WITHOUT_SPARSITY else 0.5), (example("mlp"),)))
    assert len(prunable(module, (example("mlp"),))) == 3


@pytest.mark.parametrize("method", [name for name in PRUNERS if name != DENSE])
@pytest.mark.parametrize("module", [nn.ReLU(), nn.Sequential(nn.BatchNorm1d(12), nn.ReLU())])
def test_network_without_layers_is_refused_with_a_reason(method, module):
    spec = PruneStep(method, 0.0 if method in WITHOUT_SPARSITY else 0.5)
    with pytest.raises(UnsupportedError, match=r"no weight to prune|every layer makes an output"):
        prune(copy.deepcopy(module), Request(spec, (example("mlp"),)))


@pytest.mark.parametrize("method", ["filters", "channels"])
def test_network_of_output_layers_only_is_refused_with_a_reason(method):
    with pytest.raises(UnsupportedError, match=r"output|no channel"):
        prune(nn.Sequential(nn.Linear(12, 4)), Request(PruneStep(method, 0.5), (example("mlp"),)))


def test_network_is_left_in_eval_mode_so_that_statistics_do_not_move():
    for method in PRUNERS:
        module = build("plain").train()
        before = module[0][1].running_mean.clone()
        spec = PruneStep(method, 0.0 if method in WITHOUT_SPARSITY else 0.5)
        prune(module, Request(spec, (example("plain"),)))
        assert not module.training
        assert module[0][1].running_mean.numel() <= before.numel()
        if method != "channels":
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
