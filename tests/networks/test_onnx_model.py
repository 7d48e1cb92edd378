"""Inputs, constants and weights are read from an ONNX model wherever they are; another file is one line."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sparsemark.errors import UserError
from sparsemark.formats.csr.conversion import convert
from sparsemark.networks import onnx_model
from sparsemark.specs import InputSpec
from tests.networks.onnx_files import RUNTIME, array, model_of, node


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x07" * 50])
def test_file_that_is_no_onnx_is_one_line(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.onnx: expected an ONNX model") as caught:
        onnx_model.load_onnx(path)
    assert "\n" not in str(caught.value)


def test_constant_by_another_name_is_a_constant():
    """PyTorch's older exporter stores equal tensors once, and names the others by `Identity`."""
    bias = numpy_helper.from_array(np.ones(4, np.float32), "bias")
    nodes = [
        helper.make_node("Identity", ["bias"], ["same"]),
        helper.make_node("Identity", ["same"], ["again"]),
        helper.make_node("Identity", ["x"], ["image"]),
        helper.make_node("Add", ["image", "again"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy")
    converted = convert(helper.make_model(helper.make_graph(nodes, "graph", [x], [y], [bias])), "x", (1, 4))
    assert [node.op for node in converted.nodes] == ["Identity", "Add"]
    assert set(converted.constants) == {"again"}
    np.testing.assert_array_equal(converted.constants["again"], np.ones(4))


def test_minus_one_is_an_open_size(tmp_path):
    """As old exporters write it; an open batch is one, another open size has to be given."""
    path = tmp_path / "old.onnx"
    for sizes, shape in (([-1, 4], (1, 4)), ([1, -1], None)):
        x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes) for name in "xy")
        onnx.save(helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])), path)
        if shape:
            assert onnx_model.onnx_inputs(str(path)) == (InputSpec(shape),)
        else:
            with pytest.raises(UserError, match="declares an input of 1,any; say which sizes"):
                onnx_model.onnx_inputs(str(path))


ACCEPTED = {
    "operator of the runtime": lambda: model_of([node("LayerNormalization", ["x", "s"])], {"s": array(4)}, opset=12),
    "output without a shape": lambda: without_shape(model_of([node("Relu", ["x"])], {})),
    "foreign metadata": lambda: with_metadata(model_of([node("Gelu", ["x"], domain=RUNTIME)], {})),
    "domain that is not imported": lambda: model_of([node("Relu", ["x"])], {}, domains=("ai.onnx.ml", "nobody")),
}


def without_shape(model):
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def with_metadata(model):
    for item in (model, model.graph.node[0], model.graph):
        item.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File <somewhere>")
    model.producer_name = "somebody's exporter"
    return model


@pytest.mark.parametrize("what", ACCEPTED)
def test_file_that_onnx_runtime_opens_is_a_model(what, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(ACCEPTED[what]().SerializeToString())
    assert onnx_model.input_specs_of(path) == [("x", (1, 4), "float32")]


def test_file_that_nothing_opens_is_refused_with_the_checkers_reason(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of([node("Relu", ["absent"])], {}).SerializeToString())
    with pytest.raises(
        UserError, match="expected an ONNX model: Nodes in a graph must be topologically sorted"
    ) as caught:
        onnx_model.load_onnx(path)
    assert "\n" not in str(caught.value)


def test_constants_among_the_inputs_are_none(tmp_path):
    path = tmp_path / "old.onnx"
    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("w", [4, 2]), ("x", ["n", 4]))
    ]
    onnx.save(model_of([node("MatMul", ["x", "w"])], {"w": array(4, 2)}, inputs=inputs, opset=9), path)
    assert onnx_model.input_specs_of(path) == [("x", (0, 4), "float32")]


def test_input_that_is_no_tensor_is_said(tmp_path):
    path = tmp_path / "model.onnx"
    sequence = helper.make_tensor_sequence_value_info("x", onnx.TensorProto.FLOAT, [1, 4])
    onnx.save(model_of([node("ConcatFromSequence", ["x"], axis=0)], {}, inputs=[sequence]), path)
    with pytest.raises(UserError, match="input x: expected a tensor, found a sequence_type"):
        onnx_model.input_specs_of(path)


def two_inputs(path):
    """A file of an image and of indices, its batch open."""
    x = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 4])
    ids = helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["n", "length"])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    nodes = [helper.make_node("Cast", ["ids"], ["f"], to=1), helper.make_node("Add", ["image", "f"], ["y"])]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x, ids], [y])), path)
    return str(path)


@pytest.mark.parametrize(
    "given",
    [
        ["ids=2,4:int64", "image=2,4"],
        ["image=2,4", "ids=2,4"],
        ["2,4", "2,4"],
    ],
)
def test_several_inputs_are_given_by_name_or_in_order_and_have_the_dtypes_of_the_file(given, tmp_path):
    found = onnx_model.onnx_inputs(two_inputs(tmp_path / "m.onnx"), tuple(map(InputSpec.parse, given)))
    assert found == (InputSpec((2, 4), "float32", "image"), InputSpec((2, 4), "int64", "ids"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "declares an input ids of any,any; say which sizes"),
        (["2,4"], "1 inputs given, expected 2: image, ids"),
        (["image=2,4", "image=2,4"], "no size of its input ids; say it with --input ids="),
        (["image=2,4", "words=2,4"], "has no input words; expected image, ids"),
        (["image=2,5", "ids=2,4"], "input image=2,5 does not fit this network: it declares image any,4"),
        (["image=2,4:int64", "ids=2,4"], "input image=2,4:int64 does not fit this network: it declares image any,4"),
        (["image=2,4", "ids=2,4:bool"], "input ids=2,4:bool does not fit .*: it declares ids any,any:int64"),
    ],
)
def test_inputs_that_the_file_does_not_have_are_one_line(given, words, tmp_path):
    with pytest.raises(UserError, match=words):
        onnx_model.onnx_inputs(two_inputs(tmp_path / "m.onnx"), tuple(map(InputSpec.parse, given)))


def test_one_input_has_its_name_too(tmp_path):
    onnx.save(model_of([node("Relu", ["x"])], {}), tmp_path / "m.onnx")
    assert onnx_model.onnx_inputs(str(tmp_path / "m.onnx"), (InputSpec.parse("x=1,4"),)) == (InputSpec((1, 4)),)
    with pytest.raises(UserError, match="has no input image; expected x"):
        onnx_model.onnx_inputs(str(tmp_path / "m.onnx"), (InputSpec.parse("image=1,4"),))
