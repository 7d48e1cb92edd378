"""`sparsemark sensitivity`, and the file that it writes as the ratios of a pruning; methods that learn from a task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsemark.cli import main
from sparsemark.records.run import Run
from sparsemark.study import sensitivity
from sparsemark.study.sensitivity import ratio_within
from tests.small_networks import NETWORKS

# Scored against the network's own answers, so that what changes them costs score.
TASK = f"""
import numpy as np
import torch
import torch.nn.functional as F
from sparsemark.references import resolve

X = np.random.default_rng(0).standard_normal((24, 3, 16, 12)).astype(np.float32)
PARTS = {{"select": slice(0, 12), "report": slice(12, 24)}}
with torch.no_grad():
    ANSWERS = resolve({NETWORKS["residual"].reference!r})()(torch.from_numpy(X)).numpy()

def images(part):
    with open("asked.log", "a") as file:
        file.write(part + "\\n")
    return X[PARTS[part]]

def score(outputs, part):
    return -float(np.abs(outputs[0] - ANSWERS[PARTS[part]]).mean())
"""

LEARNS = """
def batches(seed):
    yield torch.from_numpy(X[:4]), torch.from_numpy(ANSWERS[:4].argmax(1))

def loss(outputs, targets):
    return F.cross_entropy(outputs, targets)
"""

COMMAND = ("sensitivity", NETWORKS["residual"].reference, "--input", "1,3,16,12", "--task", "task.py")
SHORT = ("--sparsities", ".9,.5", "--json", "s.json")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # One name a test: a module is imported once a process.
    Path("task.py").write_text(TASK)
    return tmp_path


def test_layers_are_scored_one_at_a_time_and_the_most_sensitive_stands_first(here, capsys):
    assert main([*COMMAND, *SHORT]) == 0
    document = json.loads(Path("s.json").read_text())
    layers = document["layers"]
    assert {layer["name"] for layer in layers} == {
        *("stem.0", "first.0.0", "first.1.0", "shortcut.0", "second.0", "head"),
    }
    assert document["dense"] == pytest.approx(0, abs=1e-6)
    assert document["sparsities"] == [0.5, 0.9]
    assert [layer["ratio"] for layer in layers] == sorted(layer["ratio"] for layer in layers)
    for layer in layers:
        assert layer["scores"][1] < layer["scores"][0] < 0, layer["name"]
        (shape,) = layer["parameters"].values()
        assert layer["weights"] == torch_size(shape)
    assert set(Path("asked.log").read_text().split()) == {"select"}, "reports are not for choosing"
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if "%" in line and "." in line.split()[0]]
    assert "wrote s.json" in shown
    assert not Path("s.json.sensitivity.jsonl").exists()


def test_the_tasks_images_say_what_the_network_takes(here):
    assert main([*COMMAND, *SHORT]) == 0
    given = Path("s.json").read_text()
    without = [word for word in COMMAND if word not in ("--input", "1,3,16,12")]
    assert main([*without, *SHORT]) == 0
    assert Path("s.json").read_text() == given


def torch_size(shape):
    size = 1
    for one in shape:
        size *= one
    return size


def interrupted_after(count, monkeypatch):
    """Interrupt the command after so many scores, and return what scores."""
    plain, done = sensitivity.evaluate, []

    def breaks(module, *more):
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(module)
        return plain(module, *more)

    monkeypatch.setattr(sensitivity, "evaluate", breaks)
    return plain


def test_an_interrupted_command_goes_on_and_gives_the_same(here, monkeypatch, capsys):
    plain = interrupted_after(4, monkeypatch)
    assert main([*COMMAND, *SHORT]) == 130
    lines = Path("s.json.sensitivity.jsonl").read_text().splitlines()
    assert len(lines) == 3, "the dense network is scored each time"
    Path("s.json.sensitivity.jsonl").write_text("\n".join([*lines[:2], lines[2].replace('"score": -', '"score": 1')]))
    counted = []
    monkeypatch.setattr(sensitivity, "evaluate", lambda module, *more: counted.append(module) or plain(module, *more))
    assert main([*COMMAND, *SHORT]) == 0
    assert len(counted) == 1 + 12 - 2, "the damaged line is scored again"
    resumed = Path("s.json").read_text()
    assert main([*COMMAND, *SHORT]) == 0
    assert Path("s.json").read_text() == resumed


NETWORK = """
import torch
from torch import nn
from tests.small_networks import seeded

@seeded
def build():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
"""


def own(method, *more):
    """The command on a network whose file a test may change."""
    return ("sensitivity", "net.py:build", *COMMAND[2:], "--method", method, *more)


def test_a_network_whose_code_changed_is_scored_anew_though_its_weights_are_the_same(here, monkeypatch):
    Path("net.py").write_text(NETWORK)
    plain = interrupted_after(4, monkeypatch)
    assert main([*own("magnitude"), *SHORT]) == 130
    Path("net.py").write_text(NETWORK.replace("ReLU", "GELU"))
    counted = []
    monkeypatch.setattr(sensitivity, "evaluate", lambda module, *more: counted.append(module) or plain(module, *more))
    assert main([*own("magnitude"), *SHORT]) == 0
    assert len(counted) == 1 + 6


def test_layers_that_the_method_cannot_score_keep_the_dense_score_with_a_note(here):
    Path("net.py").write_text(NETWORK)
    assert main([*own("channels-bn"), *SHORT]) == 0
    document = json.loads(Path("s.json").read_text())
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert layers["0"]["scores"] == [document["dense"]] * 2
    assert layers["0"]["notes"] == ["channels-bn: nothing to score by, so all channels stay in 0"]
    assert all(score != document["dense"] for score in layers["2"]["scores"])


@pytest.mark.parametrize("content", ['{"benchmarks": []}', "not JSON", "[]", '{"layers": []}'])
def test_a_file_of_another_kind_is_not_replaced(content, here, refused):
    Path("s.json").write_text(content)
    Path("s.json.unfinished.jsonl").write_text("of bench\n")
    assert "s.json: holds something else, which would be lost" in refused(*COMMAND, *SHORT)
    assert Path("s.json").read_text() == content
    Path("s.json").unlink()
    assert main([*COMMAND, *SHORT]) == 0
    assert Path("s.json.unfinished.jsonl").read_text() == "of bench\n", "of a bench that was interrupted"


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_a_sensitivity_may_go_to_an_open_file_and_nothing_is_left_beside_it(here, monkeypatch):

    journals = []
    plain = sensitivity.KeyedFile
    monkeypatch.setattr(sensitivity, "KeyedFile", lambda path, *more: journals.append(path) or plain(path, *more))
    with Path("out.json").open("wb") as file:
        name = f"/dev/fd/{file.fileno()}"
        assert main([*COMMAND, *SHORT[:2], "--json", name]) == 0
    assert json.loads(Path("out.json").read_text())["layers"]
    assert journals[0].parent != Path("/dev/fd")


@pytest.mark.parametrize(
    ("metric", "dense", "tolerance"),
    [("Metric(tolerance=0.0)", 5.0, 0.0), ("Metric(tolerance=None)", 5.0, 0.05), ("Metric(tolerance=None)", 0.0, 1e-3)],
)
def test_tolerance_is_the_metrics_own_even_0_and_never_nothing_by_default(metric, dense, tolerance, here):
    Path("task.py").write_text(
        f"{TASK}\nfrom sparsemark import Metric\nMETRICS = {{'score': {metric}}}\n"
        f"first = score\ndef score(outputs, part):\n    return {dense} + round(first(outputs, part), 5)\n"
    )
    assert main([*COMMAND, *SHORT]) == 0
    document = json.loads(Path("s.json").read_text())
    assert document["dense"] == dense
    assert document["tolerance"] == pytest.approx(tolerance)
    if tolerance == 0:
        assert {layer["ratio"] for layer in document["layers"]} == {1e-3}, "no loss at all is within it"


def test_coupled_channels_are_one_and_feed_a_pruning_as_masks_do(here, quick, capsys):
    assert main([*COMMAND, "--method", "channels", *SHORT]) == 0
    layers = {layer["name"]: layer for layer in json.loads(Path("s.json").read_text())["layers"]}
    coupled = next(layer for name, layer in layers.items() if " + " in name)
    assert set(coupled["parameters"]) == {"first.1.0.weight", "shortcut.0.weight", "second.0.weight"}
    assert len(layers) == 3
    assert main([*COMMAND, "--sparsities", ".5,.9", "--json", "m.json"]) == 0
    own = ("bench", *COMMAND[1:], "--engine", "torch", "--rounds", "16", "--json", "own.json")
    assert main([*own, "--prune", "magnitude@m.json:0.8", "--prune", "channels@s.json:0.5"]) == 0
    rows = {row.name: row for row in Run.load(Path("own.json")).measurements}
    masked = rows["residual-magnitude@m80-seed0-torch"]
    assert masked.sparsity == pytest.approx(0.8, abs=0.01)
    assert (masked.method, masked.pruning) == ("magnitude", "magnitude@m.json:0.8")
    assert (
        1 - rows["residual-channels@s50-seed0-torch"].parameters / rows["residual-dense-seed0-torch"].parameters > 0.3
    )
    assert "magnitude@m 80 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--method", "nm24"), "--method nm24: cannot prune single layers; expected one of magnitude,"),
        (("--method", "nonsense"), "unknown pruner 'nonsense'"),
        (("--method", "taylor"), "taylor:0.95: needs training batches and their loss; task.py has no batches and loss"),
        (("--sparsities", "0.5,1"), "--sparsities 1: expected fractions between 0 and 1"),
        (("--sparsities", "nan"), "--sparsities nan: expected fractions between 0 and 1"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line_and_exit_2(more, words, here, refused):
    assert words in refused(*COMMAND, "--json", "s.json", *more)
    assert not Path("s.json").exists()


def test_a_sensitivity_file_is_no_place_for_a_result(here, refused):
    """Refused before anything is measured, and nothing is lost."""
    Path("s.json").write_text('{"schema": 1, "layers": []}')
    line = refused("bench", "networks.py:absent", "--input", "1,3,8,8", "--engine", "torch", "--json", "s.json")
    assert "--json s.json: benchmarks: expected the list that pytest-benchmark writes; it would be replaced" in line
    assert Path("s.json").read_text() == '{"schema": 1, "layers": []}'


def test_ratio_is_where_the_loss_passes_the_tolerance_first():
    assert ratio_within(0.01, (0.5, 0.9), (0.0, 0.0)) == 0.9
    assert ratio_within(0.01, (0.5, 0.9), (0.0, 0.02)) == pytest.approx(0.7)
    assert ratio_within(0.01, (0.5, 0.9), (0.04, 0.0)) == pytest.approx(0.125), "a lucky score hides nothing"
    assert ratio_within(0.01, (0.5, 0.9), (-0.3, 0.01)) == 0.9
    assert ratio_within(1e-9, (0.5,), (5.0,)) == 1e-3
    assert ratio_within(0.0, (0.5, 0.9), (0.0, 0.1)) == 0.5


BENCH = ("bench", *COMMAND[1:], "--engine", "torch", "--rounds", "16", "--json", "own.json")


@pytest.mark.parametrize(
    ("task", "prune", "words"),
    [
        (False, "taylor:0.5", "taylor:0.5: needs training batches and their loss; there is no task"),
        (False, "magnitude:0.2+wanda:0.5", "wanda:0.5: needs training batches; there is no task"),
        (True, "channels-taylor:0.5", "needs training batches and their loss; task.py has no batches and loss"),
        (True, "magnitude@none.json:0.5", "none.json: cannot be read: No such file"),
        (True, "filters@other.json:0.5", "filters takes no file of ratios; expected filters:0.5"),
        (True, "threshold@other.json:0.5", "or a method that takes one, such as magnitude@other.json:0.8"),
        (True, "nm24@other.json", "nm24@other.json: nm24 takes no file of ratios; expected nm24, or"),
        (
            True,
            "magnitude@other.json:0.5",
            "other.json: made for another network: stem.0.weight has shape (6, 3, 5, 5)",
        ),
    ],
)
def test_a_method_without_what_it_needs_is_one_line_before_anything_is_measured(task, prune, words, here, refused):
    shapes = {"stem.0.weight": [6, 3, 5, 5]}
    Path("other.json").write_text(json.dumps({"layers": [{"parameters": shapes, "ratio": 0.5}]}))
    given = BENCH if task else tuple(one for one in BENCH if one not in ("--task", "task.py"))
    assert words in refused(*given, "--prune", prune)
    assert not list(Path().glob("own.json*"))


def test_methods_learn_from_the_tasks_batches_one_shot_and_in_rounds(here, quick):
    Path("task.py").write_text(TASK + LEARNS)
    prunes = (
        "taylor:0.6",
        "iterative-wanda:0.6",
        "gradual-block4:0.5",
        "gradual-nm24",
        "channels-taylor:0.3+taylor:0.5",
    )
    asked = [argument for prune in prunes for argument in ("--prune", prune)]
    assert main([*BENCH, "--epochs", "3", *asked]) == 0
    rows = Run.load(Path("own.json")).measurements
    assert [row.status for row in rows] == ["measured"] * 6, [row.reason for row in rows]
    assert [row.sparsity for row in rows[1:4]] == pytest.approx([0.6, 0.6, 0.5], abs=0.02)
