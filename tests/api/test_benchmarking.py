"""`sparsemark.benchmark`: networks by module and by reference, in this process and in fresh ones."""

from __future__ import annotations

import pytest
import torch

import sparsemark
from sparsemark.api.benchmarking import _usable
from sparsemark.references import held, resolve
from sparsemark.specs import ModelSpec
from sparsemark.study.sampling import Sampling
from tests.api.test_exporting import MLP, Task
from tests.small_networks import artifact, build

FEW = {"rounds": 24, "launches": 0}


def rows(run):
    return {(m.pruning, m.engine): m for m in run.measurements}


def test_module_is_measured_scored_and_left_as_it_was():
    module = build("mlp").train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    run = sparsemark.benchmark(
        module, (1, 12), prune=["magnitude:0.5"], engines=["onnxruntime", "torch"], task=Task(), epochs=1, **FEW
    )
    found = rows(run)
    assert set(found) == {(p, e) for p in ("none", "magnitude:0.5") for e in ("onnxruntime", "torch")}
    assert all(m.status == "measured" and m.headline for m in found.values())
    assert isinstance(run, sparsemark.Run)
    assert run.best().model == "Sequential"
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_numbers_are_those_of_the_command(tmp_path, monkeypatch):
    """One pipeline: the same rows, weights and parity, whatever asked for them."""
    from sparsemark.cli import main

    monkeypatch.chdir(tmp_path)
    options = ["--input", "1,12", "--prune", "magnitude:0.5", "--engine", "onnxruntime", "--rounds", "24", "--quick"]
    assert main(["bench", MLP, *options, "--json", "own.json"]) == 0
    theirs = sparsemark.Run.load(tmp_path / "own.json")
    ours = sparsemark.benchmark(MLP, (1, 12), prune=["magnitude:0.5"], engines=["onnxruntime"], **FEW)
    for one, other in zip(ours.measurements, theirs.measurements, strict=True):
        for field in (
            "name",
            "status",
            "nonzeros",
            "artifact_bytes",
            "parity_max_rel",
            "samples",
            "agreement_with_dense",
        ):
            assert getattr(one, field) == getattr(other, field), field


def test_onnx_file_needs_no_shape():
    run = sparsemark.benchmark(artifact("plain", "none", "onnx").path, engines=["onnxruntime"], **FEW)
    assert [m.status for m in run.measurements] == ["measured"]


def test_module_is_timed_in_fresh_processes_by_its_exported_file():
    """What takes the module itself is a row with the reason: no other process has it."""
    run = sparsemark.benchmark(build("mlp"), (1, 12), engines=["onnxruntime", "torch"], rounds=24, launches=1)
    found = rows(run)
    assert found["none", "onnxruntime"].status == "measured"
    assert found["none", "onnxruntime"].launches >= 1
    refused = found["none", "torch"]
    assert refused.status == "error"
    assert "a module that another process holds; give file.py:factory" in refused.reason


def test_engines_that_take_the_module_itself_are_left_out_where_they_cannot_run():
    with held(build("mlp")) as reference:
        module, named = ModelSpec("m", reference, (1, 12)), ModelSpec("m", MLP, (1, 12))
        assert "torch" not in _usable(module, Sampling(3))
        assert "onnxruntime" in _usable(module, Sampling(3))
        assert "torch" in _usable(module, Sampling(0))
        assert "torch" in _usable(named, Sampling(3))


def test_module_is_held_no_longer_than_it_is_used():
    module = build("mlp")
    with held(module) as reference:
        assert resolve(reference)() is module
    with pytest.raises(sparsemark.UserError, match="that another process holds"):
        resolve(reference)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"inputs": None}, "expected the shape of its input"),
        ({"inputs": (1, 13)}, "does not fit this network"),
        ({"engines": ["onnxruntim"]}, "did you mean 'onnxruntime'"),
        ({"prune": ["magnitude:2"]}, "expected a fraction"),
        ({"task": object()}, "object: images: missing, expected a function"),
        ({"task": "absent.py"}, "absent.py: no such file"),
        ({"threads": 9999}, "threads 9999"),
        ({"rounds": 0}, "rounds 0"),
        ({"launches": -1}, "launches -1"),
    ],
)
def test_wrong_arguments_are_errors_before_anything_is_measured(more, message):
    with pytest.raises(sparsemark.UserError, match=message):
        sparsemark.benchmark(MLP, **({"inputs": (1, 12), "engines": ["torch"]} | FEW | more))
