"""A user's task through `sparsemark bench`: two outputs, groups, a metric where lower is better, as far as the gate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsemark.cli import main
from sparsemark.records.run import Run
from sparsemark.report import render
from sparsemark.report.figures import draw_figures
from tests.small_networks import NETWORKS

TASK = '''
"""Masks and kinds of random images."""
import numpy as np
import torch
import torch.nn.functional as F
from sparsemark import Metric

METRICS = {"volume_error": Metric(higher_is_better=False, tolerance=0.02), "accuracy": Metric(tolerance=0.1)}
rng = np.random.default_rng(0)
X = rng.random((12, 3, 16, 12), dtype=np.float32)
MASKS = (X.mean(axis=1, keepdims=True) > 0.5).astype(np.float32)
KINDS = rng.integers(0, 2, 12)
PARTS = {"select": slice(0, 6), "report": slice(6, 12)}

def describe():
    return {"data": "twelve random images", "caveat": "TOY", "key": "12"}

def images(part):
    return X[PARTS[part]]

def errors(mask, part):
    return np.abs(mask - MASKS[PARTS[part]]).mean(axis=(1, 2, 3))

def score(outputs, part):
    mask, kind = outputs
    return {"accuracy": kind.argmax(1) == KINDS[PARTS[part]], "volume_error": errors(mask, part).mean()}

def per_group(outputs, part):
    found = errors(outputs[0], part).reshape(3, 2).mean(axis=1)
    return {f"patient {i}": (value, 2) for i, value in enumerate(found)}

def batches(seed):
    yield torch.from_numpy(X[:6]), (torch.from_numpy(MASKS[:6]), torch.from_numpy(KINDS[:6]))

def loss(outputs, targets):
    return F.binary_cross_entropy(outputs[0], targets[0]) + F.cross_entropy(outputs[1], targets[1])
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    (folder / "task.py").write_text(TASK)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code = main(
            f"bench {NETWORKS['unet'].reference} --input 1,3,16,12 --task task.py --epochs 2 --prune magnitude:0.5 "
            "--prune iterative-magnitude:0.9 --engine torch --engine onnxruntime --rounds 16 --json own.json "
            "--artifacts own".split()
        )
    assert code == 0
    return folder


@pytest.fixture
def run(folder):
    return Run.load(folder / "own.json")


def test_every_row_is_scored_from_the_outputs_of_its_engine_with_interval_and_steps(run):
    assert len(run.measurements) == 6
    for row in run.measurements:
        assert (row.status, list(row.scores)) == ("measured", ["volume_error", "accuracy"])
        error = row.scores["volume_error"]
        assert not error.higher_is_better
        assert error.low <= error.value <= error.high
        assert (error.raw is None) == (row.method == "none")
        assert (row.data.words, row.data.caveat) == ("twelve random images", "TOY")
    dense, tuned = run.measurements[0], run.measurements[2]
    assert tuned.scores["volume_error"].raw != dense.scores["volume_error"].value, "pruning moved it"
    assert tuned.scores["volume_error"].value != tuned.scores["volume_error"].raw, "and fine-tuning again"


def test_tables_and_figures_show_the_metric_with_its_caveat_and_direction(run, tmp_path):
    for form in ("table", "markdown", "html"):
        text = render(run, form)
        assert "TOY" in text
        assert "iterative magnitude 90" in text
        assert "volume" in text
    assert "volume_error" in render(run, "csv").splitlines()[0]
    names = {path.name.partition("-unet")[0] for path in draw_figures(run, tmp_path)}
    assert len(names) == 3


def test_the_files_to_deploy_are_those_of_every_variant(folder):
    kept = {path.name for path in (folder / "own").iterdir()}
    names = ("unet-dense-seed0", "unet-magnitude50-seed0", "unet-iterative-magnitude90-seed0")
    assert kept == {f"{name}{suffix}" for name in names for suffix in (".onnx", ".safetensors")}


def gated(folder, tmp_path, capsys, change):
    document = json.loads((folder / "own.json").read_text())
    for entry in document["benchmarks"]:
        for holder in (entry["extra_info"], entry["sparsemark"]["scores"]["volume_error"]):
            key = "volume_error" if "volume_error" in holder else "value"
            holder[key] += change
    candidate = tmp_path / "candidate.json"
    candidate.write_text(json.dumps(document))
    capsys.readouterr()
    code = main(["gate", "--baseline", str(folder / "own.json"), str(candidate)])
    return code, capsys.readouterr().out


def test_the_gate_knows_that_lower_is_better(folder, tmp_path, capsys):
    code, text = gated(folder, tmp_path, capsys, 0.03)
    assert code == 1
    assert "volume_error" in text
    assert gated(folder, tmp_path, capsys, 0.01)[0] == 0, "within the task's own tolerance"
    code, text = gated(folder, tmp_path, capsys, -0.03)
    assert code == 0
    assert "improvement" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("images = lambda: 0", "task.py: score: missing, expected a function"),
        ("import nonsense_of_nobody", "task.py: importing it failed: ModuleNotFoundError"),
        ("images = lambda: [[1, 2]]\nscore = lambda predict: 1", "task.py: images: shape (1, 2); expected (n, 12)"),
        (
            "import numpy as np\nimages = lambda: np.zeros((2, 12))\nscore = lambda predict: 'good'",
            "task.py: score: score is str; expected a number",
        ),
    ],
)
def test_a_task_that_is_none_is_one_line_and_exit_2(content, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(content)
    own = ["bench", NETWORKS["mlp"].reference, "--input", "1,12", "--engine", "torch", "--json", "own.json"]
    assert main([*own, "--task", "task.py"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.strip().splitlines()[-1].startswith("sparsemark bench: ")
    assert not Path("own.json").exists()


@pytest.mark.parametrize(
    ("pruning", "words"),
    [
        ("magnitude:0.5+nonsense:0.5", "unknown pruner 'nonsense'"),
        ("gradual-magnitude:0.5", "a schedule fine-tunes between its rounds; no task"),
        ("magnitude:0.5+qat", "magnitude:0.5+qat: qat fine-tunes; no task"),
        ("none+qat", "expected all-ones+qat"),
        ("qat+magnitude:0.5", "'qat': expected once and last"),
        ("iterative-all-ones", "expected a step that removes something"),
        ("none:0.5", "this method removes nothing"),
    ],
)
def test_a_pruning_that_cannot_be_is_one_line_and_exit_2(pruning, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = ["bench", NETWORKS["mlp"].reference, "--input", "1,12", "--engine", "torch", "--json", "own.json"]
    assert main([*own, "--rounds", "16", "--prune", pruning]) == 2
    assert words in capsys.readouterr().err
