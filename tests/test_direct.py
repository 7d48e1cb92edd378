"""Direct sparse convolution computes what dense convolution does, whichever way of running a layer is chosen."""

from __future__ import annotations

import _thread
import contextlib
import dataclasses
import gc
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

import sparsemark
from sparsemark.direct import machine_code, network, table, tuning
from sparsemark.direct.layout import Choice
from sparsemark.direct.network import Network
from sparsemark.direct.registers import LANES
from sparsemark.direct.runner import Runner
from sparsemark.direct.steps import Convolution
from sparsemark.engines import direct_csr
from sparsemark.errors import UnsupportedError
from sparsemark.formats import csr
from sparsemark.parity import TOLERANCE, check
from sparsemark.pipeline import Pipeline
from sparsemark.specs import Cell, ModelSpec, Protocol, PruneSpec, Variant
from sparsemark.study import Study
from sparsemark.subjects import open_study
from tests import networks
from tests.direct_graphs import (
    ACTIVATIONS,
    WIDE,
    Layer,
    Prepared,
    Sketch,
    activate,
    distance,
    expected,
    grown_networks,
    layers,
    sizes,
    whole_numbers,
    written,
)

SOME = settings(max_examples=60, deadline=None)
MANY = settings(max_examples=150, deadline=None)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def exact_in_every_way(graph, image, most=None):
    """Run a graph of whole numbers in every way there is; no bit may differ from float64 but where tiles round."""
    prepared = Prepared(graph, image.shape)
    reference = expected(graph, image)
    for choices in prepared.ways(most):
        tiled = any(choice.tiled for choice in choices.values())
        for got, wanted in zip(prepared.runner(choices)(image), reference, strict=True):
            ways = str(list(choices.values()))
            if tiled:
                allowed = TOLERANCE * max(np.abs(wanted).max(), np.abs(image).max())
                np.testing.assert_allclose(got, wanted, rtol=0, atol=allowed, err_msg=ways)
            else:
                np.testing.assert_array_equal(got, wanted, err_msg=ways)
    return prepared


def close_in_every_way(graph, image, most=None):
    """Run a graph in every way there is, within the tolerance of every float32 engine."""
    prepared = Prepared(graph, image.shape)
    reference = expected(graph, image)
    for choices in prepared.ways(most):
        for got, wanted in zip(prepared.runner(choices)(image), reference, strict=True):
            assert distance(got, wanted) <= TOLERANCE, list(choices.values())
    return prepared


def reason_against(graph):
    """Why a graph is refused; None where it is not."""
    try:
        Prepared(graph)
    except UnsupportedError as error:
        return str(error)
    return None


def supported(graph, layer):
    """Whether a graph is lowered; what is refused must reach over more than a vector of a wide row."""
    reason = reason_against(graph)
    if reason is not None:
        reach = layer.dilations[1] * (layer.kernel[1] - 1)
        assert "rows of" in reason
        assert max(reach, layer.pads[1], layer.pads[3]) > LANES
    return reason is None


# One convolution.


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
@MANY
def test_every_way_of_running_a_layer_gives_the_same_and_the_right_sums(layer):
    sketch = layer.sketch()
    layer.onto(sketch)
    graph = sketch.graph()
    if not supported(graph, layer):
        return
    prepared = exact_in_every_way(graph, layer.image())
    for found in prepared.options.values():
        event(f"blocks: {any(choice.planes for choice in found)}")


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
    met = {"variants": set(), "blocks": set(), "groups": set(), "partial": set()}
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
                met["variants"].add(choice.variant)
                met["blocks"].add((step.pooled, int(row[table.BLOCKS] > 1)))
                met["groups"].add((step.pooled, int(row[table.GROUP])))
                full = (1 << choice.vectors) - 1
                tiles = prepared.program({step: choice}).tiles
                met["partial"].add(bool((tiles[:, table.TILE_VECTORS] != full).any()))
    assert met["variants"] == set(range(len(table.VARIANTS)))
    assert met["blocks"] == set(itertools.product((False, True), (0, 1)))
    assert met["groups"] == {(False, 1), (True, 1), (True, 2)}
    assert met["partial"] == {False, True}


# What is fused into a convolution.


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
    assert any(choice.tiled for choice in found[1])


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
    tiled = [way for way in prepared.ways() if any(choice.tiled for choice in way.values())]
    assert tiled
    for choices in tiled:
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
    assert any(choice.tiled for choice in found) == (after in {"SiLU", "Relu"})


def test_the_fastest_is_timed_again_before_it_is_chosen(monkeypatch):
    prepared = Prepared(chain(1))
    (step,) = prepared.convolutions
    found = prepared.options[step]
    first = dict(zip(found, [1.0, 1.1, *[2.0] * len(found)], strict=False))
    asked = []

    def scripted(_step, choices, *_):
        (choice,) = choices.values()
        asked.append(choice)
        return first[choice] if asked.count(choice) == 1 else 0.5 if choice == found[1] else 3.0

    monkeypatch.setattr(tuning, "time_step", scripted)
    assert tuning.choose(prepared.lowered, prepared.floats, 1)[step] == found[1]
    assert len(asked) == len(found) + min(4, len(found))


def test_pooling_of_common_shapes_is_fused():
    for height, vectors in ((16, 1), (64, 4), (256, 16), (112, 7), (24, 4), (24, 8)):
        width = vectors * LANES
        sketch = Sketch(1, 3, height, width)
        name = sketch.conv("x", noise(4, 3, 3, 3), pads=[1, 1, 1, 1])
        sketch.node("MaxPool", sketch.node("Relu", name), kernel_shape=[2, 2], strides=[2, 2])
        assert [step.code for step in Prepared(sketch.graph()).lowered.steps] == [0, table.CONVOLVE]


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


# Operators.


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


@pytest.mark.parametrize("kind", ["Sigmoid", "SiLU", "Tanh", "Elu"])
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


@pytest.mark.parametrize("kind", ["SiLU", "HardSwish", "Gelu", "Elu", "Sigmoid", "Tanh", "LeakyRelu"])
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


def dense(graph):
    """The same graph on ONNX Runtime."""
    from sparsemark.engines.onnx_runtime import open_session, wrap
    from sparsemark.formats.densified import densified

    return wrap(open_session(densified(dataclasses.replace(graph, input_shape=(None,) * len(graph.input_shape))), 1))


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
    if (op, reverse) == ("Div", True):
        assert "a constant divided by an activation" in reason_against(sketch.graph())
    else:
        close_in_every_way(sketch.graph(), noise(1, 4, 5, 6) + 4)


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
        if gate and reverse and op in {"Sub", "Div"}:
            assert "of shapes" in reason_against(sketch.graph())
        else:
            close_in_every_way(sketch.graph(), noise(1, 4, 5, 20))


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
    with pytest.raises(UnsupportedError, match="direct-csr: Det at node det0"):
        Prepared(sketch.graph())


def test_module_is_imported_where_nothing_can_be_kept(tmp_path):
    """No folder for compiled code: a reason or a slow start, and no traceback."""
    source = Path(sparsemark.__file__).parent
    shutil.copytree(source, tmp_path / "sparsemark", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sparsemark" / "direct" / "__pycache__").write_bytes(b"")
    code = (
        "from sparsemark.errors import UnsupportedError\n"
        "try:\n    import sparsemark.direct.network\nexcept UnsupportedError:\n    pass\n"
    )
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "PYTHONPATH": str(tmp_path)}
    environment = os.environ | nowhere | {"PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-300:]


# Networks.


@given(grown_networks(), st.data())
@settings(max_examples=150, deadline=None)
def test_network_is_right_and_remembers_no_earlier_image(graph, data):
    """Tensors take turns in memory: what an image leaves behind must not reach the next."""
    images = [noise(*graph.input_shape, seed=n) for n in range(2)]
    references = [expected(graph, image) for image in images]
    for image, reference in zip(images, references, strict=True):
        for wanted, single in zip(reference, expected(graph, image, torch.float32), strict=True):
            # Where torch itself is far off in float32, nothing is said about us.
            assume(np.isfinite(single).all() and distance(single.astype(np.float64), wanted) < TOLERANCE / 5)
    prepared = Prepared(graph)
    ways = list(prepared.ways())
    chosen = ways[data.draw(st.integers(0, len(ways) - 1))]
    run = prepared.runner(chosen)
    answers = [run(images[n]) for n in (0, 1, 0, 1)]
    for n, answer in zip((0, 1, 0, 1), answers, strict=True):
        fresh = prepared.runner(chosen)(images[n])
        for got, alone, wanted in zip(answer, fresh, references[n], strict=True):
            np.testing.assert_array_equal(got, alone)
            assert distance(got, wanted) <= TOLERANCE


def chain(count, channels=4, size=(12, 20)):
    """Convolutions one after the other, whose outputs take turns in the same memory."""
    sketch = Sketch(1, channels, *size)
    name = "x"
    for n in range(count):
        weight = noise(channels, channels, 3, 3, seed=n) / np.sqrt(9 * channels)
        name = sketch.node("Relu", sketch.conv(name, weight, noise(channels, seed=n), pads=[1, 1, 1, 1]))
    return sketch.graph()


def test_memory_is_used_again_and_answers_stay_right():
    short, long = Prepared(chain(4)), Prepared(chain(12))
    assert long.floats == short.floats
    images = [noise(*chain(1).input_shape, seed=n) for n in range(4)]
    for prepared, graph in ((short, chain(4)), (long, chain(12))):
        choices = next(prepared.ways())
        run = prepared.runner(choices)
        for image in (*images, *images[::-1]):
            assert distance(run(image)[0], expected(graph, image)[0]) <= TOLERANCE


def test_vectors_and_images_may_take_each_others_memory():
    """A decoder: linear layers make a vector, which becomes an image of as many values."""
    sketch = Sketch(1, 16)
    name = sketch.linear("x", noise(128, 16), noise(128))
    name = sketch.linear(name, noise(128, 128) / 11, noise(128))
    name = sketch.node("Reshape", name, sketch.constant([1, 8, 4, 4], np.int64))
    name = activate(sketch, name, "Sigmoid")
    sketch.conv(name, noise(3, 8, 3, 3), pads=[1, 1, 1, 1])
    close_in_every_way(sketch.graph(), noise(1, 16))


def test_copies_find_zeros_beside_them():
    """A stride splits an odd image into planes whose last row and column nobody writes: no used memory for these."""
    generator = np.random.default_rng(0)
    sketch = Sketch(1, 1, 15, 15)
    first = activate(sketch, "x", "Relu")
    weights = [whole_numbers(generator, shape, 3) for shape in ((4, 1, 3, 3), (4, 4, 2, 1), (4, 4, 2, 1), (4, 1, 3, 3))]
    name = sketch.conv(first, weights[0], pads=[1, 1, 1, 1], strides=[2, 2])
    name = sketch.conv(name, weights[1], pads=[1, 0, 0, 0])
    name = sketch.conv(name, weights[2], pads=[1, 0, 0, 0])
    again = sketch.conv(first, weights[3], pads=[1, 1, 1, 1], strides=[2, 2])
    image = np.abs(whole_numbers(generator, (1, 1, 15, 15), 9))
    prepared = exact_in_every_way(sketch.graph(name, again), image)
    for choices in prepared.ways():
        run = prepared.runner(choices)
        for _ in range(2):
            np.testing.assert_array_equal(run(image)[1], expected(sketch.graph(again), image)[0])


def test_same_answer_from_one_two_and_three_threads():
    for graph in (chain(5), chain(2, 5, (3, 70)), *(pyramid(),)):
        prepared = Prepared(graph)
        image = noise(*graph.input_shape)
        for choices in prepared.ways():
            answers = [prepared.runner(choices, threads)(image) for threads in (1, 2, 3)]
            for others in answers[1:]:
                for one, other in zip(answers[0], others, strict=True):
                    np.testing.assert_array_equal(one, other)


def pyramid():
    """Every operation of the interpreter, in one network of three outputs."""
    sketch = Sketch(1, 3, 32, 32)
    stem = activate(sketch, sketch.conv("x", noise(8, 3, 3, 3) / 5, noise(8), pads=[1, 1, 1, 1]), "SiLU")
    down = sketch.conv(stem, noise(12, 8, 3, 3) / 8, noise(12), pads=[1, 1, 1, 1])
    down = sketch.node("MaxPool", sketch.node("Relu", down), kernel_shape=[2, 2], strides=[2, 2])
    deep = sketch.conv(down, noise(12, 12, 3, 3) / 10, noise(12), pads=[1, 1, 1, 1])
    deep = sketch.node("Relu", sketch.node("Add", deep, down))
    gate = activate(sketch, sketch.node("GlobalAveragePool", deep), "Sigmoid")
    deep = sketch.node("Mul", deep, gate)
    depth = sketch.conv(deep, noise(12, 1, 5, 5) / 5, pads=[2, 2, 2, 2], group=12)
    far = sketch.conv(stem, noise(12, 8, 3, 3) / 8, pads=[1, 1, 1, 1], strides=[2, 2])
    depth = sketch.node("Sub", depth, far)
    up = sketch.node(
        "ConvTranspose", depth, sketch.constant(noise(12, 8, 2, 2) / 7), kernel_shape=[2, 2], strides=[2, 2]
    )
    joined = sketch.node("Concat", up, stem, axis=1)
    mask = activate(sketch, sketch.conv(joined, noise(2, 16, 1, 1) / 4), "Sigmoid")
    small = sketch.node("AveragePool", joined, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    large = sketch.node("Resize", small, "", sketch.constant([1, 1, 2, 2]), coordinate_transformation_mode="asymmetric")
    norm = sketch.node("BatchNormalization", large, *(sketch.constant(np.ones(16) * n) for n in (1, 0.5, 0.1, 2)))
    flat = sketch.node("Flatten", sketch.node("GlobalMaxPool", norm))
    kind = sketch.node("Softmax", sketch.linear(flat, noise(5, 16) / 4, noise(5)), axis=1)
    return sketch.graph(mask, kind, norm)


def test_pyramid_holds_every_operation():
    steps = Prepared(pyramid()).lowered.steps
    assert {step.code for step in steps} == set(range(11))
    assert any(step.pooled for step in steps if isinstance(step, Convolution))
    assert any(step.second for step in steps if isinstance(step, Convolution))
    close_in_every_way(pyramid(), noise(1, 3, 32, 32))


@pytest.fixture
def no_contest(monkeypatch):
    """Networks that are never handed to the dense engine for speed: these are too small to be faster."""
    monkeypatch.setattr(Network, "_contest", lambda *arguments: None)


@pytest.fixture
def quick(monkeypatch):
    """Timing that is not meant to find the fastest."""
    monkeypatch.setattr(tuning, "_REPEATS", 1)
    monkeypatch.setattr(network, "_CONTEST", 1)


def alike(got, reference):
    assert isinstance(got, tuple)
    assert len(got) == len(reference)
    for one, wanted in zip(got, reference, strict=True):
        assert distance(one, wanted) <= TOLERANCE


@pytest.mark.parametrize("threads", [1, 2])
def test_file_is_loaded_planned_and_run(threads, tmp_path, monkeypatch, no_contest, quick):
    machine_code.load()  # not again for the empty cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    graph = pyramid()
    path = written(graph, tmp_path / "pyramid.csr")
    image = noise(1, 3, 32, 32)
    for _ in range(2):
        predict = direct_csr.load(path, threads)
        alike(predict(image), expected(graph, image))
    assert len(list((tmp_path / "cache" / "sparsemark" / "direct").glob("*.json"))) == 1


EXPORTED = (("unet", "magnitude:0.9"), ("mobile", "none"), ("odd", "none"), ("grouped", "magnitude:0.9"))


@pytest.mark.parametrize(("name", "prune"), EXPORTED)
def test_exported_network_agrees_without_the_help_of_the_dense_engine(name, prune, no_contest, quick):
    run = Network(csr.load_csr(networks.artifact(name, prune, "csr").path), 1)
    check(run, networks.images(name), networks.reference(name, prune))
    assert not any(plan.decision.dense for plan in run._plans.values())


def test_file_of_these_tests_is_that_of_the_format(tmp_path):
    graph, read = pyramid(), csr.load_csr(written(pyramid(), tmp_path / "pyramid.csr"))
    assert (read.inputs, read.outputs, read.shapes, read.input_shape) == (
        graph.inputs, graph.outputs, graph.shapes, graph.input_shape,
    )  # fmt: skip
    assert [node.op for node in read.nodes] == [node.op for node in graph.nodes]
    for name, matrix in graph.matrices.items():
        np.testing.assert_array_equal(read.matrices[name].toarray(), matrix.toarray())


def test_network_of_several_outputs_takes_batches(no_contest, quick):
    graph = pyramid()
    batch = noise(3, 3, 32, 32)
    got = Network(graph, 1)(batch)
    singles = [expected(graph, batch[n : n + 1]) for n in range(3)]
    alike(got, [np.concatenate(same) for same in zip(*singles, strict=True)])


def test_image_of_another_shape_is_planned_when_it_comes(no_contest, quick):
    graph = chain(3)
    run = Network(graph, 1)
    for shape in ((1, 4, 12, 20), (1, 4, 7, 33), (2, 4, 12, 21), (1, 4, 12, 20)):
        image = noise(*shape)
        alike(run(image), expected(graph, image))


def test_image_of_another_shape_also_where_there_is_a_contest(quick):
    """The dense engine must not insist on the shape that the file names."""
    graph = chain(3)
    run = Network(graph, 1)
    for shape in ((1, 4, 7, 33), (2, 4, 12, 20)):
        image = noise(*shape)
        alike(run(image), expected(graph, image))


def test_image_that_does_not_fit_is_a_reason(no_contest, quick):
    run = Network(chain(2), 1)
    for shape in ((1, 3, 12, 20), (1, 4, 12), (1, 4)):
        with pytest.raises(UnsupportedError, match="direct-csr: "):
            run(noise(*shape))


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int64])
def test_image_of_another_type_or_not_in_order(kind, no_contest, quick):
    graph = chain(2)
    image = whole_numbers(np.random.default_rng(0), graph.input_shape, 5)
    run = Network(graph, 1)
    alike(run(image.astype(kind)), expected(graph, image))
    turned = np.ascontiguousarray(image.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    alike(run(turned), expected(graph, image))


def test_empty_batch_is_answered_as_such(no_contest, quick):
    (got,) = Network(chain(2), 1)(noise(0, 4, 12, 20))
    assert got.shape == (0, 4, 12, 20)


def test_answers_stay_as_they_are_and_the_image_too(no_contest, quick):
    graph = pyramid()
    run = Network(graph, 2)
    first, second = noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1)
    before = first.copy()
    answer = run(first)
    kept = [output.copy() for output in answer]
    run(second)
    np.testing.assert_array_equal(first, before)
    for output, copy in zip(answer, kept, strict=True):
        np.testing.assert_array_equal(output, copy)
    for output, copy in zip(run(first), kept, strict=True):
        np.testing.assert_array_equal(output, copy)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_callers_at_once_both_get_their_own_answer(threads, no_contest, quick):
    graph = chain(4)
    run = Network(graph, threads)
    images = [noise(*graph.input_shape, seed=n) for n in range(8)]
    answers = [run(image)[0] for image in images]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            for got, alone in zip(pool.map(lambda image: run(image)[0], images), answers, strict=True):
                np.testing.assert_array_equal(got, alone)


def test_two_callers_that_plan_at_once(no_contest, quick):
    graph = chain(2)
    run = Network(dataclasses.replace(graph, input_shape=None), 2)
    images = [noise(1, 4, 5 + n % 3, 9, seed=n) for n in range(12)]
    with ThreadPoolExecutor(3) as pool:
        for image, got in zip(images, pool.map(run, images), strict=True):
            alike(got, expected(graph, image))


def test_threads_and_memory_of_a_network_go_with_it():
    """Who loads one network after the other keeps neither the threads nor the arenas of those that are gone."""
    prepared = Prepared(chain(2))
    before = set(threading.enumerate())
    run = Runner(prepared.program(next(prepared.ways()), 3), 3)
    run(noise(1, 4, 12, 20))
    watched = weakref.ref(run)
    del run
    for _ in range(100):
        gc.collect()
        if watched() is None and not set(threading.enumerate()) - before:
            break
        time.sleep(0.01)
    assert watched() is None
    assert not set(threading.enumerate()) - before


def test_call_that_is_interrupted_leaves_no_thread_in_the_next_one(monkeypatch):
    """A helper still at work for an earlier call would take work, and memory, of a later one."""
    prepared = Prepared(chain(2))
    run = Runner(prepared.program(next(prepared.ways()), 2), 2)
    image, caller, interrupted, at_work = noise(1, 4, 12, 20), threading.get_ident(), [], set()

    def execute(*arguments):
        if threading.get_ident() == caller:
            if not interrupted:
                interrupted.append(True)
                raise KeyboardInterrupt
            return
        at_work.add(threading.get_ident())
        time.sleep(0.1)
        at_work.discard(threading.get_ident())

    monkeypatch.setattr(run, "_execute", execute)
    with pytest.raises(KeyboardInterrupt):
        run(image)
    for _ in range(3):
        run(image)
        assert not at_work


def test_call_that_is_interrupted_while_it_waits_leaves_no_thread_either(monkeypatch):
    """The second moment for Ctrl-C: the caller's own share is done, and a helper is still at work."""
    prepared = Prepared(chain(2))
    run = Runner(prepared.program(next(prepared.ways()), 2), 2)
    image, caller, interrupted, at_work = noise(1, 4, 12, 20), threading.get_ident(), [], set()

    def execute(*arguments):
        if threading.get_ident() == caller:
            return
        at_work.add(threading.get_ident())
        time.sleep(0.05)
        if not interrupted:
            interrupted.append(True)
            _thread.interrupt_main()
        time.sleep(0.15)
        at_work.discard(threading.get_ident())

    monkeypatch.setattr(run, "_execute", execute)
    with pytest.raises(KeyboardInterrupt):
        run(image)
    for _ in range(3):
        run(image)
        assert not at_work


def test_forked_process_runs_too():
    """A fork takes none of the threads along, and nobody may wait for them there."""
    prepared = Prepared(chain(2))
    run = prepared.runner(next(prepared.ways()), 2)
    image = noise(1, 4, 12, 20)
    wanted = run(image)[0]
    child = os.fork()
    if not child:
        try:
            os._exit(0 if np.array_equal(run(image)[0], wanted) else 1)
        finally:
            os._exit(2)
    status = 0
    for _ in range(2000):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("hangs")
    assert status == 0
    np.testing.assert_array_equal(run(image)[0], wanted)


def test_helpers_do_nothing_when_the_process_ends():
    """What is left to do at exit takes a while; a runner that was never called has no image that could be read."""
    code = (
        "import atexit, os, time\n"
        "atexit.register(time.sleep, 0.5)\n"
        "from tests.test_direct import Prepared, Runner, chain\n"
        "prepared = Prepared(chain(1))\n"
        "run = Runner(prepared.program(next(prepared.ways()), 3), 3)\n"
        "run._execute = lambda *arguments: os.write(1, b'at work')\n"
    )
    source, root = Path(sparsemark.__file__).parents[1], Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(root)])}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == ""


# What is not finite.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["image", "image beside zeros", "weight", "zero weight", "bias"])
def test_what_is_not_finite_comes_through_as_in_dense(value, where, quick, no_contest):
    sketch = Sketch(1, 2, 8, 8)
    weight, bias, image = noise(4, 2, 3, 3), noise(4), noise(1, 2, 8, 8)
    weight[1] = 0
    if where.startswith("image"):
        image[0, 1, 3, 4] = value
        weight[:, 1] *= where == "image"
    elif where == "bias":
        bias[2] = value
    else:
        weight[1 if where == "zero weight" else 2, 0, 1, 1] = value
    name = sketch.conv("x", weight, bias, pads=[1, 1, 1, 1])
    graph = sketch.graph(sketch.node("Relu", name))
    got = Network(graph, 1)(image)[0]
    np.testing.assert_allclose(got, dense(graph)(image)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["bias", "normalisation", "transposed weight"])
def test_constant_that_is_not_finite_is_not_lost_behind_zeros(value, where, quick, no_contest):
    """Zero times infinity is not a number, however many layers later."""
    sketch = Sketch(1, 2, 8, 8)
    values, filled = np.ones(4, np.float32), noise(2, 4, 2, 2)
    if where == "transposed weight":
        filled[0, 0, 0, 0] = value
        name = sketch.node("ConvTranspose", "x", sketch.constant(filled), strides=[2, 2], kernel_shape=[2, 2])
    else:
        values[2] = value
        name = sketch.conv("x", noise(4, 2, 1, 1), values if where == "bias" else None)
        if where == "normalisation":
            plain = sketch.constant(np.ones(4))
            name = sketch.node("BatchNormalization", name, plain, sketch.constant(values), plain, plain)
    sketch.conv(name, np.zeros((3, 4, 1, 1), np.float32), noise(3))
    got = Network(sketch.graph(), 1)(noise(1, 2, 8, 8))[0]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(dense(sketch.graph())(noise(1, 2, 8, 8))[0]))


@pytest.mark.parametrize("shape", [(2, 4, 12, 20), (1, 4, 9, 9)])
def test_what_is_not_finite_in_a_batch_or_another_shape(shape, no_contest, quick):
    graph = chain(2)
    image = noise(*shape)
    image[0, 0, 2, 3] = np.nan
    got = Network(graph, 1)(image)[0]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected(graph, image)[0]))


def test_image_whose_sum_is_not_finite_is_run_without_a_warning(quick):
    graph = chain(1)
    for value in (3e38, np.inf):
        image = noise(*graph.input_shape)
        image[0, 0] = value
        image[0, 1] = -value
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Network(graph, 1)(image)


def test_infinity_between_layers_is_found_at_the_output(quick, no_contest):
    """The sum of an infinity is one; beside a weight of zero it is not a number, which only dense sums say."""
    sketch = Sketch(1, 2, 8, 8)
    name = sketch.conv("x", np.full((2, 2, 1, 1), 3e38, np.float32))
    sketch.conv(name, np.array([[[[1.0]], [[0.0]]], [[[0.5]], [[0.25]]]], np.float32))
    image = np.abs(noise(1, 2, 8, 8)) + 2
    got = Network(sketch.graph(), 1)(image)[0]
    wanted = dense(sketch.graph())(image)[0]
    assert np.isnan(wanted).any()
    np.testing.assert_array_equal(got, wanted)


# Remembered decisions.


@pytest.fixture
def remembered(tmp_path, no_contest, quick):
    """A network, its folder of decisions, and the only file in it."""
    Network(chain(2), 1, tmp_path)
    (path,) = tmp_path.glob("*.json")
    return tmp_path, path


def test_decision_is_remembered_and_taken(remembered, monkeypatch):
    folder, path = remembered
    before = path.read_bytes()
    monkeypatch.setattr(network, "choose", lambda *arguments: pytest.fail("measured again"))
    run = Network(chain(2), 1, folder)
    image = noise(*chain(2).input_shape)
    alike(run(image), expected(chain(2), image))
    assert path.read_bytes() == before


def changed(change):
    def apply(content):
        stored = json.loads(content)
        change(stored)
        return json.dumps(stored).encode()

    return apply


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-5],
    "no text": lambda content: bytes(range(256)),
    "not an object": lambda content: b"[1, 2]",
    "text": lambda content: b'"choices"',
    "null": lambda content: b"null",
    "another layout": lambda content: b'{"version": 9}',
    "deep": lambda content: b"[" * 200_000,
    "deep choices": lambda content: content.replace(b'"choices": [', b'"choices": [' + b"[" * 100_000),
    "long number": lambda content: content.replace(b'"planes": 0', b'"planes": ' + b"9" * 5000),
    "fewer choices": changed(lambda s: s["choices"].pop()),
    "more choices": changed(lambda s: s["choices"].append(s["choices"][0])),
    "choices of none": changed(lambda s: s.update(choices=None)),
    "choices of a number": changed(lambda s: s.update(choices=3)),
    "negative variant": changed(lambda s: s["choices"][0].update(variant=-1)),
    "unknown variant": changed(lambda s: s["choices"][0].update(variant=99)),
    "unfitting variant": changed(lambda s: s["choices"][0].update(variant=2)),
    "infinite variant": changed(lambda s: s["choices"][0].update(variant=math.inf)),
    "no number for a variant": changed(lambda s: s["choices"][0].update(variant=math.nan)),
    "huge variant": changed(lambda s: s["choices"][0].update(variant=10**30)),
    "text for a variant": changed(lambda s: s["choices"][0].update(variant="x")),
    "negative planes": changed(lambda s: s["choices"][0].update(planes=-4)),
    "blocks that are not offered": changed(lambda s: s["choices"][0].update(planes=1)),
    "no dense": changed(lambda s: s.pop("dense")),
    "no seconds": changed(lambda s: s.pop("dense_s")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_decision_is_measured_again_and_written_anew(damage, remembered):
    folder, path = remembered
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    image = noise(*chain(2).input_shape)
    alike(Network(chain(2), 1, folder)(image), expected(chain(2), image))
    stored = json.loads(path.read_bytes())
    assert len(stored["choices"]) == 2


@pytest.mark.parametrize("seconds", ["soon", [], {}, True])
def test_decision_with_seconds_that_are_none_is_not_taken(seconds, remembered):
    folder, path = remembered
    path.write_bytes(changed(lambda s: s.update(direct_s=seconds))(path.read_bytes()))
    decision = Network(chain(2), 1, folder).plan((1, 4, 12, 20)).decision
    assert decision.direct_s is None or type(decision.direct_s) is float


def test_decision_of_another_network_under_this_name_is_not_taken(remembered, no_contest, quick):
    folder, path = remembered
    for graph in (chain(3), chain(2, 4, (12, 16)), pyramid()):
        (folder / "other").mkdir(exist_ok=True)
        Network(graph, 1, folder / "other")
        (other,) = (folder / "other").glob("*.json")
        path.write_bytes(other.read_bytes())
        other.unlink()
        image = noise(*chain(2).input_shape)
        alike(Network(chain(2), 1, folder)(image), expected(chain(2), image))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_decision_with_changed_bytes_never_stops_a_network(data):
    """Bytes anywhere in it: what is taken must be something that fits."""
    prepared = Prepared(chain(2))
    content = bytearray(json.dumps(dataclasses.asdict(decision_of(prepared))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(content) - 1))
        content[where : where + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decision.json"
        path.write_bytes(content)
        decision = network._recall(path, prepared.convolutions, 1)
    if decision is not None:
        for step, choice in zip(prepared.convolutions, decision.choices, strict=True):
            assert choice in prepared.options[step]


def decision_of(prepared):
    return network.Decision(tuple(found[0] for found in prepared.options.values()), False, 0.5, 0.25)


@pytest.mark.parametrize("kind", ["file", "below a file", "folder in its place"])
def test_folder_that_cannot_be_written_costs_nothing_but_time(kind, tmp_path, no_contest, quick):
    (tmp_path / "file").write_bytes(b"")
    folder = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "x", "folder in its place": tmp_path}[kind]
    if kind == "folder in its place":
        Network(chain(2), 1, folder)
        (path,) = tmp_path.glob("*.json")
        path.unlink()
        path.mkdir()
    image = noise(*chain(2).input_shape)
    alike(Network(chain(2), 1, folder)(image), expected(chain(2), image))


def test_dense_takes_over_where_it_is_faster_and_gives_the_same(tmp_path, monkeypatch, quick):
    monkeypatch.setattr(network, "_CLEARLY", 0.0)
    graph = chain(2)
    image = noise(*graph.input_shape)
    for _ in range(2):
        run = Network(graph, 1, tmp_path)
        assert run.plan(graph.input_shape).decision.dense
        alike(run(image), expected(graph, image))
        alike(run(np.concatenate([image, image])), [np.concatenate([a, a]) for a in expected(graph, image)])


def test_options_hold_no_choice_twice_and_only_what_divides():
    for width in (*WIDE[:3], 20, 64):
        prepared = Prepared(chain(1, 12, (16, width)))
        (step,) = prepared.convolutions
        found = prepared.options[step]
        assert found == list(dict.fromkeys(found))
        assert all(isinstance(choice, Choice) and step.outputs % choice.channels == 0 for choice in found)


@pytest.mark.parametrize("prune", ["none", "magnitude:0.5", "magnitude:0.9", "channels:0.5"])
@pytest.mark.parametrize("name", ["cnn3", "cnn4", "cnn9"])
def test_every_model_of_the_study_agrees_with_float64_however_it_is_pruned(name, prune, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    method, _, sparsity = prune.partition(":")
    model = ModelSpec(name, f"models/cnn.py:{name}", (1, 3, 128, 128))
    cell = Cell(Variant(model, PruneSpec(method, float(sparsity or 0))), "direct-csr", 1)
    study = Study("parity", tmp_path, None, (cell.variant,), (cell,), Protocol())
    assert Pipeline(open_study(study, tmp_path, None), Protocol(), tmp_path).verify(cell).parity.max_rel <= TOLERANCE
