"""The study's task: what the harness relies on holds for any network, and nothing of today's numbers changes."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparsemark import paths
from sparsemark.analysis.groups import unseen
from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import read_header
from sparsemark.networks.checkpoint_v1 import upgrade
from sparsemark.pruning.masks import apply, held
from sparsemark.specs import ModelSpec
from sparsemark.study.finetune import finetune, recalibrate
from sparsemark.study.task import REPORT, SELECT, Task
from tests.training.tiny import PATIENTS, tiny_network, write_set
from training import phantom
from training.data import DATA_VARIABLE
from training.initialization import initialize
from training.prediction import summarise_slices
from training.scoring import score
from training.slices import to_input
from training.study import open_task

REAL_SET = os.environ.get(DATA_VARIABLE)
MODEL = ModelSpec("tiny", "tiny.py:tiny", (1, 3, 128, 128))
RECIPE = """
[train]
epochs = 1
learning_rate = 0.01
batch = 8
[finetune]
epochs = 5
learning_rate = 0.01
batch = 8
"""


def header_of(study):
    """What a checkpoint's header says of the task, beside scores and history."""
    return study.describe() | study.provenance()


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "quick.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    return write_set(tmp_path / "set")


@pytest.fixture
def study(folder, recipe):
    return open_task("tiny", 0, None, folder, recipe=recipe, device="cpu")


@pytest.fixture
def task(study):
    return Task(study, "training.study")


def outputs_of(network, study, part):
    """Outputs as the harness hands them over: a tuple of arrays."""
    network.eval()
    with torch.no_grad():
        return (network(torch.from_numpy(study.images(part))).numpy(),)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_its_own_loop_trains_for_int8_as_well(precision, folder, tmp_path):
    """In Lightning, and under autocast, whose layers get narrower inputs."""
    (tmp_path / "int8.toml").write_text(f'{RECIPE}precision = "{precision}"\n')
    study = open_task("tiny", 0, None, folder, recipe=str(tmp_path / "int8.toml"), device="cpu")
    states = []
    for aware in (False, True):
        network = tiny_network()
        initialize(network, "kaiming", 3)
        masks = {"0.weight": network[0].weight.detach() > 0}
        apply(network, masks)
        names = list(network.state_dict())
        finetune(network, Task(study, "study"), masks, epochs=1, seed=0, work=tmp_path / "work", aware=aware)
        assert list(network.state_dict()) == names
        assert not network[0].weight[~masks["0.weight"]].any()
        states.append(network[0].weight.detach().clone())
    assert not torch.equal(*states)


@pytest.mark.parametrize(("part", "own"), [(SELECT, "validation"), (REPORT, "test")])
def test_images_are_what_the_network_takes(study, part, own):
    images = study.images(part)
    assert images.dtype == np.float32
    assert images.flags["C_CONTIGUOUS"]
    assert images.shape == (len(getattr(study.split, own)), 3, 128, 128)
    assert 0 <= images.min() < images.max() <= 1
    np.testing.assert_array_equal(images, to_input(study.slices.images[getattr(study.split, own)]).numpy())


def test_choices_and_reports_are_made_on_different_patients_than_training(study):
    owners = [{study.slices.patients[i] for i in part} for part in (study.split.validation, study.split.test)]
    trained = {study.slices.patients[i] for i in study.split.train}
    assert not owners[0] & owners[1]
    assert not (owners[0] | owners[1]) & trained


def test_header_is_json_and_recognised_by_the_same_data_and_split_only(study, folder, recipe, tmp_path):
    def key(*arguments, **options):
        return header_of(open_task("tiny", *arguments, recipe=recipe, **options))["key"]

    header = json.loads(json.dumps(header_of(study), allow_nan=False))
    assert header["key"] == key(0, None, folder)
    assert header["key"] == key(0, None, write_set(tmp_path / "copy"), epochs=9)
    fewer = write_set(tmp_path / "fewer", PATIENTS[:-1])
    others = [
        key(1, None, folder),
        key(0, 0, folder),
        key(0, 1, folder),
        key(0, None, folder, split="slice"),
        key(0, None, fewer),
    ]
    assert len({header["key"], *others}) == 6


def test_key_of_a_fold_does_not_depend_on_the_seed(folder, recipe):
    described = [header_of(open_task("tiny", seed, 2, folder, recipe=recipe)) for seed in (0, 1)]
    assert described[0]["key"] == described[1]["key"]
    assert [header["seed"] for header in described] == [0, 1]
    assert [header["fold"] for header in described] == [2, 2]


def test_harness_reads_header_note_and_metrics(task, study):
    assert task.provenance()["recipe"]["name"] == "quick"
    assert (task.note.words, task.note.caveat, task.note.key) == tuple(
        header_of(study)[name] for name in ("data", "caveat", "key")
    )
    assert {name: metric.tolerance for name, metric in task.metrics.items()} == {
        "accuracy": 0.01,
        "f1": None,
        "recall": None,
        "precision": None,
        "roc_auc": None,
    }
    assert all(metric.higher_is_better for metric in task.metrics.values())


def test_a_header_of_schema_1_is_upgraded_to_what_the_task_describes(study):
    """So that committed weights are known to be trained on these data."""
    described = header_of(study)
    moved = {name: described[name] for name in ("hash", "slices", "patients")}
    old = {name: value for name, value in described.items() if name not in {*moved, "data", "caveat", "key", "fold"}}
    old["data"] = {"source": described["data"], "split": study.split.words, **moved}
    old["source"] = described["data"]
    new = upgrade({"prune": {"method": "none"}, "provenance": old})["provenance"]
    assert new == {name: value for name, value in described.items() if name != "fold"}


@pytest.mark.skipif(REAL_SET is None, reason=f"{DATA_VARIABLE} names no LGG set")
def test_committed_weights_were_trained_on_the_set_at_hand():
    headers = [read_header(path) for path in sorted(paths.WEIGHTS.glob("*.safetensors"))]
    assert headers
    described = {}
    for header in headers:
        variant = header.variant
        key = variant.model.name, variant.seed, variant.fold
        if key not in described:
            described[key] = header_of(open_task(*key, REAL_SET))
        own = described[key]
        if own["hash"] != header.provenance["hash"]:
            pytest.skip("another set than that of the committed weights")
        for name in ("key", "data", "caveat", "split", "hash", "slices", "patients", "origin"):
            assert header.provenance[name] == own[name], name
        for name, baseline in header.provenance["baselines"].items():
            assert baseline["test"] == own["baselines"][name]["test"]


def test_header_lists_every_patient_once(study):
    header = header_of(study)
    split = header["split"]
    assert sorted(split["train"] + split["validation"] + split["test"]) == sorted(
        p[: -len("_19990101")] for p in PATIENTS
    )
    assert "CC BY-NC-SA 4.0" in header["origin"]
    assert {"majority", "position"} <= set(header["baselines"])


def test_source_says_how_it_was_split_and_warns_of_leaks(folder, recipe):
    whole = header_of(open_task("tiny", 0, None, folder, recipe=recipe))
    assert "split by patient;" in whole["data"]
    assert whole["caveat"] is None
    leaky = header_of(open_task("tiny", 0, None, folder, recipe=recipe, split="slice"))
    assert "leaky slice split" in leaky["data"]
    assert leaky["caveat"] == "LEAKY"


@pytest.mark.parametrize("split", ["patient", "slice"])
def test_without_a_folder_the_phantom_is_named(recipe, monkeypatch, split):
    monkeypatch.setattr("training.data.load_phantom", lambda: phantom.generate(6, 6, 3))
    header = header_of(open_task("tiny", 0, recipe=recipe, split=split))
    assert "PHANTOM" in header["data"]
    assert header["caveat"] == "PHANTOM"


def test_caveat_is_a_fact_and_no_word_of_a_sentence(tmp_path, recipe):
    """A folder whose patients are called so is not a phantom."""
    patients = tuple(f"TCGA_PHANTOMLEAKY_{number}_19990101" for number in range(6))
    assert (
        header_of(open_task("tiny", 0, None, write_set(tmp_path / "phantom", patients), recipe=recipe))["caveat"]
        is None
    )


def test_training_draws_its_own_weights(study, tmp_path):
    """The seed decides: what the network held before makes no difference."""
    networks = [tiny_network(), tiny_network(), tiny_network()]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        history = study.train(network, None, seed, tmp_path / "work")
    assert len(json.loads(json.dumps(history))["epochs"]) == 1
    for first, second in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(networks[0][0].weight, networks[2][0].weight)


def test_seed_of_a_training_is_the_one_that_the_harness_names(folder, recipe, tmp_path):
    networks = [tiny_network(), tiny_network()]
    for network, opened in zip(networks, (0, 1), strict=True):
        open_task("tiny", opened, 0, folder, recipe=recipe, device="cpu").train(
            network, None, 1, tmp_path / str(opened)
        )
    assert torch.equal(networks[0][0].weight, networks[1][0].weight)


def test_finetuning_starts_from_what_it_is_given_and_keeps_the_mask(study, tmp_path):
    network = tiny_network()
    initialize(network, "kaiming", 3)
    before = network[0].weight.detach().clone()
    masks = {"0.weight": before.abs() > before.abs().median()}
    apply(network, masks)
    zeros = ~masks["0.weight"]
    with held(network, masks, "training"):
        assert len(study.train(network, 2, 0, tmp_path / "work")["epochs"]) == 2
    after = network[0].weight.detach()
    assert (after[zeros] == 0).all()
    kept = torch.nn.functional.cosine_similarity(after[~zeros], before[~zeros], dim=0)
    assert 0.5 < float(kept) < 1


def test_finetuning_for_less_than_an_epoch_is_refused(study, tmp_path):
    with pytest.raises(UserError, match="epochs: 0, expected a number above 0"):
        study.train(tiny_network(), 0, 0, tmp_path)


@pytest.mark.parametrize("part", [SELECT, REPORT])
def test_scores_are_those_of_the_network_and_come_in_the_order_of_the_metrics(study, task, part):
    network = tiny_network()
    outputs = outputs_of(network, study, part)
    before = outputs[0].copy()
    found = study.score(outputs, part)
    np.testing.assert_array_equal(outputs[0], before)
    indices = study.split.validation if part == SELECT else study.split.test
    assert found == score(
        summarise_slices(network, study.task, study.slices, indices)["tumour"].numpy(), study.slices.labels[indices]
    )
    scores = task.scores(outputs, part, task.images(part, MODEL))
    assert list(scores) == ["accuracy", "f1", "recall", "precision", "roc_auc"]
    assert {name: value.value for name, value in scores.items()} == found
    assert scores["accuracy"].low <= scores["accuracy"].value <= scores["accuracy"].high
    assert {score.low for name, score in scores.items() if name != "accuracy"} == {None}


def bootstrap_accuracy(correct, patients, seed=0):
    """The interval as this package computed it for the committed weights."""
    _, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    slices = np.bincount(patient_of)
    hits = np.bincount(patient_of, weights=correct)
    drawn = np.random.default_rng(seed).integers(0, len(slices), size=(2000, len(slices)))
    accuracies = hits[drawn].sum(axis=1) / slices[drawn].sum(axis=1)
    return tuple(float(bound) for bound in np.quantile(accuracies, [0.025, 0.975]))


def logits_for(labels, correct):
    """Logits that are right where `correct` is."""
    predicted = np.where(correct, labels, ~labels)
    return (np.stack([~predicted, predicted], axis=1).astype(np.float32),)


def unequal_set(folder, sizes):
    for i, size in enumerate(sizes):
        write_set(folder, (f"TCGA_CS_{i:02d}_19990101",), size, first_tumour=max(2, size // 2))
    return folder


def test_interval_resamples_patients_not_slices(tmp_path, recipe):
    """Patients of unequal size, each with its own share of hits: the interval is the one of the committed weights."""
    folder = unequal_set(tmp_path / "unequal", [3, 7, 4, 11, 5, 6, 9, 3, 8, 13, 5, 4, 7, 3, 6, 10, 4, 5, 8, 3])
    study = open_task("tiny", 0, 1, folder, recipe=recipe)
    task = Task(study, "training.study")
    labels = study.slices.labels[study.split.test]
    patients = [study.slices.patients[i] for i in study.split.test]
    correct = np.random.default_rng(5).random(len(labels)) < 0.7
    outputs = logits_for(labels, correct)
    groups = study.per_group(outputs, REPORT)
    assert list(groups) == sorted(set(patients))
    assert sum(count for _, count in (scores["accuracy"] for scores in groups.values())) == len(labels)
    for patient, scores in groups.items():
        accuracy, count = scores["accuracy"]
        own = np.array([name == patient for name in patients])
        assert (accuracy, count) == (pytest.approx(correct[own].mean()), own.sum())
    found = task.scores(outputs, REPORT, task.images(REPORT, MODEL))["accuracy"]
    assert found.value == pytest.approx(correct.mean())
    expected = bootstrap_accuracy(correct, patients)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert expected != pytest.approx(bootstrap_accuracy(correct, list(map(str, range(len(correct))))), rel=1e-3)


def test_interval_of_a_perfect_network_is_bounded_by_its_few_patients(study, task):
    labels = study.slices.labels[study.split.test]
    found = task.scores(logits_for(labels, np.ones(len(labels), bool)), REPORT, task.images(REPORT, MODEL))["accuracy"]
    patients = len({study.slices.patients[index] for index in study.split.test})
    assert (found.low, found.value, found.high) == (pytest.approx(1 - unseen(patients)), 1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda logits: logits[:-1], r"tiny: output of shape \(3, 2\); expected logits \(4, 2\)"),
        (lambda logits: logits[:, :1], r"tiny: output of shape \(4, 1\); expected logits \(4, 2\)"),
        (lambda logits: logits * np.nan, "tiny: output holds NaN or infinities; expected finite logits"),
    ],
)
def test_outputs_that_cannot_be_scored_are_refused(study, change, words):
    logits = np.ones((len(study.split.test), 2), np.float32)
    for function in (study.score, study.per_group):
        with pytest.raises(UserError, match=words):
            function((change(logits),), REPORT)


def test_an_epoch_of_batches_holds_the_training_images_as_they_are(study, monkeypatch):
    monkeypatch.setattr("training.study.BATCH", 7)
    batches = list(study.batches(3))
    order = np.random.default_rng(3).permutation(study.split.train)
    assert [len(images) for images, _ in batches] == [7, 7, 7, 3]
    np.testing.assert_array_equal(
        np.concatenate([images.numpy() for images, _ in batches]), to_input(study.slices.images[order]).numpy()
    )
    targets = torch.cat([labels for _, labels in batches])
    assert targets.dtype == torch.int64
    assert targets.tolist() == study.slices.labels[order].tolist()


def test_loss_is_the_cross_entropy_and_carries_gradients(study, task):
    network = tiny_network()
    images, labels = next(iter(study.batches(0)))
    logits = network(images)
    loss = task.loss(logits, labels)
    log_odds = logits[:, 1] - logits[:, 0]
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(log_odds, labels.float()))
    loss.backward()
    assert network[0].weight.grad.abs().sum() > 0


def test_recalibration_gives_the_statistics_of_the_training_images(study, task, monkeypatch):
    monkeypatch.setattr("training.study.BATCH", 1000)
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    network[1].running_mean.fill_(7)
    assert recalibrate(network, task, 0)
    images = to_input(study.slices.images[study.split.train]).double()
    for found, expected in (
        (network[1].running_mean, images.mean(dim=(0, 2, 3))),
        (network[1].running_var, images.var(dim=(0, 2, 3))),
    ):
        # BatchNorm sums 400,000 pixels in float32.
        torch.testing.assert_close(found.double(), expected, rtol=5e-3, atol=0)
    assert network[1].momentum == 0.1
    assert not any(layer.training for layer in network.modules())


def test_recalibration_weighs_batches_alike_whatever_was_there(study, task, monkeypatch):
    monkeypatch.setattr("training.study.BATCH", 5)
    first, second = tiny_network(), tiny_network()
    second.load_state_dict(first.state_dict())
    second[1].running_mean.fill_(5)
    second[1].running_var.fill_(9)
    second[1].num_batches_tracked.fill_(50)
    for network in (first, second):
        recalibrate(network, task, 0)
    assert torch.equal(first[1].running_mean, second[1].running_mean)
    assert torch.equal(first[1].running_var, second[1].running_var)
    assert len(study.split.train) % 5
    assert int(first[1].num_batches_tracked) == len(study.split.train) // 5


def recalibrate_as_before(module, study, seed, size):
    """The estimate as this package made it for the committed weights."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    module.eval()
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    order = np.random.default_rng(seed).permutation(study.split.train)
    with torch.no_grad():
        for batch in range(max(len(order) // size, 1)):
            module(to_input(study.slices.images[order[batch * size : (batch + 1) * size]]))
    module.eval()


@pytest.mark.parametrize("size", [5, 8, 64])
@pytest.mark.parametrize("seed", [0, 4])
def test_recalibration_is_the_one_of_the_committed_weights(study, task, monkeypatch, size, seed):
    monkeypatch.setattr("training.study.BATCH", size)
    first, second = tiny_network(), tiny_network()
    second.load_state_dict(first.state_dict())
    recalibrate(first, task, seed)
    recalibrate_as_before(second, study, seed, size)
    for found, expected in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(found, expected)


def test_refusals_name_the_folder(tmp_path, recipe):
    few = write_set(tmp_path / "few", PATIENTS[:2])
    with pytest.raises(UserError, match=r"few: 2 patients cannot be split .* expected at least 3"):
        open_task("tiny", 0, None, few, recipe=recipe)
    healthy = write_set(tmp_path / "healthy", first_tumour=99)
    with pytest.raises(UserError, match=r"healthy: .* of one class only: expected some with tumour"):
        open_task("tiny", 0, None, healthy, recipe=recipe)
    with pytest.raises(UserError, match=r"^fold 5: expected a whole number from 0 to 4 \(.*set\)$"):
        open_task("tiny", 0, 5, write_set(tmp_path / "set"), recipe=recipe)
