"""An exported file is whole, holds the network's zeros, and, CSR and ONNX, needs nothing of what made it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from safetensors.numpy import load, save
from torch import nn

import sparsemark
from sparsemark import formats
from sparsemark.engines import ENGINES
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.formats import FORMATS
from sparsemark.formats.csr import export as csr_export
from sparsemark.formats.csr import graph as csr
from sparsemark.measurement import parity
from sparsemark.networks.checkpoint import Checkpoint, Header, load_checkpoint, save_checkpoint
from sparsemark.networks.factory import build_model
from sparsemark.networks.reference import float64_outputs
from sparsemark.networks.source import Source
from sparsemark.pruning import accounting
from sparsemark.registry import why_not
from sparsemark.specs import Cell, ModelSpec, Protocol, Pruning, Variant
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from tests.small_networks import CASES, artifact, example, pruned, source

FROM_A_FILE = [name for name, engine in ENGINES.items() if "dense" not in engine.formats and not why_not(engine)]
"""Engines that can be used here and need no factory."""


@pytest.mark.parametrize(("network", "prune"), CASES)
@pytest.mark.parametrize("form", FORMATS)
def test_zeros_counted_in_the_file_are_the_networks(form, network, prune):
    exported = artifact(network, prune, form)
    counted = accounting.count(load_checkpoint(source(network, prune).path).build(), (example(network),))
    assert exported.weights.total == counted.weights
    assert exported.weights.nonzeros == counted.nonzeros
    assert exported.bytes == exported.path.stat().st_size > 0
    assert exported.path.suffix == FORMATS[form].suffix


WIDE = """
from torch import nn

def build():
    layers = [nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 48, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 40), nn.ReLU(), nn.Linear(40, 3))
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A network with enough weights for the graph not to matter, in every format, at 50 and 90 % zeros."""
    folder = tmp_path_factory.mktemp("wide")
    (folder / "wide.py").write_text(WIDE)
    model = ModelSpec("wide", f"{folder / 'wide.py'}:build", (1, 3, 12, 10))
    torch.manual_seed(0)
    trained = Checkpoint(Header(Variant(model)), build_model(model).state_dict())
    found = {}
    for sparsity in (0.5, 0.9):
        variant = Variant(model, Pruning.of("magnitude", sparsity))
        path = folder / f"{variant.name}.safetensors"
        pruned(variant, trained, path)
        origin, stem = Source(model, path), folder / f"exported{sparsity}"
        files = {form: formats.export(origin, form, stem) for form in ("dense", "onnx")}
        files["csr"] = formats.export(Source(model, files["onnx"].path), "csr", stem)
        found[sparsity] = files
    return found


def test_csr_is_smaller_than_the_dense_file_from_half_the_weights_on(wide):
    sizes = {sparsity: {form: one.bytes for form, one in files.items()} for sparsity, files in wide.items()}
    assert sizes[0.5]["csr"] < sizes[0.5]["dense"]
    assert sizes[0.9]["csr"] < 0.4 * sizes[0.9]["dense"]
    assert sizes[0.9]["dense"] == pytest.approx(sizes[0.5]["dense"], abs=64)


IMAGE = np.random.default_rng(0).standard_normal((1, 3, 12, 10)).astype(np.float32)
ELSEWHERE = """
import json, sys
from pathlib import Path
import numpy as np
from sparsemark.engines import ENGINES

for engine, path in json.loads(sys.argv[1]).items():
    predict = ENGINES[engine].load(Path(path), 1)
    np.save(f"{engine}.npy", predict(np.load("image.npy"))[0])
assert not [name for name in sys.modules if name.startswith("_sparsemark_")]
"""


@pytest.fixture(scope="module")
def elsewhere(wide, tmp_path_factory):
    """Answers of every engine in another process, which has the files alone; it takes seconds to load libraries."""
    folder = tmp_path_factory.mktemp("elsewhere")
    files = {engine: wide[0.9][ENGINES[engine].formats[0]].path for engine in FROM_A_FILE}
    moved = {engine: str(shutil.copy(path, folder / path.name)) for engine, path in files.items()}
    np.save(folder / "image.npy", IMAGE)
    environment = os.environ | {"PYTHONPATH": str(Path(sparsemark.__file__).parents[1])}
    command = [sys.executable, "-c", ELSEWHERE, json.dumps(moved)]
    subprocess.run(command, check=True, cwd=folder, env=environment)
    return {engine: np.load(folder / f"{engine}.npy") for engine in FROM_A_FILE}


@pytest.mark.parametrize("engine", FROM_A_FILE)
def test_file_runs_in_another_process_without_the_class_that_made_it(wide, engine, elsewhere):
    """The factory's file is not there, and the answers are those of the process that had it."""
    expected = float64_outputs(Source(ModelSpec("wide", "m:f", (1,)), wide[0.9]["dense"].path), [(IMAGE,)]).outputs
    assert np.abs(elsewhere[engine] - expected[0]).max() <= parity.TOLERANCE * np.abs(expected[0]).max()


def test_csr_of_a_checkpoint_is_that_of_its_onnx_file(wide, tmp_path):
    """The way by way of a user's ONNX file, which other tests take because it is short, leads to the same file."""
    csr_export.export(
        Source(load_checkpoint(wide[0.5]["dense"].path).variant.model, wide[0.5]["dense"].path), tmp_path / "direct.csr"
    )
    assert (tmp_path / "direct.csr").read_bytes() == wide[0.5]["csr"].path.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_export_that_fails_leaves_nothing(form, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    origin = source("mlp")
    if form == "csr":
        origin = Source(origin.model, artifact("mlp", "none", "onnx").path)
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(shutil, "copyfile", full)
        monkeypatch.setattr(torch.onnx, "export", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        formats.export(origin, form, tmp_path / "mlp")
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_there_is_taken_as_it_is(tmp_path):
    first = formats.export(source("mlp"), "dense", tmp_path / "mlp")
    stamp = (tmp_path / "mlp.safetensors").stat().st_mtime_ns
    assert formats.export(source("plain"), "dense", tmp_path / "mlp") == first
    assert (tmp_path / "mlp.safetensors").stat().st_mtime_ns == stamp


def test_network_that_cannot_be_exported_is_one_line(tmp_path):
    code = tmp_path / "branching.py"
    code.write_text(
        "from torch import nn\nclass Net(nn.Linear):\n"
        "    def forward(self, x):\n        return super().forward(x) if x.sum().item() > 0 else x\n"
        "def build():\n    return Net(3, 3)\n"
    )
    model = ModelSpec("branching", f"{code}:build", (1, 3))
    save_checkpoint(tmp_path / "b.safetensors", Checkpoint(Header(Variant(model)), nn.Linear(3, 3).state_dict()))
    with pytest.raises(UnsupportedError, match=r"torch\.onnx: ") as caught:
        formats.export(Source(model, tmp_path / "b.safetensors"), "onnx", tmp_path / "exported")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.glob("exported*")) == []


# CSR.


@pytest.fixture(scope="module")
def sparse():
    return artifact("unet", "magnitude:0.9", "csr").path.read_bytes()


def one_line(path):
    with pytest.raises(UserError) as caught:
        csr.load_csr(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csr_cut_anywhere_is_one_line(sparse, tmp_path, data):
    path = tmp_path / "cut.csr"
    path.write_bytes(sparse[: data.draw(st.integers(0, len(sparse) - 1))])
    assert "damaged, or no CSR file of sparsemark" in one_line(path)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csr_with_a_changed_byte_is_refused_or_the_same(sparse, tmp_path, data):
    """No other error than the one that callers know, and no weight that is not the network's."""
    content = bytearray(sparse)
    size = int.from_bytes(content[:8], "little")
    where = data.draw(st.one_of(st.integers(0, size + 7), st.integers(0, len(content) - 1)))
    content[where] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.csr"
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        assert content_of(csr.load_csr(path)) == content_of(csr.load_csr(artifact("unet", "magnitude:0.9", "csr").path))


def content_of(graph):
    """All of a graph, in a form that can be compared."""
    arrays = dict(graph.constants)
    for name, matrix in graph.matrices.items():
        arrays |= {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
    plain = (graph.inputs, graph.outputs, graph.nodes, graph.shapes, graph.input_shape, graph.opset)
    return plain, {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}


def rewritten(sparse, path, change):
    """The CSR file with its header changed by a function, and the digest that belongs to it."""
    size = int.from_bytes(sparse[:8], "little")
    header = json.loads(json.loads(sparse[8 : 8 + size])["__metadata__"]["sparsemark-csr"])
    tensors = load(sparse)
    change(header)
    header["digest"] = csr.digest(header, tensors)
    path.write_bytes(save(tensors, metadata={"sparsemark-csr": json.dumps(header)}))
    return path


def test_csr_whose_digest_is_of_something_else_is_one_line(sparse, tmp_path):
    path = rewritten(sparse, tmp_path / "changed.csr", lambda header: None)
    assert content_of(csr.load_csr(path))
    size = int.from_bytes(sparse[:8], "little")
    header = json.loads(json.loads(sparse[8 : 8 + size])["__metadata__"]["sparsemark-csr"])
    for digest in ("0" * 64, "", None, 3):
        damaged = json.dumps(header | {"digest": digest})
        path.write_bytes(save(load(sparse), metadata={"sparsemark-csr": damaged}))
        assert "damaged: its digest is not that of its content" in one_line(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h.update(schema=3), "header.schema is 3, this sparsemark reads 2"),
        (lambda h: h.pop("schema"), "schema"),
        (lambda h: h.pop("inputs"), "inputs"),
        (lambda h: h.pop("nodes"), "nodes"),
        (lambda h: h.update(shapes=[]), "damaged"),
        (lambda h: h["shapes"].update(nothing=[1, 2]), "nothing.values"),
        (lambda h: h["shapes"].update({next(iter(h["shapes"])): []}), "damaged"),
        (lambda h: h["shapes"].update({next(iter(h["shapes"])): [1, 1]}), "damaged"),
        (lambda h: h["nodes"].pop(0), "which is not in the file"),
        (lambda h: h.update(outputs=["elsewhere"]), "nothing makes the output elsewhere"),
    ],
)
def test_csr_header_that_is_not_understood_is_one_line(sparse, tmp_path, change, said):
    assert said in one_line(rewritten(sparse, tmp_path / "changed.csr", change))


def test_csr_of_someone_else_and_none_at_all_are_one_line(tmp_path):
    (tmp_path / "foreign.csr").write_bytes(save({"a": np.ones(2, np.float32)}))
    assert "damaged, or no CSR file" in one_line(tmp_path / "foreign.csr")
    assert "cannot be read" in one_line(tmp_path / "missing.csr")


@pytest.mark.parametrize(("columns", "kind"), [(65_536, np.uint16), (65_537, np.int32)])
def test_columns_take_two_bytes_as_long_as_they_fit(columns, kind):
    dense = np.zeros((2, columns), np.float32)
    dense[1, -1] = 3
    parts = csr_export._compress("w", dense)
    assert parts["w.columns"].dtype == kind
    assert parts["w.columns"].tolist() == [columns - 1]
    assert parts["w.rows"].tolist() == [0, 0, 1]


def test_matrices_hold_the_weights_as_im2col_lays_them_out():
    graph = csr.load_csr(artifact("mlp", "magnitude:0.9", "csr").path)
    module = load_checkpoint(source("mlp", "magnitude:0.9").path).build()
    weights = [layer.weight.detach().numpy() for layer in module if isinstance(layer, nn.Linear)]
    found = [matrix.toarray() for matrix in graph.matrices.values()]
    assert len(found) == len(weights)
    for weight in weights:
        assert any(np.array_equal(weight, matrix) for matrix in found)


# ONNX.


def test_onnx_file_is_one_file_with_batch_normalisation_folded():
    exported = artifact("plain", "none", "onnx")
    model = onnx.load(str(exported.path))
    operators = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in operators
    assert "Dropout" not in operators
    beside = exported.path.parent.glob(f"{exported.path.name}?*")
    assert [path.name for path in beside] == [f"{exported.path.name}.json"]  # no weights, only what was counted


def test_onnx_file_says_nothing_of_where_it_was_made():
    exported = artifact("plain", "none", "onnx")
    assert b"/torch/" not in exported.path.read_bytes()
    graph = onnx.load(str(exported.path)).graph
    assert not any(item.metadata_props for item in (graph, *graph.node, *graph.value_info))


def test_batch_normalisation_of_scale_zero_folded_into_weights_is_no_failure(tmp_path):
    """Residual blocks begin so: the file has more zeros than the network, and agrees with it."""
    code = "from torch import nn\ndef build():\n    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))\n"
    (tmp_path / "zero.py").write_text(code + "    nn.init.zeros_(net[1].weight)\n    return net\n")
    variant = Variant(ModelSpec("zero", f"{tmp_path / 'zero.py'}:build", (1, 1, 3, 3)))
    pipeline = Pipeline(lambda _: None, Protocol(), Places(tmp_path / "weights", tmp_path), 0)
    row = pipeline.measure(Cell(variant, "onnx", "onnxruntime"), rounds=None)
    assert (row.status, row.reason, row.nonzeros) == ("measured", None, 0)


def user_model(path, constant_as):
    """A user's file whose weight is an initialiser, an old one listed among the inputs, or a Constant node."""
    weight = numpy_helper.from_array(np.array([[1, 0], [0, 3], [4, 0]], np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    inputs = [helper.make_tensor_value_info("x", 1, (1, 3))]
    if constant_as == "input":
        inputs.insert(0, helper.make_tensor_value_info("w", 1, (3, 2)))
    if constant_as == "node":
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    initialisers = [] if constant_as == "node" else [weight]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", 1, (1, 2))], initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if constant_as == "external":
        onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    else:
        path.write_bytes(model.SerializeToString())
    return Source(ModelSpec("user", str(path), (1, 3)), path)


@pytest.mark.parametrize("constant_as", ["initialiser", "input", "node", "external"])
@pytest.mark.parametrize("engine", FROM_A_FILE)
def test_users_onnx_file_is_copied_counted_and_run_wherever_its_weights_are(constant_as, engine, tmp_path):
    (tmp_path / "theirs").mkdir()
    origin = user_model(tmp_path / "theirs" / "model.onnx", constant_as)
    exported = formats.export(origin, ENGINES[engine].formats[0], tmp_path / "ours")
    assert (exported.weights.total, exported.weights.nonzeros) == (6, 3)
    image = np.array([[1, 2, 3]], np.float32)
    predict = ENGINES[engine].load(exported.path, 1)
    assert predict(image)[0].tolist() == [[13, 6]]
    assert float64_outputs(origin, [(image,)]).outputs[0].tolist() == [[13, 6]]


def test_users_onnx_file_has_no_dense_form(tmp_path):
    with pytest.raises(UnsupportedError, match="ONNX file, and there is no PyTorch module"):
        formats.export(user_model(tmp_path / "model.onnx", "initialiser"), "dense", tmp_path / "ours")


def test_unknown_format_gets_the_nearest_name(tmp_path):
    with pytest.raises(UserError, match="unknown format 'onx'; did you mean 'onnx'"):
        formats.export(source("mlp"), "onx", tmp_path / "m")


def test_every_case_is_a_path_of_its_own():
    paths = {artifact(network, prune, "dense").path for network, prune in CASES}
    assert len(paths) == len(set(CASES))
    assert all(isinstance(path, Path) for path in paths)
