"""The CSR file of a quantised network: blocks of four in few bytes, whole or refused, from QDQ files of any maker."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sparsemark.direct.network import Network
from sparsemark.engines.direct_csr import open_dense
from sparsemark.errors import UnsupportedError
from sparsemark.formats.base import Weights
from sparsemark.formats.csr.blocks import BlockMatrix
from sparsemark.formats.csr.counting import tally_of
from sparsemark.formats.csr.densified import densified
from sparsemark.formats.csr.export import export
from sparsemark.formats.csr.graph import CsrMatrix, load_csr
from sparsemark.measurement.parity import check
from sparsemark.networks.quantised_reference import quantised_outputs
from sparsemark.networks.source import Source
from sparsemark.specs import ModelSpec

SHAPE = (1, 3, 8, 9)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 9)),
    st.sampled_from([(), (1, 1), (3, 3), (1, 5)]),
    st.sampled_from([0.0, 0.002, 0.1, 1.0]),
    st.integers(0, 999),
)
def test_blocks_are_read_as_they_were_written(rows, kernel, density, seed):
    random = np.random.default_rng(seed)
    shape = (20 * rows[0], rows[1], *kernel)
    weight = np.where(random.random(shape) < density, random.integers(-128, 128, shape), 0).astype(np.int8)
    matrix = BlockMatrix.compress(weight, np.arange(len(weight), dtype=np.float32))
    assert matrix.data.any(axis=1).all()
    read = BlockMatrix.of_tensors(*matrix.tensors("w").values(), shape)
    np.testing.assert_array_equal(read.integers(), weight)
    np.testing.assert_array_equal(read.toarray(), weight * matrix.scales.reshape(-1, *[1] * (weight.ndim - 1)))
    assert sum(tensor.nbytes for tensor in matrix.tensors("w").values()) <= 5 * len(matrix.data) + 5 * len(weight) + 99


def test_a_quarter_of_the_bytes_of_float32():
    random = np.random.default_rng(0)
    weight = random.integers(-64, 65, (64, 64, 3, 3)).astype(np.int8)
    weight *= np.repeat(random.random((64, 16, 3, 3)) < 0.1, 4, axis=1).astype(np.int8)
    tensors = BlockMatrix.compress(weight, np.ones(64, np.float32)).tensors("w")
    plain = CsrMatrix.compress(weight.astype(np.float32).reshape(64, -1))
    narrow = plain.data.nbytes + plain.indices.nbytes // 2 + plain.indptr.nbytes
    assert 4 * sum(tensor.nbytes for tensor in tensors.values()) < narrow


SMALL = BlockMatrix.compress(np.arange(-20, 20, dtype=np.int8).reshape(2, 5, 2, 2), np.ones(2, np.float32))
WHOLE = dict(zip(("blocks", "gaps", "scales"), SMALL.tensors("").values(), strict=True))
WRONG = {
    "a gap beyond the end": ("gaps", lambda gaps: np.append(gaps[:-1], 255).astype(np.uint8)),
    "one gap more": ("gaps", lambda gaps: np.append(gaps, 1).astype(np.uint8)),
    "no gaps": ("gaps", np.zeros_like),
    "gaps of another type": ("gaps", lambda gaps: gaps.astype(np.int64)),
    "blocks of three": ("blocks", lambda blocks: blocks[:, :3]),
    "blocks of another type": ("blocks", lambda blocks: blocks.astype(np.float32)),
    "weights of channels that are not there": ("blocks", lambda blocks: np.full_like(blocks, 1)),
    "a scale that is negative": ("scales", lambda scales: -scales),
    "a scale that is not finite": ("scales", lambda scales: scales * np.float32("nan")),
    "a scale too few": ("scales", lambda scales: scales[:1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_parts_that_do_not_fit_are_refused(name):
    part, change = WRONG[name]
    BlockMatrix.of_tensors(**WHOLE, dense=(2, 5, 2, 2))
    with pytest.raises(ValueError, match=r"blocks|scales|weights"):
        BlockMatrix.of_tensors(**(WHOLE | {part: change(WHOLE[part])}), dense=(2, 5, 2, 2))


@pytest.mark.parametrize("dense", [(2, 5, 2), (2, 5, 2, 0), (2, 5.0, 2, 2), (2**20, 2**20, 3, 3), (1, 5, 2, 2)])
def test_shapes_that_do_not_fit_are_refused(dense):
    with pytest.raises(ValueError, match="blocks"):
        BlockMatrix.of_tensors(**WHOLE, dense=dense)


def qdq(path, *, scale=0.05, kind=np.uint8, zero=100, weight=np.int8, weight_zero=0, axis=0, count=6):
    """Write a quantised convolution as other tools do: named levels, a scale for each channel along an axis."""
    random = np.random.default_rng(0)
    limits = np.iinfo(weight)
    integers = random.integers(limits.min, limits.max + 1, (6, 3, 3, 3)).astype(weight)
    scales = (random.uniform(0.3, 1.0, count) / limits.max).astype(np.float32)
    bias = random.integers(-900, 900, 6).astype(np.int32)
    constants = {
        "s": np.float32(scale), "z": np.array(zero, kind), "w": integers, "ws": scales if count > 1 else scales[0],
        "wz": np.full(scales.shape if count > 1 else (), weight_zero, weight), "b": bias,
        "bs": (np.float32(0.05) * np.resize(scales, 6)).astype(np.float32), "t": np.float32(0.04),
        "y": np.array(50, kind),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="first"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="second"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], name="weights", axis=axis),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], name="biases", axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["c", "t", "y"], ["cq"], name="third"),
        helper.make_node("DequantizeLinear", ["cq", "t", "y"], ["out"], name="fourth"),
    ]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 6, *SHAPE[2:]))]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "qdq", ends, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path)
    return Source(ModelSpec("qdq", str(path), SHAPE), path)


TAKEN = {
    "per channel": {},
    "one scale": {"count": 1},
    "signed activations": {"kind": np.int8, "zero": -28},
}
IN_FLOAT = {
    "unsigned weights": {"weight": np.uint8, "weight_zero": 128},
    "a zero point of the weights": {"weight_zero": 3},
    "scales of input channels": {"axis": 1, "count": 3},
    "weights of 16 bits": {"weight": np.int16},
}


@pytest.mark.parametrize("name", [*TAKEN, *IN_FLOAT])
def test_files_of_other_makers_run_in_bytes_or_in_float32(name, tmp_path):
    source = qdq(tmp_path / "qdq.onnx", **(TAKEN | IN_FLOAT)[name])
    export(source, tmp_path / "qdq.csr")
    graph = load_csr(tmp_path / "qdq.csr")
    assert (len(graph.blocks), len(graph.matrices)) == ((1, 0) if name in TAKEN else (0, 1))
    network = Network(graph, 1)
    batches = [(np.random.default_rng(seed).uniform(-6, 8, SHAPE).astype(np.float32),) for seed in range(3)]
    # Not ONNX Runtime: its products of bytes saturate where weights have 8 bits and the processor no VNNI.
    reference = quantised_outputs(source, batches)
    check(network, batches, reference)
    assert np.ptp(reference.outputs[0]) > 1


def qdq_transposed(path, *, axis=1, count=6, group=1):
    """Write a quantised transposed convolution: weights are (inputs, outputs / groups, height, width)."""
    random = np.random.default_rng(0)
    integers = random.integers(-127, 128, (4, 6 // group, 2, 2)).astype(np.int8)
    scales = (random.uniform(0.3, 1.0, count) / 127).astype(np.float32)
    zeros = np.zeros(scales.shape if count > 1 else (), np.int8)
    constants = {
        "s": np.float32(0.05), "z": np.array(100, np.uint8), "w": integers, "ws": scales if count > 1 else scales[0],
        "wz": zeros, "bd": random.uniform(-1, 1, 6).astype(np.float32), "t": np.float32(0.04),
        "y": np.array(50, np.uint8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=axis),
        helper.make_node("ConvTranspose", ["xd", "wd", "bd"], ["c"], name="up", strides=[2, 2], group=group),
        helper.make_node("QuantizeLinear", ["c", "t", "y"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "t", "y"], ["out"]),
    ]
    shape = (1, 4, 5, 9)
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 6, 10, 18))]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "qdq", ends, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return Source(ModelSpec("up", str(path), shape), path)


@pytest.mark.parametrize(
    ("kind", "blocks"), [({}, 1), ({"count": 1}, 1), ({"axis": 0, "count": 4}, 0), ({"group": 2, "count": 1}, 0)]
)
def test_transposed_convolutions_keep_their_integers(kind, blocks, tmp_path):
    source = qdq_transposed(tmp_path / "qdq.onnx", **kind)
    export(source, tmp_path / "qdq.csr")
    graph = load_csr(tmp_path / "qdq.csr")
    assert (len(graph.blocks), len(graph.matrices)) == (blocks, 0)
    network = Network(graph, 1)
    assert network.notes == (("1 of 1 convolutions in int8",) if blocks else network.notes)
    batches = [(np.random.default_rng(seed).uniform(-6, 8, (1, 4, 5, 9)).astype(np.float32),) for seed in range(3)]
    reference = quantised_outputs(source, batches)
    check(network, batches, reference)
    if blocks:  # ONNX Runtime quantises weights in float32 itself, with one scale: two steps
        check(open_dense(densified(graph), 1), batches, reference)
    assert np.ptp(reference.outputs[0]) > 1
    stored = Weights.of(tally_of(graph))
    assert (stored.total, stored.nonzeros) == (96 // kind.get("group", 1), np.count_nonzero(_integers(source.path)))


def tied(path, axis):
    """Write an encoder and a decoder with one weight, quantised along an axis, or in float32 where that is None."""
    random, constants = np.random.default_rng(0), {}
    nodes = []
    for name, scale, zero in (("x", 0.05, 100), ("c", 0.04, 50)):
        constants |= {f"{name}s": np.float32(scale), f"{name}z": np.array(zero, np.uint8)}
        levels = [f"{name}s", f"{name}z"]
        nodes.append(helper.make_node("QuantizeLinear", [name, *levels], [f"{name}q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}q", *levels], [f"{name}d"]))
    if axis is None:
        constants["wd"] = random.uniform(-1, 1, (4, 4, 2, 2)).astype(np.float32)
    else:
        integers, scales = random.integers(-127, 128, (4, 4, 2, 2)), random.uniform(0.3, 1.0, 4) / 127
        constants |= {"w": integers.astype(np.int8), "ws": scales.astype(np.float32), "wz": np.zeros(4, np.int8)}
        nodes.insert(0, helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=axis))
    nodes.insert(-2, helper.make_node("Conv", ["xd", "wd"], ["c"]))
    nodes.append(helper.make_node("ConvTranspose", ["cd", "wd"], ["out"]))
    shape = (1, 4, 5, 9)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "out")]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tied", ends[:1], ends[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return Source(ModelSpec("tied", str(path), shape), path)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_weight_that_is_used_both_ways_is_each_time_read_the_right_way(axis, tmp_path):
    """Its first axis is the output's of one and the input's of the other; a matrix has that of the output first."""
    source = tied(tmp_path / "tied.onnx", axis)
    export(source, tmp_path / "tied.csr")
    graph = load_csr(tmp_path / "tied.csr")
    batches = [(np.random.default_rng(seed).uniform(-6, 8, (1, 4, 5, 9)).astype(np.float32),) for seed in range(3)]
    reference = quantised_outputs(source, batches)
    check(Network(graph, 1), batches, reference)
    check(open_dense(densified(graph), 1), batches, reference)
    assert Weights.of(tally_of(graph)).total == 64


def _integers(path):
    return next(numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer if one.name == "w")


@pytest.mark.parametrize("scale", [0.0, -0.05, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused_by_the_name_of_its_node(scale, tmp_path):
    source = qdq(tmp_path / "qdq.onnx", scale=scale)
    with pytest.raises(UnsupportedError, match=r"^csr: QuantizeLinear at first: a scale that is not finite or not abo"):
        export(source, tmp_path / "qdq.csr")
    assert not (tmp_path / "qdq.csr").exists()


def test_activations_of_another_kind_are_named_where_nothing_else_runs_them(tmp_path):
    export(qdq(tmp_path / "qdq.onnx", kind=np.uint16), tmp_path / "qdq.csr")
    graph = load_csr(tmp_path / "qdq.csr")
    with pytest.raises(UnsupportedError, match=r"QuantizeLinear at first: .* zero points of uint16"):
        Network(graph, 1)
    # A scale that the file's reader cannot know of before: of the activations, not of the weights.
    damaged = dataclasses.replace(graph, constants={**graph.constants, "s": np.float32(-1)})
    with pytest.raises(UnsupportedError, match="QuantizeLinear at first"):
        Network(damaged, 1)
