"""Each method removes what was asked for, and nothing else; each network that cannot be pruned gets a reason."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.networks.channel_plan import replay
from sparsemark.networks.outputs import output_tensors
from sparsemark.pruning import PRUNERS, Request, prune
from sparsemark.pruning.masks import held
from sparsemark.pruning.output_layers import output_layers
from sparsemark.pruning.weights import named_layers, prunable, remarks, usage
from sparsemark.specs import DENSE, WITHOUT_SPARSITY, PruneStep
from tests.small_networks import NETWORKS, OUTPUT_LAYERS, build, example

MASKS = [name for name, pruner in PRUNERS.items() if name not in (DENSE, "channels")]
ZEROING = [name for name in MASKS if name not in WITHOUT_SPARSITY]
EACH_WEIGHT = ["magnitude", "magnitude-layerwise", "random"]


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


# What is asked is what is removed.


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


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7, 0.9])
def test_channels_remove_the_share_of_parameters_that_was_asked(sparsity):
    module = nn.Sequential(nn.Linear(12, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 2))
    before = parameters(module)
    prune(module, Request(PruneStep("channels", sparsity), (example("mlp"),)))
    assert 1 - parameters(module) / before == pytest.approx(sparsity, abs=0.02)


@pytest.mark.parametrize("network", NETWORKS)
def test_more_channels_asked_are_more_removed_and_those_of_the_outputs_stay(network):
    before = build(network)
    left = [parameters(before)]
    for sparsity in (0.2, 0.5, 0.8, 0.99):
        module, found = pruned(network, "channels", sparsity)
        assert found.plan
        assert [tensor.shape for tensor in outputs(module, network)] == [t.shape for t in outputs(before, network)]
        for (name, layer), (_, whole) in zip(named_layers(module), named_layers(before), strict=True):
            if name in OUTPUT_LAYERS[network]:
                assert (layer.bias is None) == (whole.bias is None)
                assert getattr(layer, "out_channels", 0) == getattr(whole, "out_channels", 0)
        left.append(parameters(module))
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.35 * left[0]  # no layer was left whole because too much was asked of it


@pytest.mark.parametrize("network", ["plain", "residual", "unet", "mobile", "mlp"])
@pytest.mark.parametrize("sparsity", [0.3, 0.95])
def test_channels_are_left_in_multiples_where_asked(network, sparsity):
    module, _ = pruned(network, "channels", sparsity, round_to=4)
    for name, layer in named_layers(module):
        if name not in OUTPUT_LAYERS[network]:
            width = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            assert width >= 4
            assert width % 4 == 0, name


@pytest.mark.parametrize("network", NETWORKS)
def test_plan_makes_the_same_network_of_a_new_module(network):
    module, found = pruned(network, "channels", 0.5)
    again = replay(build(network), found.plan, (example(network),))
    assert {n: p.shape for n, p in again.named_parameters()} == {n: p.shape for n, p in module.named_parameters()}
    for got, expected in zip(outputs(again, network), outputs(module, network), strict=True):
        torch.testing.assert_close(got, expected)


def test_plan_of_another_network_is_one_line():
    _, found = pruned("plain", "channels", 0.5)
    with pytest.raises(UserError, match="the channel plan does not fit this network"):
        replay(build("residual"), found.plan, (example("residual"),))


# Contract of every method.


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


# Networks as users have them.


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


class Standardised(nn.Conv2d):
    """Subtracts the mean of its kernel at each call: a zero of the parameter is none of the kernel."""

    def forward(self, x):
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias)


class Scaled(nn.Linear):
    """Multiplies its matrix at each call, as equalised learning rates do: zeros stay zeros."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight * 0.5, self.bias)


def test_weights_that_are_computed_at_each_call_are_named_with_their_share():
    module = nn.Sequential(Standardised(2, 5, 1), nn.Flatten(), Scaled(5, 8, bias=False)).eval()
    used = usage(module, (torch.randn(1, 2, 1, 1),))
    assert [weight.key for weight in used.weights] == ["2.weight"]
    assert used.weights[0].macs == 40
    assert (used.computed, used.total) == ({"0": 10}, 50)
    assert remarks(used) == ["20 % of the weights are computed at each call and cannot be masked: 0"]


def test_a_network_of_computed_weights_is_refused():
    module = nn.Sequential(Standardised(8, 64, 1), nn.Flatten()).eval()
    with pytest.raises(UnsupportedError, match=r"^100 % of the weights are computed at each call .*: 0"):
        prune(module, Request(PruneStep("magnitude", 0.5), (torch.randn(1, 8, 1, 1),)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 6, num_layers=2, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Auxiliary(nn.Module):
    """A head that only training uses, and one that nothing does."""

    def __init__(self):
        super().__init__()
        self.a, self.head, self.aux = nn.Linear(12, 16), nn.Linear(16, 2), nn.Linear(16, 500)
        self.never = nn.Parameter(torch.randn(7, 7))

    def forward(self, x):
        h = self.a(x).relu()
        return (self.head(h), self.aux(h)) if self.training else self.head(h)


class Positions(nn.Module):
    """Parameters that are added and concatenated, and a table that is looked up by the position."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 1, 4))
        self.added, self.table = nn.Parameter(torch.randn(1, 4, 4)), nn.Embedding(9, 4)
        self.matrix, self.scale = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.ones(3))

    def forward(self, x):
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.added + self.table(torch.arange(4))
        return torch.einsum("btc,cd->btd", x, self.matrix) * self.scale


@pytest.mark.parametrize(
    ("module", "shape", "names", "macs"),
    [
        (
            Recurrent(),
            (2, 5, 4),
            [f"rnn.weight_{kind}_l{layer}" for layer in (0, 1) for kind in ("ih", "hh")] + ["head"],
            5 * (24 * 4 + 24 * 6 + 24 * 6 + 24 * 6) + 12,
        ),
        (Auxiliary(), (3, 12), ["a", "head"], 12 * 16 + 32),
        (Positions(), (2, 3, 4), ["first", "added", "matrix", "table.weight"], 4 * 12),
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            (2, 3, 8),
            ["self_attn.in_proj_weight", "self_attn.out_proj", "linear1", "linear2"],
            3 * (8 * 24 + 64 + 2 * 128),
        ),
        (nn.Bilinear(3, 4, 5), None, ["weight"], None),
    ],
)
def test_weights_are_what_runs_whatever_holds_them(module, shape, names, macs):
    inputs = (torch.randn(2, 3), torch.randn(2, 4)) if shape is None else (torch.randn(shape),)
    used = usage(module, inputs)
    assert {weight.name for weight in used.weights} == set(names)
    if macs is not None:
        assert sum(weight.macs for weight in used.weights) == macs
    before = sum(weight.parameter.numel() for weight in used.weights)
    found = prune(module, Request(PruneStep("magnitude", 0.9), inputs))
    assert sum(int((~kept).sum()) for kept in found.masks.values()) == round(0.9 * before)


def test_what_does_not_run_is_named_and_neither_pruned_nor_counted():
    module = Auxiliary()
    with torch.no_grad():
        module.aux.weight.mul_(1e-6)
    used = usage(module, (example("mlp"),))
    assert remarks(used) == ["not run, so neither pruned nor counted: never, aux"]
    assert sum(used.parameters.values()) == 12 * 16 + 16 + 32 + 2
    prune(module, Request(PruneStep("magnitude", 0.5), (example("mlp"),)))
    assert (module.aux.weight != 0).all()
    module = Auxiliary()
    prune(module, Request(PruneStep("channels", 0.5), (example("mlp"),)))
    assert module.a.out_features == 8


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


class Shuffling(nn.Module):
    """Channels that PixelShuffle takes in fours, and heads that a reshape takes in twos."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(16, 8, 1)
        self.out = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = nn.functional.pixel_shuffle(self.b(self.a(x).relu()).relu(), 2)
        return self.out(self.c(x).view(len(x), 2, 4, *x.shape[2:]).flatten(1, 2))


def test_layers_whose_channels_are_reshaped_are_left_alone_and_named():
    module = Shuffling().eval()
    before = parameters(module)
    found = prune(module, Request(PruneStep("channels", 0.5), (torch.randn(1, 3, 4, 4),)))
    assert found.notes == ("channels cannot be removed from b, c",)
    assert 1 - parameters(module) / before == pytest.approx(0.5, abs=0.03)
    assert (module.b.out_channels, module.c.out_channels) == (64, 8)


class Features(nn.Module):
    """Returns what its head is computed from, beside the head's own output."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(12, 16), nn.Linear(16, 4)

    def forward(self, x):
        h = self.body(x).relu()
        return {"logits": self.head(h), "hidden": h}


def test_features_that_are_returned_lose_channels_where_nothing_else_can_and_the_row_says_so():
    module = Features()
    found = prune(module, Request(PruneStep("channels", 0.5), (example("mlp"),)))
    assert module.body.out_features == 8
    assert found.notes == ("output 1, from which others are computed, went from (1, 16) to (1, 8)",)
    assert module(example("mlp"))["logits"].shape == (1, 4)


def test_attention_is_named_with_the_multiple_that_fits_it():
    def encoder():
        torch.manual_seed(0)
        return nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()

    example = torch.randn(1, 10, 32)
    by_four = encoder()
    before = parameters(by_four)
    prune(by_four, Request(PruneStep("channels", 0.5, 4), (example,)))
    assert 1 - parameters(by_four) / before == pytest.approx(0.5, abs=0.06)
    assert by_four(example).shape == example.shape


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


def test_unknown_method_gets_the_nearest_name():
    with pytest.raises(UserError, match="unknown pruner 'magnitud'; did you mean 'magnitude'"):
        prune(build("mlp"), Request(PruneStep("magnitud", 0.5), (example("mlp"),)))


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


class Fed(nn.Module):
    """A layer that is fed by a buffer, as tables of relative positions are, and kernels that form one operand."""

    def __init__(self):
        super().__init__()
        self.register_buffer("grid", torch.randn(4, 3))
        self.table, self.q, self.k = nn.Linear(3, 6), nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(4, 6))

    def forward(self, x):
        return nn.functional.linear(x + self.table(self.grid).sum(0), torch.cat([self.q, self.k]))


def test_layers_fed_by_constants_run_and_kernels_of_one_operand_share_its_work():
    used = usage(Fed(), (torch.randn(1, 6),))
    assert {weight.name: weight.macs for weight in used.weights} == {"table": 4 * 18, "q": 12, "k": 24}
    assert (used.computed, used.idle) == ({}, {})


def test_a_bilinear_layer_multiplies_at_every_position():
    used = usage(nn.Bilinear(3, 4, 5), (torch.randn(2, 3), torch.randn(2, 4)))
    assert [weight.macs for weight in used.weights] == [60]


def test_complex_weights_are_named():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.real, self.modes = nn.Linear(4, 4), nn.Parameter(torch.randn(3, 4, dtype=torch.complex64))

        def forward(self, x):
            return self.real(torch.fft.irfft(torch.fft.rfft(x) * self.modes.sum(1), n=4))

    assert remarks(usage(Spectral(), (torch.randn(1, 4),))) == ["complex, so neither pruned nor counted: modes"]


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


def test_channels_leave_frozen_parameters_frozen():
    module = build("mlp")
    module[0].weight.requires_grad_(requires_grad=False)
    found = prune(module, Request(PruneStep("channels", 0.5), (example("mlp"),)))
    again = replay(build("mlp"), found.plan, (example("mlp"),))
    assert not module[0].weight.requires_grad
    assert module[2].weight.requires_grad
    assert again[0].weight.requires_grad


def test_masks_are_held_where_gradients_are_sparse():
    module = nn.Sequential(nn.Embedding(6, 4, sparse=True), nn.Flatten(), nn.Linear(8, 2))
    ids = torch.tensor([[1, 2]])
    masks = prune(module, Request(PruneStep("magnitude", 0.5), (ids,))).masks
    with held(module, masks, "training"):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        module(ids).sum().backward()
        optimizer.step()
    assert not module[0].weight[~masks["0.weight"]].any()
