"""A CSR file is made from ONNX files of older versions and of open sizes, and computes beforehand what is constant."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import helper, numpy_helper
from safetensors.numpy import load, save

from sparsemark.engines import ENGINES
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.formats import onnx as onnx_format
from sparsemark.formats.base import Weights
from sparsemark.formats.csr import counting
from sparsemark.formats.csr import export as csr_export
from sparsemark.formats.csr import graph as csr
from sparsemark.networks.source import Source
from sparsemark.registry import why_not
from sparsemark.specs import ModelSpec
from tests.networks.onnx_files import array, model_of, node, run

ENGINES_HERE = [name for name, one in ENGINES.items() if "csr" in one.formats and not why_not(one)]


def converted(model, tmp_path, shape):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    csr_export.export(Source(ModelSpec("m", str(path), shape), path), path.with_suffix(".csr"))
    return path.with_suffix(".csr")


def check(model, tmp_path, shape):
    path = converted(model, tmp_path, shape)
    image = array(*shape, seed=9)
    (expected,) = run(model, {"x": image})
    for engine in ENGINES_HERE:
        (found,) = ENGINES[engine].load(path, 1)(image)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    return csr.load_csr(path)


def flattened_by_shape(batch):
    """As exporters write `x.flatten(1)` for a batch of any size."""
    nodes = [
        node("Conv", ["x", "w"], ["h"], auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Shape", ["h"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n", "first"], ["m"]),
        node("Concat", ["m", "rest"], ["t"], axis=0),
        node("Reshape", ["h", "t"], ["f"]),
        node("MatMul", ["f", "v"]),
    ]
    constants = {
        "w": array(3, 2, 3, 3, zeros=0.5),
        "zero": np.array(0),
        "first": np.array([0]),
        "rest": np.array([-1]),
        "v": array(27, 2, seed=1, zeros=0.5),
    }
    return model_of(nodes, constants, (batch, 2, 6, 5), opset=17)


@pytest.mark.parametrize("batch", ["n", -1, 1])
def test_shapes_are_computed_for_the_input_that_is_measured(batch, tmp_path):
    graph = check(flattened_by_shape(batch), tmp_path, (1, 2, 6, 5))
    assert [one.op for one in graph.nodes] == ["Conv", "Reshape", "Linear"]
    assert graph.input_shape == (1, 2, 6, 5)


@pytest.mark.parametrize("size", ["n", 6])
def test_sizes_that_are_computed_from_computed_sizes(size, tmp_path):
    """As exporters write `x.chunk(2, 1)`, and a channel's mean by a shape: inference alone does not pass the slice."""
    nodes = [
        node("Conv", ["x", "w"], ["h"]),
        node("Shape", ["h"], ["s"]),
        node("Gather", ["s", "one"], ["c"]),
        node("Cast", ["c"], ["d"], to=1),
        node("Mul", ["d", "half"], ["e"]),
        node("Floor", ["e"], ["f"]),
        node("Cast", ["f"], ["g"], to=7),
        node("Slice", ["h", "none", "g", "one"], ["i"]),
        node("Shape", ["i"], ["j"]),
        node("Slice", ["j", "none", "two"], ["k"]),
        node("Concat", ["k", "rest"], ["l"], axis=0),
        node("Reshape", ["i", "l"], ["y"]),
    ]
    constants = {"w": array(5, 2, 3, 3, zeros=0.5), "half": np.float32([0.5])}
    constants |= {"one": np.array([1]), "two": np.array([2]), "none": np.array([0]), "rest": np.array([-1])}
    graph = check(model_of(nodes, constants, ("n", 2, size, 5), opset=11, rank=3), tmp_path, (1, 2, 6, 5))
    assert [one.op for one in graph.nodes] == ["Conv", "Slice", "Reshape"]
    assert graph.constants[graph.nodes[2].inputs[1]].tolist() == [1, 2, -1]


def test_file_that_looks_at_no_shape_serves_all_of_them(tmp_path):
    nodes = [node("Conv", ["x", "w"], auto_pad="SAME_LOWER", kernel_shape=[2, 2])]
    model = model_of(nodes, {"w": array(3, 2, 2, 2)}, ("n", 2, "h", "w"), rank=4)
    graph = check(model, tmp_path, (1, 2, 5, 4))
    assert graph.input_shape is None
    assert graph.nodes[0].attributes["pads"] == [1, 1, 0, 0]


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 17])
def test_every_version_is_converted(opset, tmp_path):
    constants = {name: np.abs(array(3, seed=seed)) + 0.5 for seed, name in enumerate(("s", "b", "m", "v"))}
    nodes = [
        node("Conv", ["x", "w"], ["h"]),
        node("BatchNormalization", ["h", *constants], ["i"]),
        node("Relu", ["i"], ["j"]),
        node("GlobalAveragePool", ["j"], ["k"]),
        node("Flatten", ["k"], ["f"]),
        node("Gemm", ["f", "u", "c"], ["g"], transB=1),
        node("Softmax", ["g"]),
    ]
    constants |= {"w": array(3, 2, 3, 3, zeros=0.5), "u": array(4, 3, seed=5), "c": array(4, seed=6)}
    check(model_of(nodes, constants, (1, 2, 6, 5), opset), tmp_path, (1, 2, 6, 5))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("opset", "op"), [(9, "Upsample"), (10, "Resize")])
def test_older_versions_enlarge_as_they_did(mode, opset, op, tmp_path):
    """ONNX's converter leaves the coordinates at the default of newer versions, which is another one."""
    scales = {"s": np.float32([1, 1, 2, 3])}
    path = converted(
        model_of([node(op, ["x", "s"], mode=mode)], scales, (1, 2, 4, 5), opset, rank=4), tmp_path, (1, 2, 4, 5)
    )
    (resize,) = csr.load_csr(path).nodes
    assert resize.op == "Resize"
    assert resize.attributes["coordinate_transformation_mode"] == "asymmetric"
    assert resize.attributes["nearest_mode"] == "floor"
    if "direct-csr" in ENGINES_HERE:
        image = array(1, 2, 4, 5)
        model = model_of([node(op, ["x", "s"], mode=mode)], scales, (1, 2, 4, 5), opset, rank=4)
        (expected,), (found,) = run(model, {"x": image}), ENGINES["direct-csr"].load(path, 1)(image)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_version_that_cannot_be_converted_is_said(tmp_path):
    one = node("BatchNormalization", ["x", "s", "s", "s", "s"], spatial=0)
    model = model_of([one], {"s": array(2, 3, 3)}, (1, 2, 3, 3), opset=7, rank=4)
    said = "^csr: ONNX opset 7, which cannot be converted to 21: Attribute spatial must have value 1$"
    with pytest.raises(UnsupportedError, match=said) as caught:
        converted(model, tmp_path, (1, 2, 3, 3))
    assert "\n" not in str(caught.value)


def test_weights_that_are_computed_are_sparse(tmp_path):
    quantised = np.where(array(4, 6) > 0, 3, 7).astype(np.int8)
    nodes = [
        node("DequantizeLinear", ["q", "s", "z"], ["w"]),
        node("Transpose", ["w"], ["t"], perm=[1, 0]),
        node("MatMul", ["x", "t"]),
    ]
    constants = {"q": quantised, "s": np.float32(0.5), "z": np.int8(3)}
    graph = check(model_of(nodes, constants, (1, 6), opset=13), tmp_path, (1, 6))
    (matrix,) = graph.matrices.values()
    np.testing.assert_array_equal(matrix.toarray(), (quantised - 3.0) * 0.5)
    assert matrix.data.size == (quantised == 7).sum()


def test_functions_are_put_in_place_of_their_calls(tmp_path):
    body = [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"])]
    own = helper.make_function("mine", "Layer", ["x", "w"], ["y"], body, [helper.make_opsetid("", 20)])
    calls = [node("Layer", ["x", "a"], ["h"], domain="mine"), node("Layer", ["h", "b"], ["y"], domain="mine")]
    model = model_of(calls, {"a": array(4, 3), "b": array(3, 2)}, functions=[own], domains=("mine",))
    graph = check(model, tmp_path, (1, 4))
    assert [one.op for one in graph.nodes] == ["Linear", "Relu", "Linear", "Relu"]


@pytest.mark.parametrize("opset", [9, 13])
def test_weights_are_stored_once(opset, tmp_path):
    """Whatever conversion and inlining call them."""
    stored = node("Constant", [], ["v"], value=numpy_helper.from_array(array(3, 2, zeros=0.5)))
    body = [stored, node("MatMul", ["x", "v"], ["y"])]
    own = helper.make_function("mine", "Layer", ["x"], ["y"], body, [helper.make_opsetid("", opset)])
    calls = [node("Gemm", ["x", "w", "b"], ["h"], transB=1), node("Layer", ["h"], ["y"], domain="mine")]
    constants = {"w": array(3, 4, seed=1), "b": array(3)}
    model = model_of(calls, constants, functions=[own], domains=("mine",), opset=opset)
    path = converted(model, tmp_path, (1, 4))
    graph = csr.load_csr(path)
    assert (len(graph.matrices), len(graph.constants)) == (2, 1)
    assert (graph.weights, graph.buffers) == ((), ())
    assert counting.count(path) == onnx_format.count(tmp_path / "model.onnx")
    assert counting.count(path).total == 18


# Lists of weights in the header.


def rewritten(path, change):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["sparsemark-csr"])
    tensors = load(content)
    change(header)
    header["digest"] = csr.digest(header, tensors)
    path.write_bytes(save(tensors, metadata={"sparsemark-csr": json.dumps(header)}))
    return path


@pytest.fixture
def path(tmp_path):
    weight = array(6, 4, zeros=0.5)
    nodes = [node("Transpose", ["w"], ["t"]), node("MatMul", ["x", "t"], ["h"]), node("Add", ["h", "p"])]
    return converted(model_of(nodes, {"w": weight, "p": array(1, 6)}, (1, 4)), tmp_path, (1, 4))


def test_older_file_without_lists_loads_and_counts(path):
    before = counting.count(path)
    assert before == Weights(24, int(np.count_nonzero(array(6, 4, zeros=0.5))))

    def older(header):
        for key in ("weights", "buffers", "contents", "origins"):
            del header[key]

    rewritten(path, older)
    assert csr.load_csr(path).weights == ()
    assert counting.count(path) == before


def test_lists_decide_what_counts(path):
    before = counting.count(path)
    rewritten(path, lambda header: header.update(weights=["p", "w", "absent"]))
    assert counting.count(path) == Weights(30, before.nonzeros + 6)
    rewritten(path, lambda header: header.update(buffers=["w"]))
    assert counting.count(path) == Weights(6, 6)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", 3),
        ("weights", [3]),
        ("weights", "w"),
        ("buffers", {"a": 1}),
        ("contents", {"a": 1}),
        ("contents", [[1, 1, 1]]),
        ("contents", [[1, 1, 1, -1]]),
        ("contents", [[1, 1, 1, 2**64]]),
        ("origins", []),
        ("origins", {"t": "w"}),
        ("origins", {"t": []}),
        ("origins", {"t": ["w"]}),
        ("origins", {"t": [1, 2]}),
    ],
)
def test_lists_that_are_none_are_refused(path, key, value):
    rewritten(path, lambda header: header.update({key: value}))
    with pytest.raises(UserError, match="damaged, or no CSR file of sparsemark") as caught:
        csr.load_csr(path)
    assert "\n" not in str(caught.value)


def test_lists_are_part_of_the_digest(path):
    content = path.read_bytes()
    assert content.count(b'\\"weights\\": []') == 1
    path.write_bytes(content.replace(b'\\"weights\\": []', b'\\"weights\\":[ ]'))
    csr.load_csr(path)  # the same list in other spaces
    path.write_bytes(content.replace(b'\\"buffers\\": []', b'\\"buffer_\\": []'))
    with pytest.raises(UserError, match="its digest is not that of its content"):
        csr.load_csr(path)
