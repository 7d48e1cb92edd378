"""Recipes are read strictly: a typo names its file and its field."""

from __future__ import annotations

import json

import pytest
import torch

from sparsemark.errors import UserError
from training.device import native_precision
from training.recipe import RECIPES, load_recipe, recipe_of

PHASES = "[train]\nepochs = 2\nlearning_rate = 1e-3\n[finetune]\nepochs = 1\nlearning_rate = 1e-3\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_recipes_that_come_along_are_valid(name):
    assert load_recipe(name).name == name


def test_paper_recipe_is_what_the_paper_states():
    train = load_recipe("paper").train
    stated = (train.epochs, train.batch, train.learning_rate, train.beta1, train.initialization, train.augmentation)
    assert stated == (30, 32, 1e-3, 0.9, "normal", "paper")
    assert (train.schedule, train.weight_decay) == ("constant", 0)


def test_a_path_is_a_recipe_too(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(PHASES)
    recipe = load_recipe(str(path), epochs=7)
    assert (recipe.name, recipe.train.epochs, recipe.finetune.epochs) == ("own", 7, 1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[train]", "[train", "own.toml: "),
        ("[finetune]", "[finetuning]", "finetuning: unknown field 'finetuning'; did you mean 'finetune'"),
        ("epochs = 2", "epoch = 2", "train.epoch: unknown field 'epoch'; did you mean 'epochs'"),
        ("epochs = 2", "", "train.epochs: missing, expected a whole number"),
        ("learning_rate = 1e-3", "", "train.learning_rate: missing, expected a number"),
        ("[train]", "[[train]]", "expected a table"),
        ("epochs = 2", "epochs = 0", "train: epochs: 0, expected a number above 0"),
        ("epochs = 2", "epochs = 2.5", "train.epochs: 2.5, expected a whole number"),
        ("epochs = 2", "epochs = true", "train.epochs: True, expected a whole number"),
        ("learning_rate = 1e-3", "learning_rate = nan", "train: learning_rate: nan, expected a number above 0"),
        ("learning_rate = 1e-3", "learning_rate = 'fast'", "train.learning_rate: 'fast', expected a number"),
        ("epochs = 2", "epochs = 2\nbeta1 = 1", "train: beta1: 1.0, expected a fraction"),
        ("epochs = 2", "epochs = 2\nweight_decay = -1", "train: weight_decay: -1.0, expected a number from 0"),
        ("epochs = 2", "epochs = 2\nselect = 'bets'", "train: unknown select 'bets'; did you mean 'best'"),
        ("epochs = 2", "epochs = 2\nchannels_last = 1", "train.channels_last: 1, expected true or false"),
    ],
)
def test_mistake_is_named_with_file_and_field(tmp_path, old, new, words):
    path = tmp_path / "own.toml"
    path.write_text(PHASES.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_recipe(str(path))
    message = str(caught.value)
    assert message.startswith(str(path))
    assert words in message
    assert "\n" not in message


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'better'"):
        load_recipe("beter")


def test_epochs_of_the_command_line_are_checked():
    with pytest.raises(UserError, match="epochs: 0, expected"):
        load_recipe("better", epochs=0)


def test_description_holds_every_field_as_json():
    """Committed headers hold recipes in this form."""
    described = json.loads(json.dumps(load_recipe("better", epochs=7).describe()))
    assert set(described) == {"name", "train", "finetune", "network", "task", "split", "theta", "separate"}
    assert (described["train"]["epochs"], described["finetune"]["epochs"]) == (7, 6)
    assert described["finetune"] == {
        "epochs": 6,
        "learning_rate": 0.001,
        "batch": 32,
        "beta1": 0.9,
        "weight_decay": 0.01,
        "schedule": "one-cycle",
        "augmentation": "strong",
        "initialization": "kaiming",
        "select": "last",
        "precision": "auto",
        "channels_last": True,
        "half_resolution": 0.0,
    }


def test_a_recipe_extends_another_field_by_field(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('extends = "unet_head"\ntheta = 0.25\n[train]\nepochs = 3\n')
    own, base = load_recipe(str(path)), load_recipe("unet_head")
    assert (own.theta, own.train.epochs, own.task, own.network) == (0.25, 3, "both", "unet_head")
    assert own.finetune == base.finetune
    assert own.train.learning_rate == base.train.learning_rate


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('extends = "unet_heat"', "own.toml: extends: unknown recipe 'unet_heat'; did you mean 'unet_head'"),
        ('extends = "unet_head"\ntheta = 1.5', "own.toml: theta: 1.5, expected a fraction in [0, 1]"),
        ('extends = "unet_head"\ntheta = nan', "own.toml: theta: nan, expected a fraction in [0, 1]"),
        ('extends = "unet_head"\nseparate = true', "expected either theta or separate"),
        ('extends = "unet"\ntheta = 0.5', "theta and separate: expected with task 'both' only"),
        ('extends = "unet"\ntask = "segmentaton"', "unknown task 'segmentaton'; did you mean 'segmentation'"),
        ('extends = "unet"\nnetwork = "unett"', "unknown network 'unett'; did you mean 'unet'"),
        ('extends = "better"\nsplit = "slices"', "unknown split 'slices'; did you mean 'slice'"),
        ('extends = "better"\nthet = 0.5', "unknown field 'thet'; did you mean 'theta'"),
        (
            'extends = "better"\n[train]\nhalf_resolution = 1.0',
            "train: half_resolution: 1.0, expected a fraction in [0, 1)",
        ),
    ],
)
def test_mistake_in_an_extended_recipe_is_one_line(tmp_path, text, words):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recipes_that_extend_each_other_in_a_circle_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("training.recipe.RECIPES", tmp_path)
    (tmp_path / "one.toml").write_text('extends = "two"')
    (tmp_path / "two.toml").write_text('extends = "one"')
    with pytest.raises(UserError, match=r"two.toml: extends: one.toml extends it in turn"):
        load_recipe("one")


@pytest.mark.parametrize("native", ["32-true", "bf16-mixed"])
def test_automatic_precision_is_what_the_device_computes(monkeypatch, native):
    monkeypatch.setattr("training.recipe.native_precision", lambda _: native)
    recipe = load_recipe("better").on("cpu")
    assert recipe.train.precision == recipe.finetune.precision == native
    assert load_recipe("paper").on("cpu").train.precision == "32-true"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True}, "32-true"), ({"avx512_bf16": True}, "bf16-mixed"), ({"amx_bf16": True}, "bf16-mixed")],
)
def test_bfloat16_needs_instructions_for_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert native_precision("cpu") == expected


def test_a_network_is_trained_by_the_recipe_of_its_name_or_the_better_one():
    assert recipe_of("unet") == "unet"
    assert recipe_of("cnn4") == "better"
