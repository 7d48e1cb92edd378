"""Strided convolutions of each channel by itself: phases that are split in the scratch give the right sums."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from sparsemark.direct import isa
from sparsemark.direct.target import LANES
from tests.direct.bounds import OutOfBoundsError, check_program
from tests.direct.checks import MANY, SOME, alike, exact_in_every_way, opened, stays_inside
from tests.direct.graphs import Layer, Prepared, Sketch, activate, expected, sizes


@st.composite
def strided(draw):
    """A depthwise convolution of stride 2 whose output is not empty."""
    height, width = draw(sizes())
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilations = draw(st.sampled_from(((1, 1), (1, 1), (2, 1), (1, 3))))
    reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    pads = tuple(draw(st.integers(0, reach[a % 2] + 1)) for a in range(4))
    short = [max(reach[a] + 1 - extent - pads[a] - pads[a + 2], 0) for a, extent in enumerate((height, width))]
    channels = draw(st.sampled_from((1, 2, 3, 7, 40)))
    return Layer(
        channels, channels, height + short[0], width + short[1], kernel, (2, 2), dilations, pads, channels,
        draw(st.sampled_from((0.0, 0.1, 0.5, 1.0))), draw(st.booleans()), draw(st.integers(0, 999)),
    )  # fmt: skip


@given(strided())
@example(Layer(1, 1, 2, 1, (3, 3), (2, 2), pads=(1, 1, 1, 1), group=1, density=1.0))
@example(Layer(7, 7, 7, 7, (5, 5), (2, 2), pads=(2, 2, 2, 2), group=7, density=1.0))
@example(Layer(3, 3, 14, 14, (3, 3), (2, 2), pads=(0, 0, 1, 1), group=3, density=1.0))
@example(Layer(40, 40, 9, 2 * LANES + 3, (3, 3), (2, 2), pads=(1, 1, 0, 2), group=40, density=1.0))
@example(Layer(2, 2, 33, 16 * LANES + 5, (5, 3), (2, 2), pads=(2, 1, 2, 1), group=2, density=1.0))
@MANY
def test_strided_depthwise_convolution_gives_the_right_sums_in_every_way(layer):
    sketch = layer.sketch()
    layer.onto(sketch)
    prepared = exact_in_every_way(sketch.graph(), layer.image())
    event(f"split: {[step.code == isa.DEPTHWISE for step in prepared.convolutions]}")


@given(strided())
@example(Layer(2, 2, 3, 3, (5, 5), (2, 2), pads=(2, 2, 2, 2), group=2, density=1.0))
@SOME
def test_strided_depthwise_convolution_stays_within_its_buffers(layer):
    sketch = layer.sketch()
    layer.onto(sketch)
    stays_inside(sketch.graph())


def block(channels, size, kernel=3, seed=0):
    """What mobile networks are made of: strided depthwise convolutions, bounded, between two of 1 x 1."""
    one = Layer(channels, channels, *size, (1, 1), density=0.6, seed=seed)
    layer = Layer(
        channels, channels, *size, (kernel, kernel), (2, 2), pads=(kernel // 2,) * 4, group=channels, density=1.0,
        seed=seed,
    )  # fmt: skip
    sketch = one.sketch()
    name = sketch.node("Clip", one.onto(sketch), sketch.constant(-90.0), sketch.constant(700.0))
    strided_once = layer.onto(sketch, name)
    branch = layer.onto(sketch, name)
    bounded = sketch.node("Clip", sketch.node("Add", branch, strided_once), sketch.constant(0.0), sketch.constant(6e4))
    return sketch.graph(one.onto(sketch, bounded)), one.image()


@pytest.mark.parametrize(("size", "kernel"), [((11, 13), 3), ((7, 2 * LANES), 5), ((1, 1), 3), ((64, 40), 3)])
def test_what_surrounds_a_strided_depthwise_convolution_is_taken_into_it(size, kernel):
    graph, image = block(24, size, kernel)
    prepared = exact_in_every_way(graph, image, 6)
    strided_ones = [step for step in prepared.convolutions if step.code == isa.DEPTHWISE]
    if size == (1, 1):
        assert not strided_ones  # of one pixel it is a matrix
        return
    assert len(strided_ones) == 2
    assert strided_ones[1].second is not None
    assert strided_ones[1].clamp == (0.0, 6e4)
    assert not [step for step in prepared.lowered.operations if step.code == isa.COPY]


def test_input_of_the_network_is_split_as_well():
    layer = Layer(3, 3, 9, 21, (3, 3), (2, 2), pads=(1, 1, 1, 1), group=3, density=1.0)
    sketch = layer.sketch()
    layer.onto(sketch)
    exact_in_every_way(sketch.graph(), layer.image())


@pytest.mark.parametrize(("strides", "outputs"), [((2, 1), 6), ((3, 3), 6), ((2, 2), 12)])
def test_other_strides_and_several_outputs_a_channel_are_right_as_before(strides, outputs):
    layer = Layer(6, outputs, 13, 22, (3, 3), strides, pads=(1, 1, 1, 1), group=6, density=1.0)
    sketch = layer.sketch()
    layer.onto(sketch)
    prepared = exact_in_every_way(sketch.graph(), layer.image())
    assert [step.code for step in prepared.convolutions] == [isa.CONVOLVE]


def test_several_threads_and_images_give_the_same_answer(no_contest, quick):
    graph, image = block(24, (18, 22))
    wanted = expected(graph, image)[0]
    for choices in Prepared(graph).ways(4):
        for threads in (1, 2, 3):
            found = Prepared(graph)
            chosen = dict(zip(found.convolutions, choices.values(), strict=True))
            np.testing.assert_array_equal(found.runner(chosen, threads)(image)[0], wanted)
    images = np.concatenate([image, -image, image[:, ::-1]])
    alike(opened(graph, 2)(images), expected(graph, images))


def test_programs_of_split_phases_that_are_wrong_are_seen_as_such():
    """The helper itself: every number that is changed must be noticed."""
    sketch = Sketch(1, 40, 16, 36)
    layer = Layer(40, 40, 16, 36, (3, 3), (2, 2), pads=(1, 1, 1, 1), group=40, density=1.0)
    layer.onto(sketch, activate(sketch, "x", "Relu"))
    prepared = stays_inside(sketch.graph())
    steps, pixels = prepared.lowered.operations, 40 * 16 * 36
    both = [isa.TARGET, isa.TARGET_STEP, isa.TARGET_ROW, isa.CHANNELS]
    outer = [isa.UNITS, isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW, isa.SOURCE_HEIGHT, isa.SOURCE_WIDTH]
    inner = [
        isa.SOURCE, isa.SOURCE_STEP, isa.SOURCE_ROW, isa.INPUT_HEIGHT, isa.ROWS_ABOVE, isa.ROWS_BELOW, isa.RECORDS,
        isa.POINTERS, isa.RIGHT, isa.LEFT, isa.FLAGS, isa.BLOCKS, isa.GROUP, isa.GROUPS, isa.CHUNKS, isa.TILES,
        isa.BIAS, isa.BOUNDS, isa.RESIDUAL, isa.POOLED_FLOATS,
    ]  # fmt: skip
    for choices in prepared.ways():
        program = prepared.program(choices)
        for code, columns in ((isa.DEPTHWISE, both + outer), (isa.NOTHING, both + inner)):
            for column in columns:
                changed = copy.deepcopy(program)
                changed.table[changed.table[:, isa.OP] == code, column] += 10**6
                with pytest.raises((OutOfBoundsError, IndexError, ValueError)):
                    check_program(changed, steps, 1, pixels)
        changed = copy.deepcopy(program)
        own = 4 * int(changed.table[-1, isa.SOURCE_STEP])  # bytes of a plane
        changed.records[0::2] = np.where(changed.records[0::2] >= 4 * own, 0, changed.records[0::2] + own)
        with pytest.raises(OutOfBoundsError, match="phases of another channel"):
            check_program(changed, steps, 1, pixels)
