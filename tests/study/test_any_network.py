"""Networks as users have them run, are pruned and counted alike in every format, or their row has the true reason."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from sparsemark.errors import UserError
from sparsemark.measurement.parity import Parity, ParityError
from sparsemark.networks.quantised_reference import NOTE, quantised_outputs
from sparsemark.records.measurement import MEASURED, UNSUPPORTED
from sparsemark.specs import InputSpec, ModelSpec, Protocol, Pruning, Variant
from sparsemark.study import expected
from sparsemark.study.file import cell_of
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from sparsemark.study.task import always
from tests.networks.onnx_files import model_of, node

FACTORIES = """
from dataclasses import dataclass
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

class Dense(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(i, o) * 0.1), nn.Parameter(torch.randn(o))
    def forward(self, x): return torch.addmm(self.bias, x, self.weight)

def body():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(8, 4))

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(6, 8, batch_first=True, bidirectional=True), nn.Linear(16, 3)
    def forward(self, x): return self.head(self.rnn(x)[0][:, -1])

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.attention, self.mlp = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)
    def forward(self, x):
        y = x + self.position
        return self.mlp(y + self.attention(y, y, y)[0]).mean(1)

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.image = nn.Embedding(50, 8), nn.Linear(6, 8)
        self.head = nn.Linear(8, 4)
    def forward(self, x, ids, mask):
        words = (self.table(ids) * mask.unsqueeze(-1)).mean(1)
        return {"logits": self.head(self.image(x) + words), "words": words}

@dataclass
class Out:
    logits: torch.Tensor
    nothing: None = None

class Wraps(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.body = how, body()
    def forward(self, x):
        if self.how == "writes": x.div_(4.0)
        if self.how == "casts": x = x.float() / 2
        if self.how == "random": x = F.dropout(x, 0.5)
        y = self.body(x)
        return Out(y) if self.how == "dataclass" else y

class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.aux = body(), nn.Linear(4, 3000)
    def forward(self, x):
        y = self.body(x)
        return (y, self.aux(y)) if self.training else y

def masked():
    module = body()
    prune.l1_unstructured(module[2], "weight", 0.5)
    return module

shared = body().eval()
own = lambda: nn.Sequential(Dense(12, 40), nn.GELU(), nn.Linear(40, 4))
normed = lambda: nn.Sequential(weight_norm(nn.Conv2d(3, 8, 3)), nn.Flatten(), nn.Linear(8 * 100, 4))
recurrent, attention, two, head = Recurrent, Attention, Two, Head
class Blind(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = body()
    def forward(self, x): return self.body(0 * x)

class Ids(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(9, 8), nn.Linear(8, 4)
    def forward(self, ids): return self.head(self.table(ids).mean(1))

blind, ids = Blind, Ids
lazy = lambda: nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(4))
plain, instance, half, compiled = body, lambda: shared, lambda: body().half(), lambda: torch.compile(body())
writes, casts = lambda: Wraps("writes"), lambda: Wraps("casts")
random, returned = lambda: Wraps("random"), lambda: Wraps("dataclass")
"""

IMAGE = (1, 3, 12, 12)
SHAPES = {
    "own": (1, 12),
    "recurrent": (1, 5, 6),
    "ids": (InputSpec((1, 7), "int64"),),
    "attention": (1, 5, 8),
    "two": (
        InputSpec((1, 6), name="x"),
        InputSpec((1, 7), "int64", "ids"),
        InputSpec((1, 7), "float32", "mask"),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    (place / "nets.py").write_text(FACTORIES)
    yield place
    for name in [n for n, m in sys.modules.items() if getattr(m, "__file__", None) == str(place / "nets.py")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def pipeline(folder):
    return Pipeline(always(None), Protocol(pairs=1, block=4, images=4), Places(None, folder / "work"), 6)


def row_of(pipeline, folder, name, text, engine):
    """Row of a network in an engine, verified and not timed."""
    model = ModelSpec(name, f"{folder / 'nets.py'}:{name}", SHAPES.get(name, IMAGE))
    return pipeline.measure(cell_of(Variant(model, Pruning.parse(text)), engine, "fp32", 1), None)


@pytest.mark.parametrize("name", ["own", "normed", "recurrent", "attention", "two", "head", "instance", "compiled"])
def test_one_network_has_one_sparsity_in_every_format(name, pipeline, folder):
    rows = [row_of(pipeline, folder, name, "magnitude:0.9", engine) for engine in ("torch", "onnxruntime")]
    for row in rows:
        assert row.status == MEASURED, row.reason
        assert row.sparsity == pytest.approx(0.9, abs=0.003)
    assert rows[0].nonzeros == rows[1].nonzeros
    assert rows[0].parity_max_rel < 1e-5


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("masked", "masks of 1 weights made permanent; came with 288 zeros"),
        ("half", "cast to float32 from float16"),
        ("casts", None),
        ("returned", None),
        ("compiled", "unwrapped from torch.compile"),
        ("instance", None),
    ],
)
def test_what_was_changed_for_it_stands_in_the_row(name, note, engine, pipeline, folder):
    row = row_of(pipeline, folder, name, "none", engine)
    assert (row.status, row.notes) == (MEASURED, note), row.reason
    assert row.parity_max_rel < 1e-5


def test_a_network_that_writes_into_its_input_gets_a_copy_where_it_does(pipeline, folder):
    rows = {engine: row_of(pipeline, folder, "writes", "none", engine) for engine in ("torch", "onnxruntime")}
    assert all(row.status == MEASURED and row.parity_max_rel < 1e-5 for row in rows.values())
    assert rows["torch"].notes == "the network writes into its input, so each call is given a copy"


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_a_network_that_answers_in_two_ways_is_named_and_no_engine_blamed(engine, pipeline, folder):
    row = row_of(pipeline, folder, "random", "none", engine)
    assert (row.status, row.parity_max_rel) == (UNSUPPORTED, None)
    assert "different answers to one input in eval mode" in row.reason


def test_channels_are_a_share_of_what_runs(pipeline, folder):
    row = row_of(pipeline, folder, "head", "channels:0.5", "torch")
    assert row.sparsity == pytest.approx(0.5, abs=0.06)
    assert row.notes.endswith("not run, so neither pruned nor counted: aux")


@pytest.mark.parametrize("pruned", ["none", "magnitude:0.5", "channels:0.5", "channels:0.5+magnitude:0.5"])
def test_layers_that_take_their_shapes_from_the_first_input_are_pruned_like_any(pruned, pipeline, folder):
    for engine in ("torch", "onnxruntime"):
        row = row_of(pipeline, folder, "lazy", pruned, engine)
        assert row.status == MEASURED, row.reason
        assert row.parity_max_rel < 1e-5


def test_pruning_that_makes_the_output_constant_is_marked(pipeline, folder):
    row = row_of(pipeline, folder, "plain", "magnitude:0.999", "torch")
    assert row.status == MEASURED
    assert "its output no longer depends on its input" in row.notes


@pytest.fixture
def quantised_by_another(folder):
    """A user's own quantised ONNX file: a product of bytes, its weights of 7 bits."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.integers(-64, 64, (12, 5), np.int8), "ws": np.float32(0.02), "wz": np.int8(0),
        "xs": np.float32(0.03), "xz": np.uint8(128), "ys": np.float32(0.1), "yz": np.uint8(120),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]), node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]), node("MatMul", ["xd", "wd"], ["y"]),
        node("QuantizeLinear", ["y", "ys", "yz"], ["yq"]), node("DequantizeLinear", ["yq", "ys", "yz"], ["out"]),
    ]  # fmt: skip
    path = folder / "quantised.onnx"
    onnx.save(model_of(nodes, constants, (1, 12), outputs={"out": TensorProto.FLOAT}), path)
    return path


def test_a_quantised_file_is_held_to_a_step_of_its_output_whoever_quantised_it(pipeline, quantised_by_another):
    model = ModelSpec("quantised", str(quantised_by_another), (1, 12))
    row = pipeline.measure(cell_of(Variant(model), "onnxruntime", "fp32", 1), None)
    assert row.status == MEASURED, row.reason
    assert NOTE in row.notes
    assert row.parity_max_abs <= 0.1 + 1e-6


def test_other_limits_for_bytes_measure_a_quantised_file_anew_and_no_other(
    pipeline, folder, quantised_by_another, tmp_path, monkeypatch
):
    """Whoever quantised it: what its steps may be is of a version, kept apart from the code of the networks."""
    computed = []

    def counted(source, *rest):
        computed.append(source.path)
        return quantised_outputs(source, *rest)

    monkeypatch.setattr(expected, "quantised_outputs", counted)
    quantised = cell_of(Variant(ModelSpec("quantised", str(quantised_by_another), (1, 12))), "onnxruntime", "fp32", 1)
    plain = cell_of(Variant(ModelSpec("plain", f"{folder / 'nets.py'}:plain", IMAGE)), "onnxruntime", "fp32", 1)

    def keys():
        again = Pipeline(always(None), pipeline.protocol, Places(None, tmp_path), 6)
        again.measure(quantised, None)
        return [again.key(cell) for cell in (quantised, plain)]

    before = keys()
    assert keys() == before
    assert len(computed) == 1, "kept on disk"
    monkeypatch.setattr(expected, "VERSION", expected.VERSION + 1)
    after = keys()
    assert len(computed) == 2
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_a_failure_on_bytes_names_the_processor_where_it_overflows(pipeline, quantised_by_another, monkeypatch):
    model = ModelSpec("quantised", str(quantised_by_another), (1, 12))
    cell = cell_of(Variant(model), "onnxruntime", "fp32", 1)
    failed = ParityError("max |d| is 9 steps", Parity(1.0, 1.0, 0.5, "", 8))
    for exact, words in ((True, "max |d| is 9 steps"), (False, "weights of 8 bits overflow")):
        monkeypatch.setattr("sparsemark.study.pipeline.sums_bytes_exactly", lambda exact=exact: exact)
        assert words in str(pipeline._explained(failed, cell))


def test_a_network_that_never_looked_is_marked_before_anything_is_pruned(pipeline, folder):
    for pruned in ("none", "magnitude:0.5"):
        row = row_of(pipeline, folder, "blind", pruned, "torch")
        assert row.status == MEASURED
        assert row.notes == "its output does not depend on its input"


def test_sparse_storage_refuses_an_input_that_is_no_float_number(pipeline, folder):
    row = row_of(pipeline, folder, "ids", "none", "direct-csr")
    assert (row.status, row.reason) == (UNSUPPORTED, "csr: input ids is int64, expected float32")


def test_an_engine_for_one_image_refuses_several_inputs(pipeline, folder):
    row = row_of(pipeline, folder, "two", "none", "scipy-csr")
    assert (row.status, row.reason) == (UNSUPPORTED, "csr: the network has 3 inputs, expected one")


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("recurrent", (1, 5, 7), r"input 1,5,7 does not fit this network"),
        ("two", (InputSpec((1, 6)),), r"input 1,6 does not fit this network: .*missing 2 required positional"),
    ],
)
def test_inputs_that_do_not_fit_are_one_line(name, shape, words, pipeline, folder):
    model = ModelSpec(f"{name}2", f"{folder / 'nets.py'}:{name}", shape)
    with pytest.raises(UserError, match=words):
        pipeline.prepare(Variant(model))
