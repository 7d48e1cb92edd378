"""A search tries the paper's settings first, goes on where it was stopped, and reports validation patients alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.tiny import draw_slices
from training import search
from training.learner import OPTIMIZERS
from training.recipe import load_recipe
from training.search import OWN, PAPER, main, table
from training.split import split_slices
from training.study import StudyTask

pytest.importorskip("optuna")

COMMAND = ["--model", "cnn3", "--epochs", "1", "--trials"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def task(monkeypatch, tmp_path):
    """A task of squares, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    slices = draw_slices(patients=12)
    task = StudyTask(
        "cnn3", slices, split_slices(slices, "patient", 0), recipe=load_recipe("better"), seed=0, device="cpu"
    )
    monkeypatch.setattr(search, "open_task", lambda *args, **options: task)
    monkeypatch.setattr(search, "NETWORKS", {"cnn3": f"{ROOT / 'models' / 'cnn.py'}:cnn3"})
    return task


@pytest.fixture
def trained(monkeypatch):
    """Hyperparameters of the trials, which take no time here."""
    tried = []

    def train(model, task, chosen, epochs, seed):
        tried.append(chosen)
        patients = {task.slices.patients[index]: [0.5, 1.0] for index in task.split.validation}
        return {
            "scores": {"accuracy": 0.5, "roc_auc": 0.5 + chosen["dropout"] / 2},
            "patients": patients,
            "seconds": 1.0,
        }

    monkeypatch.setattr(search, "train_trial", train)
    return tried


def test_the_papers_settings_come_first_and_finished_trials_are_not_run_again(trained, capsys):
    assert main([*COMMAND, "3"]) == 0
    assert trained[:2] == [PAPER, OWN]
    assert main([*COMMAND, "5"]) == 0
    assert len(trained) == 5
    document = json.loads(table("cnn3", "json").read_text())
    aucs = [trial["validation_roc_auc"] for trial in document["trials"]]
    assert aucs == sorted(aucs, reverse=True)
    assert len(aucs) == 5
    assert document["part"] == "select"
    assert "patients" not in table("cnn3", "csv").read_text()
    assert main([*COMMAND, "0"]) == 2
    assert "--trials 0: expected a number from 1" in capsys.readouterr().err


def test_a_trial_that_was_stopped_is_tried_again_with_the_same_settings(trained, monkeypatch):
    whole = search.train_trial

    def stopped(model, task, chosen, epochs, seed):
        if len(trained) == 2:
            trained.append(chosen)
            raise KeyboardInterrupt
        return whole(model, task, chosen, epochs, seed)

    monkeypatch.setattr(search, "train_trial", stopped)
    assert main([*COMMAND, "3"]) == 130
    monkeypatch.setattr(search, "train_trial", whole)
    assert main([*COMMAND, "3"]) == 0
    assert trained[2] == trained[3]
    assert len(trained) == 4


def test_a_trial_is_trained_by_its_settings(monkeypatch, task):
    seen = {}

    def fit(network, task, slices, split, phase, **options):
        seen.update(options, phase=phase, dropout=[m.p for m in network.modules() if type(m).__name__ == "Dropout"])

    monkeypatch.setattr("training.loop.fit", fit)
    chosen = {**PAPER, "optimizer": "sgd", "momentum": 0.7, "dropout": 0.5}
    found = search.train_trial("cnn3", task, chosen, 1, 0)
    assert (seen["optimizer"], seen["phase"].beta1, seen["phase"].learning_rate) == ("sgd", 0.7, 1e-3)
    assert seen["dropout"] == [0.5]
    validated = {task.slices.patients[index] for index in task.split.validation}
    assert set(found["patients"]) == validated
    assert "sgd" in OPTIMIZERS
