"""The harness's `Trainer`: what it promises holds for any network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sparsemark.errors import UserError
from tests.training.tiny import PATIENTS, tiny_network, write_set
from training import phantom
from training.initialization import initialize
from training.slices import to_input
from training.study import open_trainer

RECIPE = """
[train]
epochs = 1
learning_rate = 0.01
batch = 8
[finetune]
epochs = 2
learning_rate = 0.01
batch = 8
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "quick.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    return write_set(tmp_path / "set")


@pytest.fixture
def trainer(folder, recipe):
    return open_trainer("tiny", 0, folder, recipe=recipe, device="cpu")


def test_test_images_are_what_the_network_takes(trainer):
    images = trainer.test_images()
    assert images.dtype == np.float32
    assert images.flags["C_CONTIGUOUS"]
    assert images.shape == (len(trainer.split.test), 3, 128, 128)
    assert 0 <= images.min() < images.max() <= 1


def test_header_is_json_and_recognised_by_the_same_data_and_split_only(trainer, folder, recipe, tmp_path):
    header = json.loads(json.dumps(trainer.provenance, allow_nan=False))
    assert trainer.has_trained(header)
    assert open_trainer("tiny", 0, folder, recipe=recipe).has_trained(header)
    assert not open_trainer("tiny", 1, folder, recipe=recipe).has_trained(header)
    assert not open_trainer("tiny", 0, folder, recipe=recipe, split="slice").has_trained(header)
    fewer = write_set(tmp_path / "fewer", PATIENTS[:-1])
    assert not open_trainer("tiny", 0, fewer, recipe=recipe).has_trained(header)
    assert not trainer.has_trained({})


def test_header_lists_every_patient_once(trainer):
    split = trainer.provenance["split"]
    assert sorted(split["train"] + split["validation"] + split["test"]) == sorted(
        p[: -len("_19990101")] for p in PATIENTS
    )
    assert "CC BY-NC-SA 4.0" in trainer.provenance["origin"]
    assert {"majority", "position"} <= set(trainer.provenance["baselines"])


def test_source_says_how_it_was_split_and_warns_of_leaks(folder, recipe):
    assert "split by patient" in open_trainer("tiny", 0, folder, recipe=recipe).source
    leaky = open_trainer("tiny", 0, folder, recipe=recipe, split="slice")
    assert "leaky slice split" in leaky.source
    assert "leaky slice split" in json.dumps(leaky.provenance)


def test_without_a_folder_the_phantom_is_named(recipe, monkeypatch):
    monkeypatch.setattr("training.data.load_phantom", lambda: phantom.generate(6, 6, 3))
    assert "PHANTOM" in open_trainer("tiny", 0, recipe=recipe).source


def test_training_draws_its_own_weights(trainer, tmp_path):
    """The seed decides: what the network held before makes no difference."""
    networks = [tiny_network(), tiny_network()]
    for network in networks:
        history = trainer.train(network, tmp_path / "work")
    assert len(json.loads(json.dumps(history))["epochs"]) == 1
    for first, second in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(first, second)


def test_finetuning_starts_from_what_it_is_given_and_keeps_the_mask(trainer, tmp_path):
    network = tiny_network()
    initialize(network, "kaiming", 3)
    before = network[0].weight.detach().clone()
    prune.l1_unstructured(network[0], "weight", 0.5)
    zeros = network[0].weight_mask == 0
    assert len(trainer.finetune(network, tmp_path / "work")["epochs"]) == 2
    after = network[0].weight.detach()
    assert (after[zeros] == 0).all()
    kept = torch.nn.functional.cosine_similarity(after[~zeros], before[~zeros], dim=0)
    assert 0.5 < float(kept) < 1


def test_evaluation_changes_nothing_and_needs_no_mode(trainer):
    network = tiny_network()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    scores = trainer.evaluate(network.train())
    assert scores == trainer.evaluate(network.eval())
    assert set(scores) == {"accuracy", "accuracy_low", "accuracy_high", "f1", "recall", "precision", "roc_auc"}
    assert scores["accuracy_low"] <= scores["accuracy"] <= scores["accuracy_high"]
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_recalibration_gives_the_statistics_of_the_training_images(trainer, monkeypatch):
    monkeypatch.setattr("training.study.RECALIBRATION_BATCH", 1000)
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    network[1].running_mean.fill_(7)
    trainer.recalibrate(network)
    images = to_input(trainer.slices.images[trainer.split.train]).double()
    for found, expected in (
        (network[1].running_mean, images.mean(dim=(0, 2, 3))),
        (network[1].running_var, images.var(dim=(0, 2, 3))),
    ):
        # BatchNorm sums 400,000 pixels in float32.
        torch.testing.assert_close(found.double(), expected, rtol=5e-3, atol=0)
    assert network[1].momentum == 0.1
    assert not any(layer.training for layer in network.modules())


def test_recalibration_weighs_batches_alike_whatever_was_there(trainer, monkeypatch):
    monkeypatch.setattr("training.study.RECALIBRATION_BATCH", 4)
    first, second = tiny_network(), tiny_network()
    second.load_state_dict(first.state_dict())
    second[1].running_mean.fill_(5)
    second[1].running_var.fill_(9)
    second[1].num_batches_tracked.fill_(50)
    for network in (first, second):
        trainer.recalibrate(network)
    assert torch.equal(first[1].running_mean, second[1].running_mean)
    assert torch.equal(first[1].running_var, second[1].running_var)
    assert int(first[1].num_batches_tracked) == len(trainer.split.train) // 4


def test_refusals_name_the_folder(tmp_path, recipe):
    few = write_set(tmp_path / "few", PATIENTS[:2])
    with pytest.raises(UserError, match=r"few: 2 patients cannot be split .* expected at least 3"):
        open_trainer("tiny", 0, few, recipe=recipe)
    healthy = write_set(tmp_path / "healthy", first_tumour=99)
    with pytest.raises(UserError, match=r"healthy: .* of one class only: expected some with tumour"):
        open_trainer("tiny", 0, healthy, recipe=recipe)
