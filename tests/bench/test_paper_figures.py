"""Figures of the paper: curves are the table's, diagrams the modules'."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.paper.architectures import DRAWN, JOIN, SUM, Block, blocks_of, main_way
from bench.paper.figures import FIGURES, curve, figure_8, figure_9, figure_11, tables_1_and_3
from bench.paper.numbers import EPOCHS
from bench.paper.words import CAPTIONS
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
        Block("3 x 3 convolution", 4, 8, (-1,)),
        Block("3 x 3 convolution", 4, 8, (0,)),
        Block(SUM, 4, 8, (0, 1)),
        Block("maximum of 2 x 2", 4, 4, (2,)),
        Block("2 x 2 transposed convolution", 6, 8, (3,)),
        Block(JOIN, 10, 8, (2, 4)),
        Block("linear", 2, 1, (5,)),
    ]


def drawn(model):
    return blocks_of(resolve(NETWORKS[model])().eval(), torch.zeros(1, 3, 128, 128))


def test_shortcuts_and_further_heads_stand_beside_the_longest_way():
    beside = {
        model: [block.kind for place, block in enumerate(blocks) if place not in main_way(blocks)]
        for model in ("cnn9", "resnet3", "unet_head")
        if (blocks := drawn(model))
    }
    assert beside == {
        "cnn9": [],
        "resnet3": ["1 x 1 convolution"] * 3,
        "unet_head": ["maximum of the image", "linear"],
    }


def test_the_two_forms_of_resnet3_differ_in_their_diagrams_by_the_pooling():
    pairs = zip(drawn("resnet3"), drawn("resnet3_max"), strict=True)
    assert [(one.kind, other.kind) for one, other in pairs if one != other] == [
        ("average of the image", "maximum of the image")
    ]


@pytest.mark.parametrize(("model", "layers"), [("cnn9", 9), ("unet", 23), ("unet_head", 24)])
def test_the_networks_of_the_study_are_drawn_as_they_are(model, layers):
    assert sum("convolution" in block.kind or block.kind == "linear" for block in drawn(model)) == layers
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
    assert angle.get_color() == colours(figure)["theta 0.5"], "one name, one colour"


def colours(figure):
    """Colour of each name in the first panel."""
    return {line.get_label(): line.get_color() for line in figure.axes[0].lines}


def test_a_sparsity_has_one_colour_and_one_axis_in_figures_8_and_9():
    arms = {
        f"cnn9-{schedule}magnitude{share}-seed0": ([0.8, share / 100], {})
        for schedule in ("", "iterative-")
        for share in (30, 50, 70, 75, 90)
    }
    one_shot, iterative = (make(studied(**arms)) for make in (figure_8, figure_9))
    both = colours(one_shot).keys() & colours(iterative).keys()
    assert both == {"50 %", "90 %"}
    assert {name: colours(one_shot)[name] for name in both} == {name: colours(iterative)[name] for name in both}
    assert one_shot.axes[0].get_ylim() == iterative.axes[0].get_ylim()


def test_scores_of_tables_1_and_3_share_one_axis():
    of = {f"validation_{metric}": "0.5" for metric in ("f1", "recall", "precision", "roc_auc")}
    figure = tables_1_and_3(studied(**{"cnn9-dense-seed0": ([0.4, 0.9], of), "resnet3-dense-seed0": ([0.2], {})}))
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


def test_every_figure_and_diagram_has_its_place_on_the_page():
    assert {*FIGURES, *DRAWN.values()} <= set(CAPTIONS)
