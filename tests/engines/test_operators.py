"""Each operator of the CSR engines computes what ONNX Runtime does, or is refused by name when it is loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sparsemark.engines import scipy_csr, torch_csr
from sparsemark.engines.operators import OPERATORS
from sparsemark.errors import UnsupportedError
from sparsemark.formats.csr import export as csr_export
from sparsemark.networks.source import Source
from sparsemark.specs import ModelSpec

SOME = settings(max_examples=40, deadline=None)
FEW = settings(max_examples=25, deadline=None)
SMALL = st.integers(1, 3)


def model_of(nodes, shape, constants, rank, opset=20):
    nodes = nodes if isinstance(nodes, list) else [nodes]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)
    graph = helper.make_graph(nodes, "one", [image], [answer], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def load(model, shape, engine=torch_csr):
    """Load a model into an engine, by way of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        csr_export.export(Source(ModelSpec("one", str(path), shape), path), path.with_suffix(".csr"))
        return engine.load(path.with_suffix(".csr"), 1)


def expected_of(model, image):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": image})[0]


def agree(nodes, image, constants=(), rank=None, engine=torch_csr, *, opset=20):
    """Compare one graph with ONNX Runtime; what ONNX Runtime refuses is no model."""
    image = np.asarray(image, np.float32)
    shape = image.shape or (1,)
    model = model_of(nodes, shape, dict(constants), len(shape) if rank is None else rank, opset)
    try:
        expected = expected_of(model, image)
    except Exception:
        assume(False)
    (got,) = load(model, shape, engine)(image)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * max(np.abs(expected).max(initial=0), 1e-3))


def refused(node, shape=(1, 2, 6, 5), constants=(), rank=4, opset=20):
    with pytest.raises(UnsupportedError) as caught:
        load(model_of(node, shape, dict(constants), rank, opset), shape)
    return str(caught.value)


def node(op, inputs=("x",), **attributes):
    return helper.make_node(op, list(inputs), ["y"], name="here", **attributes)


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pair(values):
    return st.tuples(values, values).map(list)


# Convolutions and pooling.


@given(st.data())
@SOME
def test_convolution(data):
    group, images = data.draw(st.sampled_from([1, 1, 2, 3])), data.draw(st.integers(1, 2))
    shape = (images, group * data.draw(SMALL), data.draw(st.integers(5, 9)), data.draw(st.integers(5, 9)))
    kernel = data.draw(pair(SMALL))
    weight = array(group * data.draw(SMALL), shape[1] // group, *kernel, seed=1)
    weight[np.abs(weight) < data.draw(st.sampled_from([0.0, 0.7, 9.0]))] = 0
    biased = data.draw(st.booleans())
    attributes = {
        "strides": data.draw(pair(SMALL)),
        "dilations": data.draw(pair(st.integers(1, 2))),
        "pads": data.draw(
            pair(st.integers(0, 3)).map(lambda side: side * 2) | st.lists(st.integers(0, 3), min_size=4, max_size=4)
        ),
        "kernel_shape": kernel,
    }
    for name in data.draw(st.sets(st.sampled_from(list(attributes)))):
        del attributes[name]  # each has a default
    constants = {"w": weight} | ({"b": array(len(weight), seed=2)} if biased else {})
    engine = data.draw(st.sampled_from([torch_csr, scipy_csr]))
    agree(node("Conv", ["x", *constants], group=group, **attributes), array(*shape), constants, engine=engine)


@given(st.data())
@SOME
def test_max_pooling(data):
    attributes = window(data) | {"dilations": data.draw(pair(st.integers(1, 2)))}
    if attributes["ceil_mode"] and not padded_as_torch_does(attributes):
        assert "MaxPool at here: ceil_mode" in refused(node("MaxPool", **attributes))
    else:
        agree(node("MaxPool", **attributes), array(1, 2, 7, 8))


@given(st.data())
@SOME
def test_average_pooling(data):
    attributes = window(data) | {"count_include_pad": data.draw(st.integers(0, 1))}
    if padded_as_torch_does(attributes):
        agree(node("AveragePool", **attributes), array(1, 2, 7, 8))
    else:
        assert "AveragePool at here: asymmetric" in refused(node("AveragePool", **attributes))


def padded_as_torch_does(attributes):
    pads, kernel = attributes["pads"], attributes["kernel_shape"]
    return pads[:2] == pads[2:] and all(2 * pad <= size for pad, size in zip(pads[:2], kernel, strict=True))


def window(data):
    kernel = data.draw(pair(SMALL))
    before = [data.draw(st.integers(0, size - 1)) for size in kernel]
    after = before if data.draw(st.booleans()) else [data.draw(st.integers(0, size - 1)) for size in kernel]
    return {
        "kernel_shape": kernel,
        "strides": data.draw(pair(SMALL)),
        "pads": [*before, *after],
        "ceil_mode": data.draw(st.integers(0, 1)),
    }


@given(st.data())
@SOME
def test_transposed_convolution(data):
    group, kernel = data.draw(st.integers(1, 2)), data.draw(pair(SMALL))
    weight = array(2 * group, data.draw(SMALL), *kernel, seed=1)
    strides = data.draw(pair(SMALL))
    pads = [data.draw(st.integers(0, size - 1)) for size in kernel]
    attributes = {
        "group": group,
        "strides": strides,
        "dilations": data.draw(pair(st.integers(1, 2))),
        "pads": pads * 2,
        "output_padding": [data.draw(st.integers(0, stride - 1)) for stride in strides],
    }
    constants = {"w": weight} | ({"b": array(group * weight.shape[1], seed=2)} if data.draw(st.booleans()) else {})
    agree(node("ConvTranspose", ["x", *constants], **attributes), array(1, 2 * group, 4, 5), constants)


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_that_depends_on_the_input_is_that_of_the_input(op, auto_pad, stride):
    constants = {"w": array(2, 2, 3, 3)} if op == "Conv" else {}
    attributes = {"kernel_shape": [3, 3], "strides": [stride, stride], "auto_pad": auto_pad}
    shape = (1, 2, 7, 5) if op == "AveragePool" else (1, 2, 6, 5)  # its padding must be the same on both sides
    agree(node(op, ["x", *constants], **attributes), array(*shape), constants)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_padding_of_a_transposed_convolution_that_depends_on_the_input_is_refused(auto_pad):
    constants = {"w": array(2, 2, 3, 3)}
    line = refused(node("ConvTranspose", ["x", "w"], kernel_shape=[3, 3], auto_pad=auto_pad), constants=constants)
    assert line == f"csr: ConvTranspose at here: auto_pad {auto_pad}"


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "MaxPool", "AveragePool"])
def test_no_padding_by_name(op):
    constants = {"w": array(2, 2, 3, 3)} if op.startswith("Conv") else {}
    agree(node(op, ["x", *constants], kernel_shape=[3, 3], auto_pad="VALID"), array(1, 2, 6, 5), constants)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "MaxPool", "AveragePool"])
@pytest.mark.parametrize("axes", [1, 3])
def test_other_than_two_spatial_axes_are_refused(op, axes):
    """One axis fewer must not be taken for a network without a batch."""
    constants = {"w": array(2, 2, *[2] * axes)} if op.startswith("Conv") else {}
    line = refused(node(op, ["x", *constants], kernel_shape=[2] * axes), (1, 2, *[4] * axes), constants, 2 + axes)
    assert f"{op} at here: {axes} spatial axes" in line


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (node("ConvTranspose", ["x", "w"], pads=[0, 1, 0, 0]), "asymmetric"),
        (node("ConvTranspose", ["x", "w"], output_shape=[9, 9]), "output shape"),
        (node("Conv", ["x", "x"]), "Conv at here"),
        (node("AveragePool", kernel_shape=[2, 2], dilations=[2, 2]), "dilation"),
        (node("BatchNormalization", ["x", "v", "v", "v", "v"], training_mode=1), "training"),
        (node("Cast", to=TensorProto.FLOAT16), "data type 10"),
        (node("Pad", ["x", "p"], mode="wrap"), "mode wrap"),
        (node("Resize", ["x", "", "s"], mode="linear"), "Resize"),
        (node("LpPool", kernel_shape=[2, 2]), "LpPool"),
    ],
)
def test_what_is_not_known_is_refused_when_loaded_with_operator_and_node(one, said):
    constants = {"w": array(2, 2, 3, 3), "v": array(2), "p": np.zeros(8, np.int64), "s": np.ones(4, np.float32)}
    used = {name: value for name, value in constants.items() if name in one.input}
    line = refused(one, constants=used)
    assert line.startswith(f"csr: {one.op_type} at here")
    assert said in line


@pytest.mark.parametrize("opset", [8, 9, 11, 12])
def test_older_operator_sets_are_converted(opset):
    """Softmax of several axes at once, and axes as an attribute."""
    agree(node("Softmax", axis=1), array(2, 3, 4), opset=opset)
    agree(node("ReduceSum", axes=[1], keepdims=0), array(2, 3, 4), rank=2, opset=opset)
    agree(node("Unsqueeze", axes=[0, 2]), array(3, 4), rank=4, opset=opset)


def test_weights_of_another_type_are_refused():
    graph = model_of(node("Conv", ["x", "w"]), (1, 2, 4, 4), {"w": array(2, 2, 1, 1).astype(np.float64)}, 4)
    with pytest.raises(UnsupportedError, match="weight w is float64, expected float32"):
        load(graph, (1, 2, 4, 4))


def test_two_inputs_are_refused():
    model = model_of(node("Add", ["x", "z"]), (1, 2), {}, 2)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 2)))
    with pytest.raises(UnsupportedError, match="2 inputs, expected one"):
        load(model, (1, 2))


# Products.


@given(
    st.sampled_from([0, 1]),
    st.sampled_from([0, 1]),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([1.0, 2.0]),
    st.data(),
)
@FEW
def test_general_matrix_product(first, second, alpha, beta, data):
    bias = data.draw(st.sampled_from([None, (3,), (1, 3), (2, 3), (2, 1), ()]))
    constants = {"w": array(3, 4) if second else array(4, 3)} | ({} if bias is None else {"b": array(*bias, seed=2)})
    image = array(4, 2) if first else array(2, 4)
    engine = data.draw(st.sampled_from([torch_csr, scipy_csr]))
    attributes = {"transA": first, "transB": second, "alpha": alpha, "beta": beta}
    agree(node("Gemm", ["x", *constants], **attributes), image, constants, engine=engine)


@pytest.mark.parametrize("image", [(4,), (2, 4), (2, 3, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("weight", [(4,), (4, 5), (1, 4, 5), (2, 1, 4, 5)])
@pytest.mark.parametrize("engine", [torch_csr, scipy_csr])
def test_matrix_product(image, weight, engine):
    rank = np.matmul(array(*image), array(*weight)).ndim
    agree(node("MatMul", ["x", "w"]), array(*image), {"w": array(*weight, seed=1)}, rank, engine)


def test_matrix_on_the_left():
    agree(node("MatMul", ["w", "x"]), array(4, 5), {"w": array(3, 4, seed=1)})


def test_constant_that_is_a_matrix_and_something_else_too_is_kept_as_both():
    first = helper.make_node("MatMul", ["x", "w"], ["h"])
    agree([first, node("Add", ["h", "w"])], array(3, 3), {"w": array(3, 3, seed=1)})
    turned = helper.make_node("Gemm", ["x", "w"], ["h"], transB=1)
    agree([turned, node("MatMul", ["h", "w"])], array(3, 3), {"w": array(3, 3, seed=1)})
    agree([turned, node("Add", ["h", "w"])], array(3, 3), {"w": array(3, 3, seed=1)})


def test_constants_of_every_kind_keep_their_type():
    kinds = {"value_float": 0.5, "value_floats": [0.5, 0.25], "value": numpy_helper.from_array(array(2), "v")}
    for name, value in kinds.items():
        constant = helper.make_node("Constant", [], ["c"], **{name: value})
        agree([constant, node("Mul", ["x", "c"])], array(3, 2))
    axes = helper.make_node("Constant", [], ["c"], value_ints=[1])
    agree([axes, node("Unsqueeze", ["x", "c"])], array(3, 2), rank=3)
    weight = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(array(2, 4), "w"))
    agree([weight, node("MatMul", ["x", "w"])], array(3, 2))


# Shapes.


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
@FEW
def test_flatten_at_any_axis(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape)))
    agree(node("Flatten", axis=axis), array(*shape), rank=2)


def test_flatten_by_default():
    agree(node("Flatten"), array(2, 3, 4), rank=2)


@pytest.mark.parametrize("keepdims", [0, 1, None])
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax"])
@pytest.mark.parametrize("axes", [None, [], [1], [-1, 0], [2, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("noop", [None, 1])
def test_reduction(op, axes, keepdims, noop):
    attributes = {} if keepdims is None else {"keepdims": keepdims}
    attributes |= {} if noop is None else {"noop_with_empty_axes": noop}
    constants = {} if axes is None else {"axes": np.array(axes, np.int64)}
    reduced = [] if noop and not axes else axes or range(4)
    rank = 4 if keepdims != 0 else 4 - len(reduced)
    agree(node(op, ["x", *constants], **attributes), array(2, 3, 4, 5), constants, rank)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax"])
def test_reduction_with_axes_as_attribute(op):
    agree(node(op, axes=[1, 2]), array(2, 3, 4), opset=17)


@pytest.mark.parametrize("shape", [[6, 4], [-1], [0, -1], [0, 0, 4], [2, -1, 2, 2], [1, 24]])
def test_reshape(shape):
    agree(node("Reshape", ["x", "s"]), array(2, 3, 4), {"s": np.array(shape, np.int64)}, len(shape))


@pytest.mark.parametrize("axes", [[0], [-1], [0, 1], [1, -1], [2, 0], [-4, -1]])
def test_unsqueeze(axes):
    agree(node("Unsqueeze", ["x", "a"]), array(2, 3), {"a": np.array(axes, np.int64)}, 2 + len(axes))


@pytest.mark.parametrize("axes", [None, [0], [-1], [0, 2], [-2]])
def test_squeeze(axes):
    constants = {} if axes is None else {"a": np.array(axes, np.int64)}
    image = array(1, 3, 1, 1)
    rank = 1 if axes is None else 4 - len(axes)
    agree(node("Squeeze", ["x", *constants]), image, constants, rank)


@given(st.data())
@SOME
def test_slice(data):
    shape = (4, 5, 6)
    axes = data.draw(st.lists(st.integers(-3, 2), max_size=3, unique_by=lambda a: a % 3, min_size=1))
    bounds = st.lists(
        st.sampled_from([-(2**63), -9, -3, -1, 0, 1, 2, 5, 9, 2**63 - 1]), min_size=len(axes), max_size=len(axes)
    )
    steps = data.draw(st.lists(st.sampled_from([-3, -1, 1, 2]), min_size=len(axes), max_size=len(axes)))
    starts, ends = data.draw(bounds), data.draw(bounds)
    # ONNX Runtime takes the largest end for "all" even when going backwards, the specification does not.
    assume(not any(step < 0 and end == 2**63 - 1 for step, end in zip(steps, ends, strict=True)))
    operands = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    if sorted(axes) == list(range(len(axes))) and axes == sorted(axes) and data.draw(st.booleans()):
        del operands["axes"], operands["steps"]
    agree(node("Slice", ["x", *operands]), array(*shape), {k: np.array(v, np.int64) for k, v in operands.items()})


@given(st.sampled_from(["constant", "reflect", "edge"]), st.data())
@SOME
def test_pad(mode, data):
    shape = (2, 3, 4, 5)
    least = -1 if mode == "constant" else 0
    limit = [size - 1 for size in shape]
    axes = data.draw(st.sampled_from([None, [3], [-1, 2], [1, 3], [0], [2, 3]]))
    padded = range(4) if axes is None else axes
    pads = [data.draw(st.integers(least, limit[axis])) for _ in range(2) for axis in padded]
    constants = {"p": np.array(pads, np.int64)}
    inputs = ["x", "p"]
    if axes is not None or data.draw(st.booleans()):
        constants["v"] = np.array(data.draw(st.sampled_from([0.0, 2.5])), np.float32)
        inputs.append("v")
    if axes is not None:
        constants["axes"] = np.array(axes, np.int64)
        inputs.append("axes")
    agree(node("Pad", inputs, mode=mode), array(*shape), constants)


@given(st.permutations(range(4)), st.booleans())
@FEW
def test_transpose(order, given_order):
    agree(node("Transpose", **({"perm": order} if given_order else {})), array(2, 3, 4, 5))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_concat(axis):
    agree(node("Concat", ["x", "c", "x"], axis=axis), array(2, 3, 4), {"c": array(2, 3, 4, seed=1)})


@pytest.mark.parametrize("axis", [None, 0, 1, -1, -2])
def test_softmax(axis):
    agree(node("Softmax", **({} if axis is None else {"axis": axis})), 5 * array(2, 3, 4))


# Value by value.


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        *((name, {}) for name in ("Abs", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity")),
        *((name, {}) for name in ("LeakyRelu", "Neg", "Relu", "Sigmoid", "Softplus", "Tanh", "Sum")),
        *((name, {}) for name in ("GlobalAveragePool", "GlobalMaxPool")),
        ("Elu", {"alpha": 0.3}),
        ("Gelu", {"approximate": "tanh"}),
        ("HardSigmoid", {"alpha": 0.1, "beta": 0.3}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Cast", {"to": TensorProto.FLOAT}),
    ],
)
def test_function_of_one_operand(op, attributes):
    image = 3 * array(2, 3, 4, 5)
    image[0, 0, 0, :3] = 0, 30, -30
    agree(node(op, **attributes), image)


def test_square_root():
    agree(node("Sqrt"), np.abs(array(2, 3)))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Sum"])
@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (2, 3, 4), (5, 2, 3, 4)])
def test_operands_are_broadcast(op, shape):
    agree(node(op, ["x", "c"]), array(2, 3, 4), {"c": array(*shape, seed=1) + 3}, max(3, len(shape)))


@pytest.mark.parametrize("exponent", [np.array(2.0, np.float32), np.array(3, np.int64), np.array([2, 1, 0], np.int32)])
def test_power_has_the_type_of_its_base(exponent):
    agree(node("Pow", ["x", "e"]), array(2, 3), {"e": exponent})


@pytest.mark.parametrize("divisor", [2, -3])
def test_whole_numbers_are_divided_as_whole_numbers(divisor):
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Div", ["i", "d"], ["q"]),
        helper.make_node("Pow", ["q", "two"], ["s"]),
        node("Cast", ["s"], to=TensorProto.FLOAT),
    ]
    constants = {"d": np.array(divisor, np.int64), "two": np.array(2.0, np.float32)}
    agree(nodes, [[7.9, -7.2, 0.0, 5.0]], constants)


@pytest.mark.parametrize("bounds", [(None, None), (-0.5, None), (None, 0.5), (-0.5, 0.5), (0.0, 6.0), (0.5, -0.5)])
def test_clip(bounds):
    constants = {
        name: np.array(v, np.float32) for name, v in zip(("low", "high"), bounds, strict=True) if v is not None
    }
    inputs = ["x", *(name if name in constants else "" for name in ("low", "high"))]
    while not inputs[-1]:
        inputs.pop()
    agree(node("Clip", inputs), array(3, 4), constants)


@pytest.mark.parametrize("epsilon", [None, 0.1])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_batch_normalisation(epsilon, shape):
    constants = {name: np.abs(array(3, seed=i)) + 0.1 for i, name in enumerate(("scale", "bias", "mean", "var"))}
    attributes = {} if epsilon is None else {"epsilon": epsilon}
    agree(node("BatchNormalization", ["x", *constants], **attributes), array(*shape), constants)


def test_every_operator_is_tested_here():
    """A new entry of `OPERATORS` is named in this file, or this fails."""
    text = Path(__file__).read_text()
    assert [op for op in OPERATORS if f'"{op}"' not in text] == []
