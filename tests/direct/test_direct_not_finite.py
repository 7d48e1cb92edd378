"""NaN and infinity come through as in dense convolution, also where they meet weights of zero."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from sparsemark.direct.network import Network
from sparsemark.errors import UnsupportedError
from tests.direct.checks import chain, dense, noise, opened
from tests.direct.graphs import (
    Sketch,
    expected,
)


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
    got = opened(graph, 1)(image)[0]
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
    got = opened(sketch.graph(), 1)(noise(1, 2, 8, 8))[0]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(dense(sketch.graph())(noise(1, 2, 8, 8))[0]))


@pytest.mark.parametrize("shape", [(2, 4, 12, 20), (1, 4, 9, 9)])
def test_what_is_not_finite_in_a_batch_or_another_shape(shape, no_contest, quick):
    graph = chain(2)
    image = noise(*shape)
    image[0, 0, 2, 3] = np.nan
    got = opened(graph, 1)(image)[0]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected(graph, image)[0]))


def test_image_whose_sum_is_not_finite_is_run_without_a_warning(quick):
    graph = chain(1)
    for value in (3e38, np.inf):
        image = noise(*graph.input_shape)
        image[0, 0] = value
        image[0, 1] = -value
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened(graph, 1)(image)


def test_infinity_between_layers_is_found_at_the_output(quick, no_contest):
    """The sum of an infinity is one; beside a weight of zero it is not a number, which only dense sums say."""
    sketch = Sketch(1, 2, 8, 8)
    name = sketch.conv("x", np.full((2, 2, 1, 1), 3e38, np.float32))
    sketch.conv(name, np.array([[[[1.0]], [[0.0]]], [[[0.5]], [[0.25]]]], np.float32))
    image = np.abs(noise(1, 2, 8, 8)) + 2
    got = opened(sketch.graph(), 1)(image)[0]
    wanted = dense(sketch.graph())(image)[0]
    assert np.isnan(wanted).any()
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("where", ["image", "weight", "between layers"])
def test_what_is_not_finite_is_refused_without_a_dense_engine(where, quick):
    sketch = Sketch(1, 2, 8, 8)
    weight = np.full((2, 2, 1, 1), 3e38 if where == "between layers" else 1, np.float32)
    image = np.abs(noise(1, 2, 8, 8)) + 2
    if where == "image":
        image[0, 1, 3, 4] = np.inf
    elif where == "weight":
        weight[0, 0] = np.nan
    sketch.conv("x", weight)
    run = Network(sketch.graph(), 1)
    with pytest.raises(UnsupportedError, match=r"direct-csr: .* infinite or NaN; .* no dense engine was given"):
        run(image)
    if where == "image":
        np.testing.assert_array_equal(run(np.ones_like(image))[0], np.full_like(image, 2))
