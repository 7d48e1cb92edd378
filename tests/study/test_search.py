"""Search for the highest sparsity that keeps the score: what it tries, what it finds, and that it goes on."""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsemark.analysis.front import Bar
from sparsemark.cli import main
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.records.run import Run
from sparsemark.records.scores import Score
from sparsemark.specs import ModelSpec
from sparsemark.study.search import Search, search

MODEL = ModelSpec("net", "net.py:build", (1, 4))
WITHIN = Bar(within=0.0101)


class Curve:
    """A pipeline whose networks lose what a function of sparsity and seed says, on the select inputs."""

    def __init__(self, loss):
        self.loss, self.made = loss, []

    def prepare(self, variant):
        self.made.append((variant.pruning.sparsity, variant.seed))
        lost = 0.0 if variant.pruning.is_dense else self.loss(variant.pruning.sparsity, variant.seed)
        return SimpleNamespace(scores={"accuracy": Score(0.1, tolerance=0.01, select=0.9 - lost)})


def waiting(_):
    return contextlib.nullcontext()


def found(loss, seeds=2, bar=WITHIN, method="magnitude"):
    pipeline = Curve(loss)
    return search(pipeline, MODEL, Search(method, seeds, bar), waiting), pipeline


@pytest.mark.parametrize("limit", [1, 2, 37, 50, 88, 98, 99])
def test_it_finds_the_highest_percent_that_keeps_the_score_in_seven_trials(limit):
    result, pipeline = found(lambda sparsity, _: 0.0 if sparsity <= limit / 100 + 1e-9 else 0.1)
    assert result.pruning.text == f"magnitude:{limit / 100}"
    assert len(result.trials) <= 7
    assert {seed for _, seed in pipeline.made} == {0, 1}
    assert len(set(pipeline.made)) == len(pipeline.made), "nothing is made twice"


def test_nothing_that_keeps_the_score_is_no_pruning():
    result, _ = found(lambda *_: 0.5)
    assert result.pruning is None
    assert "no sparsity keeps the score" in result.words


def test_the_mean_over_the_seeds_decides():
    def loss(sparsity, seed):
        return (0.0, 0.018)[seed] if sparsity <= 0.5 else (0.0, 0.03)[seed]

    assert found(loss)[0].pruning.sparsity == 0.5
    assert found(loss, seeds=1)[0].pruning.sparsity == 0.99, "the lucky one alone"


def test_the_bar_is_that_of_the_choice():
    def slope(sparsity, _):
        return 0.1 * sparsity

    assert found(slope)[0].pruning.sparsity == 0.1
    assert found(slope, bar=Bar())[0].pruning.sparsity == 0.1, "the metric's own tolerance"
    assert found(slope, bar=Bar(keep=0.9))[0].pruning.sparsity == 0.9, "of .9 on the select inputs"


def test_what_cannot_be_made_does_not_keep_its_score():
    def loss(sparsity, seed):
        if sparsity > 0.6:
            raise UnsupportedError("no channel would be left")
        return 0.0

    result, _ = found(loss)
    assert result.pruning.sparsity == 0.6
    assert {trial.reason for trial in result.trials} == {None, "UnsupportedError: no channel would be left"}

    def at_fault(sparsity, seed):
        raise UserError("task.py: loss: is nan")

    with pytest.raises(UserError, match=r"task\.py: loss"):
        found(at_fault)


def test_the_cost_is_said_before_and_after(caplog):
    with caplog.at_level(logging.INFO, "sparsemark.study.search"):
        result, _ = found(lambda *_: 0.0)
    first, second, *_, last = caplog.messages
    assert first == "search: magnitude: at most 7 trials of 2 seeds"
    assert second.startswith(
        "search: magnitude:0.5 loses 0, within 0.0101 (0.0 minutes); at most 6 more, about 0.0 min"
    )
    assert last.endswith("; done")
    assert "trials of 2 seeds, 0.0 minutes" in result.words


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("magnitude", "magnitude:0.5"),
        ("channels::16", "channels:0.5:16"),
        ("channels:0.3:16+magnitude", "channels:0.3:16+magnitude:0.5"),
        ("iterative-magnitude", "iterative-magnitude:0.5"),
        ("block4+qat", "block4:0.5+qat"),
    ],
)
def test_the_last_step_takes_the_sparsity(method, text):
    assert Search(method).pruning(50).text == text


@pytest.mark.parametrize("method", ["nonsense", "magnitude:0.5", "all-ones", "none", ""])
def test_a_method_that_is_none_is_refused(method):
    with pytest.raises(UserError):
        Search(method)


NETWORK = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)).eval()
"""

TASK = """
import numpy as np
import torch
from pathlib import Path
from network import build

rng = np.random.default_rng(0)
X = {part: rng.standard_normal((64, 4)).astype(np.float32) for part in ("select", "report", "train")}
with torch.no_grad():
    Y = {part: build()(torch.from_numpy(x)).argmax(1) for part, x in X.items()}

Y["select"][:4] = 1 - Y["select"][:4]

def images(part):
    return X[part]

def score(outputs, part):
    return outputs[0].argmax(1) == Y[part].numpy()

def batches(seed):
    with Path("epochs.log").open("a") as log:
        log.write(f"{seed}\\n")
    yield torch.from_numpy(X["train"]), Y["train"]

def loss(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets)
"""

TIMED = "--epochs 1 --engine torch --rounds 64 --json own.json"
BENCH = ["bench", "network.py:build", *f"--input 1,4 --task task.py {TIMED} --search magnitude --within 0.05".split()]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("network.py").write_text(NETWORK)
    Path("task.py").write_text(TASK)
    return tmp_path


@pytest.fixture
def quiet(monkeypatch):
    """Have no answer be in doubt: after a disturbed one the networks stay."""
    monkeypatch.setattr("sparsemark.report.headline.is_disturbed", lambda *_: False)


def test_what_is_found_is_measured_and_an_interrupted_search_goes_on(place, quiet, monkeypatch, capsys):
    from sparsemark.study import search as module

    tried = module._tried

    def interrupted(*arguments, **named):
        if named["percent"] not in (50, 25, 75):
            raise KeyboardInterrupt
        return tried(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_tried", interrupted)
        assert main(BENCH) == 130
    assert Path("own.json.networks").is_dir()
    trained = Path("epochs.log").read_text().count("\n")
    capsys.readouterr()
    assert main(BENCH) == 0
    assert not Path("own.json.networks").exists()
    captured = capsys.readouterr()
    run = Run.load(Path("own.json"))
    dense, found = run.measurements
    assert "is the highest sparsity whose mean loss on the select inputs is allowed" in found.notes
    assert dense.notes is None
    score, before = found.scores["score"], dense.scores["score"]
    assert score.select is not None
    assert score.select >= before.select - 0.1, "the mean of two seeds is within .05"
    assert (before.value, before.select, before.loss_low) == (1.0, 60 / 64, None)
    assert score.loss_low <= 1.0 - score.value <= score.loss_high, "paired by input"
    # On a disturbed machine the doubt stands before it.
    assert re.search(r"^  (fastest|nothing) within 5 points", captured.out, re.MULTILINE)
    assert "--search magnitude: magnitude:0." in captured.out
    # One epoch a network and a batch that each command tries; networks that were finished are not made again.
    made = Path("epochs.log").read_text().count("\n") - trained
    trials = captured.err.count("search: magnitude:0.")
    assert trained == 4 + 1
    assert made == 2 * (trials - 2) + 1


def test_fine_tuning_that_was_interrupted_goes_on_after_its_last_epoch_and_says_how_long(place, quiet, capsys):
    """A newcomer stopped after nine minutes, five epochs of six, and would have begun again."""
    from sparsemark.machine.at_work import step

    Path("task.py").write_text(TASK.replace("def batches(seed):", """def batches(seed):
    from sparsemark.machine.at_work import step
    with Path("steps.log").open("a") as log:
        log.write(step() + "\\n")
    if Path("epochs.log").exists() and Path("epochs.log").read_text().count("\\n") == 3 and Path("stop").exists():
        raise KeyboardInterrupt"""))  # fmt: skip
    Path("stop").touch()
    timed = "--epochs 4 --engine torch --rounds 64 --json own.json"
    bench = ["bench", "network.py:build", *f"--input 1,4 --task task.py {timed} --prune magnitude:0.5".split()]
    assert main(bench) == 130
    assert not step()
    Path("stop").unlink()
    assert main(bench) == 0
    assert not Path("own.json.networks").exists()
    steps = [one for one in Path("steps.log").read_text().splitlines() if one.startswith("fine-tuning")]
    # The third epoch is begun twice, the first two are not.
    assert [one.partition(",")[2].split(" of 4")[0].strip() for one in steps] == [f"epoch {n}" for n in (1, 2, 3, 3, 4)]
    assert re.fullmatch(r"fine-tuning, epoch 2 of 4, about \d+ s left of this network", steps[1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--search magnitude", "--search magnitude: expected --task FILE.py beside it"),
        ("--seeds 3", "--seeds 3: expected --search beside it"),
        ("--task task.py --search nonsense", "unknown pruner 'nonsense'"),
        ("--task task.py --search magnitude --seeds 0", "--seeds 0: expected a whole number from 1"),
        ("--task task.py --search magnitude:0.5", "--search magnitude:0.5: expected a method without its sparsity"),
        ("--keep 1.5", "keep 1.5: expected a share"),
        ("--within -1", "within -1: expected a loss from 0"),
    ],
)
def test_options_that_do_not_go_together_are_one_line_and_exit_2(place, words, said, capsys):
    arguments = ["bench", "network.py:build", "--input", "1,4", "--engine", "torch", "--json", "own.json"]
    assert main([*arguments, *words.split()]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not Path("own.json").exists()
