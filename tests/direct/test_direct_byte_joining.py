"""Channels of bytes joined, transposed convolutions and repeated pixels: exact, and never beside their words."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st

from sparsemark.direct import isa
from sparsemark.direct.ir import BlockConvolution
from tests.direct.bounds import OutOfBoundsError, check_places, check_program
from tests.direct.checks import MANY, SOME
from tests.direct.graphs import Prepared, Sketch
from tests.direct.test_direct_byte_sums import codes_of, image_for, levels

SCALES, ZEROS = st.sampled_from([0.013, 0.25, 0.5, 0.7]), st.sampled_from([0, 90, 128, 255])


def run(graph, image, threads=(1, 3)):
    """Outputs of a graph, the same for these numbers of threads, and what it was lowered to; addresses are checked."""
    prepared = Prepared(graph)
    check_places(prepared.lowered, prepared.floats)
    (choices,), found = prepared.ways(1), []
    for count in threads:
        check_program(prepared.program(choices, count), prepared.lowered.operations, count, image.size)
        runner = prepared.runner(choices, count)
        runner(-image)  # what an earlier image left must not matter
        found.append(runner(image))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(one, other)
    return found[0], prepared


def convolved(sketch, name, channels):
    """A quantised convolution that reads around the image."""
    weight = np.random.default_rng(channels).integers(-64, 65, (3, channels, 3, 3))
    made = sketch.node("Conv", name, sketch.block_weight(weight, np.full(3, 0.01)), pads=[1, 1, 1, 1])
    return sketch.quantized(made, 1.5, 100)


def joined(size, parts, result):
    """Slices of the image, quantised, joined, quantised: the result, a convolution of it, and the largest of each part.

    Each of `parts` is channels, scale and zero point; `result` is scale and zero point.
    """
    sketch = Sketch(1, sum(channels for channels, *_ in parts), *size)
    names, first = [], 0
    for channels, *level in parts:
        names.append(sketch.quantized(sketch.slice("x", [first], [first + channels], [1]), *level))
        first += channels
    made = sketch.quantized(sketch.node("Concat", *names, axis=1), *result)
    largest = [sketch.node("MaxPool", name, kernel_shape=[1, 2]) for name in names] if size[1] > 1 else names
    return sketch.graph(made, convolved(sketch, made, first), *largest)


@MANY
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 40)),
    st.lists(st.tuples(st.integers(1, 9), SCALES, ZEROS, st.booleans()), min_size=1, max_size=4),
    st.tuples(SCALES, ZEROS),
)
@example((5, 17), [(6, 0.25, 90, True), (3, 0.25, 90, True), (8, 0.5, 0, False)], (0.25, 90))
def test_joined_channels_are_those_of_float32(size, parts, result):
    parts = [(channels, *(result if same else level)) for channels, *level, same in parts]
    image = image_for((1, sum(channels for channels, *_ in parts), *size))
    (found, convolution, *largest), prepared = run(joined(size, parts, result), image)
    starts = np.cumsum([0, *(channels for channels, *_ in parts)])
    exact = [levels(image[:, a:b], *level) for a, b, (_, *level) in zip(starts, starts[1:], parts, strict=False)]
    np.testing.assert_array_equal(found, levels(np.concatenate(exact, axis=1), *result))
    alone = Sketch(*found.shape)
    (wanted,), _ = run(alone.graph(convolved(alone, alone.quantized("x", *result), found.shape[1])), found)
    np.testing.assert_array_equal(convolution, wanted)
    for one, values in zip(largest, exact, strict=True):
        wanted = np.maximum(values[..., :-1], values[..., 1:]) if size[1] > 1 else values
        np.testing.assert_array_equal(one, wanted)
    in_place = sum(level == list(result) and a % 4 == 0 for a, (_, *level) in zip(starts, parts, strict=False))
    codes = codes_of(prepared)
    assert codes.count(isa.REQUANTIZE) + codes.count(isa.COPY_BYTES) == len(parts) - in_place


@pytest.mark.parametrize("channels", [4, 5])
def test_one_activation_joined_twice_and_what_was_joined_before(channels):
    sketch, level, image = Sketch(1, channels, 6, 9), (0.25, 90), image_for((1, channels, 6, 9))
    name = sketch.quantized("x", *level)
    twice = sketch.quantized(sketch.node("Concat", name, name, axis=-3), *level)
    both = sketch.quantized(sketch.node("Concat", twice, name, axis=1), *level)
    (found,), prepared = run(sketch.graph(both), image)
    np.testing.assert_array_equal(found, np.concatenate([levels(image, *level)] * 3, axis=1))
    # What is joined once and begins with a word lies in the result: the last part, if it has whole words before it.
    codes = codes_of(prepared)
    assert codes.count(isa.REQUANTIZE) + codes.count(isa.COPY_BYTES) == (3 if channels == 4 else 4)
    assert codes.count(isa.DEQUANTIZE) == 1


def test_levels_that_a_part_was_not_quantised_with():
    """Bytes of zero point 90 that are read as of zero point 60: what lies around them is 90."""
    sketch, image = Sketch(1, 4, 6, 9), image_for((1, 4, 6, 9))
    given, read = [(sketch.constant(0.25), sketch.constant(zero, np.uint8)) for zero in (90, 60)]
    one = sketch.node("DequantizeLinear", sketch.node("QuantizeLinear", "x", *given), *read)
    made = sketch.quantized(sketch.node("Concat", one, axis=1), 0.25, 60)
    (found, convolution), _ = run(sketch.graph(made, convolved(sketch, made, 4)), image)
    np.testing.assert_array_equal(found, levels(image, 0.25, 90) + np.float32(0.25 * 30))
    alone = Sketch(*found.shape)
    (wanted,), _ = run(alone.graph(convolved(alone, alone.quantized("x", 0.25, 60), 4)), found)
    np.testing.assert_array_equal(convolution, wanted)


def test_what_is_joined_with_floats_or_read_as_floats_runs_there():
    for case in ("a part", "the result"):
        sketch, image = Sketch(1, 4, 6, 9), image_for((1, 4, 6, 9))
        one = sketch.quantized("x", 0.25, 90)
        other = sketch.node("Tanh", one) if case == "a part" else one
        made = sketch.node("Concat", one, other, axis=1)
        made = sketch.quantized(made, 0.5, 100) if case == "a part" else sketch.node("Tanh", made)
        (found,), prepared = run(sketch.graph(made), image)
        assert isa.REQUANTIZE not in codes_of(prepared)
        values = levels(image, 0.25, 90)
        wanted = levels(values, 0.5, 100) if case == "a part" else np.tanh(values)
        np.testing.assert_allclose(found[:, :4], wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scales", [(1e30, 1e-30), (1e-30, 1e30)])
def test_scales_far_apart(scales):
    """Every level but the zero point is beyond what a byte can say, and the quotient beyond a float; or none is."""
    sketch, image = Sketch(1, 4, 6, 9), image_for((1, 4, 6, 9)) * np.float32(scales[0])
    names = [sketch.quantized("x", scales[0], zero) for zero in (90, 91)]
    made = sketch.quantized(sketch.node("Concat", *names, axis=1), scales[1], 128)
    (found,), prepared = run(sketch.graph(made), image)
    assert isa.REQUANTIZE in codes_of(prepared)
    with np.errstate(over="ignore"):
        exact = [levels(image, scales[0], zero) for zero in (90, 91)]
        wanted = levels(np.concatenate(exact, axis=1), scales[1], 128)
    np.testing.assert_array_equal(found, wanted)


def transposed(shape, weight, scales, zeros, attributes, clip=None):  # noqa: PLR0917 - a convolution is that much
    """A quantised transposed convolution and one of what it makes, and the integers of its bias."""
    sketch, random = Sketch(*shape), np.random.default_rng(0)
    outputs = len(weight)
    bias = random.integers(-500, 500, outputs)
    operands = [sketch.quantized("x", 0.5, zeros[0]), sketch.block_weight(weight, scales)]
    operands.append(sketch.constant(bias * (np.float32(0.5) * scales)))
    made = sketch.node("ConvTranspose", *operands, kernel_shape=list(weight.shape[2:]), **attributes)
    if clip is not None:
        made = sketch.node("Clip", made, *map(sketch.constant, clip))
    made = sketch.quantized(made, 20, zeros[1])
    return sketch.graph(made, convolved(sketch, made, outputs)), bias


@MANY
@given(
    st.tuples(st.just(1), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40)),
    st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from([(2, 2), (2, 2), (1, 1), (1, 2), (3, 2)]),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.tuples(*[st.integers(0, 2)] * 2),
    st.tuples(ZEROS, ZEROS),
    st.sampled_from([0.1, 1.0]),
    st.sampled_from([None, (0.0, math.inf), (-100.0, 700.0)]),
)
@example((1, 7, 5, 17), (6, 2, 2), (2, 2), (1, 1), (0,) * 4, (0, 0), (3, 7), 1.0, None)
def test_transposed_convolutions_are_those_of_whole_numbers(  # noqa: PLR0917 - as above
    shape, kernel, strides, dilations, pads, extra, zeros, density, clip
):
    extra = [min(e, max(s, d) - 1) for e, s, d in zip(extra, strides, dilations, strict=True)]
    size = [
        (n - 1) * s - pads[a] - pads[a + 2] + d * (k - 1) + e + 1
        for a, (n, s, d, k, e) in enumerate(zip(shape[2:], strides, dilations, kernel[1:], extra, strict=True))
    ]
    if min(size) < 1:
        pads = (0,) * 4
    random = np.random.default_rng(1)
    weight = random.integers(-64, 65, (kernel[0], shape[1], *kernel[1:])).astype(np.int8)
    weight *= (random.random(weight.shape) < density).astype(np.int8)
    scales = random.uniform(0.5, 2.0, len(weight)).astype(np.float32)
    attributes = {
        "strides": list(strides), "dilations": list(dilations), "pads": list(pads), "output_padding": extra,
    }  # fmt: skip
    graph, bias = transposed(shape, weight, scales, zeros, attributes, clip)
    image = random.uniform(-160, 160, shape).astype(np.float32)
    (found, convolution), prepared = run(graph, image)
    whole = torch.from_numpy(levels(image, 0.5, zeros[0]) / np.float32(0.5)).double()
    turned = torch.from_numpy(weight.swapaxes(0, 1).astype(np.float64))
    sums = F.conv_transpose2d(whole, turned, torch.from_numpy(bias).double(), strides, 0, 0, 1, dilations)
    sums = F.pad(sums, (0, extra[1], 0, extra[0])).numpy()
    # Rows and columns beyond those that anything reaches have the bias alone.
    sums[:, :, sums.shape[2] - extra[0] :] = bias[:, None, None]
    sums[:, :, :, sums.shape[3] - extra[1] :] = bias[:, None, None]
    top, left, bottom, right = pads
    sums = sums[:, :, top : sums.shape[2] - bottom, left : sums.shape[3] - right]
    step = np.float32(20)
    factor = (np.float32(0.5) * scales) / step
    wanted = np.rint(sums.astype(np.float32) * factor[:, None, None]) + zeros[1]
    low, high = 0, 255
    if clip is not None:
        low, high = (np.clip(np.rint(np.float32(bound) / step) + zeros[1], 0, 255) for bound in clip)
    wanted = (np.clip(wanted, low, high) - zeros[1]).astype(np.float32) * step
    np.testing.assert_array_equal(found, wanted)
    alone = Sketch(*found.shape)
    (again,), _ = run(alone.graph(convolved(alone, alone.quantized("x", step, zeros[1]), len(weight))), found)
    np.testing.assert_array_equal(convolution, again)
    codes = codes_of(prepared)
    assert codes.count(isa.INTERLEAVE_BYTES) == (strides != (1, 1))
    assert sum(isinstance(one, BlockConvolution) for one in prepared.lowered.operations) == 2


@pytest.mark.parametrize("attributes", [{"group": 2}, {"strides": [9, 9]}, {"strides": [4096, 1]}])
def test_other_transposed_convolutions_run_in_float32(attributes):
    shape, random = (1, 6, 4, 5), np.random.default_rng(1)
    weight = random.integers(-64, 65, (3, 6, 2, 2)).astype(np.int8)
    groups = attributes.get("group", 1)
    sketch, scales = Sketch(*shape), np.full(3, 0.5, np.float32)
    name = sketch.node(
        "ConvTranspose", sketch.quantized("x", 0.5, 90), sketch.block_weight(weight, scales), kernel_shape=[2, 2],
        **attributes,
    )  # fmt: skip
    image = random.uniform(-40, 40, shape).astype(np.float32)
    (found,), prepared = run(sketch.graph(sketch.quantized(name, 8, 120)), image, (1,))
    assert not any(isinstance(one, BlockConvolution) for one in prepared.lowered.operations)
    turned = torch.from_numpy(weight.swapaxes(0, 1) * np.float32(0.5))
    strides = attributes.get("strides", [1, 1])
    wanted = F.conv_transpose2d(torch.from_numpy(levels(image, 0.5, 90)), turned, None, strides, 0, 0, groups).numpy()
    np.testing.assert_allclose(found, levels(wanted, 8, 120), rtol=0, atol=8.01)
    assert np.ptp(found) > 8


@SOME
@given(
    st.tuples(st.just(1), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40)),
    st.tuples(st.integers(1, 3), st.integers(1, 4)),
    ZEROS,
)
def test_repeated_pixels(shape, times, zero):
    sketch, image = Sketch(*shape), image_for(shape)
    given = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    name = sketch.quantized("x", 0.25, zero)
    name = sketch.node("Resize", name, "", sketch.constant([1, 1, *times]), **given)
    (found, convolution), prepared = run(sketch.graph(name, convolved(sketch, name, shape[1])), image)
    wanted = levels(image, 0.25, zero).repeat(times[0], axis=2).repeat(times[1], axis=3)
    np.testing.assert_array_equal(found, wanted)
    alone = Sketch(*found.shape)
    (again,), _ = run(alone.graph(convolved(alone, alone.quantized("x", 0.25, zero), shape[1])), found)
    np.testing.assert_array_equal(convolution, again)
    assert codes_of(prepared).count(isa.INTERLEAVE_BYTES) == (times != (1, 1))


def test_blended_pixels_run_in_float32():
    sketch, image = Sketch(1, 3, 5, 6), image_for((1, 3, 5, 6))
    name = sketch.quantized("x", 0.25, 90)
    name = sketch.node("Resize", name, "", sketch.constant([1, 1, 2, 2]), mode="linear")
    (found,), prepared = run(sketch.graph(name), image)
    assert isa.INTERLEAVE_BYTES not in codes_of(prepared)
    values = torch.from_numpy(levels(image, 0.25, 90))
    wanted = F.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_spoiled_programs_are_seen_as_such():
    parts, result = [(6, 0.25, 90), (5, 0.5, 0)], (0.25, 90)
    places = [isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW, isa.TARGET, isa.TARGET_STEP, isa.TARGET_ROW]
    extents = [isa.CHANNELS, isa.HEIGHT, isa.WIDTH]
    weight = np.ones((6, 4, 2, 2), np.int8)
    turned, _ = transposed((1, 4, 5, 9), weight, np.ones(6, np.float32), (3, 7), {"strides": [2, 2]})
    for graph, code, own in (
        (joined((5, 17), parts, result), isa.REQUANTIZE, [isa.FIRST_BYTE, isa.SCALES, isa.PARAMETERS]),
        (turned, isa.INTERLEAVE_BYTES, [isa.ROW_STRIDE, isa.COLUMN_STRIDE, isa.PHASES]),
    ):
        prepared = Prepared(graph)
        program, steps = prepared.program({}), prepared.lowered.operations
        pixels = math.prod(graph.input_shape)
        check_program(program, steps, 1, pixels)
        mine = program.table[:, isa.OP] == code
        assert mine.any()
        for column in (*places, *extents, *own):
            spoiled = copy.deepcopy(program)
            spoiled.table[mine, column] += 10**6
            with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
                check_program(spoiled, steps, 1, pixels)
