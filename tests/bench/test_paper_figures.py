"""Figures of the paper: curves are the table's, diagrams the modules'."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.paper_architectures import DRAWN, Block, blocks_of
from bench.paper_figures import FIGURES, curve, figure_9, figure_11
from bench.paper_numbers import EPOCHS
from models import NETWORKS
from sparsemark.references import resolve
from tests.bench.test_paper import Invented


class Joined(nn.Module):
    """A block with a way around it, joined to what went down and came up again."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.pool, self.up, self.head = nn.MaxPool2d(2), nn.ConvTranspose2d(4, 6, 2, stride=2), nn.Linear(10, 2)

    def forward(self, x):
        x = self.a(x)
        x = (x + self.norm(self.b(x))).relu()
        return self.head(torch.cat([x, self.up(self.pool(x))], 1).mean((2, 3)))


def test_a_diagram_has_the_layers_with_what_each_is_computed_from():
    assert blocks_of(Joined().eval(), torch.zeros(1, 3, 8, 8)) == [
        Block("convolution", 4, 8, (-1,)),
        Block("convolution", 4, 8, (0,)),
        Block("pooling", 4, 4, (0, 1)),
        Block("transposed", 6, 8, (2,)),
        Block("linear", 2, 1, (0, 1, 3)),
    ]


@pytest.mark.parametrize(("model", "layers"), [("cnn9", 9), ("unet", 23), ("unet_head", 24)])
def test_the_networks_of_the_study_are_drawn_as_they_are(model, layers):
    blocks = blocks_of(resolve(NETWORKS[model])().eval(), torch.zeros(1, 3, 128, 128))
    assert sum(block.kind != "pooling" for block in blocks) == layers
    assert set(DRAWN) <= set(NETWORKS)


def studied(**curves):
    study = Invented({})
    study.epochs = {
        variant: [{"validation_accuracy": f"{value}", "train_accuracy": "", **more} for value in values]
        for variant, (values, more) in curves.items()
    }
    return study


def test_a_curve_is_the_column_of_the_table_in_percent():
    study = studied(net=([0.5, 0.75], {}))
    found = curve(study, "net", "validation_accuracy", "ours", [0.6] * len(EPOCHS))
    assert (list(found.epochs), list(found.values), list(found.points)) == ([1, 2], [50.0, 75.0], [60.0] * 4)
    assert curve(study, "net", "train_accuracy", "ours") is None
    assert curve(study, "other", "validation_accuracy", "ours") is None


def test_a_figure_without_numbers_is_none_and_a_title_says_what_there_is():
    assert [make(Invented({})) for make in FIGURES.values()] == [None] * len(FIGURES)
    arms = {f"cnn9-iterative-magnitude{share}-seed0": ([0.9, share / 100], {}) for share in (50, 75, 90)}
    assert "50.0 to 90.0 %" in figure_9(studied(**arms)).get_suptitle()
    heads = {
        "unet-dense-seed0": ([0.1], {"validation_dice_volume": "0.7"}),
        "unet_head-dense-seed0": ([0.1], {"validation_dice_volume": "0.8", "gradient_angle_mean": "95"}),
    }
    figure = figure_11(studied(**heads))
    assert "70 % with a mask alone, 80 % trained jointly" in figure.get_suptitle()
    angle = figure.axes[2].lines[0]
    assert list(angle.get_ydata()) == [95.0]
    assert angle.get_color() == figure.axes[0].lines[1].get_color(), "one name, one colour"
