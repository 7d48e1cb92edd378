"""The comparison of all pruning methods, on the toy network in place of the study's."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import pytest

from sparsemark.cli import main
from sparsemark.pruning import PRUNERS
from sparsemark.specs import is_known_beforehand
from sparsemark.study.file import load_study
from tests.toy_study.place import place, trained

STUDY = Path(__file__).parents[2] / "bench" / "methods.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = place(tmp_path_factory.mktemp("methods"))
    text = STUDY.read_text().replace("training.study:open_task", "hooks.py:open_task").replace("cnn9", "toy")
    text = text.replace("models/cnn.py:toy", "network.py:build").replace("[1, 3, 128, 128]", "[1, 1, 16, 16]")
    (folder / "methods.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", "methods.toml"]) == 0
    return folder


def test_every_method_is_compared_and_its_control_with_it():
    variants = load_study(STUDY).variants
    methods = {variant.pruning.method for variant in variants}
    assert {name for name in PRUNERS if not is_known_beforehand(name) and name != "threshold"} <= methods
    assert {PRUNERS[name].control for name in methods & set(PRUNERS)} - {""} <= methods
    document = tomllib.loads(STUDY.read_text())
    assert document["epochs"] == 6
    several = {variant.pruning.text for variant in variants if variant.seed}
    assert several == {"none", "all-ones", "magnitude:0.9", "lamp:0.9", "iterative-magnitude:0.9"}
    assert {one.pruning.sparsity for one in variants if "nm24" not in one.name} == {0.0, 0.9}


def rows(folder):
    with (folder / "results/tables/methods-accuracy.csv").open() as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_every_method_is_scored_with_its_cost_or_says_why_not(folder):
    found = rows(folder)
    assert set(found) == {one.name.replace("cnn9", "toy") for one in load_study(STUDY).variants}
    for name, row in found.items():
        if "channels-bn" in name:  # the toy network has no BatchNorm
            method = name.removeprefix("toy-").removesuffix("90-seed0")
            reason = f"{method}: the network has no BatchNorm with a scale to go by"
            assert (row["status"], row["reason"]) == ("unsupported", reason)
            continue
        assert row["status"] == "measured", row["reason"]
        assert 0 <= float(row["accuracy_low"]) <= float(row["accuracy"]) <= float(row["accuracy_high"]) <= 1
        if "toy-dense" not in name:
            assert float(row["preparation_s"]) > 0
    table = (folder / "results/tables/methods-accuracy.md").read_text()
    assert "| minutes |" in table.splitlines()[0]
    assert "toy-nm24-seed0: nm24: input channels are no multiple of 4" in table


def test_a_second_run_trains_nothing_and_says_the_same(folder, monkeypatch):
    monkeypatch.chdir(folder)
    before, done = rows(folder), trained(folder)
    assert main(["run", "methods.toml"]) == 0
    assert trained(folder) == done
    assert rows(folder) == before
