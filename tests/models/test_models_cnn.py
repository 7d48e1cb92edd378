"""The networks are what their names and `models/README.md` say."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models import INPUT_SHAPE, NETWORKS
from models.__main__ import tabulate
from models.cnn import cnn4, cnn9
from sparsemark.networks.factory import build_model
from sparsemark.specs import ModelSpec

PRUNABLE = (nn.Conv2d, nn.Linear)
EXPORTED = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Dropout, nn.Linear)


@pytest.fixture(params=NETWORKS)
def network(request):
    return build_model(ModelSpec(request.param, NETWORKS[request.param], INPUT_SHAPE))


@pytest.mark.parametrize(("name", "layers"), [("cnn3", 3), ("cnn4", 4), ("cnn9", 9), ("cnn9_wide", 9)])
def test_number_of_layers_is_in_the_name(name, layers):
    network = build_model(ModelSpec(name, NETWORKS[name], INPUT_SHAPE))
    assert sum(isinstance(layer, PRUNABLE) for layer in network.modules()) == layers


def test_two_logits_per_image(network):
    assert network(torch.rand(2, *INPUT_SHAPE[1:])).shape == (2, 2)


def test_eval_mode_is_deterministic_and_treats_images_one_by_one(network):
    images = torch.rand(2, *INPUT_SHAPE[1:])
    network.eval()
    together = network(images)
    torch.testing.assert_close(together[1:2], network(images[1:2]))


def test_every_convolution_has_batchnorm_after_it(network):
    layers = list(network.features)
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert all(isinstance(layers[i + 1], nn.BatchNorm2d) for i in convolutions)
    assert any(isinstance(layer, nn.Dropout) for layer in network.modules())


def test_only_operators_that_every_engine_has_and_none_in_place(network):
    leaves = [layer for layer in network.modules() if not list(layer.children())]
    assert all(isinstance(layer, EXPORTED) for layer in leaves)
    assert not any(getattr(layer, "inplace", False) for layer in leaves)


def test_one_cell_of_the_last_map_decides():
    """Global pooling takes the maximum: one cell speaks for the image, wherever it is."""
    network = cnn9().eval()
    cells = torch.zeros(1, 128, 8, 8)
    cells[..., 3, 5] = 2
    assert network.pool(cells).flatten().tolist() == [2.0] * 128


def test_widths_and_dropout_are_keywords():
    network = cnn4(widths=(5, 7, 11), dropout=0.0)
    assert [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)] == [5, 7, 11]
    assert network.dropout.p == 0


@pytest.fixture(scope="module")
def table():
    return tabulate()


def test_readme_shows_what_the_command_prints(table):
    assert table in Path("models/README.md").read_text()


def test_wide_network_has_845_million_multiply_adds(table):
    (row,) = [line for line in table.splitlines() if "cnn9_wide" in line]
    assert float(row.split("|")[3]) == pytest.approx(845, abs=1)
