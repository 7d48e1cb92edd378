"""The reference of an ONNX file is the file in float64: every operator means what ONNX Runtime runs, to more digits."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sparsemark.errors import NoFloat64Error
from sparsemark.networks.onnx_model import input_specs_of
from sparsemark.networks.onnx_reference import OnnxInFloat64
from tests.networks.onnx_files import array, model_of, node, run

SOME = settings(max_examples=30, deadline=None)
FLOAT = TensorProto.FLOAT


def answers(model, tmp_path, *arrays):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return OnnxInFloat64(path)(arrays)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def agree(model, folder, *arrays, limit=2e-6):
    """Compare with ONNX Runtime; what it refuses is no model."""
    names = [value.name for value in model.graph.input]
    try:
        expected = run(model, dict(zip(names, arrays, strict=True)))
    except Exception:
        assume(False)
    found = answers(model, folder, *arrays)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        if other.dtype.kind == "f":
            assert one.dtype == np.float64
            assert np.abs(one - other).max(initial=0) <= limit * max(np.abs(one).max(initial=0), 1e-3)
        else:
            np.testing.assert_array_equal(one, other)


def pads(data, count):
    return data.draw(st.lists(st.integers(0, 2), min_size=2 * count, max_size=2 * count))


def window(data, count, *, auto=True):
    """Attributes of a convolution or pooling operator, some left out."""
    numbers = st.lists(st.integers(1, 3), min_size=count, max_size=count)
    attributes = {"kernel_shape": data.draw(numbers), "strides": data.draw(numbers)}
    way = data.draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"])) if auto else "pads"
    if way == "pads":
        attributes["pads"] = pads(data, count)
    elif way != "none":
        attributes["auto_pad"] = way
    if not way.startswith("SAME") and data.draw(st.booleans()):
        attributes["dilations"] = data.draw(st.lists(st.integers(1, 2), min_size=count, max_size=count))
    return attributes


@given(st.data())
@SOME
def test_convolution_of_any_rank(folder, data):
    count, group = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 1, 2, 4]))
    attributes = window(data, count)
    weight = array(4, 4 // group, *attributes["kernel_shape"], seed=1)
    constants = {"w": weight} | ({"b": array(4, seed=2)} if data.draw(st.booleans()) else {})
    shape = (2, 4, *data.draw(st.lists(st.integers(6, 9), min_size=count, max_size=count)))
    model = model_of([node("Conv", ["x", *constants], group=group, **attributes)], constants, shape, rank=2 + count)
    agree(model, folder, array(*shape))


@given(st.data())
@SOME
def test_transposed_convolution_however_its_size_is_given(folder, data):
    count, group = data.draw(st.integers(1, 2)), data.draw(st.sampled_from([1, 2]))
    attributes = window(data, count)
    strides = attributes["strides"]
    if data.draw(st.booleans()):
        attributes["output_padding"] = [data.draw(st.integers(0, step - 1)) for step in strides]
    shape = (1, 4, *data.draw(st.lists(st.integers(3, 6), min_size=count, max_size=count)))
    if "auto_pad" not in attributes and "pads" not in attributes and data.draw(st.booleans()):
        attributes["output_shape"] = [size * step for size, step in zip(shape[2:], strides, strict=True)]
    constants = {"w": array(4, 3, *attributes["kernel_shape"], seed=1), "b": array(3 * group, seed=2)}
    one = node("ConvTranspose", ["x", *constants], group=group, **attributes)
    agree(model_of([one], constants, shape, rank=2 + count), folder, array(*shape))


@given(st.data())
@SOME
def test_pooling_of_any_rank(folder, data):
    count = data.draw(st.integers(1, 3))
    attributes = window(data, count) | {"ceil_mode": data.draw(st.integers(0, 1))}
    op = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    if op == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    reach = [
        (taps - 1) * gap
        for taps, gap in zip(attributes["kernel_shape"], attributes.get("dilations", [1] * 3), strict=False)
    ]
    assume(all(pad <= more for pad, more in zip(attributes.get("pads", []), reach * 2, strict=False)))
    # Where a step is wider than the window, SAME padding is negative: the specification does not say what that means.
    is_same = attributes.get("auto_pad", "NOTSET").startswith("SAME")
    steps = attributes.get("strides", [1] * count)
    assume(not is_same or all(step <= more + 1 for step, more in zip(steps, reach, strict=False)))
    shape = (1, 2, *data.draw(st.lists(st.integers(5, 9), min_size=count, max_size=count)))
    agree(model_of([node(op, ["x"], **attributes)], {}, shape, rank=2 + count), folder, array(*shape))


@given(st.data())
@SOME
def test_places_of_maxima(folder, data):
    attributes = window(data, 2, auto=False) | {"storage_order": data.draw(st.integers(0, 1))}
    taps = attributes["kernel_shape"] * 2
    assume(all(pad < more for pad, more in zip(attributes["pads"], taps, strict=True)))
    kinds = {"y": FLOAT, "i": TensorProto.INT64}
    model = model_of([node("MaxPool", ["x"], ["y", "i"], **attributes)], {}, (2, 3, 7, 8), rank=4, outputs=kinds)
    agree(model, folder, array(2, 3, 7, 8))


def test_windows_that_begin_in_the_padding_are_none(folder):
    for op in ("MaxPool", "AveragePool"):
        one = node(op, ["x"], kernel_shape=[3, 3], strides=[3, 3], pads=[0, 0, 1, 1], ceil_mode=1)
        agree(model_of([one], {}, (1, 1, 6, 8), rank=4), folder, array(1, 1, 6, 8))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 4), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("op", ["GlobalMaxPool", "GlobalAveragePool"])
def test_pooling_over_all_positions(op, shape, folder):
    agree(model_of([node(op, ["x"])], {}, shape, rank=len(shape)), folder, array(*shape))


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@given(st.data())
@SOME
def test_recurrent_layers(folder, data):
    op = data.draw(st.sampled_from(sorted(GATES)))
    way = data.draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count, hidden = (2 if way == "bidirectional" else 1), 3
    rows = GATES[op] * hidden
    constants = {"w": array(count, rows, 4, seed=1), "r": array(count, rows, hidden, seed=2)}
    optional = {
        "b": array(count, 2 * rows, seed=3),
        "l": np.array([5, 2], np.int32),
        "h": array(count, 2, hidden, seed=4),
    }
    if op == "LSTM":
        optional |= {"c": array(count, 2, hidden, seed=5), "p": array(count, 3 * hidden, seed=6)}
    given_ = {name: value for name, value in optional.items() if data.draw(st.booleans())}
    attributes = {"hidden_size": hidden, "direction": way}
    if op == "GRU":
        attributes["linear_before_reset"] = data.draw(st.integers(0, 1))
    if data.draw(st.booleans()):
        attributes["clip"] = 0.5
    if data.draw(st.booleans()):
        each = {"LSTM": ["HardSigmoid", "Tanh", "Softsign"], "GRU": ["Sigmoid", "ScaledTanh"], "RNN": ["Relu"]}[op]
        attributes["activations"] = each * count
        if op != "RNN":
            attributes["activation_alpha"] = [0.3] * count
            attributes["activation_beta"] = [0.4] * count
    kinds = {"y": FLOAT, "s": FLOAT} | ({"t": FLOAT} if op == "LSTM" else {})
    names = ["x", "w", "r", *(name if name in given_ else "" for name in optional)]
    one = node(op, names, list(kinds), **attributes)
    model = model_of([one], constants | given_, (5, 2, 4), outputs=kinds, opset=14)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
        for size in (None,) * (4 if output.name == "y" else 3):
            output.type.tensor_type.shape.dim.add().dim_value = size or 0
            output.type.tensor_type.shape.dim[-1].Clear()
    agree(model, folder, array(5, 2, 4))


def test_recurrent_layer_with_the_batch_first(folder, tmp_path):
    constants = {"w": array(1, 12, 4, seed=1), "r": array(1, 12, 3, seed=2)}
    image = array(5, 2, 4)
    first = model_of([node("LSTM", ["x", "w", "r"], hidden_size=3)], constants, (5, 2, 4), rank=4)
    second = model_of([node("LSTM", ["x", "w", "r"], hidden_size=3, layout=1)], constants, (2, 5, 4), rank=4)
    (expected,) = answers(first, tmp_path, image)
    (found,) = answers(second, tmp_path, image.swapaxes(0, 1).copy())
    np.testing.assert_array_equal(found, expected.transpose(2, 0, 1, 3))


# Versions.


@pytest.mark.parametrize("opset", [7, 9, 10, 12, 13, 14, 15, 20])
def test_batch_normalisation_uses_the_stored_statistics_in_every_version(opset, folder):
    constants = {name: np.abs(array(3, seed=seed)) + 0.5 for seed, name in enumerate(("s", "b", "m", "v"))}
    one = node("BatchNormalization", ["x", *constants], epsilon=1e-3, momentum=0.7)
    agree(model_of([one], constants, (2, 3, 4, 5), opset, rank=4), folder, array(2, 3, 4, 5))


@pytest.mark.parametrize("opset", [8, 12, 13, 20])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("attributes", [{}, {"axis": 1}, {"axis": 2}, {"axis": 0}])
def test_softmax_of_every_version(op, opset, attributes, folder):
    agree(model_of([node(op, ["x"], **attributes)], {}, (2, 3, 4), opset, rank=3), folder, array(2, 3, 4))


@pytest.mark.parametrize("opset", [10, 13, 17, 19, 21])
@pytest.mark.parametrize("each", [True, False])
def test_dequantisation_of_every_version(opset, each, folder):
    if each and opset < 13:
        pytest.skip("one scale for the tensor")
    constants = {
        "q": np.arange(12).reshape(4, 3).astype(np.uint8),
        "s": np.array([0.1, 0.2, 0.3], np.float32) if each else np.float32(0.1),
        "z": np.array([1, 2, 3], np.uint8) if each else np.uint8(3),
    }
    chain = node("DequantizeLinear", ["q", "s", "z"], ["w"], **({"axis": 1} if each else {}))
    agree(model_of([chain, node("MatMul", ["x", "w"])], constants, (1, 4), opset), folder, array(1, 4))


@pytest.mark.parametrize("opset", [10, 13, 19, 21])
def test_quantisation_there_and_back(opset, folder):
    constants = {"s": np.float32(0.07), "z": np.int8(3)}
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"])]
    agree(model_of(nodes, constants, (3, 50), opset), folder, 9 * array(3, 50))


def test_quotient_that_is_a_tie_in_float32_is_one(folder):
    """Images of 16 grey levels, in steps of 1/255: half of 255 is no tie in float64, where 1/255 is not rounded up."""
    constants = {"s": np.float32(1 / 255), "z": np.uint8(0)}
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"])]
    levels = np.linspace(0, 1, 17, dtype=np.float32)[None]
    agree(model_of(nodes, constants, levels.shape), folder, levels)


@pytest.mark.parametrize(
    ("opset", "one", "constants"),
    [
        (7, node("Upsample", ["x"], mode="nearest", scales=[1.0, 1.0, 2.0, 3.0]), {}),
        (9, node("Upsample", ["x", "s"], mode="linear"), {"s": np.array([1, 1, 2, 3], np.float32)}),
        (10, node("Resize", ["x", "s"], mode="nearest"), {"s": np.array([1, 1, 0.5, 3], np.float32)}),
        (10, node("Resize", ["x", "s"], mode="linear"), {"s": np.array([1, 1, 2, 3], np.float32)}),
        (11, node("Resize", ["x", "e", "s"], mode="linear"), {"e": array(0), "s": np.array([1, 1, 2, 3], np.float32)}),
        (13, node("Resize", ["x", "", "", "s"], mode="cubic"), {"s": np.array([1, 2, 7, 9])}),
        (19, node("Resize", ["x", "", "s"], mode="linear", antialias=1), {"s": np.array([1, 1, 0.5, 0.5], np.float32)}),
        (9, node("Slice", ["x"], starts=[1, 0], ends=[2, 9], axes=[2, 3]), {}),
        (9, node("Scatter", ["x", "i", "u"], axis=2), {"i": np.zeros((1, 2, 1, 6), np.int64), "u": array(1, 2, 1, 6)}),
        (10, node("Pad", ["x"], pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5), {}),
        (9, node("Clip", ["x"], min=-0.5, max=0.5), {}),
        (10, node("TopK", ["x", "k"], ["y", "i"]), {"k": np.array([2])}),
        (9, node("Dropout", ["x"], ratio=0.9), {}),
        (16, node("GridSample", ["x", "g"]), {"g": array(1, 3, 4, 2)}),
        (20, node("GridSample", ["x", "g"], mode="cubic", align_corners=1), {"g": array(1, 3, 4, 2)}),
        (13, node("GatherElements", ["x", "i"], axis=3), {"i": np.array([[[[0, -1]] * 4] * 2])}),
        (
            18,
            node("ScatterElements", ["x", "i", "u"], axis=2, reduction="add"),
            {"i": np.zeros((1, 2, 3, 6), np.int64), "u": array(1, 2, 3, 6)},
        ),
        (13, node("LRN", ["x"], size=3, alpha=0.2, beta=0.6, bias=1.5), {}),
        (13, node("GlobalLpPool", ["x"], p=3), {}),
        (13, node("LpPool", ["x"], kernel_shape=[2, 2], p=3), {}),
        (13, node("InstanceNormalization", ["x", "s", "b"]), {"s": array(2), "b": array(2, seed=1)}),
        (18, node("GroupNormalization", ["x", "s", "b"], num_groups=1), {"s": array(1), "b": array(1, seed=1)}),
        (21, node("GroupNormalization", ["x", "s", "b"], num_groups=2), {"s": array(2), "b": array(2, seed=1)}),
        (17, node("LayerNormalization", ["x", "s"], axis=-1), {"s": array(6)}),
        (20, node("Gelu", ["x"], approximate="tanh"), {}),
        (20, node("Gelu", ["x"]), {}),
        (18, node("Mish", ["x"]), {}),
        (14, node("HardSwish", ["x"]), {}),
        (13, node("HardSigmoid", ["x"]), {}),
        (13, node("Erf", ["x"]), {}),
        (13, node("MeanVarianceNormalization", ["x"]), {}),
        (13, node("Einsum", ["x", "w"], equation="abcd,de->abce"), {"w": array(6, 2)}),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else "",
)
def test_operators_mean_what_onnx_runtime_runs(opset, one, constants, folder):
    outputs = {name: TensorProto.INT64 if name == "i" else FLOAT for name in one.output}
    model = model_of([one], constants, (1, 2, 4, 6), opset, rank=4, outputs=outputs)
    image = array(1, 2, 4, 6)
    run(model, {"x": image})
    agree(model, folder, image, limit=1e-5)


QUANTISED = {
    "QLinearConv": (
        node("QLinearConv", ["x", "s", "z", "w", "t", "p", "u", "v", "b"], pads=[1, 1, 1, 1]),
        {
            "w": np.random.default_rng(0).integers(-60, 60, (4, 2, 3, 3)).astype(np.int8),
            "t": np.array([0.01, 0.02, 0.03, 0.01], np.float32),
            "p": np.zeros(4, np.int8),
            "b": np.array([1, -50, 3, 900], np.int32),
        },
        (1, 2, 5, 5),
        TensorProto.UINT8,
    ),
    "ConvInteger": (
        node("ConvInteger", ["x", "w", "z", "p"], strides=[2, 1]),
        {"w": np.random.default_rng(0).integers(0, 255, (4, 2, 3, 3)).astype(np.uint8), "p": np.uint8(9)},
        (1, 2, 5, 5),
        TensorProto.INT32,
    ),
    "MatMulInteger": (
        node("MatMulInteger", ["x", "w", "z", "p"]),
        {
            "w": np.random.default_rng(0).integers(0, 255, (5, 3)).astype(np.uint8),
            "p": np.array([3, 200, 7], np.uint8),
        },
        (4, 5),
        TensorProto.INT32,
    ),
    "QLinearMatMul": (
        node("QLinearMatMul", ["x", "s", "z", "w", "t", "p", "u", "v"]),
        {
            "w": np.random.default_rng(0).integers(0, 255, (5, 3)).astype(np.uint8),
            "t": np.float32(0.02),
            "p": np.uint8(120),
        },
        (4, 5),
        TensorProto.UINT8,
    ),
}


@pytest.mark.parametrize("op", QUANTISED)
def test_products_of_integers_are_exact(op, folder):
    one, constants, shape, kind = QUANTISED[op]
    shared = {"s": np.float32(0.013), "z": np.uint8(100), "u": np.float32(0.3), "v": np.uint8(77)}
    used = {name: value for name, value in (constants | shared).items() if name in one.input}
    model = model_of([one], used, shape, dtype=TensorProto.UINT8, outputs={"y": kind}, rank=len(shape))
    agree(model, folder, np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8))


# Floats made inside.

THIRD = 1 / 3
BODY = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("c", 9), ("d", 9))]


def scalar(name, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, None)


def branch(name):
    graph = helper.make_graph([node("Mul", ["x", "k"], [name])], name, [], [scalar(name)])
    graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "k"))
    return graph


def test_branch_and_loop_with_constants_of_their_own(tmp_path):
    condition = [node("ReduceSum", ["x"], ["t"], keepdims=0), node("Greater", ["t", "n"], ["c"])]
    one = node("If", ["c"], ["h"], then_branch=branch("a"), else_branch=branch("b"))
    body = helper.make_graph(
        [node("Identity", ["c"], ["d"]), node("Mul", ["g", "k"], ["o"])],
        "body",
        [BODY[0], BODY[1], scalar("g")],
        [BODY[2], scalar("o")],
    )
    loop = node("Loop", ["m", "", "h"], ["y"], body=body)
    constants = {"n": np.float32(0), "m": np.array(3), "k": np.float32(0.1)}
    (found,) = answers(model_of([*condition, one, loop], constants), tmp_path, array(1, 4))
    np.testing.assert_allclose(found, array(1, 4).astype(np.float64) * float(np.float32(0.1)) ** 4, rtol=1e-14)


def test_loop_joins_what_each_repetition_gives(folder):
    body = helper.make_graph(
        [node("Identity", ["c"], ["d"]), node("Mul", ["g", "k"], ["o"]), node("Identity", ["o"], ["each"])],
        "body",
        [BODY[0], BODY[1], scalar("g")],
        [BODY[2], scalar("o"), scalar("each")],
    )
    loop = node("Loop", ["m", "", "x"], ["y", "all"], body=body)
    for shape in ((2, 3), (4,), ()):
        outputs = {"y": FLOAT, "all": FLOAT}
        model = model_of([loop], {"m": np.array(3), "k": np.float32(0.5)}, shape, rank=len(shape), outputs=outputs)
        model.graph.output[1].type.tensor_type.shape.dim.add()
        agree(model, folder, np.asarray(array(*shape), np.float32))


@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_scan_of_any_axis_and_direction(axis, back, folder):
    info = [helper.make_tensor_value_info(name, FLOAT, None) for name in "sxto"]
    body = helper.make_graph(
        [node("Add", ["s", "x"], ["t"]), node("Mul", ["t", "k"], ["o"])], "body", info[:2], info[2:]
    )
    ways = {
        f"scan_{which}_{what}": [value]
        for which in ("input", "output")
        for what, value in (("axes", axis), ("directions", back))
    }
    one = node("Scan", ["z", "x"], ["y", "all"], body=body, num_scan_inputs=1, **ways)
    constants = {"z": array(3, seed=1), "k": np.float32(0.1)}
    shape = (5, 3) if axis == 0 else (3, 5)
    model = model_of([one], constants, shape, rank=1, outputs={"y": FLOAT, "all": FLOAT})
    model.graph.output[1].type.tensor_type.shape.dim.add()
    agree(model, folder, array(*shape))


def third(kind="x"):
    """A third of what is called `kind`; float32 anywhere shows in the eighth digit."""
    return [node("Constant", [], ["three"], value_float=3.0), node("Div", [kind, "three"])]


MADE_INSIDE = {
    "cast": ([node("Cast", ["x"], ["a"], to=FLOAT)], "a"),
    "half and back": (
        [node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), node("Cast", ["h"], ["a"], to=FLOAT)],
        "a",
    ),
    "bfloat16": (
        [node("Cast", ["x"], ["h"], to=TensorProto.BFLOAT16), node("Cast", ["h"], ["a"], to=FLOAT)],
        "a",
    ),
    "cast from integers": (
        [
            node("Cast", ["x"], ["i"], to=TensorProto.INT64),
            node("Cast", ["i"], ["j"], to=FLOAT),
            node("Sub", ["x", "j"], ["f"]),
            node("Add", ["j", "f"], ["a"]),
        ],
        "a",
    ),
    "filled": (
        [node("Shape", ["x"], ["s"]), node("ConstantOfShape", ["s"], ["o"]), node("Add", ["x", "o"], ["a"])],
        "a",
    ),
    "cast like": ([node("CastLike", ["x", "k"], ["a"])], "a"),
    "sequence": (
        [
            node("SequenceConstruct", ["x", "x"], ["s"]),
            node("SequenceAt", ["s", "zero"], ["a"]),
        ],
        "a",
    ),
    "empty sequence": (
        [
            node("SequenceEmpty", [], ["e"]),
            node("SequenceInsert", ["e", "x"], ["s"]),
            node("SequenceAt", ["s", "zero"], ["a"]),
        ],
        "a",
    ),
    "optional": ([node("Optional", ["x"], ["o"]), node("OptionalGetElement", ["o"], ["a"])], "a"),
    "identity matrix": ([node("EyeLike", ["q"], ["e"], dtype=FLOAT), node("MatMul", ["x", "e"], ["a"])], "a"),
    "one hot": (
        [
            node("OneHot", ["zero", "four", "values"], ["o"]),
            node("Mul", ["o", "x"], ["p"]),
            node("Add", ["p", "x"], ["r"]),
            node("Sub", ["r", "p"], ["a"]),
        ],
        "a",
    ),
}


@pytest.mark.parametrize("made", MADE_INSIDE)
def test_floats_made_inside_are_float64(made, tmp_path):
    nodes, name = MADE_INSIDE[made]
    constants = {
        "k": np.float32(1),
        "zero": np.array(0),
        "q": np.zeros((4, 4), np.int32),
        "four": np.array(4),
        "values": np.array([0, 1], np.float32),
    }
    used = {one for made_ in nodes for one in made_.input}
    model = model_of([*nodes, *third(name)], {key: value for key, value in constants.items() if key in used})
    image = array(1, 4)
    (found,) = answers(model, tmp_path, image)
    np.testing.assert_allclose(found, image.astype(np.float64) / 3, rtol=1e-14)


def test_range_and_stored_halves_are_float64(tmp_path):
    constants = {"a": np.float32(0), "b": np.float32(4), "c": np.float32(1), "w": np.full((4, 1), 0.1, np.float16)}
    nodes = [
        node("Range", ["a", "b", "c"], ["r"]),
        node("Cast", ["w"], ["v"], to=FLOAT),
        node("Add", ["x", "r"], ["h"]),
        node("MatMul", ["h", "v"]),
    ]
    (found,) = answers(model_of(nodes, constants), tmp_path, array(1, 4))
    expected = (array(1, 4).astype(np.float64) + np.arange(4)) @ constants["w"].astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_error_function_has_all_digits(tmp_path):
    from math import erf

    image = array(1, 4)
    (found,) = answers(model_of([node("Erf", ["x"])], {}), tmp_path, image)
    np.testing.assert_allclose(found[0], [erf(float(one)) for one in image[0]], rtol=1e-15)


def test_functions_and_sparse_constants(tmp_path):
    body = [node("Constant", [], ["k"], value_float=0.1), node("Mul", ["x", "k"], ["y"])]
    own = helper.make_function("mine", "Layer", ["x"], ["y"], body, [helper.make_opsetid("", 20)])
    nodes = [node("Layer", ["x"], ["h"], domain="mine"), node("MatMul", ["h", "w"])]
    model = model_of(nodes, {}, functions=[own], domains=("mine",))
    values = numpy_helper.from_array(np.array([3, 5], np.float32), "w")
    places = numpy_helper.from_array(np.array([0, 7], np.int64), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4, 2]))
    image = array(1, 4)
    (found,) = answers(model, tmp_path, image)
    expected = image.astype(np.float64) * float(np.float32(0.1))
    np.testing.assert_allclose(found, [[3 * expected[0, 0], 5 * expected[0, 3]]], rtol=1e-14)


# Inputs and outputs.


def test_inputs_of_several_types_come_in_order(tmp_path):
    infos = [
        helper.make_tensor_value_info("i", TensorProto.INT64, ["n", 2]),
        helper.make_tensor_value_info("w", FLOAT, [5, 3]),
        helper.make_tensor_value_info("x", TensorProto.FLOAT16, [-1, 2, 3]),
    ]
    nodes = [node("Gather", ["w", "i"], ["e"]), node("Cast", ["x"], ["f"], to=FLOAT), node("Add", ["e", "f"])]
    table = array(5, 3)
    model = model_of(nodes, {"w": table}, inputs=infos, rank=3)
    places, image = np.array([[4, 0]]), array(1, 2, 3, seed=2).astype(np.float16)
    (found,) = answers(model, tmp_path, places, image)
    np.testing.assert_array_equal(found, table.astype(np.float64)[places] + image.astype(np.float64))
    specs = input_specs_of(tmp_path / "model.onnx")
    assert specs == [("i", (0, 2), "int64"), ("x", (0, 2, 3), "float16")]


def test_integers_stay_integers(tmp_path):
    model = model_of([node("Div", ["x", "k"])], {"k": np.array(2)}, dtype=7, outputs={"y": 7})
    (found,) = answers(model, tmp_path, np.array([[1, 2, 3, 7]]))
    assert found.dtype == np.int64
    assert found.tolist() == [[0, 1, 1, 3]]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("RandomNormalLike", ["x"])], "RandomNormalLike: draws at random"),
        ([node("Dance", ["x"], domain="mine")], "Dance"),
        ([node("Reshape", ["x", "k"])], "Reshape: "),
        ([node("SequenceConstruct", ["x"])], "output y is no tensor"),
    ],
)
def test_what_cannot_be_computed_is_one_line_with_the_operator(nodes, said, tmp_path, monkeypatch):
    import onnx

    model = model_of(nodes, {"k": np.array([3, 3])}, domains=("mine",))
    if nodes[0].op_type == "SequenceConstruct":
        model.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", FLOAT, None))
    monkeypatch.setattr(onnx.checker, "check_model", lambda model: None)
    with pytest.raises(NoFloat64Error, match=f"^onnx: .*{said}") as caught:
        answers(model, tmp_path, array(1, 4))
    assert "\n" not in str(caught.value)


def test_values_are_dropped_after_their_last_use(tmp_path):
    nodes = [node("Relu", ["x"], ["h0"])]
    nodes += [node("Add", [f"h{index}", f"h{index}"], [f"h{index + 1}"]) for index in range(40)]
    nodes.append(node("ReduceSum", ["h40"], keepdims=0))
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(nodes, {}, (1, 2**17), rank=0).SerializeToString())
    OnnxInFloat64(path)((array(1, 4),))
    tracemalloc.start()
    OnnxInFloat64(path)((array(1, 2**17),))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20  # of 41 values of 1 MiB each


def test_threads_are_as_before(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        answers(model_of([node("Relu", ["x"])], {}), tmp_path, array(1, 4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
