"""Requirements of prunings: data and files of ratios decide whether an earlier result is reused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.pruning.calibration import CALIBRATION_BATCHES
from sparsemark.specs import ModelSpec, Pruning, Variant
from sparsemark.study.finetune import finetune
from sparsemark.study.prepare import Places, prepare
from sparsemark.study.requirements import calibration_of
from sparsemark.study.task import Task
from tests.study.test_finetune import FACTORY, SHAPE, Points, network


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(FACTORY)
    return ModelSpec("net", "net.py:build", SHAPE)


class Others(Points):
    """The same task over other training images."""

    def batches(self, seed):
        return ((-3 * inputs.flip(2), targets) for inputs, targets in super().batches(seed))


class Trains(Points):
    def train(self, module, epochs, seed, work):
        pass


def made(model, text, points, weights=None):
    task, places = Task(points, "points"), Places(weights, Path("work"))
    dense = prepare(Variant(model), None, task, places, 0)
    return prepare(Variant(model, Pruning.parse(text)), dense, task, places, 0)


def ratios(path, first, second=0.5):
    layers = [
        {"parameters": {"0.weight": [6, 1, 3, 3]}, "ratio": first},
        {"parameters": {"4.weight": [3, 216]}, "ratio": second},
    ]
    Path(path).write_text(json.dumps({"layers": layers}))


@pytest.mark.parametrize("method", ["taylor", "wanda"])
def test_other_training_batches_choose_anew_and_the_same_do_not(method, model):
    first = made(model, f"{method}:0.5", Points())
    changed = first.source.path.stat().st_mtime_ns
    assert made(model, f"{method}:0.5", Points()).sha256 == first.sha256
    assert first.source.path.stat().st_mtime_ns == changed
    assert made(model, f"{method}:0.5", Others()).sha256 != first.sha256


def test_another_file_of_ratios_chooses_anew(model):
    ratios("r.json", 0.1)
    first = made(model, "magnitude@r.json:0.5", Points())
    ratios("r.json", 0.9)
    second = made(model, "magnitude@r.json:0.5", Points())
    assert second.sha256 != first.sha256
    state = load_checkpoint(second.source.path).state
    gone = [float((state[name] == 0).float().mean()) for name in ("0.weight", "4.weight")]
    assert gone[0] > gone[1]
    assert sum(int((state[name] == 0).sum()) for name in ("0.weight", "4.weight")) == pytest.approx(351, abs=1)


def test_a_kept_network_of_other_ratios_is_refused(model, tmp_path):
    ratios("r.json", 0.1)
    found = made(model, "magnitude@r.json:0.5", Trains(), tmp_path / "weights")
    assert found.provenance["pruning_seconds"] > 0
    assert made(model, "magnitude@r.json:0.5", Trains(), tmp_path / "weights").sha256 == found.sha256
    ratios("r.json", 0.9)
    with pytest.raises(UserError, match=r"net-magnitude@r50-seed0.safetensors: pruned by other ratios or training"):
        made(model, "magnitude@r.json:0.5", Trains(), tmp_path / "weights")


def test_ratios_of_a_network_with_lazy_layers_are_checked_and_taken(model):
    Path("net.py").write_text(FACTORY.replace("nn.Conv2d(1, 6, 3)", "nn.LazyConv2d(6, 3)"))
    ratios("r.json", 0.1)
    found = made(ModelSpec("lazy", "net.py:build", SHAPE), "magnitude@r.json:0.5", Points())
    state = load_checkpoint(found.source.path).state
    assert sum(int((state[name] == 0).sum()) for name in ("0.weight", "4.weight")) == pytest.approx(351, abs=1)


@pytest.mark.parametrize("text", ["nm24+channels:0.3", "channels:0.3+nm24", "block4:0.5+channels:0.3"])
def test_channels_that_are_removed_after_blocks_are_noted(text, model):
    Path("net.py").write_text(FACTORY.replace("nn.ReLU(),", "nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(),"))
    method = text.partition("+")[0].partition(":")[0]
    note = f"{method}: channels were removed after it, so its blocks of input channels no longer hold"
    assert (note in made(model, text, Points()).notes) == (method != "channels")


def test_calibration_is_a_few_training_batches_the_same_each_time():
    class Many(Points):
        def batches(self, seed):
            for _ in range(5):
                yield from super().batches(seed)

    data = calibration_of(Task(Many(), "points"), 3)
    first, second = list(data.batches()), list(data.batches())
    assert len(first) == CALIBRATION_BATCHES
    assert all(torch.equal(one[0], other[0]) for one, other in zip(first, second, strict=True))
    assert calibration_of(None, 0) is None


def test_gradients_of_an_earlier_round_do_not_bring_masked_weights_back(tmp_path):
    """A loop of the task's own that adds to them would move weights that this round masks."""

    class Adds(Points):
        def train(self, module, epochs, seed, work):
            for inputs, targets in self.batches(seed):
                self.loss(module(inputs), targets).backward()
            torch.optim.SGD(module.parameters(), lr=0.1).step()

    module, masks = network()
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    finetune(module, Task(Adds(), "points"), masks, epochs=1, seed=0, work=tmp_path)
    assert all(not dict(module.named_parameters())[name][~kept].any() for name, kept in masks.items())
