"""`sparsemark.export` and `sparsemark export`: networks by module, reference and file, to every format."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

import sparsemark
from sparsemark.cli import main
from sparsemark.errors import UserError
from tests.small_networks import NETWORKS, SHAPES, artifact, build, example

MLP = NETWORKS["mlp"].reference


class Task:
    """Vectors whose sum is positive or not; fine-tunes."""

    def images(self):
        return np.random.default_rng(0).standard_normal((16, 12)).astype(np.float32)

    def score(self, predict):
        (logits,) = predict(self.images())
        return float(((logits[:, 0] > 0) == (self.images().sum(1) > 0)).mean())

    def batches(self, seed):
        x = torch.from_numpy(self.images())
        yield x, (x.sum(1, keepdim=True) > 0).float()

    def loss(self, outputs, targets):
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers(path, name):
    network = sparsemark.load(path)
    return network(example(name).numpy())


@pytest.mark.parametrize("suffix", [".csr", ".onnx"])
def test_module_is_exported_and_left_as_it_was(tmp_path, direct, suffix):
    module = build("plain").train()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    found = sparsemark.export(module, tmp_path / f"net{suffix}", example("plain"))
    assert found.path == tmp_path / f"net{suffix}"
    assert found.bytes == found.path.stat().st_size
    assert module.training
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    with torch.no_grad():
        (wanted,) = (module.eval()(example("plain")).numpy(),)
    np.testing.assert_allclose(answers(found.path, "plain")[0], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "given",
    [SHAPES["mlp"], list(SHAPES["mlp"]), np.zeros(SHAPES["mlp"], np.float32), torch.zeros(SHAPES["mlp"]), "1,12",
     [np.zeros(SHAPES["mlp"], np.float32)], sparsemark.InputSpec(SHAPES["mlp"])],
    ids=lambda given: type(given).__name__,
)  # fmt: skip
def test_input_is_given_as_a_shape_or_by_example(tmp_path, direct, given):
    sparsemark.export(MLP, str(tmp_path / "net.onnx"), given)
    with torch.no_grad():
        wanted = build("mlp")(example("mlp")).numpy()
    np.testing.assert_allclose(answers(tmp_path / "net.onnx", "mlp")[0], wanted, rtol=0, atol=1e-6)


def test_network_is_pruned_first(tmp_path):
    found = sparsemark.export(MLP, tmp_path / "net.csr", (1, 12), prune="magnitude:0.75")
    assert found.weights.nonzeros == pytest.approx(found.weights.total / 4, abs=1)


def test_onnx_file_is_converted_by_what_it_declares(tmp_path, direct):
    path = artifact("plain", "none", "onnx").path
    sparsemark.export(path, tmp_path / "net.csr")
    for got, wanted in zip(answers(tmp_path / "net.csr", "plain"), answers(path, "plain"), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", [Task(), "task.py"], ids=["object", "file"])
def test_pruned_network_is_fine_tuned_where_the_task_can(tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(
        "from tests.api.test_exporting import Task\ntask = Task()\n"
        "images, score, batches, loss = task.images, task.score, task.batches, task.loss\n"
    )
    plain = sparsemark.export(MLP, tmp_path / "plain.csr", (1, 12), prune="magnitude:0.5")
    # Without an example: the task's images have the sizes.
    tuned = sparsemark.export(MLP, tmp_path / "tuned.csr", prune="magnitude:0.5", task=task, epochs=2)
    assert plain.sha256 != tuned.sha256
    assert plain.weights == tuned.weights  # zeros stay zeros


def test_the_command_takes_the_sizes_from_the_task_as_bench_does(tmp_path, monkeypatch, capsys):
    """The line that a report ends with names no input where the command that was measured named none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(
        "from tests.api.test_exporting import Task\ntask = Task()\nimages, score = task.images, task.score\n"
    )
    command = ["export", MLP, "--prune", "magnitude:0.5", "--task", "task.py", "--epochs", "2", "--output", "net.csr"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("wrote net.csr")


def test_weights_alone_are_a_file_for_their_factory(tmp_path):
    from sparsemark.networks.checkpoint import load_checkpoint

    found = sparsemark.export(MLP, tmp_path / "net.safetensors", (1, 12))
    with torch.no_grad():
        assert torch.equal(load_checkpoint(found.path).build()(example("mlp")), build("mlp")(example("mlp")))


@pytest.mark.parametrize(
    ("network", "path", "more", "message"),
    [
        (MLP, "net.tflite", {}, "net.tflite: expected a name that ends in .safetensors, .csr, .onnx"),
        (MLP, "net.csr", {"form": "onnx"}, "net.csr: expected a name that ends in .onnx, as onnx files do"),
        (MLP, "net.csr", {"form": "cssr"}, "unknown format 'cssr'; did you mean 'csr'?"),
        (MLP, "net.csr", {"example": None}, "mlp: expected the shape of its input"),
        (MLP, "net.csr", {"example": object()}, "input object: expected a shape"),
        (MLP, "net.csr", {"example": (1, 13)}, "does not fit this network"),
        (MLP, "net.csr", {"prune": "magnitud:0.5"}, "did you mean 'magnitude'?"),
        ("absent.onnx", "net.csr", {"example": None}, "absent.onnx: cannot be read"),
        (nn.Linear(12, 1), "net.safetensors", {}, "a module has none; expected .csr or .onnx"),
        (nn.Linear, "net.csr", {}, "Linear: expected a torch.nn.Module"),
        (42, "net.csr", {}, "int: expected a torch.nn.Module"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(in_folder, network, path, more, message):
    with pytest.raises(UserError, match=re.escape(message)):
        sparsemark.export(network, path, **({"example": (1, 12)} | more))
    assert not list(in_folder.rglob("net*"))


def test_module_that_the_method_cannot_prune_is_a_reason(tmp_path):
    with pytest.raises(sparsemark.UnsupportedError, match="an ONNX file cannot be pruned here"):
        sparsemark.export(artifact("plain", "none", "onnx").path, tmp_path / "net.csr", prune="magnitude:0.5")


def test_command_writes_the_file_and_says_what_is_in_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", MLP, "--input", "1,12", "--prune", "magnitude:0.75", "--output", "net.csr"]) == 0
    size = (tmp_path / "net.csr").stat().st_size
    assert f"wrote net.csr: {size} bytes, 116 of 464 weights are not zero" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["net.csr"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "net.csr"], "--input: expected the sizes of the network's input"),
        (["--output", "net.txt", "--input", "1,12"], "net.txt: expected a name that ends in"),
        (["--output", "net.csr", "--input", "1,12", "--format", "onnx"], "expected a name that ends in .onnx"),
        (["--output", "net.csr", "--input", "1,12", "--prune", "channels:0.5:x"], "--prune 'channels:0.5:x'"),
        (["--output", "net.csr", "--input", "1,12", "--task", "none.py"], "none.py: no such file"),
        (["--output", "net.csr", "--input", "1,12", "--prune", "iterative-magnitude:0.5"], "no task"),
    ],
)
def test_bad_options_of_the_command_are_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["export", MLP, *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "net.csr").exists()
