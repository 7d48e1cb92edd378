"""Every other operator computes what it does in ONNX, or is refused by name."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sparsemark.errors import UnsupportedError
from sparsemark.measurement.parity import TOLERANCE
from tests.direct.checks import (
    SOME,
    close_in_every_way,
    dense,
    exact_in_every_way,
    noise,
    reason_against,
    stays_inside,
)
from tests.direct.graphs import (
    ACTIVATIONS,
    Prepared,
    Sketch,
    activate,
    distance,
    expected,
    sizes,
    whole_numbers,
)


@given(st.sampled_from(list(ACTIVATIONS)), sizes(wide=False), st.integers(1, 5), st.booleans(), st.integers(0, 99))
@SOME
def test_activation_of_an_image_and_of_a_convolution(kind, size, channels, alone, seed):
    sketch = Sketch(1, channels, *size)
    name = "x" if alone else sketch.conv("x", noise(4, channels, 3, 3, seed=seed), pads=[1, 1, 1, 1])
    activate(sketch, name, kind)
    image = 3 * noise(1, channels, *size, seed=seed)
    reference = expected(sketch.graph(), image)[0]
    assume(np.abs(reference).max() > 0.1)
    close_in_every_way(sketch.graph(), image, 2)


@pytest.mark.parametrize("kind", ["Sigmoid", "SiLU", "Tanh", "Elu", "Mish", "Softplus"])
def test_exponential_is_exact_to_some_units_in_the_last_place(kind):
    image = np.linspace(-80, 80, 20_001, dtype=np.float32).reshape(1, 1, 1, -1)
    sketch = Sketch(*image.shape)
    activate(sketch, "x", kind)
    (got,) = Prepared(sketch.graph()).runner({})(image)
    np.testing.assert_allclose(got, expected(sketch.graph(), image)[0], rtol=1e-6, atol=1e-34)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.1, 10.0])
def test_activation_is_as_exact_near_zero_as_elsewhere(kind, scale):
    """What is small everywhere is compared with the largest of it."""
    sketch = Sketch(1, 2, 5, 37)
    activate(sketch, "x", kind)
    image = scale * noise(1, 2, 5, 37)
    close_in_every_way(sketch.graph(), image)


@pytest.mark.parametrize(
    "kind", ["SiLU", "HardSwish", "Gelu", "Elu", "Sigmoid", "Tanh", "LeakyRelu", "Mish", "Softplus"]
)
def test_activation_of_what_is_very_negative(kind):
    sketch = Sketch(1, 1, 1, 4)
    activate(sketch, "x", kind)
    image = np.array([-1e36, -1e30, -1e10, 1.0], np.float32).reshape(1, 1, 1, 4)
    close_in_every_way(sketch.graph(), image)


@pytest.mark.parametrize("kind", [kind for kind in ACTIVATIONS if kind != "Identity"])
def test_activation_of_the_largest_and_smallest_numbers(kind):
    values = [
        0.0,
        -0.0,
        1e-38,
        -1e-30,
        1e-7,
        0.5,
        3.0,
        -3.0,
        20.0,
        -20.0,
        87.0,
        -87.0,
        89.0,
        -89.0,
        150.0,
        -150.0,
        1e30,
    ]
    image = np.array(values, np.float32).reshape(1, 1, 1, -1)
    sketch = Sketch(*image.shape)
    activate(sketch, "x", kind)
    prepared = Prepared(sketch.graph())
    (got,) = prepared.runner({})(image)
    np.testing.assert_allclose(got, expected(sketch.graph(), image)[0], rtol=3e-6, atol=1e-7)


@given(
    sizes(wide=False), st.integers(1, 6), st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.data(),
)  # fmt: skip
@SOME
def test_pooling(size, channels, kernel, strides, data):
    kind = data.draw(st.sampled_from(("MaxPool", "AveragePool")))
    pads = [data.draw(st.integers(0, k // 2)) for k in kernel] * 2
    if kind == "MaxPool" and data.draw(st.booleans()):
        pads = [data.draw(st.integers(0, kernel[a % 2] - 1)) for a in range(4)]
    attributes = {"ceil_mode": data.draw(st.integers(0, 1))}
    if kind == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    sketch = Sketch(1, channels, *size)
    sketch.node(kind, "x", kernel_shape=list(kernel), strides=list(strides), pads=pads, **attributes)
    image = noise(1, channels, *size)
    try:
        reference = expected(sketch.graph(), image)[0]
    except (RuntimeError, UnsupportedError):
        assume(False)
    assume(reference.size)
    reason = reason_against(sketch.graph())
    if reason is None:
        (got,) = Prepared(sketch.graph()).runner({})(image)
        assert distance(got, reference) <= TOLERANCE
    else:
        assert "outside the image" in reason or (attributes["ceil_mode"] and attributes.get("count_include_pad"))


@given(
    sizes(wide=False), st.sampled_from(((0, 0, 0, 0), (0, 0, 1, 1), (1, 1, 0, 0), (0, 1, 0, 0), (1, 0, 1, 0))),
    st.integers(0, 1),
)  # fmt: skip
@SOME
def test_pooling_of_squares_at_every_edge(size, pads, ceil_mode):
    """Squares of 2 x 2 have a way of their own, of whole vectors; zeros would show beside negative numbers."""
    assume(not ceil_mode or not any(pads))
    assume(min(size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3]) >= 2)
    sketch = Sketch(1, 2, *size)
    name = sketch.node("Sub", "x", sketch.constant(200.0))
    sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2], pads=list(pads), ceil_mode=ceil_mode)
    exact_in_every_way(sketch.graph(), whole_numbers(np.random.default_rng(0), (1, 2, *size), 99))


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 40)), st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.tuples(st.integers(1, 2), st.integers(1, 2)), st.data(),
)  # fmt: skip
@example((5, 40), (4, 4), (2, 2), (1, 1), None)
@SOME
def test_transposed_convolution(size, kernel, strides, dilations, data):
    draw = data.draw if data else lambda strategy: 1
    group, inside, outside = (draw(st.integers(1, 3)) for _ in range(3))
    pads = [draw(st.integers(0, d * (k - 1))) for d, k in zip(dilations, kernel, strict=True)]
    extra = [draw(st.integers(0, max(s, d) - 1)) if data else 0 for s, d in zip(strides, dilations, strict=True)]
    density = draw(st.sampled_from((0.0, 0.3, 1.0)))
    out = [
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(size, strides, pads, dilations, kernel, extra, strict=True)
    ]
    assume(min(out) >= 1)
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    sketch = Sketch(1, inside * group, *size)
    operands = [sketch.constant(whole_numbers(generator, (inside * group, outside, *kernel), 9, density))]
    if draw(st.booleans()):
        operands.append(sketch.constant(whole_numbers(generator, (outside * group,), 9)))
    name = sketch.node(
        "ConvTranspose", "x", *operands, kernel_shape=list(kernel), strides=list(strides), pads=pads * 2,
        dilations=list(dilations), group=group, output_padding=extra,
    )  # fmt: skip
    if draw(st.booleans()):
        sketch.node("Relu", name)
    exact_in_every_way(sketch.graph(), whole_numbers(generator, (1, inside * group, *size), 99))


def test_transposed_convolution_with_one_padding_at_each_side():
    """torch has no such thing, but it is a part of one that has none."""
    sketch, whole = Sketch(1, 2, 6, 9), Sketch(1, 2, 6, 9)
    weight = whole_numbers(np.random.default_rng(0), (2, 3, 3, 4), 9)
    sketch.node("ConvTranspose", "x", sketch.constant(weight), kernel_shape=[3, 4], strides=[2, 2], pads=[1, 2, 0, 1])
    whole.node("ConvTranspose", "x", whole.constant(weight), kernel_shape=[3, 4], strides=[2, 2])
    image = whole_numbers(np.random.default_rng(1), (1, 2, 6, 9), 99)
    reference = expected(whole.graph(), image)[0][:, :, 1:, 2:-1]
    prepared = Prepared(sketch.graph())
    for choices in prepared.ways():
        got = prepared.runner(choices)(image)[0]
        np.testing.assert_allclose(got, reference, rtol=0, atol=TOLERANCE * np.abs(reference).max())


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), sizes(wide=False), st.integers(0, 99), st.booleans())
@SOME
def test_concatenation_of_a_skip_connection_and_what_comes_up(channels, size, seed, negative):
    """Parts that are convolutions, the image, the same one twice; and a convolution that reads them all."""
    generator = np.random.default_rng(seed)
    sketch = Sketch(1, 3, *size)
    parts = ["x", activate(sketch, "x", "Relu")]
    for outputs in channels:
        source = parts[int(generator.integers(len(parts)))]
        inside = 3 if source in parts[:2] else channels[parts.index(source) - 2]
        k = int(generator.choice((1, 3)))
        parts.append(sketch.conv(source, whole_numbers(generator, (outputs, inside, k, k), 3, 0.5), pads=[k // 2] * 4))
    chosen = [parts[int(n)] for n in generator.integers(0, len(parts), 3)]
    joined = sketch.node("Concat", *chosen, axis=-3 if negative else 1)
    total = sum(3 if part in parts[:2] else channels[parts.index(part) - 2] for part in chosen)
    again = sketch.node("Concat", joined, parts[-1], axis=1)
    five = sketch.conv(again, whole_numbers(generator, (4, total + channels[-1], 5, 5), 3, 0.2), pads=[2, 2, 2, 2])
    exact_in_every_way(sketch.graph(five, joined), whole_numbers(generator, (1, 3, *size), 9), 5)


@given(sizes(wide=False), st.integers(1, 4), st.sampled_from(((2, 2), (1, 2), (2, 1))), st.booleans())
@settings(max_examples=25, deadline=None)
def test_nearest_neighbours(size, channels, scale, by_size):
    sketch = Sketch(1, channels, *size)
    name = activate(sketch, "x", "Relu")
    if by_size:
        target = [1, channels, size[0] * scale[0], size[1] * scale[1]]
        operands = (name, "", "", sketch.constant(target, np.int64))
    else:
        operands = (name, "", sketch.constant([1, 1, *scale]))
    resized = sketch.node("Resize", *operands, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    image = whole_numbers(np.random.default_rng(0), (1, channels, *size), 99)
    (got,) = Prepared(sketch.graph(resized)).runner({})(image)
    np.testing.assert_array_equal(got, np.maximum(image, 0).repeat(scale[0], 2).repeat(scale[1], 3))


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
@pytest.mark.parametrize("rounding", ["floor", "round_prefer_floor"])
def test_nearest_neighbours_are_those_of_onnx(coordinates, rounding):
    sketch = Sketch(1, 2, 3, 5)
    given = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding, "mode": "nearest"}
    sketch.node("Resize", "x", "", sketch.constant([1, 1, 2, 2]), **given)
    image = noise(1, 2, 3, 5)
    if reason_against(sketch.graph()) is None:
        (got,) = Prepared(sketch.graph()).runner({})(image)
        np.testing.assert_array_equal(got, dense(sketch.graph())(image)[0])


@given(st.integers(1, 80), st.integers(1, 40), st.sampled_from((0.0, 0.1, 1.0)), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_linear_layers(inputs, outputs, density, bias, twice):
    generator = np.random.default_rng(inputs)
    sketch = Sketch(1, inputs)
    name = "x"
    for _ in range(1 + twice):
        weight = whole_numbers(generator, (outputs, inputs), 9, density)
        name = sketch.linear(name, weight, whole_numbers(generator, (outputs,), 9) if bias else None)
        inputs = outputs
    exact_in_every_way(sketch.graph(), whole_numbers(generator, sketch.shape, 99))


def test_head_of_a_classifier():
    sketch = Sketch(1, 6, 5, 7)
    mean = sketch.node("GlobalAveragePool", sketch.conv("x", noise(8, 6, 3, 3), noise(8)))
    flat = sketch.node("Flatten", mean)
    soft = sketch.node("Softmax", sketch.linear(flat, noise(5, 8), noise(5)), axis=-1)
    other = sketch.node("ReduceMean", "x", sketch.constant([-1, 2], np.int64), keepdims=0)
    best = sketch.node("GlobalMaxPool", "x")
    same = sketch.node("ReduceMax", "x", sketch.constant([2, 3], np.int64), keepdims=1)
    close_in_every_way(sketch.graph(soft, other, best, same), noise(1, 6, 5, 7) - 9)


@pytest.mark.parametrize("shape", [(1, 5, 4, 3), (1, 7), (1, 6, 1, 1), (1, 3, 2, 40)])
def test_softmax_over_channels(shape):
    sketch = Sketch(*shape)
    sketch.node("Softmax", "x", axis=1)
    close_in_every_way(sketch.graph(), 30 * noise(*shape))


def test_softmax_over_rows_of_a_matrix_is_not_that_over_all_of_it():
    """What lies flat in memory has other axes than a vector."""
    sketch = Sketch(1, 6, 4, 5)
    rows = sketch.node("Reshape", "x", sketch.constant([1, 6, 20], np.int64))
    sketch.node("Softmax", rows, axis=1)
    with contextlib.suppress(UnsupportedError):
        close_in_every_way(sketch.graph(), noise(1, 6, 4, 5))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("reverse", [False, True])
def test_constant_for_each_channel(op, shape, reverse):
    sketch = Sketch(1, 4, 5, 6)
    constant = sketch.constant(noise(*shape) + 3)
    sketch.node(op, *((constant, "x") if reverse else ("x", constant)))
    close_in_every_way(sketch.graph(), noise(1, 4, 5, 6) + 9)
    assert stays_inside(sketch.graph())


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(1, 1, 5, 20), (5, 20), (4, 5, 1), (20,), (4, 5, 20)])
@pytest.mark.parametrize("reverse", [False, True])
def test_constant_for_each_pixel(op, shape, reverse):
    sketch = Sketch(1, 4, 5, 20)
    name, constant = activate(sketch, "x", "Sigmoid"), sketch.constant(noise(*shape) + 9)
    sketch.node(op, *((constant, name) if reverse else (name, constant)))
    close_in_every_way(sketch.graph(), noise(*sketch.shape))
    assert stays_inside(sketch.graph())


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (6,), (1, 4, 5, 6)])
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_constant_of_another_shape_is_refused_or_right(op, shape):
    sketch = Sketch(1, 4, 5, 4) if shape == (1, 4) else Sketch(1, 4, 4, 6) if shape == (4, 1) else Sketch(1, 4, 5, 6)
    sketch.node(op, "x", sketch.constant(noise(*shape)))
    with contextlib.suppress(UnsupportedError):
        close_in_every_way(sketch.graph(), noise(*sketch.shape))


def test_constants_and_operands_that_add_axes_are_refused_or_right():
    """(1, 6) and (1, 6, 1, 1) make (1, 6, 1, 6)."""
    for other in (np.ones((1, 1, 1)), np.ones((1, 1, 1, 1, 1))):
        sketch = Sketch(1, 6)
        sketch.node("Add", "x", sketch.constant(other))
        with contextlib.suppress(UnsupportedError):
            close_in_every_way(sketch.graph(), noise(1, 6))
    sketch = Sketch(1, 6, 1, 1)
    sketch.node("Add", "x", sketch.node("Flatten", "x"))
    with contextlib.suppress(UnsupportedError):
        close_in_every_way(sketch.graph(), noise(1, 6, 1, 1))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("gate", [False, True])
def test_two_tensors(op, gate):
    """Also a gate of one value for each channel, as squeeze-and-excitation has; in either order."""
    for reverse in (False, True):
        sketch = Sketch(1, 4, 5, 20)
        first = activate(sketch, "x", "Sigmoid")
        second = sketch.node("GlobalAveragePool", first) if gate else activate(sketch, "x", "Gelu")
        if op == "Div" and not gate and not reverse:
            first, second = second, first
        sketch.node(op, *((second, first) if reverse else (first, second)))
        close_in_every_way(sketch.graph(), noise(1, 4, 5, 20))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("pixel", [False, True])
def test_map_of_one_channel(op, reverse, pixel):
    """As attention gates have; and one number that was computed."""
    sketch = Sketch(1, 4, 5, 20)
    first = activate(sketch, "x", "Sigmoid")
    second = activate(sketch, sketch.conv(first, noise(1, 4, 3, 3), noise(1), pads=[1] * 4), "Sigmoid")
    second = sketch.node("GlobalMaxPool", second) if pixel else second
    sketch.node(op, *((second, first) if reverse else (first, second)))
    close_in_every_way(sketch.graph(), noise(1, 4, 5, 20))
    assert stays_inside(sketch.graph(), 4)


def test_operands_that_both_are_repeated_are_refused():
    sketch = Sketch(1, 4, 5, 20)
    gate, (part, _) = sketch.node("GlobalMaxPool", "x"), sketch.split("x", [1, 3])
    sketch.node("Mul", gate, part)
    assert "Mul at node mul2: of shapes" in reason_against(sketch.graph())


@pytest.mark.parametrize("shape", [(1, 4, 5, 20), (1, 7), (1, 4, 1, 1)])
@pytest.mark.parametrize("alone", [False, True])
def test_slope_for_each_channel(shape, alone):
    sketch = Sketch(*shape)
    count = (1,) if alone else (shape[1], *(1,) * (len(shape) - 2))
    sketch.node("PRelu", "x", sketch.constant(noise(*count)))
    close_in_every_way(sketch.graph(), noise(*shape))


def test_slope_for_each_pixel_is_refused():
    sketch = Sketch(1, 4, 5, 20)
    sketch.node("PRelu", "x", sketch.constant(noise(4, 5, 20)))
    assert "a slope of shape (4, 5, 20) beside (1, 4, 5, 20)" in reason_against(sketch.graph())


@pytest.mark.parametrize("kind", ["Mish", "HardSwish"])
@pytest.mark.parametrize("also_read", [False, True])
def test_activations_that_older_files_write_in_parts(kind, also_read):
    sketch = Sketch(1, 3, 5, 20)
    if kind == "Mish":
        inner = sketch.node("Tanh", sketch.node("Softplus", "x"))
    else:
        inner = sketch.node("HardSigmoid", "x", alpha=float(np.float32(1 / 6)), beta=0.5)
    made = sketch.node("Mul", inner, "x")
    graph = sketch.graph(made, *([inner] if also_read else []))
    prepared = close_in_every_way(graph, 3 * noise(*sketch.shape))
    assert len(prepared.lowered.operations) == 2 + also_read * (2 if kind == "Mish" else 1)


@pytest.mark.parametrize("shape", [(1, 5, 6, 7), (1, 5)])
def test_batch_normalisation(shape):
    sketch = Sketch(*shape)
    values = [sketch.constant(noise(5, seed=n)) for n in range(3)]
    variance = sketch.constant(np.abs(noise(5)) + 0.1)
    sketch.node("BatchNormalization", "x", *values, variance, epsilon=1e-3)
    close_in_every_way(sketch.graph(), noise(*shape))


def test_shapes_that_change_and_change_back():
    sketch = Sketch(1, 8, 4, 4)
    flat = sketch.node("Flatten", "x", axis=1)
    image = sketch.node("Reshape", flat, sketch.constant([0, 2, 8, -1], np.int64))
    convolved = sketch.conv(image, whole_numbers(np.random.default_rng(0), (3, 2, 3, 3), 9), pads=[1, 1, 1, 1])
    vector = sketch.node("Reshape", convolved, sketch.constant([1, 3, 64], np.int64))
    out = sketch.node("Unsqueeze", vector, sketch.constant([0], np.int64))
    out = sketch.node("Squeeze", out, sketch.constant([0], np.int64))
    exact_in_every_way(sketch.graph(flat, image, out), whole_numbers(np.random.default_rng(1), sketch.shape, 99))


def test_operator_that_is_not_known_is_named_with_its_node():
    sketch = Sketch(1, 2, 4, 4)
    sketch.node("Det", "x")
    with pytest.raises(UnsupportedError, match=r"^direct-csr: Det at node det0$"):
        Prepared(sketch.graph())


def test_every_operator_that_is_not_taken_is_named_at_once():
    """With how many there are; what comes after one of them is judged by its operator alone."""
    sketch = Sketch(1, 2, 4, 4)
    first = sketch.node("Det", "x")
    lost = sketch.node("Relu", first)
    sketch.node("Celu", sketch.node("Relu", lost))
    sketch.node("Softmax", "x", axis=3)
    sketch.node("Softmax", "x", axis=2)
    sketch.node("Det", lost)
    reason = reason_against(sketch.graph())
    assert reason == (
        "direct-csr: Det at node det0 and 1 more; Celu at node celu3; "
        "Softmax at node softmax4 and 1 more: axis 3 of (1, 2, 4, 4)"
    )


def test_output_that_nothing_reads_is_no_reason_against_an_operator():
    for reads in (False, True):
        sketch = Sketch(1, 2, 4, 4)
        dropped = sketch.node("Dropout", "x")
        sketch.nodes[0] = dataclasses.replace(sketch.nodes[0], outputs=(dropped, "mask"))
        activate(sketch, dropped, "Relu")
        outputs = (*sketch.nodes[-1].outputs, *(["mask"] if reads else []))
        reason = reason_against(sketch.graph(*outputs))
        assert reason == ("direct-csr: Dropout at node dropout0: output mask" if reads else None)
