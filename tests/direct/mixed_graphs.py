"""Networks of which the engine lowers a part, and what they compute in float64 by ONNX's own reference."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from sparsemark.formats.csr.densified import densified
from tests.direct.checks import noise
from tests.direct.graphs import Sketch


def exact(graph, image):
    """Every output in float64; integers as they are."""
    model = onnx.load_from_string(densified(graph))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float64), tensor.name))
    for value in model.graph.input:
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    return ReferenceEvaluator(model).run(None, {graph.inputs[0]: image.astype(np.float64)})


def _conv(sketch, source, outputs, inputs, seed=0):
    weight = noise(outputs, inputs, 3, 3, seed=seed) / np.sqrt(9 * inputs)
    return sketch.conv(source, weight, noise(outputs, seed=seed), pads=[1, 1, 1, 1])


def middle():
    """Convolutions around an operator that is not lowered."""
    sketch = Sketch(1, 3, 9, 11)
    name = sketch.node("Relu", _conv(sketch, "x", 4, 3))
    name = sketch.node("Abs", sketch.node("Sin", name))
    _conv(sketch, sketch.node("Relu", name), 5, 4, seed=1)
    return sketch.graph()


def start():
    """An operator that is not lowered reads the image; so does a convolution."""
    sketch = Sketch(1, 3, 8, 8)
    turned = sketch.node("Transpose", "x", perm=[0, 1, 3, 2])
    sketch.node("Add", _conv(sketch, turned, 4, 3), _conv(sketch, "x", 4, 3, seed=1))
    return sketch.graph()


def end():
    """The last node is not lowered, and gives indices."""
    sketch = Sketch(1, 2, 6, 7)
    name = _conv(sketch, "x", 5, 2)
    return sketch.graph(sketch.node("ArgMax", name, axis=1, keepdims=0), sketch.node("Sin", name))


def indices():
    """An output whose shape depends on the values."""
    sketch = Sketch(1, 2, 6, 7)
    return sketch.graph(sketch.node("NonZero", sketch.node("Relu", _conv(sketch, "x", 2, 2))))


def branches():
    """Two branches with such an operator each, of other lengths."""
    sketch = Sketch(1, 3, 8, 9)
    stem = _conv(sketch, "x", 4, 3)
    one = _conv(sketch, sketch.node("Sin", stem), 4, 4, seed=1)
    other = sketch.node("Cos", _conv(sketch, stem, 4, 4, seed=2))
    longer = _conv(sketch, sketch.node("Sin", _conv(sketch, other, 4, 4, seed=3)), 4, 4, seed=4)
    sketch.node("Add", one, longer)
    return sketch.graph()


def outputs():
    """Outputs of both kinds, and some that are read on: natively, densely, and both."""
    sketch = Sketch(1, 3, 8, 8)
    first = _conv(sketch, "x", 4, 3)
    turned = sketch.node("Sin", first)
    last = _conv(sketch, turned, 4, 4, seed=1)
    far = sketch.node("Abs", sketch.node("Add", turned, last))
    return sketch.graph(first, turned, last, far, sketch.node("Size", far))


def kept():
    """A dense part whose first result is for another dense part alone, and whose second one is read natively."""
    sketch = Sketch(1, 3, 8, 8)
    stem = _conv(sketch, "x", 4, 3)
    for_later = sketch.node("Sin", stem)
    last = _conv(sketch, sketch.node("Cos", stem), 4, 4, seed=1)
    sketch.node("Concat", for_later, last, axis=2)
    return sketch.graph()


def _normalised(sketch, name, width):
    return sketch.node("LayerNormalization", name, *(sketch.constant(noise(width, seed=n)) for n in (7, 8)), axis=-1)


def _perceptron(sketch, name, width, seed=0):
    weights = [
        noise(*shape, seed=seed + n) / np.sqrt(shape[1])
        for n, shape in enumerate([(3 * width, width), (width, 3 * width)])
    ]
    for weight in weights:
        weight[np.abs(weight) < 0.5 / np.sqrt(weight.shape[1])] = 0
    name = sketch.linear(name, weights[0], noise(3 * width, seed=seed))
    half = sketch.node("Mul", name, sketch.constant(0.5))
    curve = sketch.node("Erf", sketch.node("Div", name, sketch.constant(np.sqrt(2))))
    name = sketch.node("Mul", half, sketch.node("Add", curve, sketch.constant(1.0)))
    return sketch.linear(name, weights[1], noise(width, seed=seed + 1))


def vision_transformer(width=12, heads=2, tokens=16):
    """Patches, a class token, places, one block of attention and perceptron, a classifier of the class token."""
    each = width // heads
    sketch = Sketch(1, 3, 8, 8)
    name = sketch.conv("x", noise(width, 3, 2, 2) / 4, noise(width), strides=[2, 2])
    name = sketch.node("Reshape", name, sketch.constant([1, width, tokens], np.int64))
    name = sketch.node("Transpose", name, perm=[0, 2, 1])
    name = sketch.node("Concat", sketch.constant(noise(1, 1, width)), name, axis=1)
    name = sketch.node("Add", name, sketch.constant(noise(1, tokens + 1, width)))
    seen = sketch.linear(_normalised(sketch, name, width), noise(3 * width, width) / 4, noise(3 * width))
    seen = sketch.node("Reshape", seen, sketch.constant([1, tokens + 1, 3, heads, each], np.int64))
    seen = sketch.node("Transpose", seen, perm=[2, 0, 3, 1, 4])
    query, key, value = (sketch.node("Gather", seen, sketch.constant(n, np.int64), axis=0) for n in range(3))
    scores = sketch.node("MatMul", query, sketch.node("Transpose", key, perm=[0, 1, 3, 2]))
    scores = sketch.node("Softmax", sketch.node("Mul", scores, sketch.constant(each**-0.5)), axis=-1)
    mixed = sketch.node("Transpose", sketch.node("MatMul", scores, value), perm=[0, 2, 1, 3])
    mixed = sketch.node("Reshape", mixed, sketch.constant([1, tokens + 1, width], np.int64))
    name = sketch.node("Add", name, sketch.linear(mixed, noise(width, width, seed=3) / 4, noise(width)))
    name = sketch.node("Add", name, _perceptron(sketch, _normalised(sketch, name, width), width))
    name = sketch.node("Gather", _normalised(sketch, name, width), sketch.constant(0, np.int64), axis=1)
    sketch.linear(name, noise(5, width), noise(5))
    return sketch.graph()


def conv_next(width=8):
    """A stem, a block with channels last within, and a classifier."""
    sketch = Sketch(1, 3, 12, 10)
    stem = sketch.conv("x", noise(width, 3, 2, 2) / 4, noise(width), strides=[2, 2])
    name = sketch.conv(stem, noise(width, 1, 7, 7) / 7, noise(width), pads=[3, 3, 3, 3], group=width)
    name = sketch.node("Transpose", name, perm=[0, 2, 3, 1])
    name = _perceptron(sketch, _normalised(sketch, name, width), width)
    name = sketch.node("Mul", name, sketch.constant(noise(width)))
    name = sketch.node("Add", sketch.node("Transpose", name, perm=[0, 3, 1, 2]), stem)
    name = sketch.node("Flatten", sketch.node("GlobalAveragePool", name), axis=1)
    sketch.linear(_normalised(sketch, name, width), noise(5, width), noise(5))
    return sketch.graph()


def masked():
    """Scores of minus infinity, which only the dense engine reads, and which are nothing after a softmax."""
    sketch = Sketch(1, 3, 6, 6)
    mask = np.triu(np.full((6, 6), -np.inf, np.float32), 1)
    scores = sketch.node("Add", _conv(sketch, "x", 4, 3), sketch.constant(mask))
    _conv(sketch, sketch.node("Softmax", scores, axis=-1), 3, 4, seed=1)
    return sketch.graph()


def turned():
    """Channels last at both borders of a dense part, in squares and what is left beside them."""
    sketch = Sketch(1, 3, 18, 37)
    name = sketch.node("Transpose", _conv(sketch, "x", 20, 3), perm=[0, 2, 3, 1])
    name = _normalised(sketch, sketch.node("Sin", name), 20)
    _conv(sketch, sketch.node("Transpose", name, perm=[0, 3, 1, 2]), 4, 20, seed=1)
    return sketch.graph()


ALL = {
    build.__name__: build
    for build in (middle, start, end, indices, branches, outputs, kept, vision_transformer, conv_next, masked, turned)
}
