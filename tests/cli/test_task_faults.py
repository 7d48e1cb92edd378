"""A task that fails is one line and exit code 2, and what was measured before stays."""

from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsemark.cli import main
from sparsemark.records.measurement import MEASURED
from tests.cli.small_bench import BENCH, MASKED, NAMES, statuses

TASK = """
import numpy as np
import torch

def images(part):
    return np.ones((4, 3, 8, 8), np.float32)

def score(outputs, part):
    return float(outputs[0].mean())

def batches(seed):
    yield torch.ones(2, 3, 8, 8), torch.zeros(2, 2)

def loss(outputs, targets):
    return ((outputs - targets) ** 2).mean()
"""
WITH_TASK = (*MASKED, "--task", "task.py", "--epochs", "1")
TRAIN = "\ndef train(module, epochs, seed, work):\n    {}\n"


def write(text):
    Path("task.py").write_text(text)
    for name in [
        n for n, module in sys.modules.items() if getattr(module, "__file__", "") == str(Path.cwd() / "task.py")
    ]:
        del sys.modules[name]  # as in the next process
    shutil.rmtree("__pycache__", ignore_errors=True)


def changed(old, new):
    assert old in TASK
    return TASK.replace(old, new)


PRUNED = " (build-magnitude50-seed0)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed("def images", "def pictures"), "task.py: images: missing, expected a function"),
        (changed("def score", "def accuracy"), "task.py: score: missing, expected a function"),
        (changed("float(outputs[0].mean())", "'good'"), "task.py: score: score is str; expected a number"),
        (changed("float(outputs[0].mean())", "float('nan')"), "task.py: score: score is nan; expected a finite number"),
        (changed("(4, 3, 8, 8)", "(4, 8, 8, 3)"), "task.py: images: shape (4, 8, 8, 3); expected (n, 3, 8, 8)"),
        (changed("np.float32", "complex"), "task.py: images: dtype complex128; expected an array of real numbers"),
        (changed("yield torch.ones(2, 3, 8, 8),", "yield"), "task.py: batches: yields Tensor; expected pairs"),
        (changed(").mean()\n", ").mean() * np.nan\n"), f"task.py: loss: is nan; expected a finite number{PRUNED}"),
        (TASK + TRAIN.format("module[2] = torch.nn.Linear(5, 3)"), "task.py: train: changed shapes or dtypes"),
        (TASK + TRAIN.format("module[2].weight.data += 1"), "task.py: train: 2.weight has values where its mask has"),
        (TASK + TRAIN.format("raise RuntimeError('no')"), f": failed: RuntimeError: no (task.py, line 18){PRUNED}"),
    ],
)
def test_what_a_task_does_wrong_ends_the_command(text, words, here, quick, refused):
    write(text)
    line = refused(*WITH_TASK)
    assert words in line
    assert not Path("out.json").exists()


@pytest.fixture
def exported(monkeypatch):
    """Names of the files that were exported."""
    names = []
    monkeypatch.setattr("sparsemark.formats.export", lambda source, name, stem: names.append(stem.name))
    return names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed("outputs[0].mean()", "outputs[0].mean() + LABELZ"), "score: failed: NameError: name 'LABELZ' is"),
        (changed("outputs[0].mean()", "{}['labelz']"), "score: failed: KeyError: 'labelz' (task.py, line 9)"),
        (changed("return ((outputs", "return ((outputz"), "loss: failed: NameError: name 'outputz' is not defined"),
        (changed("torch.zeros(2, 2)", "torch.zeros(3)"), "loss: failed: RuntimeError: The size of tensor"),
        (changed("torch.ones(2, 3, 8, 8)", "torch.ones(2, 9)"), "batches: inputs that the network does not take"),
        (changed("targets) ** 2)", "targets) ** 2).detach()"), "loss: no gradients flow from it"),
        (changed("    yield torch", "    if False: yield torch"), "batches: yields nothing"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_a_mistake_is_found_before_anything_is_exported(text, words, exported, here, refused):
    write(text)
    assert words in refused(*WITH_TASK)
    assert exported == []


def test_how_long_all_fine_tuning_takes_is_said_once_in_a_pipe_too(here, quick, monkeypatch, capsys):
    seconds = itertools.count(step=60)
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr("sparsemark.study.finetune.time", clock)
    write(TASK)
    assert main([*MASKED, "--prune", "lamp:0.5", "--task", "task.py", "--epochs", "2"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fine-tuning: ")]
    assert lines == ["fine-tuning: about 4 minutes for 2 networks of 2 epochs; --epochs 1 or fewer --prune for less"]


def test_what_a_dense_run_does_not_ask_for_is_not_tried(here, quick):
    write(changed("return ((outputs", "return ((outputz"))
    assert main([*BENCH, "--task", "task.py"]) == 0


@pytest.mark.parametrize(
    ("fault", "mended"),
    [
        (changed(").mean()\n", ").mean() * np.nan\n"), TASK),
        (TASK + TRAIN.format("module[2].weight.data += 1"), TASK + TRAIN.format("pass")),
    ],
)
def test_what_was_measured_stays_and_a_rerun_after_mending_takes_it(fault, mended, here, quick, capsys):
    write(fault)
    assert main(WITH_TASK) == 2
    assert Path("out.json.unfinished.jsonl").exists()
    write(mended)
    assert main(WITH_TASK) == 0
    assert any(
        line.startswith("1 of 2 cells taken from out.json.unfinished.jsonl")
        for line in capsys.readouterr().out.splitlines()
    )
    assert statuses() == dict.fromkeys(NAMES, MEASURED)


def test_another_score_is_measured_again(here, quick, refused, capsys):
    write(changed(").mean()\n", ").mean() * np.nan\n"))
    refused(*WITH_TASK)
    write(changed("float(outputs[0].mean())", "float(outputs[0].max())"))
    assert main(WITH_TASK) == 0
    assert "taken from" not in capsys.readouterr().out
