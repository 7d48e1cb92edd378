"""Channels and rows of any number: what does not fill a tile, and what lies between the rows, gives the right sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsemark.direct import isa
from sparsemark.direct.target import LANES
from tests.direct.checks import SOME, close_in_every_way, exact_in_every_way, noise, stays_inside
from tests.direct.graphs import Layer, Prepared, Sketch, activate, expected

SAME = (1, 1, 1, 1)


def several(options):
    """Whether some of these tiles share what they load, from non-zeros and by Winograd's tiles."""
    shared = [one for one in options if one.channels > 1 and not one.product]
    return [any(one.winograd == winograd for one in shared) for winograd in (False, True)]


@pytest.mark.parametrize("outputs", [13, 14, 15, 16])
def test_odd_widths_have_the_ways_of_even_ones(outputs):
    layer = Layer(9, outputs, 16, 2 * LANES, pads=SAME, density=1.0)
    sketch = layer.sketch()
    layer.onto(sketch)
    small = Layer(9, outputs, 16, LANES, (1, 1), density=1.0)
    other = small.sketch()
    small.onto(other)
    for graph, winograd in ((sketch.graph(), True), (other.graph(), False)):
        (options,) = Prepared(graph).options.values()
        assert several(options)[winograd]


@given(
    st.sampled_from((1, 3, 5, 13, 40)), st.sampled_from((2, 5, 7, 9, 22, 30)), st.integers(1, 4),
    st.sampled_from((1, 7, LANES, 2 * LANES, 4 * LANES)), st.sampled_from((1, 3)), st.booleans(), st.booleans(),
)  # fmt: skip
@example(40, 7, 4, 4 * LANES, 3, True, True)
@example(40, 13, 1, 1, 1, False, False)
@settings(max_examples=40, deadline=None)
def test_odd_widths_give_the_right_sums_in_every_way(inputs, outputs, rows, width, kernel, adds, pools):  # noqa: PLR0917
    """With additions, pooling and blocks of channels, whose partial sums no tile may add twice."""
    height = 4 * rows
    layer = Layer(inputs, outputs, height, width, (kernel, kernel), pads=(kernel // 2,) * 4, density=0.9)
    sketch = layer.sketch()
    name = layer.onto(sketch)
    if adds:
        name = sketch.node("Add", name, Layer(inputs, outputs, height, width, (1, 1), density=0.5).onto(sketch))
    name = sketch.node("Relu", name)
    if pools and width > 1:
        sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
    exact_in_every_way(sketch.graph(), layer.image())
    stays_inside(sketch.graph(), 4)


def test_weights_beyond_the_second_cache_are_taken_in_chunks():
    layer = Layer(250, 330, 9, 2 * LANES, (1, 1), density=1.0)
    sketch = layer.sketch()
    layer.onto(sketch)
    prepared = exact_in_every_way(sketch.graph(), layer.image(), 3)
    (step,) = prepared.convolutions
    chunks = [prepared.program({step: one}).table[-1, isa.CHUNKS] for one in prepared.options[step]]
    assert max(chunks) > 1
    choice = prepared.options[step][0]
    wanted = expected(sketch.graph(), layer.image())[0]
    for threads in (2, 3):
        np.testing.assert_array_equal(prepared.runner({step: choice}, threads)(layer.image())[0], wanted)


@given(
    st.integers(1, 9), st.sampled_from((5, 7, 14, 28, 30)), st.tuples(st.integers(1, 5), st.integers(2, 5)),
    st.lists(st.integers(0, 3), min_size=4, max_size=4), st.booleans(),
)  # fmt: skip
@example(7, 14, (5, 5), [2, 2, 2, 2], True)
@example(1, 14, (1, 3), [0, 1, 0, 1], True)
@SOME
def test_rows_that_end_in_zeros_are_read_across_their_ends(height, width, kernel, pads, alone):
    """Nothing but the image may be read as such: a vector of other numbers lies right before its first row."""
    pads = [min(pad, kernel[a % 2] - 1) for a, pad in enumerate(pads)]
    height += max(kernel[0] - height - pads[0] - pads[2], 0)
    channels = 5
    layer = Layer(
        channels, channels, height, width, kernel, pads=tuple(pads), group=channels if alone else 1, density=1.0
    )
    sketch = Sketch(1, channels, height, width)
    best = activate(sketch, sketch.node("GlobalMaxPool", "x"), "Relu")
    image = sketch.node("Mul", activate(sketch, "x", "LeakyRelu"), best)
    graph = sketch.graph(layer.onto(sketch, image), best)
    for choices in Prepared(graph).ways():
        runner = Prepared(graph)
        run = runner.runner(dict(zip(runner.convolutions, choices.values(), strict=True)))
        for number in range(2):
            for got, wanted in zip(run(layer.image(number)), expected(graph, layer.image(number)), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * max(np.abs(wanted).max(), 1))


def test_rows_that_end_in_zeros_are_among_what_is_compared():
    layer = Layer(5, 5, 14, 2 * LANES - 2, (5, 5), pads=(2, 2, 2, 2), group=5, density=1.0)
    sketch = layer.sketch()
    layer.onto(sketch)
    (options,) = exact_in_every_way(sketch.graph(), layer.image()).options.values()
    assert {one.flat for one in options} == {False, True}
    full = Layer(5, 5, 14, 2 * LANES, (3, 3), pads=SAME, group=5, density=1.0)
    sketch = full.sketch()
    full.onto(sketch)
    (options,) = Prepared(sketch.graph()).options.values()
    assert not any(one.flat for one in options)


@pytest.mark.parametrize(("size", "kernel"), [((7, 7), 1), ((14, 30), 1), ((9, 20), 5)])
def test_hard_swish_is_taken_into_a_convolution(size, kernel):
    sketch = Sketch(1, 24, *size)
    group = 1 if kernel == 1 else 24
    weight = noise(24, 24 // group, kernel, kernel) / kernel
    sketch.node("HardSwish", sketch.conv("x", weight, noise(24), pads=[kernel // 2] * 4, group=group))
    prepared = close_in_every_way(sketch.graph(), noise(1, 24, *size))
    assert [step.code for step in prepared.lowered.operations] == [isa.INPUT, isa.CONVOLVE]


def test_hard_swish_leaves_winograds_tiles_their_convolution():
    sketch = Sketch(1, 8, 16, 2 * LANES)
    sketch.node("HardSwish", sketch.conv("x", noise(8, 8, 3, 3), pads=list(SAME)))
    prepared = close_in_every_way(sketch.graph(), noise(1, 8, 16, 2 * LANES))
    assert [step.code for step in prepared.lowered.operations] == [isa.INPUT, isa.CONVOLVE, isa.UNARY]
    assert any(one.winograd for one in prepared.options[prepared.convolutions[0]])


@pytest.mark.parametrize("inputs", [1, LANES - 1, 5 * LANES + 3, 3000])
@pytest.mark.parametrize("density", [1.0, 0.4, 0.0])
def test_rows_of_a_matrix_of_any_length_give_the_right_sums(inputs, density):
    generator = np.random.default_rng(inputs)
    weight = generator.integers(-9, 10, (5, inputs)) * (generator.random((5, inputs)) < density)
    sketch = Sketch(1, inputs)
    sketch.linear("x", weight.astype(np.float32), np.arange(5, dtype=np.float32))
    exact_in_every_way(sketch.graph(), generator.integers(-9, 10, (1, inputs)).astype(np.float32))


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (14, 30), (64, 130), (3, 5000)])
def test_mean_of_a_channel_of_any_size(size):
    sketch = Sketch(1, 3, *size)
    sketch.node("GlobalAveragePool", activate(sketch, "x", "Relu"))
    close_in_every_way(sketch.graph(), noise(1, 3, *size) + 1)


def test_gate_that_is_infinite_leaves_nothing_behind_for_the_next_image():
    """Zeros beside the image times infinity are NaN; later images, and convolutions of them, read these zeros."""
    sketch = Sketch(1, 4, 9, LANES - 2)
    gated = sketch.node("Mul", "x", activate(sketch, sketch.node("GlobalMaxPool", "x"), "Relu"))
    graph = sketch.graph(sketch.conv(gated, noise(4, 4, 3, 3), pads=list(SAME)))
    prepared, image = Prepared(graph), noise(1, 4, 9, LANES - 2)
    run = prepared.runner(next(prepared.ways()))
    before = run(image)[0]
    run(np.where(image == image.max(), np.float32(np.inf), image))
    np.testing.assert_array_equal(run(image)[0], before)
