"""The two commands, from a folder of images to a checkpoint to a file of scores."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import load_checkpoint, read_header
from tests.training.tiny import PATIENTS, write_set
from training import evaluate, train

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
        (["--fold", "5"], "set: fold 5: expected a whole number from 0 to 4"),
        (["--fold", "1", "--split", "slice"], "set: fold 1: expected none with --split slice"),
    ],
)
def test_train_refuses_in_one_line(trained, capsys, change, words):
    assert train.main([*command(trained[0]), *change]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


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
