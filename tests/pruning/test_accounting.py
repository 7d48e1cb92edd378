"""Counts against numbers worked out by hand, and against torch's own counter of floating-point operations."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sparsemark.pruning import Request, prune
from sparsemark.pruning.accounting import count
from sparsemark.specs import PruneStep
from tests.small_networks import NETWORKS, build, example


def flops(module, image):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.eval()(image)
    return counter.get_total_flops()


@pytest.mark.parametrize("network", NETWORKS)
def test_multiply_adds_are_half_of_torchs_floating_point_operations(network):
    assert 2 * count(build(network), (example(network),)).macs == flops(build(network), example(network))


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(3, 4, 3), (1, 3, 6, 5), 3 * 4 * 9 * (4 * 3)),
        (nn.Conv2d(3, 4, 3, padding=1, stride=2), (1, 3, 6, 5), 3 * 4 * 9 * (3 * 3)),
        (nn.Conv2d(4, 6, 3, groups=2), (1, 4, 6, 5), 2 * 6 * 9 * (4 * 3)),
        (nn.Conv2d(4, 4, 3, groups=4, padding=1), (1, 4, 6, 5), 4 * 9 * 30),
        (nn.ConvTranspose2d(3, 4, 2, stride=2), (1, 3, 6, 5), 3 * 4 * 4 * 30),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 6, 5), 4 * 3 * 9 * 30),
        (nn.Conv1d(3, 4, 3), (1, 3, 6), 3 * 4 * 3 * 4),
        (nn.Conv3d(2, 3, 2), (1, 2, 3, 3, 3), 2 * 3 * 8 * 8),
        (nn.Linear(5, 7), (1, 5), 35),
        (nn.Linear(5, 7), (1, 3, 5), 3 * 35),
    ],
)
@pytest.mark.parametrize("images", [1, 4])
def test_multiply_adds_of_one_image_by_hand(layer, shape, macs, images):
    counted = count(nn.Sequential(layer), (torch.zeros(images, *shape[1:]),))
    assert (counted.macs, counted.nonzero_macs) == (macs, macs)
    assert counted.layers[0].name == "0"


class Folding(nn.Module):
    """Tokens that are folded into the batch, as windowed networks do, and a layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.tokens, self.unused = nn.Linear(4, 4), nn.Linear(2, 2)

    def forward(self, x):
        folded = x.reshape(-1, 4)  # (images * 3, 4)
        return self.tokens(self.tokens(folded)).reshape(len(x), -1)


@pytest.mark.parametrize("images", [1, 2])
def test_layer_called_twice_on_folded_tokens_counts_every_use_and_an_unused_one_is_left_out(images):
    counted = count(Folding(), (torch.zeros(images, 12),))
    assert {layer.name: layer.macs for layer in counted.layers} == {"tokens": 2 * 3 * 16}
    assert counted.notes == ("not run, so neither pruned nor counted: unused",)
    assert (counted.weights, counted.parameters) == (16, 20)


def masked(layer, kept):
    with torch.no_grad():
        layer.weight.copy_(kept)
    return layer


def test_zeros_by_hand():
    kept = torch.ones(4, 3, 3, 3)
    kept[0] = 0  # a dead filter
    kept[1, 0] = 0
    module = nn.Sequential(masked(nn.Conv2d(3, 4, 3), kept), nn.Flatten(), nn.Linear(4, 2))
    counted = count(module, (torch.zeros(1, 3, 3, 3),))
    convolution, linear = counted.layers
    assert (convolution.weights, convolution.nonzeros) == (108, 108 - 27 - 9)
    assert convolution.sparsity == pytest.approx(36 / 108)
    assert (convolution.channels, convolution.dead_channels) == (4, 1)
    assert (linear.dead_channels, linear.sparsity) == (0, 0.0)
    assert (counted.weights, counted.nonzeros, counted.dead_channels) == (116, 80, 1)
    assert (counted.macs, counted.nonzero_macs) == (116, 80)
    assert counted.parameters == 116 + 4 + 2


@pytest.mark.parametrize(("groups", "dead"), [(1, (slice(None), 1)), (2, (slice(2, 4), 1))])
def test_dead_channels_of_a_transposed_convolution(groups, dead):
    """Its weight is (in, out / groups): channel 1 of the first group, or of the second, is dead."""
    layer = nn.ConvTranspose2d(4, 6, 2, groups=groups)
    kept = torch.ones_like(layer.weight)
    kept[dead] = 0
    counted = count(nn.Sequential(masked(layer, kept)), (torch.zeros(1, 4, 2, 2),))
    assert (counted.layers[0].channels, counted.dead_channels) == (6, 1)


def test_subnormal_weights_are_counted():
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1e-39, -1e-44, 0.0], [1.0, 1.2e-38, -1.2e-38]]))
    assert count(nn.Sequential(layer), (torch.zeros(1, 3),)).subnormals == 2


def test_zeros_compress():
    dense, sparse = build("plain"), build("plain")
    prune(sparse, Request(PruneStep("magnitude", 0.9), (example("plain"),)))
    sizes = [count(module, (example("plain"),)).compressed_bytes for module in (dense, sparse)]
    assert 0 < sizes[1] < 0.4 * sizes[0]


def test_counting_leaves_nothing_behind_even_after_an_error():
    module = build("plain")
    with pytest.raises(RuntimeError):
        count(module, (torch.zeros(1, 5, 5, 5),))
    assert torch.backends.mha.get_fastpath_enabled()
    assert module(example("plain")).requires_grad


@pytest.mark.parametrize("network", NETWORKS)
def test_removed_channels_leave_fewer_of_everything_and_no_zeros(network):
    before, module = count(build(network), (example(network),)), build(network)
    prune(module, Request(PruneStep("channels", 0.5), (example(network),)))
    after = count(module, (example(network),))
    assert after.nonzeros == after.weights < before.weights
    assert after.macs < before.macs
    assert after.parameters < before.parameters
    assert 2 * after.macs == flops(module, example(network))
