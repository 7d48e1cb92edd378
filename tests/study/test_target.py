"""A walk to a target: what it prunes is what it says, it ends at the target, and it goes on where it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sparsemark.analysis.spending import Trial
from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.specs import ModelSpec, Protocol, Variant
from sparsemark.specs.methods import walked_to
from sparsemark.study import target as walking
from sparsemark.study.file import own_study
from sparsemark.study.prepare import Places
from sparsemark.study.run import open_pipeline
from sparsemark.study.target import Target, Walker
from sparsemark.study.trials import CHANNELS, FRACTIONS, ZEROS, Trying, log_ratio
from tests.synthetic import timed

NETWORK = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)).eval()
"""
TASK = """
import numpy as np

X = np.random.default_rng(0).random((16, 3, 8, 8), dtype=np.float32)

def images(part):
    return X[:8] if part == "select" else X[8:]

def score(outputs, part):
    assert len(outputs[0]) == 8
    return outputs[0].argmax(1) == 0
"""
FIRST, SECOND, HEAD = "0.weight", "2.weight", "6.weight"
SHARE = 0.25


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("network.py").write_text(NETWORK)
    Path("task.py").write_text(TASK)
    model = ModelSpec("small", "network.py:build", (1, 3, 8, 8))
    study = own_study(model, [], ["torch"], Protocol.of_rounds(16, 1))
    opened = open_pipeline(study, Places(None, Path("work")), task=Path("task.py"))
    opened.dense = study.cells[0]
    return opened


@pytest.fixture
def times(pipeline, monkeypatch):
    """Milliseconds that networks take, by how much was pruned; and what was tried, in place of a clock."""
    tried = []

    def trials(_, place):
        tried.append(place)
        first = FRACTIONS[place.method][0]
        saved = {(CHANNELS, FIRST): 0.1, (ZEROS, SECOND): 0.1}.get((place.method, place.names[0]), 0.0)
        return [Trial(place.method, place.names, first, saved, 0.0, 0.1)]

    monkeypatch.setattr(pipeline, "key", lambda cell: "engine, machine and protocol")

    def measure(cell):
        ms = 10.0 / 1.5 ** len(steps_of(cell.variant))
        return timed(cell.name, [ms / 1e3] * 160, [10.0 / 1e3] * 160)

    def steps_of(variant):
        text = variant.pruning.text
        return range(int(text.split("step")[1][0]) if "step" in text else 0)

    monkeypatch.setattr(Trying, "trials", trials)
    monkeypatch.setattr(pipeline, "measure", measure)
    return tried


def watch(items, _):
    yield from items


def walker(pipeline, text):
    return Walker(pipeline, pipeline.dense, Target.parse(text), Path("walk"), watch)


def module_of(pipeline, pruning):
    return load_checkpoint(pipeline.prepare(Variant(pipeline.dense.variant.model, pruning)).source.path).build()


def test_a_walk_ends_at_the_target_and_each_step_is_a_variant_pruned_as_it_says(pipeline, times):
    found = walker(pipeline, "2x").walk()
    assert (len(found.steps), found.stuck) == (2, None)
    files = [step.ratios for pruning in found.prunings for step in pruning.steps]
    assert {walked_to(file) for file in files} == {"2x"}, "reports pool folds by it"
    assert [step.distance for step in found.steps] == pytest.approx([math.log(2 / 1.5), math.log(2 / 1.5**2)])
    for number, pruning in enumerate(found.prunings, 1):
        module = module_of(pipeline, pruning)
        kept, zeros = 1 - FRACTIONS[CHANNELS][0], 1 - FRACTIONS[ZEROS][0]
        assert module[0].out_channels == 16 * kept**number
        assert module[2].in_channels == 16 * kept**number
        assert float((module[2].weight != 0).float().mean()) == pytest.approx(zeros**number, abs=0.01)
        assert (module[2].out_channels, module[6].in_features) == (32, 32)
        assert all(bool((module[layer].weight != 0).all()) for layer in (0, 6))


def test_places_are_coupled_channels_but_the_outputs_and_every_weight(pipeline, times):
    walker(pipeline, "1.2x").walk()
    assert {(place.method, place.names) for place in times} == {
        (CHANNELS, (FIRST,)), (CHANNELS, (SECOND,)), (ZEROS, (FIRST,)), (ZEROS, (SECOND,)), (ZEROS, (HEAD,)),
    }  # fmt: skip


def test_a_walk_goes_on_after_its_last_step_and_another_task_begins_anew(pipeline, times):
    first = walker(pipeline, "1.4x").walk()
    Path("walk/2x.json").write_bytes(Path("walk/1.4x.json").read_bytes())
    assert len(walker(pipeline, "2x").walk().steps) == 2  # the other target's steps are not taken for its own
    before = len(times)
    assert walker(pipeline, "1.4x").walk() == first
    assert len(times) == before


def test_a_walk_of_another_budget_of_training_begins_anew(pipeline, times):
    walker(pipeline, "1.4x").walk()
    before = len(times)
    pipeline.epochs += 1
    walker(pipeline, "1.4x").walk()
    assert len(times) == 2 * before


def test_a_network_that_is_fast_enough_is_not_pruned(pipeline, times):
    found = walker(pipeline, "0.5x").walk()
    assert (found.prunings, found.stuck) == ((), None)
    assert found.words.endswith("reached without pruning")


def test_zeros_that_a_network_came_with_are_counted(pipeline, times):
    """Half of what is left goes: three quarters in all, where half was zero."""
    source = Path("network.py").read_text().replace("    return", "    layers[2].weight.data[:16] = 0\n    return")
    Path("network.py").write_text(source)
    (pruning,) = walker(pipeline, "1.4x").walk().prunings
    weight = module_of(pipeline, pruning)[2].weight
    assert float((weight != 0).float().mean()) == pytest.approx(0.25, abs=0.01)


def test_a_folder_that_no_pruning_can_name_is_refused_at_once(pipeline):
    with pytest.raises(UserError, match="without ':'"):
        Walker(pipeline, pipeline.dense, Target.parse("2x"), Path("a:b"), watch)


def test_milliseconds_are_a_target_too(pipeline, times):
    assert len(walker(pipeline, "4.5ms").walk().steps) == 2


def test_a_walk_that_gains_nothing_says_so_and_keeps_its_steps(pipeline, times, monkeypatch):
    monkeypatch.setattr(walking, "MOST_STEPS", 1)
    found = walker(pipeline, "9x").walk()
    assert len(found.steps) == 1
    assert "not reached" in found.words
    monkeypatch.setattr(Trying, "trials", lambda *_: [])
    assert "nothing that is left" in walker(pipeline, "8x").walk().stuck


def test_trials_see_what_pruning_a_place_does_to_time_and_score(pipeline):
    """With the engine itself: that time is measured, and what is tried leaves the network alone."""
    checkpoint = load_checkpoint(pipeline.prepare(pipeline.dense.variant).source.path)
    task = pipeline.task(pipeline.dense.variant)
    trying = Trying(checkpoint, pipeline.dense, task, Path())
    for place in trying.places():
        found = trying.trials(place)
        assert [trial.fraction for trial in found] == list(FRACTIONS[place.method])
        assert all(math.isfinite(trial.saved) and trial.change > 0 for trial in found)
        changes = [trial.change for trial in trying.trials(place)]
        assert changes == [trial.change for trial in found]


def test_the_time_of_a_trial_is_that_of_calls_in_turn(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("sparsemark.study.trials.time.perf_counter", lambda: clock[0])

    def taking(seconds):
        def predict(*_):
            clock[0] += seconds * (1 + clock[0] / 1e3)  # a machine that gets slower
            return ()

        return predict

    assert log_ratio(taking(0.001), taking(0.002), ()) == pytest.approx(math.log(0.5), abs=0.01)


@pytest.mark.parametrize("text", ["", "10", "x", "ms", "-2x", "0ms", "nanx", "infms", "1e999x"])
def test_what_is_no_target_is_one_line(text):
    with pytest.raises(UserError, match="expected a positive number and x or ms"):
        Target.parse(text)


def test_a_walk_needs_a_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("network.py").write_text(NETWORK)
    study = own_study(ModelSpec("small", "network.py:build", (1, 3, 8, 8)), [], ["torch"], Protocol())
    opened = open_pipeline(study, Places(None, Path("work")))
    with pytest.raises(UserError, match="expected --task"):
        Walker(opened, study.cells[0], Target.parse("2x"), Path("walk"), watch)
