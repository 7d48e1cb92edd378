"""`sparsemark explain`: how an engine runs a file, and what to change."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba")

import onnx

from sparsemark import formats
from sparsemark.cli import main
from sparsemark.direct.explain import _shape as explained_shape
from sparsemark.direct.explain import explain
from sparsemark.direct.lowering import lower
from sparsemark.direct.peak import measure_peak
from sparsemark.direct.runtime.machine_code import load
from sparsemark.errors import UnsupportedError
from sparsemark.measurement.explanation import onnx_linters
from sparsemark.measurement.explanation.csr_file import labels
from sparsemark.networks.source import Source
from tests.direct.graphs import Prepared, Sketch
from tests.small_networks import NETWORKS, artifact, batches


@pytest.fixture
def unet(tmp_path, monkeypatch):
    load()  # not again for the empty cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return artifact("unet", "magnitude:0.9", "csr").path


def test_every_layer_is_there_with_what_it_does_and_takes(unet, tmp_path, capsys):
    assert main(["explain", str(unet), "--figure", str(tmp_path / "roof.png")]) == 0
    shown = capsys.readouterr().out
    words = ("density", "share", "left", "of peak", "direct", "plain loop", "million multiply-adds", "peak of one core")
    for word in (*words, "Which knob to turn"):
        assert word in shown
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")


def test_a_damaged_file_is_one_line(unet, tmp_path, capsys):
    damaged = tmp_path / "damaged.csr"
    damaged.write_bytes(unet.read_bytes()[:-3])
    assert main(["explain", str(damaged)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "damaged.csr: damaged" in line


def test_layers_of_an_onnx_file_are_there_as_data_as_well(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(onnx_linters.LINTERS, "engine", lambda _: None)  # compiles for long
    path = artifact("plain", "magnitude:0.9", "onnx").path
    assert main(["explain", str(path), "--json", str(tmp_path / "explained.json")]) == 0
    shown = capsys.readouterr().out
    document = json.loads((tmp_path / "explained.json").read_text())
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert {"0.0", "3.0", "7", "9"} <= set(layers)
    assert layers["3.0"]["multiply_adds"] == 8 * 6 * 9 * 8 * 6
    assert all(layer["seconds"] > 0 for layer in layers.values())
    assert {one["linter"] for one in document["changes"]} >= {"level"}
    assert "zeros cost nothing and gain nothing in ONNX Runtime" in shown
    assert "Which knob to turn" in shown


def test_a_linter_that_cannot_try_is_a_line_with_the_reason(monkeypatch, capsys):
    def refuse(_):
        raise UnsupportedError("no such kernel")

    for name in onnx_linters.LINTERS:
        monkeypatch.setitem(onnx_linters.LINTERS, name, refuse)
    assert main(["explain", str(artifact("mlp", "none", "onnx").path)]) == 0
    assert "not tried: level: no such kernel" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("net.txt", "net.txt: expected a .csr or an .onnx file"),
        ("net.onnx", "net.onnx: expected an ONNX model"),
        ("absent.onnx", "absent.onnx: cannot be read"),
        ("absent.csr", "absent.csr: cannot be read"),
        ("net.onnx --figure roof.png", "roof.png: expected a .csr file"),
        ("net.csr --input 1,0,4", "expected positive sizes"),
    ],
)
def test_what_is_no_artifact_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("net.txt", "net.onnx", "net.csr"):
        (tmp_path / name).write_bytes(b"no model")
    assert main(["explain", *arguments.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_open_sizes_are_asked_for(tmp_path, capsys):
    model = onnx.load(artifact("unet", "none", "onnx").path)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"size {axis}"
    onnx.save(model, tmp_path / "open.onnx")
    assert main(["explain", str(tmp_path / "open.onnx")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "open.onnx" in line
    assert "--input" in line


def test_an_input_that_the_network_cannot_take_is_one_line(unet, capsys):
    assert main(["explain", str(unet), "--input", "1,7,16,16"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Conv at" in line


def test_sharing_a_load_is_never_slower_than_a_load_each():
    peak = measure_peak(of_bytes=True)
    assert peak.multiply_adds >= peak.loads > 0
    assert peak.of_bytes > 0
    assert measure_peak().of_bytes is None


def test_layers_of_bytes_have_their_channels_and_a_peak_of_their_own(tmp_path):
    file = formats.quantise(artifact("plain", "none", "onnx"), tmp_path / "net", batches("plain", 8))
    csr = formats.export(Source(NETWORKS["plain"], file.path), "csr", tmp_path / "net")
    assert main(["explain", str(csr.path), "--json", str(tmp_path / "layers.json")]) == 0
    found = json.loads((tmp_path / "layers.json").read_text())
    layers = [layer for layer in found["layers"] if layer["precision"] == "int8"]
    assert [layer["shape"][0] for layer in layers[:2]] == [8, 8]  # six of them, in words of four; eight
    assert found["peak_int8"] > 0


def test_each_layer_has_a_name_and_a_shape_that_the_network_has():
    """A stride of 2 is run on its four phases: they are the input of a layer, not a layer of 4 x 8 channels."""
    sketch = Sketch(1, 8, 16, 16)
    strided = {"pads": [1, 1, 1, 1], "strides": [2, 2]}
    first = sketch.conv("x", np.ones((8, 8, 3, 3), np.float32), pads=[1, 1, 1, 1])
    sketch.node("Add", *(sketch.conv(first, np.ones((4, 8, 3, 3), np.float32), **strided) for _ in range(2)))
    lowered = lower(sketch.graph(), (1, 8, 16, 16))
    nodes = {node.name: node for node in sketch.graph().nodes}
    steps = list(lowered.steps())
    names = labels(steps, nodes)
    assert names == ["x", "node conv0", "node conv1 (input)", "node conv1", "node conv2 (input)", "node conv2"]
    shapes = {name: explained_shape(step) for name, step in zip(names, steps, strict=True)}
    assert shapes["node conv1 (input)"] == (8, 16, 16)
    assert set(shapes.values()) == {(8, 16, 16), (4, 8, 8)}
    assert labels(steps * 2, nodes)[-1] == "node conv2 (2)", "a weight that two layers share"


def test_layer_by_tiles_carries_out_a_quarter_of_what_a_dense_one_is():
    sketch = Sketch(1, 8, 16, 16)
    sketch.conv("x", np.ones((8, 8, 3, 3), np.float32), pads=[1, 1, 1, 1])
    prepared = Prepared(sketch.graph())
    (step,) = prepared.convolutions
    for choice in prepared.options[step]:
        plan = SimpleNamespace(lowered=prepared.lowered, schedules={step: choice}, floats=prepared.floats, parts=())
        layer = list(explain(plan))[-1]
        assert layer.multiply_adds == 8 * 8 * 9 * 16 * 16
        assert layer.products == (layer.multiply_adds // 4 if choice.winograd else layer.multiply_adds)
        assert ("Winograd" in layer.kernel) == choice.winograd
    assert any(choice.winograd for choice in prepared.options[step])
