"""The networks are what their names and `models/README.md` say."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from models import INPUT_SHAPE, NETWORKS
from models.__main__ import tabulate
from models.cards import cards
from models.cnn import cnn4, cnn9
from sparsemark.networks.factory import build_model
from sparsemark.networks.outputs import output_tensors
from sparsemark.specs import ModelSpec

PRUNABLE = (nn.Conv2d, nn.Linear)
EXPORTED = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AdaptiveMaxPool2d),
    *(nn.AdaptiveAvgPool2d, nn.Flatten, nn.Dropout, nn.Linear),
)
OUTPUTS = {"unet": [(2, 1, 128, 128)], "unet_head": [(2, 1, 128, 128), (2, 2)]}
"""Of two images; every other network gives two logits for each."""


def build(name):
    return build_model(ModelSpec(name, NETWORKS[name], INPUT_SHAPE))


@pytest.fixture(params=NETWORKS)
def network(request):
    return build(request.param)


@pytest.mark.parametrize(("name", "layers"), [("cnn3", 3), ("cnn4", 4), ("cnn9", 9), ("cnn9_wide", 9)])
def test_number_of_layers_is_in_the_name(name, layers):
    network = build_model(ModelSpec(name, NETWORKS[name], INPUT_SHAPE))
    assert sum(isinstance(layer, PRUNABLE) for layer in network.modules()) == layers


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_logits_that_the_readme_names(name):
    outputs = output_tensors(build(name)(torch.rand(2, *INPUT_SHAPE[1:])))
    assert [tuple(output.shape) for output in outputs] == OUTPUTS.get(name, [(2, 2)])


def test_eval_mode_is_deterministic_and_treats_images_one_by_one(network):
    images = torch.rand(2, *INPUT_SHAPE[1:])
    network.eval()
    for together, alone in zip(output_tensors(network(images)), output_tensors(network(images[1:2])), strict=True):
        torch.testing.assert_close(together[1:2], alone)


def test_every_convolution_has_batchnorm_after_it(network):
    """All but those that double an image, and the one that makes a mask: they have biases instead."""
    layers = [layer for layer in network.modules() if not list(layer.children())]
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d) and layer.bias is None]
    assert len(convolutions) >= 2
    assert all(isinstance(layers[i + 1], nn.BatchNorm2d) for i in convolutions)
    with_bias = [layer for layer in layers if isinstance(layer, nn.Conv2d) and layer.bias is not None]
    assert [layer.out_channels for layer in with_bias] in ([], [1])


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


def test_average_and_maximum_pooling_are_all_that_tells_the_residual_networks_apart():
    average, maximum = build("resnet3"), build("resnet3_max")
    maximum.load_state_dict(average.state_dict())
    features = torch.rand(1, 128, 16, 16)
    torch.testing.assert_close(average.pool(features).flatten(), features.mean(dim=(2, 3)).flatten())
    torch.testing.assert_close(maximum.pool(features).flatten(), features.amax(dim=(2, 3)).flatten())
    assert len(average.blocks) == 3


def test_shortcut_goes_around_each_block():
    """With its own convolutions at zero a block is its shortcut."""
    block = build("resnet3").eval().blocks[1]
    nn.init.zeros_(block.second[0].weight)
    features = torch.rand(1, 32, 8, 8)
    torch.testing.assert_close(block(features), block.shortcut(features).relu())


def test_unet_sees_fine_and_coarse():
    """A pixel of the mask depends on its own image pixel, and on one half the image away."""
    network = build("unet").eval()
    images = torch.rand(1, 3, 128, 128, requires_grad=True)
    network(images)[0, 0, 64, 64].backward()
    seen = images.grad.abs().sum(dim=1)[0]
    assert seen[64, 64] > 0
    assert seen[64, 127] > 0


def test_head_of_the_unet_shares_the_way_down_and_nothing_else():
    network = build("unet_head")
    _mask, logits = network(torch.rand(1, *INPUT_SHAPE[1:]))
    logits.sum().backward()
    touched = {name.partition(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert touched == {"down", "classifier"}


@pytest.fixture(scope="module")
def table():
    return tabulate()


def test_readme_shows_what_the_command_prints(table):
    assert table in Path("models/README.md").read_text()


def test_readme_has_a_card_for_each_checkpoint():
    shown = cards(Path("models/weights"))
    assert len(shown.splitlines()) == 2 + len(list(Path("models/weights").glob("*.safetensors")))
    assert shown in Path("models/README.md").read_text()


def test_a_card_says_how_it_was_trained_and_what_came_out_on_whom(tmp_path):
    shutil.copy("models/weights/cnn9-magnitude90-seed0-fold1.safetensors", tmp_path)
    row = [cell.strip() for cell in cards(tmp_path).splitlines()[-1].strip("|").split("|")]
    assert row[:8] == [
        "`cnn9`",
        "magnitude90",
        "0, fold 1",
        "better",
        "float32",
        "25",
        "6",
        "611 slices of 18 patients",
    ]
    assert row[8] == "95.3 [93.3, 96.8]"
    assert row[10] == "-", "a network without a mask has no Dice"


def test_wide_network_has_845_million_multiply_adds(table):
    (row,) = [line for line in table.splitlines() if "cnn9_wide" in line]
    assert float(row.split("|")[3]) == pytest.approx(845, abs=1)
