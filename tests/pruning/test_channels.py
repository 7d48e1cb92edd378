"""Channels go until the share that was asked is gone; layers that cannot lose any are left alone and named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.networks.channel_plan import replay
from sparsemark.pruning import Request, prune
from sparsemark.pruning.alignment import MISALIGNED
from sparsemark.pruning.weights import named_layers
from sparsemark.specs import PruneStep
from tests.pruning.pruned import outputs, parameters, pruned
from tests.small_networks import NETWORKS, OUTPUT_LAYERS, build, example


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


def test_channels_leave_frozen_parameters_frozen():
    module = build("mlp")
    module[0].weight.requires_grad_(requires_grad=False)
    found = prune(module, Request(PruneStep("channels", 0.5), (example("mlp"),)))
    again = replay(build("mlp"), found.plan, (example("mlp"),))
    assert not module[0].weight.requires_grad
    assert module[2].weight.requires_grad
    assert again[0].weight.requires_grad


class Tied(nn.Module):
    """Two convolutions with one weight, as recursive networks have them, and a head."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.b.weight = nn.Linear(8, 4), self.a.weight

    def forward(self, x):
        return self.head(self.b(self.a(self.stem(x).relu()).relu()).mean((2, 3)))


class Embedded(nn.Module):
    """The embedding is the head's weight."""

    def __init__(self):
        super().__init__()
        self.words, self.body, self.head = nn.Embedding(50, 16), nn.Linear(16, 16), nn.Linear(16, 50, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x):
        return self.head(self.body(self.words(x).mean(1)).relu())


class Autoencoder(nn.Module):
    """The decoder is a product with the encoder's weight, so that the one layer makes the output as well."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(12, 8)

    def forward(self, x):
        return nn.functional.linear(self.encoder(x).relu(), self.encoder.weight.t())


def test_a_layer_whose_channels_all_stay_is_named():
    with pytest.raises(UnsupportedError, match="no channel that it can remove: all stay in encoder"):
        prune(Autoencoder().eval(), Request(PruneStep("channels", 0.5), (torch.randn(1, 12),)))


@pytest.mark.parametrize(
    ("make", "example", "names"),
    [
        (Tied, torch.randn(1, 3, 6, 6), "a.weight, b.weight"),
        (Embedded, torch.tensor([[1, 2, 3]]), "words.weight, head.weight"),
    ],
)
def test_tied_weights_that_a_cut_separates_are_named_and_all_of_them_counted(make, example, names):
    torch.manual_seed(0)
    module = make().eval()
    before = parameters(module)
    found = prune(module, Request(PruneStep("channels", 0.5), (example,)))
    assert found.notes[0].startswith(f"{names} were one tied weight")
    assert MISALIGNED not in found.notes
    gone = 1 - parameters(module) / before
    said = [note for note in found.notes if note.startswith(f"{100 * gone:.0f} % of the parameters removed")]
    assert len(said) == (abs(gone - 0.5) >= 0.03)


@pytest.mark.parametrize("round_to", [1, 16])
def test_a_share_far_from_the_one_asked_for_is_explained(round_to):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    before = parameters(module)
    found = prune(module, Request(PruneStep("channels", 0.3, round_to), (torch.randn(1, 12),)))
    gone = 1 - parameters(module) / before
    nearest = f"{100 * gone:.0f} % of the parameters removed, the nearest to 30 % that was found"
    assert found.notes == ((f"{nearest}: channels go in multiples of 16",) if round_to == 16 else ())
