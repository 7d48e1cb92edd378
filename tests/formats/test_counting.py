"""Weights in an ONNX file are found wherever they are stored and whatever they pass through; in its CSR file too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from sparsemark.engines import ENGINES
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.formats import onnx as onnx_format
from sparsemark.formats.base import Artifact, Weights
from sparsemark.formats.csr import counting
from sparsemark.formats.csr import export as csr_export
from sparsemark.networks import onnx_model, onnx_weights
from sparsemark.networks.checkpoint import Checkpoint, Header, save_checkpoint
from sparsemark.networks.source import Source
from sparsemark.records.measurement import MEASURED, Measurement
from sparsemark.registry import why_not
from sparsemark.specs import InputSpec, ModelSpec, Variant
from sparsemark.study.rows import with_contents
from tests.networks.onnx_files import RUNTIME, array, model_of, node, run

W = array(4, 6, seed=1, zeros=0.5)
KEPT = int(np.count_nonzero(W))
ABOVE = np.abs(W).max()
Q = np.random.default_rng(3).integers(0, 5, (4, 6)).astype(np.uint8)


def counted(model, tmp_path, shape=(1, 4)):
    """Weights in the ONNX file, after checking that the CSR file made from it holds as many."""
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    found = onnx_format.count(path)
    try:
        csr_export.export(Source(ModelSpec("m", str(path), shape), path), path.with_suffix(".csr"))
    except UnsupportedError:
        return found
    assert counting.count(path.with_suffix(".csr")) == found
    return found


def check(nodes, constants, total, nonzeros, tmp_path, **options):
    assert counted(model_of(nodes, constants, **options), tmp_path) == Weights(total, nonzeros)


def matmul(weight="w"):
    return node("MatMul", ["x", weight])


CHAINS = {
    "transposed": ([node("Transpose", ["a"], ["w"], perm=[1, 0])], {"a": W.T.copy()}),
    "reshaped": ([node("Reshape", ["a", "s"], ["w"])], {"a": W.reshape(2, 12), "s": np.array([4, -1])}),
    "cast": ([node("Cast", ["a"], ["w"], to=TensorProto.FLOAT)], {"a": W.astype(np.float16)}),
    "same": ([node("Identity", ["a"], ["b"]), node("Identity", ["b"], ["w"])], {"a": W}),
    "squeezed": ([node("Squeeze", ["a", "s"], ["w"])], {"a": W[None], "s": np.array([0])}),
    "masked": ([node("Mul", ["a", "m"], ["w"])], {"a": np.ones((4, 6), np.float32) * 2, "m": np.sign(W)}),
    "joined": ([node("Concat", ["a", "b"], ["w"], axis=0)], {"a": W[:1], "b": W[1:]}),
    "constant node": ([node("Constant", [], ["w"], value=numpy_helper.from_array(W))], {}),
    "computed shape": (
        [
            node("Shape", ["b"], ["s"]),
            node("Gather", ["s", "i"], ["r"]),
            node("Concat", ["r", "m"], ["t"], axis=0),
            node("Reshape", ["a", "t"], ["w"]),
        ],
        {"a": W.ravel(), "b": np.zeros((4, 9), np.float32), "i": np.array([0]), "m": np.array([-1])},
    ),
    "dequantised": (
        [node("DequantizeLinear", ["q", "s", "z"], ["w"])],
        {"q": np.where(W == 0, 3, 7).astype(np.int8), "s": np.float32(0.5), "z": np.int8(3)},
    ),
    "dequantised by column": (
        [node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1)],
        {
            "q": (np.where(W == 0, 0, 9) + np.arange(6)).astype(np.uint8),
            "s": array(6, seed=3),
            "z": np.arange(6).astype(np.uint8),
        },
    ),
    "quantised and back": (
        [node("QuantizeLinear", ["a", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["w"])],
        {"a": W, "s": np.float32(ABOVE / 127), "z": np.int8(0)},
    ),
    "of a pruned unit": ([node("Neg", ["a"], ["b"]), node("Clip", ["b"], ["w"])], {"a": W}),
}


@pytest.mark.parametrize("opset", [13, 17, 20])
@pytest.mark.parametrize("chain", CHAINS)
def test_weight_is_traced_through_what_it_passes(chain, opset, tmp_path):
    nodes, constants = CHAINS[chain]
    kept = KEPT if chain != "quantised and back" else int(np.count_nonzero(np.round(W / np.float32(ABOVE / 127))))
    check([*nodes, matmul()], constants, 24, kept, tmp_path, opset=opset)


def test_blocks_of_a_dequantised_weight_have_a_zero_each(tmp_path):
    quantised = np.where(W == 0, 0, 5).astype(np.int8)
    quantised[:, 3:] += 2
    zero = np.tile(np.array([0, 2], np.int8), (4, 1))
    chain = node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1, block_size=3)
    constants = {"q": quantised, "s": np.ones((4, 2), np.float32), "z": zero}
    check([chain, matmul()], constants, 24, KEPT, tmp_path, opset=21)


def test_operand_of_random_or_boundless_nodes_is_not_counted_and_said(tmp_path):
    big = [node("ConstantOfShape", ["s"], ["w"])]
    found = counted(model_of([*big, matmul()], {"s": np.array([4, 2**40])}), tmp_path)
    assert (found.total, found.nonzeros) == (0, 0)
    tiled = [node("Tile", ["a", "r"], ["w"]), matmul()]
    found = counted(model_of(tiled, {"a": W, "r": np.array([1, 2**40])}), tmp_path)
    assert (found.total, found.nonzeros, found.uncounted) == (None, None, 24)
    assert found.note == "100 % of the constants are in operators whose weights are not counted: Tile"


OPERATORS = {
    "Conv": (node("Conv", ["x", "w"]), {"w": array(3, 4, 2, 2, seed=1, zeros=0.5)}, (1, 4, 5, 5), "w"),
    "ConvTranspose": (node("ConvTranspose", ["x", "w"]), {"w": array(4, 3, 2, 2, zeros=0.5)}, (1, 4, 5, 5), "w"),
    "Gemm": (node("Gemm", ["x", "w", "b"]), {"w": W, "b": array(1, 6)}, (1, 4), "w"),
    "MatMul, weight first": (node("MatMul", ["w", "x"]), {"w": W}, (6, 2), "w"),
    "Einsum": (node("Einsum", ["x", "w"], equation="ab,bc->ac"), {"w": W}, (1, 4), "w"),
    "DeformConv": (
        node("DeformConv", ["x", "w", "o"]),
        {"w": array(3, 4, 1, 1, zeros=0.5), "o": array(1, 2, 5, 5)},
        (1, 4, 5, 5),
        "w",
    ),
    "LSTM": (
        node("LSTM", ["x", "w", "r", "b"], hidden_size=2),
        {"w": array(1, 8, 4, zeros=0.5), "r": array(1, 8, 2, zeros=0.9), "b": array(1, 16)},
        (3, 1, 4),
        "wr",
    ),
    "GRU": (
        node("GRU", ["x", "w", "r"], hidden_size=2),
        {"w": array(1, 6, 4, zeros=0.5), "r": array(1, 6, 2, zeros=0.5)},
        (3, 1, 4),
        "wr",
    ),
    "RNN": (
        node("RNN", ["x", "w", "r"], hidden_size=2),
        {"w": array(1, 2, 4), "r": array(1, 2, 2, zeros=0.5)},
        (3, 1, 4),
        "wr",
    ),
    "FusedConv": (
        node("FusedConv", ["x", "w"], domain=RUNTIME, activation="Relu"),
        {"w": array(3, 4, 2, 2, zeros=0.5)},
        (1, 4, 5, 5),
        "w",
    ),
    "FusedMatMul": (node("FusedMatMul", ["x", "w"], domain=RUNTIME, transB=1), {"w": W}, (1, 6), "w"),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_constant_operands_are_weights_and_biases_are_none(operator, tmp_path):
    one, constants, shape, names = OPERATORS[operator]
    total = sum(constants[name].size for name in names)
    kept = sum(int(np.count_nonzero(constants[name])) for name in names)
    assert counted(model_of([one], constants, shape), tmp_path, shape) == Weights(total, kept)


@pytest.mark.parametrize("op", ["Gather", "GatherElements"])
def test_embeddings_are_weights_and_tables_of_numbers_are_not(op, tmp_path):
    options = {"shape": (2, 3), "dtype": TensorProto.INT64, "rank": 3 if op == "Gather" else 2}
    check([node(op, ["w", "x"])], {"w": W}, 24, KEPT, tmp_path, **options)
    one = node("Gather", ["w", "x"])
    options["outputs"] = {"y": TensorProto.INT64}
    check([one], {"w": np.arange(24).reshape(4, 6)}, 0, 0, tmp_path, **options)
    vector = [node("Gather", ["w", "x"])]
    check(vector, {"w": W.ravel()}, 0, 0, tmp_path, shape=(2, 3), dtype=TensorProto.INT64)


ZERO = {
    "QLinearConv": (
        node("QLinearConv", ["x", "s", "z", "w", "t", "p", "s", "z"]),
        lambda q, point: {"w": q.reshape(4, 6, 1, 1), "t": np.ones(4, np.float32), "p": point},
        "rows",
    ),
    "QLinearMatMul": (
        node("QLinearMatMul", ["x", "s", "z", "w", "t", "p", "s", "z"]),
        lambda q, point: {"w": q, "t": np.ones(6, np.float32), "p": point},
        "columns",
    ),
    "QLinearMatMul, weight first": (
        node("QLinearMatMul", ["w", "t", "p", "x", "s", "z", "s", "z"]),
        lambda q, point: {"w": q, "t": np.ones((4, 1), np.float32), "p": point.reshape(4, 1)},
        "rows",
    ),
    "MatMulInteger": (node("MatMulInteger", ["x", "w", "z", "p"]), lambda q, point: {"w": q, "p": point}, "columns"),
    "ConvInteger": (
        node("ConvInteger", ["x", "w", "z", "p"]),
        lambda q, point: {"w": q.reshape(4, 6, 1, 1), "p": point},
        "rows",
    ),
    "QGemm, transposed": (
        node("QGemm", ["x", "s", "z", "w", "t", "p"], domain=RUNTIME, transB=1),
        lambda q, point: {"w": q, "t": np.ones(4, np.float32), "p": point},
        "rows",
    ),
    "DynamicQuantizeMatMul": (
        node("DynamicQuantizeMatMul", ["x", "w", "t", "p"], domain=RUNTIME),
        lambda q, point: {"w": q, "t": np.ones(6, np.float32), "p": point},
        "columns",
    ),
    "MatMulIntegerToFloat": (
        node("MatMulIntegerToFloat", ["x", "w", "s", "t", "z", "p"], domain=RUNTIME),
        lambda q, point: {"w": q, "t": np.ones(6, np.float32), "p": point},
        "columns",
    ),
}


@pytest.mark.parametrize("operator", ZERO)
@pytest.mark.parametrize("each", [True, False])
def test_quantised_weight_is_zero_at_its_zero_point(operator, each, tmp_path):
    one, constants_of, along = ZERO[operator]
    axis = 0 if along == "rows" else 1
    point = np.arange(Q.shape[axis]).astype(np.uint8) % 4 if each else np.full(Q.shape[axis], 2, np.uint8)
    zeros = point[:, None] if along == "rows" else point
    constants = constants_of(Q, point) | {"s": np.float32(1), "z": np.uint8(0)}
    if not each and "first" not in operator:
        constants["p"] = np.uint8(2)
    model = model_of([one], constants, (1, 4), dtype=TensorProto.UINT8, outputs={"y": TensorProto.UINT8})
    assert counted(model, tmp_path) == Weights(24, int((zeros != Q).sum()))


def nibbles(bits, points, *, width=32, rows=3, block=16):
    """Weights packed into bits, as ONNX Runtime unpacks them: the rows of what it computes for unit vectors."""
    generator = np.random.default_rng(bits)
    values = generator.integers(0, 2**bits, (rows, width)).astype(np.uint8)
    zero = generator.integers(0, 2**bits, (rows, width // block)).astype(np.uint8) if points else None
    middle = np.repeat(np.full((rows, width // block), 2 ** (bits - 1)) if zero is None else zero, block, axis=1)
    values = np.where(generator.random(values.shape) < 0.5, middle, values)

    def packed(numbers):
        shifts = np.arange(0, 8, bits)
        parts = numbers.reshape(rows, -1, len(shifts)).astype(np.uint16) << shifts
        return parts.sum(-1).astype(np.uint8)

    constants = {
        "w": packed(values).reshape(rows, width // block, -1),
        "s": np.ones(rows * width // block, np.float32),
    } | ({} if zero is None else {"p": packed(zero).ravel()})
    one = node("MatMulNBits", ["x", *constants], domain=RUNTIME, K=width, N=rows, bits=bits, block_size=block)
    model = model_of([one], constants, (width, width))
    return model, run(model, {"x": np.eye(width, dtype=np.float32)})[0]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("points", [True, False])
def test_packed_weights_are_unpacked_as_onnx_runtime_does(bits, points, tmp_path):
    model, dense = nibbles(bits, points)
    assert 0 < np.count_nonzero(dense) < dense.size
    assert counted(model, tmp_path) == Weights(dense.size, int(np.count_nonzero(dense)))


def test_weights_of_operators_that_are_not_understood_are_unknown_and_named(tmp_path):
    packed = node("MatMulBnb4", ["x", "w", "s"], ["h"], domain=RUNTIME, K=4, N=6, block_size=16, quant_type=1)
    constants = {"w": np.zeros((12, 1), np.uint8), "s": np.ones(2, np.float32)}
    found = counted(model_of([packed, node("Relu", ["h"])], constants), tmp_path)
    assert found == Weights(
        None,
        None,
        12,
        "100 % of the constants are in operators whose weights are not counted: com.microsoft.MatMulBnb4",
    )
    both = [packed, node("MatMul", ["h", "v"])]
    found = counted(model_of(both, constants | {"v": array(6, 6, zeros=0.5)}), tmp_path)
    kept = int(np.count_nonzero(array(6, 6, zeros=0.5)))
    assert (found.total, found.nonzeros, found.uncounted) == (36, kept, 12)
    assert found.note.startswith("25 % of the constants")


# Where constants are.


def branch(name, weight, own=()):
    out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None])
    tensors = [numpy_helper.from_array(value, key) for key, value in own]
    return helper.make_graph([node("MatMul", ["x", weight], [name])], name, [], [out], tensors)


def test_weights_in_branches_and_those_of_the_scope_around_them(tmp_path):
    inner = array(4, 6, seed=5, zeros=0.2)
    condition = [node("ReduceSum", ["x"], ["t"], keepdims=0), node("Greater", ["t", "n"], ["c"])]
    one = node("If", ["c"], then_branch=branch("a", "w"), else_branch=branch("b", "v", [("v", inner)]))
    constants = {"w": W, "n": np.float32(0)}
    check([*condition, one], constants, 48, KEPT + int(np.count_nonzero(inner)), tmp_path)


def test_weights_in_the_body_of_a_loop(tmp_path):
    infos = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (("i", 7, []), ("c", 9, []), ("h", 1, [1, 4]), ("d", 9, []), ("g", 1, [1, 4]))
    ]
    body = helper.make_graph(
        [node("Identity", ["c"], ["d"]), node("MatMul", ["h", "w"], ["g"])], "body", infos[:3], infos[3:]
    )
    square = array(4, 4, zeros=0.5)
    one = node("Loop", ["n", "", "x"], ["y"], body=body)
    check([one], {"w": square, "n": np.array(3)}, 16, int(np.count_nonzero(square)), tmp_path)


def function(nodes, inputs=("x", "w"), attributes=()):
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_function("mine", "Layer", list(inputs), ["y"], nodes, opsets, attributes=list(attributes))


def test_weights_given_to_and_stored_in_functions(tmp_path):
    stored = node("Constant", [], ["v"], value=numpy_helper.from_array(array(6, 4, seed=9, zeros=0.5)))
    body = [stored, node("Transpose", ["w"], ["u"], perm=[1, 0]), node("MatMul", ["x", "u"], ["h"])]
    calls = [node("Layer", ["x", "a"], ["h"], domain="mine"), node("Layer", ["h", "b"], ["y"], domain="mine")]
    weights = {"a": array(6, 4, seed=1, zeros=0.5), "b": array(6, 4, seed=2, zeros=0.1)}
    own = function([*body, node("MatMul", ["h", "v"], ["y"])])
    kept = sum(int(np.count_nonzero(one)) for one in (*weights.values(), array(6, 4, seed=9, zeros=0.5)))
    path = tmp_path / "model.onnx"
    model = model_of(calls, weights, functions=[own], domains=("mine",))
    path.write_bytes(model.SerializeToString())
    assert onnx_format.count(path) == Weights(72, kept)


def test_function_that_passes_a_weight_on(tmp_path):
    own = function([node("Transpose", ["w"], ["y"], perm=[1, 0])], inputs=["w"])
    calls = [node("Layer", ["a"], ["w"], domain="mine"), matmul()]
    check(calls, {"a": W.T.copy()}, 24, KEPT, tmp_path, functions=[own], domains=("mine",))


def test_functions_that_call_others_twice_each_end(tmp_path):
    """They would be a billion nodes."""
    functions = [function([node("Relu", ["x"])], ["x"])]
    functions[0].name = "f30"
    for index in reversed(range(30)):
        calls = [node(f"f{index + 1}", ["x"], [name], domain="mine") for name in ("h", "y")]
        opsets = [helper.make_opsetid("mine", 1)]
        functions.append(helper.make_function("mine", f"f{index}", ["x"], ["y"], calls, opsets))
    nodes = [node("f0", ["x"], ["h"], domain="mine"), node("MatMul", ["h", "w"])]
    model = model_of(nodes, {"w": W}, functions=functions, domains=("mine",))
    tally = onnx_weights.tally_of(model)
    assert set(tally.pieces) == {"w"}
    with pytest.raises(UnsupportedError, match="functions of more than 1000000 nodes"):
        onnx_model.inlined(model)


def test_sparse_initialiser_counts_its_dense_size(tmp_path):
    values = numpy_helper.from_array(np.array([1, 0, 3], np.float32), "w")
    model = model_of([matmul()], {})
    for places, shape in (([0, 5, 23], [4, 6]), ([[0, 0], [0, 5], [3, 5]], [4, 6])):
        indices = numpy_helper.from_array(np.array(places, np.int64), "w_indices")
        del model.graph.sparse_initializer[:]
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, shape))
        assert counted(model, tmp_path) == Weights(24, 2)


# Counted once.


def test_constant_used_twice_counts_once(tmp_path):
    square = array(4, 4, zeros=0.5)
    kept = int(np.count_nonzero(square))
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Transpose", ["w"], ["t"]), node("MatMul", ["h", "t"], ["g"])]
    check([*nodes, node("Gemm", ["g", "w"], transB=1)], {"w": square}, 16, kept, tmp_path)


def test_tied_embedding_that_was_folded_into_a_transposed_copy_counts_once(tmp_path):
    nodes = [node("Gather", ["w", "x"], ["h"]), node("MatMul", ["h", "t"])]
    constants = {"w": W, "t": W.T.copy()}
    check(nodes, constants, 24, KEPT, tmp_path, shape=(2,), dtype=TensorProto.INT64)


@pytest.fixture
def exported_by_torch(tmp_path, monkeypatch):
    """Counts of a network's ONNX and CSR files."""

    def counts(module, given):
        model = ModelSpec("net", "tests:net", (given,))
        path = tmp_path / "net.safetensors"
        save_checkpoint(path, Checkpoint(Header(Variant(model)), module.eval().state_dict()))
        monkeypatch.setattr(Checkpoint, "build", lambda self: module)
        for form, counted in ((onnx_format, onnx_format.count), (csr_export, counting.count)):
            file = tmp_path / f"net.{form.__name__}"
            form.export(Source(model, path), file)
            yield counted(file)

    return counts


class Twins(nn.Module):
    """Layers that start as copies of each other, as those of a transformer do, and a last layer tied to the first."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.first, self.last = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.layers, self.last.weight = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), self.first.weight

    def forward(self, x):
        return self.last(self.layers(self.first(x)).relu())


def test_layers_that_start_as_copies_count_each_and_a_tied_weight_once(exported_by_torch):
    expected = 64 + 3 * (24 * 8 + 8 * 8 + 2 * 8 * 12)
    for count in exported_by_torch(Twins(), InputSpec((1, 6, 8))):
        assert count == Weights(expected, expected)


def test_layers_that_happen_to_hold_one_number_count_each(tmp_path):
    for value in (0.0, 1.0):
        constants = {"v": np.full((4, 4), value, np.float32), "w": np.full((4, 4), value, np.float32)}
        nodes = [node("MatMul", ["x", "v"], ["h"]), node("MatMul", ["h", "w"])]
        check(nodes, constants, 32, 32 * int(value), tmp_path)


def test_parts_of_a_packed_weight_count_each(tmp_path):
    packed = array(4, 12, zeros=0.5)
    nodes = [
        node("Split", ["w"], ["a", "b"], axis=1, num_outputs=2),
        node("MatMul", ["x", "a"], ["h"]),
        node("MatMul", ["x", "b"], ["g"]),
        node("Add", ["h", "g"]),
    ]
    check(nodes, {"w": packed}, 48, int(np.count_nonzero(packed)), tmp_path)
    taken = [node("Gather", ["w", "i"], ["a"], axis=1), node("MatMul", ["x", "a"])]
    kept = int(np.count_nonzero(packed[:, :5]))
    check(taken, {"w": packed, "i": np.arange(5)}, 20, kept, tmp_path)


# What an exporter knows.


def listed(model, weights=(), buffers=()):
    for key, names in (("sparsemark.weights", weights), ("sparsemark.buffers", buffers)):
        model.metadata_props.add(key=key, value=json.dumps(list(names)))
    return model


def test_listed_weights_count_and_buffers_do_not(tmp_path):
    positions, table = array(1, 6, seed=7, zeros=0.5), array(6, 3, seed=8)
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "p"], ["g"]), node("MatMul", ["g", "b"])]
    model = model_of(nodes, {"w": W, "p": positions, "b": table})
    assert counted(model, tmp_path) == Weights(24 + 18, KEPT + 18)
    kept = KEPT + int(np.count_nonzero(positions))
    assert counted(listed(model, ["p", "w", "absent"], ["b", "absent"]), tmp_path) == Weights(30, kept)


def test_listed_weight_that_is_folded_in_the_csr_file_counts_there(tmp_path):
    positions = array(3, 2, seed=7, zeros=0.5)
    nodes = [matmul(), node("Reshape", ["p", "s"], ["q"]), node("Add", ["y", "q"], ["z"])]
    model = model_of(nodes, {"w": W, "p": positions, "s": np.array([1, 6])}, outputs={"z": TensorProto.FLOAT})
    kept = KEPT + int(np.count_nonzero(positions))
    assert counted(listed(model, ["w", "p"]), tmp_path) == Weights(30, kept)


def test_embedding_that_is_read_at_fixed_places_counts_in_both_files(tmp_path):
    nodes = [matmul(), node("Gather", ["p", "i"], ["q"]), node("Add", ["y", "q"], ["z"])]
    constants = {"w": W, "p": array(9, 6, zeros=0.5), "i": np.array([0])}
    model = model_of(nodes, constants, outputs={"z": TensorProto.FLOAT})
    kept = KEPT + int(np.count_nonzero(constants["p"]))
    assert counted(model, tmp_path) == Weights(78, kept)


@pytest.mark.parametrize("text", ["", "{", "3", '{"a": 1}', "[1]", "[" * 10**5])
def test_list_that_is_none_is_ignored(text, tmp_path):
    model = model_of([matmul()], {"w": W})
    model.metadata_props.add(key="sparsemark.buffers", value=text)
    assert counted(model, tmp_path) == Weights(24, KEPT)


def test_external_data_counts(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model_of([matmul()], {"w": W}), str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert onnx_format.count(path) == Weights(24, KEPT)


def test_embedding_of_integers_is_zero_at_its_zero_point(tmp_path):
    nodes = [node("Gather", ["w", "x"], ["h"]), node("DequantizeLinear", ["h", "s", "z"])]
    constants = {"w": Q, "s": np.float32(0.1), "z": np.uint8(3)}
    model = model_of(nodes, constants, (2,), dtype=TensorProto.INT64)
    assert counted(model, tmp_path) == Weights(24, int((Q != 3).sum()))


def body_of(nodes, inputs, outputs):
    def info(name):
        return helper.make_tensor_value_info(name, {"i": 7, "c": 9, "d": 9}.get(name, 1), None)

    return helper.make_graph(nodes, "body", [info(name) for name in inputs], [info(name) for name in outputs])


def test_weights_scanned_layer_by_layer(tmp_path):
    """As exporters write a stack of equal layers."""
    stacked = array(3, 4, 4, zeros=0.5)
    body = body_of([node("Transpose", ["w"], ["t"]), node("MatMul", ["h", "t"], ["g"])], "hw", "g")
    one = node("Scan", ["x", "layers"], ["y"], body=body, num_scan_inputs=1)
    check([one], {"layers": stacked}, 48, int(np.count_nonzero(stacked)), tmp_path)


def test_weights_handed_to_a_loop_as_states_that_stay(tmp_path):
    square = array(4, 4, zeros=0.5)
    body = body_of(
        [node("Identity", ["c"], ["d"]), node("MatMul", ["h", "w"], ["g"]), node("Identity", ["w"], ["v"])],
        "ichw",
        "dgv",
    )
    one = node("Loop", ["n", "", "x", "layer"], ["y", "last"], body=body)
    check([one], {"layer": square, "n": np.array(3)}, 16, int(np.count_nonzero(square)), tmp_path)


def test_four_bit_weights(tmp_path):
    import ml_dtypes

    packed = np.random.default_rng(4).integers(-8, 8, (4, 6)).astype(ml_dtypes.int4)
    chain = [node("DequantizeLinear", ["q", "s", "z"], ["w"]), matmul()]
    constants = {"q": packed, "s": np.float32(0.1), "z": np.array(-2).astype(ml_dtypes.int4)}
    check(chain, constants, 24, int((packed.astype(int) != -2).sum()), tmp_path, opset=21)


def test_damaged_constant_is_one_line(tmp_path, monkeypatch):
    model = model_of([matmul()], {"w": W})
    model.graph.initializer[0].raw_data = b"123"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    monkeypatch.setattr(onnx.checker, "check_model", lambda model: None)
    with pytest.raises(UserError, match=r"model\.onnx: its weights cannot be counted: ") as caught:
        onnx_format.count(path)
    assert "\n" not in str(caught.value)


def test_row_of_unknown_weights_shows_neither_zeros_nor_a_share():
    def row(dense, pruned):
        files = (Artifact(Path("m.onnx"), "onnx", "", one, 1) for one in (pruned, dense))
        found = with_contents(Measurement("m", MEASURED), *files, None, None)
        return found.nonzeros, found.sparsity

    assert row(Weights(None, None), Weights(None, None)) == (None, None)
    assert row(Weights(8, 8), Weights(None, None)) == (None, None)
    assert row(Weights(None, None), Weights(8, 4)) == (4, None)
    assert row(Weights(8, 8), Weights(8, 4)) == (4, 0.5)


@pytest.mark.parametrize("engine", ["direct-csr", "torch-csr"])
def test_weight_that_is_kept_for_counting_only_is_no_burden_to_an_engine(engine, tmp_path):
    if why_not(ENGINES[engine]):
        pytest.skip(why_not(ENGINES[engine]))
    nodes = [matmul(), node("Gather", ["p", "i"], ["q"]), node("Add", ["y", "q"], ["z"])]
    constants = {"w": W, "p": array(9, 6), "i": np.array([2])}
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(nodes, constants, outputs={"z": TensorProto.FLOAT}).SerializeToString())
    csr_export.export(Source(ModelSpec("m", str(path), (1, 4)), path), path.with_suffix(".csr"))
    image = array(1, 4, seed=3)
    (found,) = ENGINES[engine].load(path.with_suffix(".csr"), 1)(image)
    np.testing.assert_allclose(found, image @ W + array(9, 6)[2], rtol=1e-5)
