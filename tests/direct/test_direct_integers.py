"""Integers of quantised networks: of the type that the network gives them, and never floats in their place."""

from __future__ import annotations

import numpy as np
import pytest

from sparsemark.direct.network import Network
from sparsemark.engines.direct_csr import open_dense
from sparsemark.errors import UnsupportedError
from sparsemark.formats.csr.densified import densified
from tests.direct.graphs import Sketch
from tests.direct.test_direct_byte_joining import convolved, run
from tests.direct.test_direct_byte_sums import image_for, levels

SHAPE, SCALE = (1, 4, 6, 9), 0.25
INT8, INT16 = 3, 5
"""Of `onnx.TensorProto`."""


def quantised(sketch, zero, kind, **given):
    """Integers of the image."""
    operands = [] if zero is None else [sketch.constant(zero, kind)]
    return sketch.node("QuantizeLinear", "x", sketch.constant(SCALE), *operands, **given)


def test_a_missing_zero_point_is_of_the_type_of_the_integers():
    """The zero of signed bytes is half way up: that of unsigned ones in its place would move all values."""
    sketch, image = Sketch(*SHAPE), image_for(SHAPE)
    name = quantised(sketch, 0, np.int8)
    name = sketch.node("Identity", sketch.node("MaxPool", name, kernel_shape=[1, 1]))
    (found,), _ = run(sketch.graph(sketch.node("DequantizeLinear", name, sketch.constant(SCALE))), image)
    np.testing.assert_array_equal(found, levels(image, SCALE, 128))


@pytest.mark.parametrize(("given", "zero"), [({}, 0), ({"output_dtype": 2}, 0), ({"output_dtype": INT8}, 128)])
def test_without_a_zero_point_the_type_is_that_of_an_attribute(given, zero):
    sketch, image = Sketch(*SHAPE), image_for(SHAPE)
    name = sketch.node("DequantizeLinear", quantised(sketch, None, None, **given), sketch.constant(SCALE))
    (found,), _ = run(sketch.graph(name), image)
    np.testing.assert_array_equal(found, levels(image, SCALE, zero))


def test_other_types_are_refused():
    sketch = Sketch(*SHAPE)
    name, scale = quantised(sketch, 128, np.uint8), sketch.constant(SCALE)
    for zero in (0, np.int8), (7, np.float32):
        graph = sketch.graph(sketch.node("DequantizeLinear", name, scale, sketch.constant(*zero)))
        with pytest.raises(UnsupportedError, match=r"^direct-csr: DequantizeLinear at .*zero points of"):
            Network(graph, 1)
        sketch.nodes.pop()
    twice = sketch.node("DequantizeLinear", sketch.node("DequantizeLinear", name, scale), scale)
    with pytest.raises(UnsupportedError, match=r"^direct-csr: DequantizeLinear at .*is no quantised activation"):
        Network(sketch.graph(twice), 1)
    words = Sketch(*SHAPE)
    name = words.node("DequantizeLinear", quantised(words, None, None, output_dtype=INT16), words.constant(SCALE))
    with pytest.raises(UnsupportedError, match=r"^direct-csr: QuantizeLinear at .*zero points of"):
        Network(words.graph(name), 1)


def image_itself(sketch):
    return quantised(sketch, 100, np.uint8)


def of_a_convolution(sketch):
    convolved(sketch, sketch.quantized("x", SCALE, 128), 4)
    return sketch.nodes[-1].inputs[0]


def joined(sketch):
    return sketch.node("Concat", quantised(sketch, 0, np.int8), quantised(sketch, -5, np.int8), axis=1)


def pooled(sketch):
    return sketch.node("MaxPool", quantised(sketch, 0, np.int8), kernel_shape=[2, 2])


@pytest.mark.usefixtures("no_contest")
@pytest.mark.parametrize("make", [image_itself, of_a_convolution, joined, pooled])
@pytest.mark.parametrize("as_floats", [False, True])
def test_integers_that_leave_are_integers(make, as_floats):
    """As an output of the network, or as an operand of what only the dense engine knows."""
    sketch, image = Sketch(*SHAPE), image_for(SHAPE)
    name = make(sketch)
    name = sketch.node("Cast", name, to=1) if as_floats else name
    graph = sketch.graph(name, convolved(sketch, sketch.quantized("x", SCALE, 90), 4))
    with pytest.raises(UnsupportedError, match=r"its u?int8 leave as such|is of u?int8, expected float32|Cast"):
        Network(graph, 1)
    found = Network(graph, 1, None, open_dense)(image)
    for one, wanted in zip(found, open_dense(densified(graph), 1)(image), strict=True):
        assert one.dtype == wanted.dtype
        np.testing.assert_array_equal(one, wanted)
