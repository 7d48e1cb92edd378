"""Direct sparse convolution computes what dense convolution does, whichever way of running a layer is chosen."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from sparsemark.direct import isa
from sparsemark.direct.taps import Taps
from sparsemark.direct.target import LANES
from tests.direct.checks import MANY, SOME, close_in_every_way, exact_in_every_way, noise, reason_against, supported
from tests.direct.graphs import (
    Layer,
    Prepared,
    Sketch,
    activate,
    expected,
    layers,
    sizes,
    whole_numbers,
)


@given(layers())
@example(Layer(3, 8, 6, 300, pads=(1, 1, 1, 1)))
@example(Layer(40, 4, 9, 64, (5, 5), pads=(2, 2, 2, 2), density=1.0))
@example(Layer(5, 4, 3, 300, (7, 7), pads=(3, 3, 3, 3), density=1.0))
@example(Layer(8, 8, 30, 30, (3, 3), pads=(1, 1, 1, 1), group=8))
@example(Layer(2, 4, 1, 1, (3, 3), pads=(4, 4, 4, 4)))
@example(Layer(1, 1, 1, 1, (1, 1), density=0.0))
@example(Layer(3, 4, 1, 1, (3, 3), pads=(1, 1, 1, 1)))
@example(Layer(6, 4, 1, 1, (3, 3), (2, 2), pads=(1, 1, 1, 1), group=2))
@example(Layer(3, 5, 70, 70, (7, 7), (2, 2), pads=(3, 3, 3, 3)))
@example(Layer(130, 260, 9, 20, pads=(1, 1, 1, 1), density=0.1))
@example(Layer(1, 4, 300, 20, (3, 1), dilations=(129, 1), pads=(129, 0, 129, 0)))
@MANY
def test_every_way_of_running_a_layer_gives_the_same_and_the_right_sums(layer):
    sketch = layer.sketch()
    layer.onto(sketch)
    graph = sketch.graph()
    if not supported(graph, layer):
        return
    prepared = exact_in_every_way(graph, layer.image())
    for found in prepared.options.values():
        event(f"blocks: {any(choice.block for choice in found)}")


@given(st.lists(st.integers(-(2**40), 2**40) | st.integers(-300, 300), min_size=1, max_size=9))
@example([-128, 127])
@example([-129])
@example([128])
@example([2**15, -(2**15)])
@example([2**31 - 1])
@example([2**31])
def test_packed_taps_take_less_memory_and_are_the_same_unpacked(numbers):
    taps = Taps(*[np.array(numbers)] * 4, np.ones(len(numbers), np.float32))
    packed = taps.packed()
    assert packed.out.nbytes == len(numbers) * next(
        n for n in (1, 2, 4, 8) if all(x == _wrapped(x, n) for x in numbers)
    )
    for one, other in ((packed.unpacked().out, taps.out), (packed.unpacked().dx, taps.dx)):
        assert one.dtype == np.int64
        np.testing.assert_array_equal(one, other)


def _wrapped(number, size):
    """What is left of a number in so many bytes."""
    half = 1 << (8 * size - 1)
    return (number + half) % (2 * half) - half


@given(layers(), st.integers(0, 99))
@SOME
def test_layer_of_any_weights_is_within_the_tolerance(layer, seed):
    sketch = layer.sketch()
    weight = layer.weight()
    random = noise(*weight.shape, seed=seed) * (weight != 0) / math.sqrt(weight[0].size)
    sketch.conv(
        "x", random, noise(layer.outputs, seed=seed + 1), strides=list(layer.strides),
        dilations=list(layer.dilations), pads=list(layer.pads), group=layer.group,
    )  # fmt: skip
    graph = sketch.graph()
    if not supported(graph, layer):
        return
    image = noise(*layer.shape, seed=seed)
    # A single sum near zero is far off in any order.
    assume(np.abs(expected(graph, image)[0]).max() > 0.1)
    close_in_every_way(graph, image, 4)


@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 14), st.integers(1, 40)),
    st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_single_weight_moves_the_image_and_nothing_else(kernel, size, seed):
    """A layer of one non-zero anywhere in the kernel: what crosses an edge shows."""
    generator = np.random.default_rng(seed)
    weight = np.zeros((4, 2, *kernel), np.float32)
    weight[tuple(generator.integers(0, extent) for extent in weight.shape)] = 1
    pads = [int(generator.integers(0, k + 1)) for k in (*kernel, *kernel)]
    assume(min(size[0] + pads[0] + pads[2] - kernel[0], size[1] + pads[1] + pads[3] - kernel[1]) >= 0)
    sketch = Sketch(1, 2, *size)
    sketch.conv("x", weight, pads=pads)
    exact_in_every_way(sketch.graph(), whole_numbers(generator, (1, 2, *size), 999))


def test_wide_kernel_of_few_rows_is_run_or_refused_by_name():
    layer = Layer(2, 4, 3, 75, (1, 3), dilations=(1, 40), pads=(0, 40, 0, 40))
    sketch = layer.sketch()
    layer.onto(sketch)
    reason = reason_against(sketch.graph())
    if reason is None:
        exact_in_every_way(sketch.graph(), layer.image())
    else:
        assert reason == "direct-csr: Conv at node conv0: rows of 75 pixels and 81 columns of the kernel"


def varied_layers():
    """Layers between whose options every kernel, blocks, pooling, a residual and partial tiles are found."""
    widths = (1, 2, 5, 8, 16, 20, 33, 48, 64, 65, 96, 112, 128, 224, 256, 300)
    for width, height in itertools.product(widths, (1, 2, 7, 14, 16)):
        for channels in (3, 40):
            yield Layer(channels, 8, height, width, pads=(1, 1, 1, 1), density=0.2, seed=width)


def test_every_kernel_and_every_kind_of_tile_takes_part():
    """What the tests above rely on: there is no kernel that no layer of a common shape leads to."""
    met = {"microkernels": set(), "blocks": set(), "groups": set(), "partial": set()}
    for layer in varied_layers():
        for pooled in (False, True):
            sketch = layer.sketch()
            name = layer.onto(sketch)
            if pooled:
                sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
            if min(layer.size) < 2:
                continue
            prepared = Prepared(sketch.graph())
            (step,) = prepared.convolutions
            for choice in prepared.options[step]:
                row = prepared.program({step: choice}).table[1]
                if not choice.product:
                    met["microkernels"].add(choice.microkernel)
                met["blocks"].add((step.pooled, int(row[isa.BLOCKS] > 1)))
                met["groups"].add((step.pooled, int(row[isa.GROUP])))
                full = (1 << choice.vectors) - 1
                tiles = prepared.program({step: choice}).tiles
                met["partial"].add(bool((tiles[:, isa.TILE_VECTORS] != full).any()))
    assert met["microkernels"] == set(range(len(isa.MICROKERNELS)))
    assert met["blocks"] == set(itertools.product((False, True), (0, 1)))
    assert met["groups"] == {(False, 1), (True, 1), (True, 2)}
    assert met["partial"] == {False, True}


@st.composite
def residual_layers(draw):
    """A convolution whose output is as large as its input, so that the input may be added."""
    height, width = draw(sizes())
    kernel = draw(st.sampled_from((1, 3, 5)))
    channels = draw(st.sampled_from((1, 2, 4, 5, 8, 24)))
    return Layer(
        channels, channels, height, width, (kernel, kernel), pads=(kernel // 2,) * 4,
        density=draw(st.sampled_from((0.0, 0.1, 0.5))), seed=draw(st.integers(0, 99)),
    )  # fmt: skip


def bounded(sketch, name, kind):
    if kind == "Clip":
        return sketch.node("Clip", name, sketch.constant(-40.0), sketch.constant(300.0))
    if kind == "upper":
        return sketch.node("Clip", name, "", sketch.constant(200.0))
    return sketch.node("Relu", name) if kind == "Relu" else name


@given(residual_layers(), st.sampled_from(("none", "Relu", "Clip", "upper")), st.booleans(), st.booleans())
@example(Layer(4, 4, 16, 32, pads=(1, 1, 1, 1)), "Relu", True, False)
@example(Layer(4, 4, 8, 64, pads=(1, 1, 1, 1)), "Relu", True, True)
@example(Layer(40, 40, 16, 64, (5, 5), pads=(2, 2, 2, 2), density=0.1), "Relu", False, True)
@MANY
def test_convolution_addition_clamp_and_pooling_in_one(layer, clamp, pooled, first):
    sketch = layer.sketch()
    skip = activate(sketch, "x", "Relu")
    convolved = layer.onto(sketch, skip)
    name = sketch.node("Add", *((convolved, skip) if first else (skip, convolved)))
    name = bounded(sketch, name, clamp)
    if pooled:
        assume(min(layer.height, layer.width) >= 2)
        sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
    prepared = exact_in_every_way(sketch.graph(), layer.image())
    if layer.height * layer.width > 1:  # of one pixel it is a matrix
        (step,) = prepared.convolutions
        assert step.second is not None
        event(f"pooled: {step.pooled}")


@given(
    st.integers(1, 20).map(lambda n: 2 * n), st.sampled_from((16, 18, 32, 40, 64, 96, 112, 128, 200, 256)),
    st.sampled_from((1, 3, 5)), st.sampled_from((2, 3, 4, 40)), st.sampled_from(("none", "Relu", "upper")),
    st.sampled_from((0.1, 0.6)),
)  # fmt: skip
@example(14, 16, 3, 4, "Relu", 0.6)
@example(18, 40, 3, 4, "none", 0.6)
@example(2, 18, 3, 4, "Relu", 0.6)
@SOME
def test_convolution_and_pooling_in_one(height, width, kernel, outputs, clamp, density):  # noqa: PLR0917
    channels = 40 if outputs < 40 else 3
    layer = Layer(channels, outputs, height, width, (kernel, kernel), pads=(kernel // 2,) * 4, density=density)
    sketch = layer.sketch()
    name = bounded(sketch, layer.onto(sketch), clamp)
    sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
    prepared = exact_in_every_way(sketch.graph(), layer.image())
    event(f"pooled: {prepared.convolutions[0].pooled}")


def test_pooled_tiles_are_among_what_is_compared():
    layer = Layer(40, 4, 14, 64, pads=(1, 1, 1, 1), density=0.6)
    sketch = layer.sketch()
    sketch.node("MaxPool", layer.onto(sketch), kernel_shape=[2, 2], strides=[2, 2])
    (found,) = exact_in_every_way(sketch.graph(), layer.image()).options.items()
    assert found[0].pooled
    assert any(choice.winograd for choice in found[1])


@pytest.mark.parametrize("pooled", [False, True])
def test_tiles_that_overflow_leave_the_answer_to_dense(pooled):
    """Their sums of pixels are larger than any of the convolution: a bound must not make 0 of what is infinite."""
    sketch = Sketch(1, 1, 10, 18)
    name = sketch.node("Relu", sketch.conv("x", np.full((4, 1, 3, 3), 0.1, np.float32)))
    if pooled:
        sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
    image = np.zeros((1, 1, 10, 18), np.float32)
    image[0, 0, 3, 0] = 2e38
    prepared = Prepared(sketch.graph())
    by_winograd = [way for way in prepared.ways() if any(choice.winograd for choice in way.values())]
    assert by_winograd
    for choices in by_winograd:
        assert not np.isfinite(prepared.runner(choices)(image)[0]).all()


@pytest.mark.parametrize("after", ["Sigmoid", "Clip", "SiLU", "Relu"])
@pytest.mark.parametrize("between", [(), ("Relu",), ("MaxPool",)])
def test_tiles_do_not_run_what_a_bound_follows(after, between):
    sketch = Sketch(1, 8, 16, 16)
    name = sketch.conv("x", noise(8, 8, 3, 3), pads=[1, 1, 1, 1])
    for kind in between:
        squares = {"kernel_shape": [2, 2], "strides": [2, 2]} if kind == "MaxPool" else {}
        name = sketch.node(kind, name, **squares)
    activate(sketch, name, after)
    (found,) = Prepared(sketch.graph()).options.values()
    assert any(choice.winograd for choice in found) == (after in {"SiLU", "Relu"})


def test_pooling_of_common_shapes_is_fused():
    for height, vectors in ((16, 1), (64, 4), (256, 16), (112, 7), (24, 4), (24, 8)):
        width = vectors * LANES
        sketch = Sketch(1, 3, height, width)
        name = sketch.conv("x", noise(4, 3, 3, 3), pads=[1, 1, 1, 1])
        sketch.node("MaxPool", sketch.node("Relu", name), kernel_shape=[2, 2], strides=[2, 2])
        assert [step.code for step in Prepared(sketch.graph()).lowered.operations] == [0, isa.CONVOLVE]


@pytest.mark.parametrize("who", ["output", "another operator"])
@pytest.mark.parametrize("after", ["convolution", "addition", "clamp"])
def test_what_is_needed_in_between_is_not_fused_away(who, after):
    layer = Layer(4, 4, 16, 16, pads=(1, 1, 1, 1))
    sketch = layer.sketch()
    names = [layer.onto(sketch)]
    names.append(sketch.node("Add", names[0], "x"))
    names.append(sketch.node("Relu", names[1]))
    pooled = sketch.node("MaxPool", names[2], kernel_shape=[2, 2], strides=[2, 2])
    needed = names[("convolution", "addition", "clamp").index(after)]
    extra = needed if who == "output" else sketch.node("Clip", needed, sketch.constant(-9.0), sketch.constant(9.0))
    exact_in_every_way(sketch.graph(pooled, extra), layer.image())


def test_sum_of_a_convolution_and_itself():
    layer = Layer(2, 3, 9, 9)
    sketch = layer.sketch()
    name = layer.onto(sketch)
    sketch.node("Add", name, name)
    exact_in_every_way(sketch.graph(), layer.image())


def test_addition_of_what_is_made_later_and_of_two_convolutions():
    """Either may be the one that takes the other's sums; the one that comes first cannot."""
    layer = Layer(3, 4, 12, 20, pads=(1, 1, 1, 1))
    sketch = layer.sketch()
    first, second = layer.onto(sketch), dataclasses.replace(layer, seed=5).onto(sketch)
    sketch.node("Relu", sketch.node("Add", first, second))
    exact_in_every_way(sketch.graph(), layer.image())


def test_clamp_whose_lower_bound_is_the_higher():
    layer = Layer(2, 4, 8, 8)
    sketch = layer.sketch()
    sketch.node("Clip", layer.onto(sketch), sketch.constant(5.0), sketch.constant(-5.0))
    exact_in_every_way(sketch.graph(), layer.image())
