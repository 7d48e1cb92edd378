"""Sums of two quantised activations, bit by bit those of float32; strides that share their phases."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemark.direct import isa
from sparsemark.direct.target import LANES
from tests.direct.bounds import OutOfBoundsError, check_places, check_program
from tests.direct.checks import SOME
from tests.direct.graphs import Prepared, Sketch


def levels(values, scale, zero):
    """What quantising and dequantising leaves of floats."""
    found = np.clip(np.rint(values / np.float32(scale)), -zero, 255 - zero).astype(np.float32)
    return found * np.float32(scale)


def sum_of(shape, scales, zeros, clip=None, *, by_image=False):
    """The image as two quantised activations, their sum, quantised; of one activation the first pixel alone, or all."""
    sketch = Sketch(*shape)
    ones = sketch.quantized("x", scales[0], zeros[0])
    other = sketch.node("GlobalMaxPool", ones) if by_image else sketch.quantized("x", scales[1], zeros[1])
    made = sketch.node("Add", ones, other)
    if clip is not None:
        made = sketch.node("Clip", made, *map(sketch.constant, clip))
    return sketch.graph(sketch.quantized(made, scales[2], zeros[2]))


def image_for(shape, seed=0):
    return np.random.default_rng(seed).uniform(-30, 40, shape).astype(np.float32)


def codes_of(prepared):
    return [step.code for step in prepared.lowered.operations]


@SOME
@given(
    st.tuples(st.just(1), st.integers(1, 9), st.integers(1, 12), st.integers(1, 40)),
    st.tuples(*[st.sampled_from([0.013, 0.25, 0.7])] * 3),
    st.tuples(*[st.sampled_from([0, 90, 128, 255])] * 3),
    st.sampled_from([None, (0.0, math.inf), (-3.3, 6.1)]),
)
def test_sums_are_those_of_float32(shape, scales, zeros, clip):
    prepared, image = Prepared(sum_of(shape, scales, zeros, clip)), image_for(shape)
    assert codes_of(prepared).count(isa.ADD_BYTES) == 1
    check_places(prepared.lowered, prepared.floats)
    total = levels(image, scales[0], zeros[0]) + levels(image, scales[1], zeros[1])
    if clip is not None:
        total = np.clip(total, *map(np.float32, clip))
    for threads in (1, 3):
        check_program(prepared.program({}, threads), prepared.lowered.operations, threads, image.size)
        (found,) = prepared.runner({}, threads)(image)
        np.testing.assert_array_equal(found, levels(total, scales[2], zeros[2]))


def test_a_sum_over_all_pixels_runs_in_float32():
    shape, scales, zeros = (1, 5, 7, 9), (0.25, 0.25, 0.7), (90, 90, 128)
    prepared, image = Prepared(sum_of(shape, scales, zeros, by_image=True)), image_for(shape)
    assert isa.ADD_BYTES not in codes_of(prepared)
    first = levels(image, scales[0], zeros[0])
    (found,) = prepared.runner({})(image)
    np.testing.assert_array_equal(found, levels(first + first.max(axis=(2, 3), keepdims=True), scales[2], zeros[2]))


def test_features_of_an_image_and_others_are_added_in_float32():
    """Both are vectors of 16, but bytes of an image lie pixel by pixel."""
    sketch, random = Sketch(1, 4, 2, 2), np.random.default_rng(0)
    pixels = sketch.node("Flatten", sketch.quantized("x", 0.25, 90), axis=1)
    weight = np.eye(16, dtype=np.int8)[random.permutation(16)]
    turned = sketch.quantized(sketch.node("Linear", pixels, sketch.block_weight(weight, np.ones(16))), 0.25, 90)
    prepared = Prepared(sketch.graph(sketch.quantized(sketch.node("Add", pixels, turned), 0.5, 90)))
    assert isa.ADD_BYTES not in codes_of(prepared)
    image = image_for((1, 4, 2, 2))
    found, values = prepared.runner({})(image)[0], levels(image, 0.25, 90).reshape(1, 16)
    np.testing.assert_array_equal(found, levels(values + values @ weight.T.astype(np.float32), 0.5, 90))


def test_a_sum_that_may_exceed_float32_runs_there():
    """Infinity minus infinity is not a number, which a byte could not say."""
    assert isa.ADD_BYTES not in codes_of(Prepared(sum_of((1, 3, 4, 5), (1e37, 0.5, 0.5), (0, 0, 0))))


def test_spoiled_programs_of_sums_are_seen_as_such():
    prepared = Prepared(sum_of((1, 9, 7, 20), (0.25, 0.5, 0.7), (1, 2, 3)))
    program, steps = prepared.program({}), prepared.lowered.operations
    check_program(program, steps, 1, 9 * 7 * 20)
    mine = program.table[:, isa.OP] == isa.ADD_BYTES
    columns = (
        isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW, isa.SECOND, isa.SECOND_STEP, isa.SECOND_ROW, isa.TARGET,
        isa.TARGET_STEP, isa.TARGET_ROW, isa.CHANNELS, isa.HEIGHT, isa.WIDTH, isa.PARAMETERS,
    )  # fmt: skip
    for column in columns:
        spoiled = copy.deepcopy(program)
        spoiled.table[mine, column] += 10**6
        with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
            check_program(spoiled, steps, 1, 9 * 7 * 20)


def strided(*convolutions):
    """Convolutions, of the image in bytes, given by size of kernel and stride; each is an output."""
    sketch = Sketch(1, 6, 12, 30)
    source, made = sketch.quantized("x", 0.25, 90), []
    for kernel, stride in convolutions:
        random = np.random.default_rng(kernel)
        weight = sketch.block_weight(random.integers(-64, 65, (5, 6, kernel, kernel)), np.full(5, 0.01))
        pads = [kernel // 2] * 4
        one = sketch.node("Conv", source, weight, strides=[stride] * 2, pads=pads, kernel_shape=[kernel] * 2)
        made.append(sketch.quantized(one, 0.3, 100))
    return sketch.graph(*made)


def test_convolutions_of_one_stride_share_the_phases_of_their_input():
    first, other = (3, 2), (1, 2)
    prepared, image = Prepared(strided(first, other)), image_for((1, 6, 12, 30))
    assert codes_of(prepared).count(isa.COPY_BYTES) == 1
    check_places(prepared.lowered, prepared.floats)
    check_program(prepared.program({}), prepared.lowered.operations, 1, image.size)
    found = prepared.runner({})(image)
    (alone,) = Prepared(strided(first)).runner({})(image)
    np.testing.assert_array_equal(found[0], alone)
    for shared, one in zip(prepared.runner({}, 5)(image), found, strict=True):
        np.testing.assert_array_equal(shared, one)
    assert np.ptp(alone) > 1
    assert np.ptp(found[1]) > 1


def test_convolutions_of_other_strides_or_longer_rows_have_their_own_phases():
    image = image_for((1, 6, 12, 30))
    for pair in (((3, 2), (3, 3)), ((3, 2), (2 * LANES + 3, 2))):
        prepared = Prepared(strided(*pair))
        for found, one in zip(prepared.runner({})(image), pair, strict=True):
            (alone,) = Prepared(strided(one)).runner({})(image)
            np.testing.assert_array_equal(found, alone)
