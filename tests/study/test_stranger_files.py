"""ONNX files of strangers: what does not fit, or what float32 costs, is said of the network and not of an engine."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sparsemark import engines
from sparsemark.networks.reference import float64_outputs
from sparsemark.networks.rounding import rounding_error
from sparsemark.networks.source import Source
from sparsemark.records.measurement import MEASURED, PARITY_FAILED, UNSUPPORTED
from sparsemark.specs import InputSpec, ModelSpec, Protocol, Pruning, Variant
from sparsemark.study.file import cell_of
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from sparsemark.study.task import always
from tests.networks.onnx_files import array, node
from tests.small_networks import batches, reference, source

IDS = InputSpec((1, 64), "int64")


def row_of(tmp_path, path, *inputs, engine="onnxruntime", prune="none"):
    """Row of a file, verified and not timed."""
    pipeline = Pipeline(always(None), Protocol(pairs=1, block=4, images=4), Places(None, tmp_path / "work"), 6)
    cell = cell_of(Variant(ModelSpec("net", str(path), inputs), Pruning.parse(prune)), engine, "fp32", 1)
    return pipeline.measure(cell, None)


def saved(path, nodes, constants, kind, sizes):
    x = helper.make_tensor_value_info("x", kind, sizes)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(sizes))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def one_pass(path, step):
    """LayerNorm by E[x^2] - E[x]^2 of values that are 1 or 1 + step: float32 cannot hold the difference of two ones."""
    nodes = [
        node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["f", "step"], ["small"]),
        node("Add", ["small", "one"], ["v"]),
        node("ReduceMean", ["v"], ["mean"]),
        node("Mul", ["v", "v"], ["square"]),
        node("ReduceMean", ["square"], ["mean_square"]),
        node("Mul", ["mean", "mean"], ["square_mean"]),
        node("Sub", ["mean_square", "square_mean"], ["difference"]),
        node("Max", ["difference", "zero"], ["variance"]),
        node("Add", ["variance", "epsilon"], ["safe"]),
        node("Sqrt", ["safe"], ["deviation"]),
        node("Sub", ["v", "mean"], ["centred"]),
        node("Div", ["centred", "deviation"], ["y"]),
    ]
    numbers = {"step": step, "one": 1.0, "zero": 0.0, "epsilon": 1e-6}
    constants = {name: np.float32(value) for name, value in numbers.items()}
    return saved(path, nodes, constants, TensorProto.INT64, [1, 64])


def halved_and_doubled(path):
    """A sum that only even sizes have: the image, and what is left of it after pooling, doubled."""
    nodes = [
        node("MaxPool", ["x"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["half", "", "scales"], ["again"], mode="nearest"),
        helper.make_node("Add", ["x", "again"], ["y"], name="sum"),
    ]
    return saved(path, nodes, {"scales": np.float32([1, 1, 2, 2])}, TensorProto.FLOAT, ["n", 3, "h", "w"])


def test_inputs_on_which_float32_loses_its_digits_are_to_blame_and_not_the_engine(tmp_path):
    row = row_of(tmp_path, one_pass(tmp_path / "n.onnx", 1e-3), IDS)
    assert row.status == PARITY_FAILED
    assert row.reason.startswith(f"max |d| / max |reference| is {row.parity_max_rel:.1e}, allowed 1e-05; ")
    assert "float32 by itself costs this network" in row.reason
    assert row.reason.endswith("whatever the engine; random inputs can do that, real ones come with --task FILE.py")


def test_an_engine_that_is_wrong_by_itself_is_not_excused(tmp_path, monkeypatch):
    engine = engines.ENGINES["onnxruntime"]

    def spoilt(*arguments):
        predict = engine.load(*arguments)
        return lambda *inputs: tuple(output * np.float32(1.001) for output in predict(*inputs))

    monkeypatch.setitem(engines.ENGINES, "onnxruntime", dataclasses.replace(engine, load=spoilt))
    row = row_of(tmp_path, one_pass(tmp_path / "n.onnx", 1.0), IDS)
    assert row.status == PARITY_FAILED
    alone = row.reason.partition("float32 by itself costs this network ")[2]
    assert float(alone) < 1e-5


def test_the_cost_of_float32_is_that_of_rounding_each_result(tmp_path):
    generator = np.random.default_rng(0)
    given = [(generator.integers(0, 2, (1, 64)),) for _ in range(12)]
    costs = {}
    for step in (1.0, 1e-3):
        of = Source(ModelSpec("net", "n.onnx", (IDS,)), one_pass(tmp_path / "n.onnx", step))
        exact = float64_outputs(of, given)
        costs[step] = rounding_error(of, given, exact)
    assert 0 < costs[1.0] < 1e-6
    # The variance, 2.5e-7 beside an epsilon of 1e-6, is a difference of ones that are each rounded by up to 6e-8.
    assert 1e-4 < costs[1e-3] < 0.5


def test_the_cost_of_float32_in_pytorch_is_that_of_the_module():
    cost = rounding_error(source("plain"), batches("plain"), reference("plain", "none"))
    assert 0 < cost < 1e-6


def test_a_network_that_does_not_run_in_float32_has_no_such_cost(tmp_path):
    path = halved_and_doubled(tmp_path / "n.onnx")
    of = Source(ModelSpec("net", "n.onnx", (InputSpec((1, 3, 8, 8)),)), path)
    exact = float64_outputs(of, [(array(1, 3, 8, 8),)])
    assert rounding_error(of, [(array(1, 3, 9, 9),)], exact) is None


def test_an_open_size_that_the_network_cannot_take_is_said_with_the_operator_that_refuses_it(tmp_path):
    path = halved_and_doubled(tmp_path / "n.onnx")
    row = row_of(tmp_path, path, InputSpec((1, 3, 9, 9)))
    assert row.status == UNSUPPORTED
    assert row.reason.startswith("neither float64 nor any engine runs it on an input of 1,3,9,9: onnx: Add at sum: ")
    assert row.reason.endswith("; most networks with open sizes take multiples of 32")
    assert row_of(tmp_path, path, InputSpec((1, 3, 8, 8))).status == MEASURED


def test_an_onnx_file_that_should_be_pruned_names_what_would_do(tmp_path):
    row = row_of(tmp_path, halved_and_doubled(tmp_path / "n.onnx"), InputSpec((1, 3, 8, 8)), prune="magnitude:0.9")
    assert (row.status, row.reason) == (
        UNSUPPORTED,
        "an ONNX file cannot be pruned here; expected the factory that builds the network, as FILE.py:FACTORY",
    )
