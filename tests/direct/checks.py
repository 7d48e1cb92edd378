"""Comparisons that the tests of the engine share, and small networks to run them on."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from hypothesis import settings

from sparsemark.direct.network import Network
from sparsemark.direct.target import LANES
from sparsemark.engines.direct_csr import open_dense
from sparsemark.errors import UnsupportedError
from sparsemark.formats.csr.densified import densified
from sparsemark.measurement.parity import TOLERANCE
from tests.direct.bounds import check_places, check_program
from tests.direct.graphs import (
    Prepared,
    Sketch,
    activate,
    distance,
    expected,
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
        by_winograd = any(choice.winograd for choice in choices.values())
        for got, wanted in zip(prepared.runner(choices)(image), reference, strict=True):
            ways = str(list(choices.values()))
            if by_winograd:
                allowed = TOLERANCE * np.abs(wanted).max()
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


def opened(graph, threads, memory=None):
    """A network as the engine opens it, with ONNX Runtime beside it."""
    return Network(graph, threads, memory, open_dense)


def dense(graph):
    """The same graph on ONNX Runtime."""
    return open_dense(densified(dataclasses.replace(graph, input_shape=(None,) * len(graph.input_shape))), 1)


def alike(got, reference):
    assert isinstance(got, tuple)
    assert len(got) == len(reference)
    for one, wanted in zip(got, reference, strict=True):
        assert distance(one, wanted) <= TOLERANCE


def chain(count, channels=4, size=(12, 20)):
    """Convolutions one after the other, whose outputs take turns in the same memory."""
    sketch = Sketch(1, channels, *size)
    name = "x"
    for n in range(count):
        weight = noise(channels, channels, 3, 3, seed=n) / np.sqrt(9 * channels)
        name = sketch.node("Relu", sketch.conv(name, weight, noise(channels, seed=n), pads=[1, 1, 1, 1]))
    return sketch.graph()


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
    large = sketch.node("Pad", large, sketch.constant([0, 0, 1, 0, 0, 0, 0, 2], np.int64), mode="reflect")
    large = sketch.node(
        "InstanceNormalization", large, *(sketch.constant(noise(16, seed=n)) for n in (0, 1)), epsilon=0.1
    )
    norm = sketch.node("BatchNormalization", large, *(sketch.constant(np.ones(16) * n) for n in (1, 0.5, 0.1, 2)))
    flat = sketch.node("Flatten", sketch.node("GlobalMaxPool", norm))
    kind = sketch.node("Softmax", sketch.linear(flat, noise(5, 16) / 4, noise(5)), axis=1)
    return sketch.graph(mask, kind, norm)


def stays_inside(graph, most=None):
    """See that every way of running a graph stays within its buffers; None where it is refused."""
    try:
        prepared = Prepared(graph)
    except UnsupportedError:
        return None
    check_places(prepared.lowered, prepared.floats)
    for choices in prepared.ways(most):
        for threads in (1, 3):
            check_program(
                prepared.program(choices, threads), prepared.lowered.operations, threads, math.prod(graph.input_shape)
            )
    return prepared
