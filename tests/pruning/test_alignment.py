"""Inputs that go with the removed channels are those of these channels, or the row says that they may not be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models import INPUT_SHAPE
from models import NETWORKS as STUDIED
from sparsemark.networks.factory import build_model
from sparsemark.pruning import Request, prune
from sparsemark.pruning.alignment import MISALIGNED
from sparsemark.specs import ModelSpec, PruneStep
from tests.pruning.pruned import pruned
from tests.small_networks import NETWORKS

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Flattened(nn.Module):
    """Channels flattened last, as networks do that come from another library, or first."""

    def __init__(self, last):
        super().__init__()
        self.last, self.body, self.head = last, nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16 * 16, 5)

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.body(x).relu(), 4)
        return self.head((x.permute(0, 2, 3, 1) if self.last else x).flatten(1))


class Normed(nn.Module):
    """Normalised over all channels, of which fewer have another mean and variance."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 16), nn.ReLU())
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.body(x))


class Joined(nn.Module):
    """Two groups of channels that one layer reads, the second removed from what the first has left."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(3, 20, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(32, 8, 2, stride=2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = torch.cat([self.a(x).relu(), self.b(x).sigmoid()], 1)
        return self.head(self.up(x).relu())


def notes(module, *inputs, share=0.4):
    """What is said, but for how near the share came."""
    torch.manual_seed(0)
    found = prune(module.eval(), Request(PruneStep("channels", share), inputs)).notes
    return tuple(note for note in found if "of the parameters removed" not in note)


def seeded(make, *arguments):
    torch.manual_seed(0)
    return make(*arguments)


def test_channels_that_are_flattened_last_are_said_to_be_reordered():
    assert notes(seeded(Flattened, True), IMAGE) == (MISALIGNED,)


@pytest.mark.parametrize(
    ("make", "inputs"), [(lambda: Flattened(False), IMAGE), (Normed, torch.randn(2, 6)), (Joined, IMAGE)]
)
def test_nothing_is_said_where_channels_keep_their_order_or_are_normalised(make, inputs):
    assert notes(seeded(make), inputs) == ()


@pytest.mark.parametrize("network", NETWORKS)
def test_small_networks_keep_their_order(network):
    assert MISALIGNED not in pruned(network, "channels", 0.5)[1].notes


@pytest.mark.parametrize("name", ["cnn9", "resnet3", "unet_head"])
def test_networks_of_the_study_keep_their_order(name):
    module = build_model(ModelSpec(name, STUDIED[name], INPUT_SHAPE))
    assert notes(module, torch.randn(INPUT_SHAPE, generator=torch.Generator().manual_seed(0))) == ()


def test_a_wrong_place_of_one_channel_is_seen(monkeypatch):
    """Torch-pruning's own bookkeeping, off by one, as a fault of its would be."""
    import torch_pruning as tp

    plain = tp.pruner.function.LinearPruner.prune_in_channels

    def shifted(self, layer, idxs):
        return plain(self, layer, [(place + 1) % layer.in_features for place in idxs])

    monkeypatch.setattr(tp.pruner.function.LinearPruner, "prune_in_channels", shifted)
    assert notes(seeded(Flattened, False), IMAGE) == (MISALIGNED,)
