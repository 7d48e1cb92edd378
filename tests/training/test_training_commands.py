"""The two commands, from a folder of images to a checkpoint to a file of scores."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import pytest

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.machine.locks import only_process
from sparsemark.networks.checkpoint import load_checkpoint, read_header, save_checkpoint
from tests.training.tiny import PATIENTS, write_set
from training import budget, evaluate, train

RECIPE = """
[train]
epochs = 2
learning_rate = 0.01
batch = 8
precision = "bf16-mixed"
channels_last = true
[finetune]
epochs = 1
learning_rate = 0.01
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a set, and the checkpoint that the command made of it."""
    place = tmp_path_factory.mktemp("trained")
    (place / "quick.toml").write_text(RECIPE)
    write_set(place / "set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.cache.FOLDER", place / "cache")
        patch.setattr(train, "WORK", place / "work")
        assert train.main(command(place, "--epochs", "1")) == 0
    return place, place / "out" / "cnn3-dense-seed0.safetensors"


def command(place, *more: str) -> list[str]:
    recipe = ["--recipe", str(place / "quick.toml"), "--model", "cnn3", "--device", "cpu"]
    return [*recipe, "--data", str(place / "set"), "--out", str(place / "out"), *more]


def run_evaluate(checkpoint, data, out) -> dict:
    assert evaluate.main([str(checkpoint), "--data", str(data), "--json", str(out)]) == 0
    return json.loads(out.read_text())


def test_checkpoint_says_where_it_comes_from(trained):
    checkpoint = load_checkpoint(trained[1])
    header = checkpoint.provenance
    assert checkpoint.variant.model.reference == "models/cnn.py:cnn3"
    assert header["recipe"]["name"] == "quick"
    assert header["recipe"]["train"]["epochs"] == len(header["history"]["epochs"]) == 1
    assert "CC BY-NC-SA 4.0" in header["origin"]
    assert (header["patients"], header["slices"]) == (8, 32)
    assert len(header["split"]["train"]) == 6
    assert 0 <= header["scores"]["roc_auc"]["value"] <= 1
    accuracy = header["scores"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert (header["caveat"], header["fold"]) == (None, None)
    assert header["history"]["epochs"][0]["slices_per_second"] > 0


@pytest.fixture
def elsewhere(trained, tmp_path, monkeypatch):
    """A working folder and a cache that no other test has."""
    monkeypatch.setattr(train, "WORK", tmp_path / "work")
    monkeypatch.setattr("training.cache.FOLDER", tmp_path / "cache")
    return tmp_path / "work"


def test_a_terminated_training_goes_on_after_its_last_epoch(trained, elsewhere, monkeypatch, capsys, caplog):
    from training.loop import StateOnDisk

    caplog.set_level("INFO", logger="training")
    out = elsewhere.with_name("out")
    plain = StateOnDisk.on_train_epoch_end

    def terminate(self, trainer, pl_module):
        plain(self, trainer, pl_module)
        signal.raise_signal(signal.SIGTERM)

    arguments = command(trained[0], "--out", str(out))
    with monkeypatch.context() as patch:
        patch.setattr(StateOnDisk, "on_train_epoch_end", terminate)
        assert train.main(arguments) == 143
    assert capsys.readouterr().err.splitlines()[-1] == (
        "training.train: terminated; the same command goes on from here"
    )
    assert not out.exists()
    assert train.main(arguments) == 0
    assert "training goes on after epoch 1 of 2, from " in caplog.text
    (made,) = out.iterdir()
    assert len(read_header(made).provenance["history"]["epochs"]) == 2


def test_a_second_training_of_the_same_network_is_refused(trained, elsewhere, tmp_path, capsys):
    lock = paths.lock(elsewhere / "cnn3-dense-seed0")
    with only_process(lock, "training.train of cnn3-dense-seed0"):
        assert train.main(command(trained[0], "--out", str(tmp_path / "out"))) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"training.train: {lock}: held by process {os.getpid()}: training.train of cnn3-dense-seed0; wait for it to "
        "end, or stop it"
    )
    assert not (tmp_path / "out").exists()


def test_every_patient_of_the_folder_is_scored(trained, tmp_path):
    _, checkpoint = trained
    report = run_evaluate(checkpoint, trained[0] / "set", tmp_path / "scores.json")
    assert set(report["overall"]) == {"accuracy", "f1", "recall", "precision", "roc_auc", "slices", "patients"}
    assert (report["overall"]["slices"], report["overall"]["patients"]) == (32, 8)
    assert set(report["patients"]) == {patient[: -len("_19990101")] for patient in PATIENTS}
    right = sum(scores["accuracy"] * scores["slices"] for scores in report["patients"].values())
    assert right / 32 == pytest.approx(report["overall"]["accuracy"])
    assert report["baselines"]["position"]["accuracy"] > report["baselines"]["majority"]["accuracy"]
    assert report["seen_in_training"] == 6


def test_one_new_patient_is_enough(trained, tmp_path, capsys):
    """No split is needed: a folder of one patient, never seen, all healthy."""
    healthy = write_set(tmp_path / "one", ("TCGA_HT_9_19990101",), first_tumour=99)
    report = run_evaluate(trained[1], healthy, tmp_path / "scores.json")
    assert report["overall"]["roc_auc"] is None
    assert report["patients"]["TCGA_HT_9"]["roc_auc"] is None
    assert report["seen_in_training"] == 0
    shown = capsys.readouterr().out
    assert "roc_auc -" in shown
    assert "majority baseline" in shown
    assert "trained on the" not in shown.splitlines()[0]


def test_only_patients_that_no_choice_has_seen_are_scored_where_asked(trained, tmp_path):
    arguments = [str(trained[1]), "--data", str(trained[0] / "set"), "--json", str(tmp_path / "scores.json")]
    assert evaluate.main([*arguments, "--never-validated", str(trained[1])]) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert list(report["patients"]) == read_header(trained[1]).provenance["split"]["test"]
    assert report["seen_in_training"] == 0


def test_a_network_without_an_untouched_patient_is_refused(trained):
    network = read_header(trained[1])
    split = network.provenance["split"]
    other = with_split(network, {**split, "validation": split["test"]})
    with pytest.raises(UserError, match="every test patient"):
        evaluate.untouched(network, [network, other])
    with pytest.raises(UserError, match="split by slice"):
        evaluate.untouched(network, [with_split(network, {"kind": "slice"})])


def test_data_without_any_of_the_untouched_patients_is_refused_in_one_line(trained, tmp_path, capsys):
    others = write_set(tmp_path / "others", ("TCGA_HT_9_19990101",))
    arguments = [str(trained[1]), "--data", str(others), "--json", str(tmp_path / "scores.json")]
    assert evaluate.main([*arguments, "--never-validated", str(trained[1])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"training.evaluate: {trained[1]}: none of its 1 untouched test patients is in {others}"
    assert not (tmp_path / "scores.json").exists()


def with_split(header, split):
    return dataclasses.replace(header, provenance={**header.provenance, "split": split})


def test_leaky_network_owns_up(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "WORK", tmp_path / "work")
    arguments = [*command(trained[0], "--epochs", "1", "--split", "slice"), "--out", str(tmp_path)]
    assert train.main(arguments) == 0
    assert "leaky slice split" in capsys.readouterr().out
    checkpoint = tmp_path / "cnn3-dense-seed0.safetensors"
    assert read_header(checkpoint).provenance["caveat"] == "LEAKY"
    report = run_evaluate(checkpoint, trained[0] / "set", tmp_path / "scores.json")
    assert report["seen_in_training"] == 8
    assert "leaky slice split" in report["trained_on"]
    assert "leaky slice split" in capsys.readouterr().out


def test_a_fold_is_trained_under_its_own_name_and_tests_its_patients(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "WORK", tmp_path / "work")
    arguments = [*command(trained[0], "--epochs", "1", "--fold", "3"), "--out", str(tmp_path)]
    assert train.main(arguments) == 0
    assert "fold 3 of 0 to 4" in capsys.readouterr().out
    header = read_header(tmp_path / "cnn3-dense-seed0-fold3.safetensors")
    assert (header.variant.fold, header.provenance["fold"]) == (3, 3)
    others = {p[: -len("_19990101")] for p in PATIENTS} - set(header.provenance["split"]["test"])
    assert len(others) in (6, 7)
    report = run_evaluate(tmp_path / "cnn3-dense-seed0-fold3.safetensors", trained[0] / "set", tmp_path / "scores.json")
    assert report["seen_in_training"] == len(others) - 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--data", "absent"], "absent: no such folder; expected"),
        (["--recipe", "bettr"], "did you mean 'better'"),
        (["--epochs", "0"], "epochs: 0, expected"),
        (["--seed", "-1"], "--seed -1: expected a whole number from 0"),
        (["--fold", "5"], "fold 5: expected a whole number from 0 to 4 ("),
        (["--fold", "1", "--split", "slice"], "fold 1: expected none with --split slice"),
    ],
)
def test_train_refuses_in_one_line(trained, capsys, change, words):
    assert train.main([*command(trained[0]), *change]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


JOINT = """
extends = "unet_head"
theta = 0.75
[train]
epochs = 1
batch = 12
"""


@pytest.fixture(scope="module")
def segmented(trained, tmp_path_factory):
    """A U-Net with a head, trained for an epoch, called like its recipe."""
    place = tmp_path_factory.mktemp("segmented")
    (place / "joint.toml").write_text(JOINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.cache.FOLDER", place / "cache")
        patch.setattr(train, "WORK", place / "work")
        data = ["--data", str(trained[0] / "set"), "--device", "cpu"]
        assert train.main(["--recipe", str(place / "joint.toml"), *data, "--out", str(place)]) == 0
    return place / "joint-dense-seed0.safetensors"


@pytest.mark.parametrize("change", [["--epochs", "2"], ["--data", "other"]])
def test_a_checkpoint_of_other_data_or_another_recipe_is_never_overwritten(
    trained, elsewhere, tmp_path, capsys, change
):
    if change[0] == "--data":
        write_set(tmp_path / "other", PATIENTS[1:])
        change = ["--data", str(tmp_path / "other")]
    made = trained[1].read_bytes()
    assert train.main(command(trained[0], "--epochs", "1", *change)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    what = "data" if change[0] == "--data" else "recipe"
    assert f"{trained[1]}: holds a network of other {what} (" in line
    assert "--out" in line
    assert trained[1].read_bytes() == made


def test_the_same_training_may_be_repeated_over_its_checkpoint(trained, elsewhere):
    digest = load_checkpoint(trained[1]).header.digest
    assert train.main(command(trained[0], "--epochs", "1")) == 0
    assert load_checkpoint(trained[1]).header.digest == digest


def test_a_recipe_for_one_network_trains_it_and_names_the_checkpoint(segmented):
    header = read_header(segmented)
    assert (header.variant.model.name, header.variant.model.reference) == ("joint", "models/unet_head.py:unet_head")
    recipe = header.provenance["recipe"]
    assert (recipe["task"], recipe["theta"], recipe["network"]) == ("both", 0.75, "unet_head")
    scores = header.provenance["scores"]
    assert next(iter(scores)) == "accuracy"
    for metric in ("accuracy", "dice_volume", "dice_tumour_slices", "accuracy_any_pixel"):
        groups = scores[metric]["groups"]
        values, weights = zip(*groups.values(), strict=True)
        assert sum(v * w for v, w in groups.values()) / sum(weights) == pytest.approx(scores[metric]["value"])
        assert scores[metric]["low"] <= scores[metric]["value"] <= scores[metric]["high"]
        assert set(groups) <= set(header.provenance["split"]["test"])
        assert all(0 <= value <= 1 for value in values)


def test_a_segmentation_is_evaluated_by_its_masks(segmented, trained, tmp_path):
    report = run_evaluate(segmented, trained[0] / "set", tmp_path / "scores.json")
    assert {"dice_volume", "dice_tumour_slices", "accuracy", "roc_auc", "accuracy_any_pixel"} < set(report["overall"])
    of_patients = [scores["dice_volume"] for scores in report["patients"].values()]
    assert sum(of_patients) / len(of_patients) == pytest.approx(report["overall"]["dice_volume"])


def test_a_folder_without_a_tumour_has_no_dice(segmented, tmp_path, capsys):
    healthy = write_set(tmp_path / "one", ("TCGA_HT_9_19990101",), first_tumour=99)
    report = run_evaluate(segmented, healthy, tmp_path / "scores.json")
    assert report["overall"]["dice_volume"] is None
    assert report["patients"]["TCGA_HT_9"]["dice_tumour_slices"] is None
    assert report["overall"]["accuracy"] is not None
    assert "dice_volume -" in capsys.readouterr().out


def test_a_recipe_for_another_network_is_refused(tmp_path, capsys):
    (tmp_path / "joint.toml").write_text(JOINT)
    assert train.main(["--recipe", str(tmp_path / "joint.toml"), "--model", "cnn3"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "for unet_head; expected with --model cnn3 another recipe" in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda recipe: recipe | {"task": "segmentation"},
            "output of shape (32, 2); expected logits (32, 1, 128, 128)",
        ),
        (lambda recipe: recipe | {"task": ["segmentation"]}, "unknown task"),
        (lambda recipe: recipe | {"task": "segmenting"}, "recipe.task: unknown task 'segmenting'"),
    ],
)
def test_a_checkpoint_whose_task_is_not_its_networks_is_refused(trained, tmp_path, capsys, change, words):
    checkpoint = load_checkpoint(trained[1])
    header = checkpoint.header
    provenance = {**header.provenance, "recipe": change(header.provenance["recipe"])}
    path = tmp_path / "changed.safetensors"
    save_checkpoint(path, dataclasses.replace(checkpoint, header=dataclasses.replace(header, provenance=provenance)))
    assert evaluate.main([str(path), "--data", str(trained[0] / "set")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_checkpoint_of_another_architecture_is_refused(trained, tmp_path, capsys):
    checkpoint = load_checkpoint(trained[1])
    model = dataclasses.replace(checkpoint.variant.model, reference="models/resnet3.py:resnet3")
    header = dataclasses.replace(checkpoint.header, variant=dataclasses.replace(checkpoint.variant, model=model))
    path = tmp_path / "changed.safetensors"
    save_checkpoint(path, dataclasses.replace(checkpoint, header=header))
    assert evaluate.main([str(path), "--data", str(trained[0] / "set")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "models/resnet3.py:resnet3: makes another network than cnn3-dense-seed0" in line


def test_a_checkpoint_never_says_what_code_runs(trained, tmp_path, capsys):
    checkpoint = load_checkpoint(trained[1])
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    model = dataclasses.replace(checkpoint.variant.model, reference=f"{tmp_path / 'theirs.py'}:build")
    header = dataclasses.replace(checkpoint.header, variant=dataclasses.replace(checkpoint.variant, model=model))
    save_checkpoint(tmp_path / "changed.safetensors", dataclasses.replace(checkpoint, header=header))
    assert evaluate.main([str(tmp_path / "changed.safetensors"), "--data", str(trained[0] / "set")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "theirs.py:build'; expected a network of models/" in line
    assert not (tmp_path / "ran").exists()


def test_the_budget_counts_what_was_spent_and_expects_what_is_missing(trained, tmp_path, capsys, monkeypatch):
    (tmp_path / "study.toml").write_text(
        'name = "small"\n[[model]]\nname = "cnn3"\nreference = "models/cnn.py:cnn3"\ninput = [1, 3, 128, 128]\n'
        '[[prune]]\nmethod = "none"\nseeds = [0, 1]\n[[prune]]\nmethod = "magnitude"\nsparsity = [0.9]\n'
    )
    monkeypatch.setattr("sparsemark.paths.WEIGHTS", trained[1].parent)
    monkeypatch.setattr("training.cache.FOLDER", tmp_path / "cache")
    assert budget.main([str(tmp_path / "study.toml"), "--data", str(trained[0] / "set")]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| cnn3 |"))
    found, spent, missing, expected = (float(cell) for cell in row.split("|")[2:6])
    assert (found, missing) == (1, 2)
    assert spent < 5
    assert 0 <= expected < 5, "minutes of two networks on 24 slices"
    assert budget.main([str(tmp_path / "absent.toml")]) == 2


def test_a_recipe_called_like_another_network_is_refused(tmp_path, capsys):
    (tmp_path / "cnn9.toml").write_text(JOINT)
    assert train.main(["--recipe", str(tmp_path / "cnn9.toml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "for unet_head, called like cnn9; expected another name" in line


def test_evaluate_refuses_in_one_line(trained, tmp_path, capsys):
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(trained[1].read_bytes()[:1000])
    for checkpoint, data, words in (
        (torn, trained[0] / "set", "torn.safetensors: damaged"),
        (tmp_path / "none.safetensors", trained[0] / "set", "none.safetensors"),
        (trained[1], tmp_path / "none", "no such folder; expected"),
    ):
        assert evaluate.main([str(checkpoint), "--data", str(data), "--json", str(tmp_path / "out.json")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    assert not (tmp_path / "out.json").exists()
