"""Graphs for the tests of `sparsemark.direct`: built by hand, run in every way there is, and computed by torch."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from safetensors.numpy import save

from sparsemark.direct.ir import Convolution
from sparsemark.direct.lowering import lower
from sparsemark.direct.memory import place
from sparsemark.direct.program import assemble
from sparsemark.direct.runtime.runner import Runner
from sparsemark.direct.schedule import options
from sparsemark.direct.target import LANES
from sparsemark.engines.operators import OPERATORS
from sparsemark.formats.csr import export as csr_export
from sparsemark.formats.csr import graph as csr
from sparsemark.formats.csr.blocks import BlockMatrix
from sparsemark.formats.csr.graph import CsrMatrix, Graph, Node

WIDE = (130, 200, 300, 16 * LANES, 16 * LANES + 5, 21 * LANES - 1)
"""Widths of rows that no tile, or hardly one, takes whole."""


class Sketch:
    """A graph in the making; every method adds a node and returns the name of what it makes."""

    def __init__(self, *shape):
        self.shape = shape
        self.nodes, self.matrices, self.shapes, self.constants, self.blocks = [], {}, {}, {}, {}

    def node(self, op, *inputs, **attributes):
        made = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(Node(op, f"node {made}", inputs, (made,), attributes))
        return made

    def split(self, source, sizes, *, as_operand=True):
        """Split channels; the names of the parts."""
        first = self.node("Split", source, *([self.constant(sizes, np.int64)] if as_operand else []), axis=1)
        names = tuple(f"{first} part {n}" for n in range(len(sizes)))
        self.nodes[-1] = replace(self.nodes[-1], outputs=names)
        return names

    def slice(self, source, starts, ends, axes, steps=None):
        operands = [self.constant(one, np.int64) for one in (starts, ends, axes, *([] if steps is None else [steps]))]
        return self.node("Slice", source, *operands)

    def shuffle(self, source, groups, shape):
        """Shuffle channels as exporters write it; `shape` is that of an image."""
        channels, height, width = shape
        apart = self.constant([1, groups, channels // groups, height, width], np.int64)
        turned = self.node("Transpose", self.node("Reshape", source, apart), perm=[0, 2, 1, 3, 4])
        return self.node("Reshape", turned, self.constant([1, -1, height, width], np.int64))

    def constant(self, values, kind=np.float32):
        name = f"constant{len(self.constants)}"
        self.constants[name] = np.asarray(values, kind)
        return name

    def matrix(self, weight):
        name = f"matrix{len(self.matrices)}"
        weight = np.asarray(weight, np.float32)
        self.matrices[name] = CsrMatrix.compress(weight.reshape(len(weight), -1))
        self.shapes[name] = weight.shape
        return name

    def conv(self, source, weight, bias=None, **attributes):
        operands = [source, self.matrix(weight)] + ([] if bias is None else [self.constant(bias)])
        return self.node("Conv", *operands, kernel_shape=list(weight.shape[2:]), **attributes)

    def linear(self, source, weight, bias=None):
        return self.node("Linear", source, self.matrix(weight), *([] if bias is None else [self.constant(bias)]))

    def quantized(self, source, scale, zero, kind=np.uint8):
        """Quantise an activation and dequantise it again; the name of the floats."""
        levels = self.constant(scale), self.constant(zero, kind)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", source, *levels), *levels)

    def block_weight(self, weight, scales):
        name = f"blocks{len(self.blocks)}"
        self.blocks[name] = BlockMatrix.compress(np.asarray(weight, np.int8), np.asarray(scales, np.float32))
        return name

    def graph(self, *outputs):
        last = outputs or self.nodes[-1].outputs
        return Graph(
            ("x",), tuple(last), tuple(self.nodes), self.matrices, self.shapes, self.constants, self.shape, 20,
            blocks=self.blocks,
        )  # fmt: skip


def expected(graph, image, kind=torch.float64):
    """Compute every output in torch, in this precision."""
    values = {"": None, graph.inputs[0]: torch.from_numpy(image).to(kind)}
    for name, constant in graph.constants.items():
        tensor = torch.from_numpy(constant)
        values[name] = tensor.to(kind) if tensor.is_floating_point() else tensor
    for node in graph.nodes:
        operands = [values.get(name) for name in node.inputs]
        if node.op in ("Conv", "Linear"):
            dense = graph.matrices[node.inputs[1]].toarray().reshape(graph.shapes[node.inputs[1]])
            operands[1] = torch.from_numpy(dense).to(kind)
        if node.op == "Split":
            sizes = operands[1].tolist() if len(operands) > 1 else -(-operands[0].shape[1] // len(node.outputs))
            values |= zip(node.outputs, torch.split(operands[0], sizes, 1), strict=True)
        else:
            values[node.outputs[0]] = _computed(node, operands)
    return [values[name].numpy() for name in graph.outputs]


def _computed(node, operands):
    given = dict(node.attributes)
    if node.op == "Conv":
        top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
        padded = F.pad(operands[0], (left, right, top, bottom))
        stride, dilation = given.get("strides", (1, 1)), given.get("dilations", (1, 1))
        bias = operands[2] if len(operands) > 2 else None
        return F.conv2d(padded, operands[1], bias, tuple(stride), 0, tuple(dilation), given.get("group", 1))
    if node.op == "Linear":
        return F.linear(*operands)
    if node.op == "Resize":
        linear = given.get("mode") == "linear"
        way = {"mode": "bilinear", "align_corners": False} if linear else {"mode": "nearest"}
        return F.interpolate(operands[0], scale_factor=tuple(operands[2].tolist()[2:]), **way)
    if node.op in _OTHERS:
        return _OTHERS[node.op](given, *operands)
    return OPERATORS[node.op](given)(*operands)


_OTHERS = {
    "DepthToSpace": lambda given, x: F.pixel_shuffle(x, given["blocksize"]),
    "GroupNormalization": lambda given, x, w, b: F.group_norm(x, given["num_groups"], w, b, given["epsilon"]),
    "InstanceNormalization": lambda given, x, w, b: F.instance_norm(x, weight=w, bias=b, eps=given["epsilon"]),
    "Mish": lambda _, x: F.mish(x),
    "PRelu": lambda _, x, slope: torch.where(x >= 0, x, x * slope),
}
"""Operators that no other engine of this package computes."""


class Prepared:
    """A lowered network in which every tensor has its place."""

    def __init__(self, graph, shape=None):
        self.lowered = lower(graph, shape or graph.input_shape)
        self.floats = place(self.lowered)
        self.convolutions = [step for step in self.lowered.operations if isinstance(step, Convolution)]
        self.options = {step: options(step) for step in self.convolutions}

    def ways(self, most=None):
        """Choices for the whole network, such that every option of every convolution comes once at least."""
        count = max(map(len, self.options.values()), default=1)
        for turn in range(count if most is None else min(count, most)):
            yield {step: found[(turn + i) % len(found)] for i, (step, found) in enumerate(self.options.items())}

    def program(self, choices, threads=1):
        return assemble(self.lowered.operations, choices, self.floats, threads)

    def runner(self, choices, threads=1):
        """A function of one image that gives every output, in its own shape."""
        run = Runner(self.program(choices, threads), threads)
        tensors, shapes = zip(*self.lowered.outputs, strict=True)
        return lambda image: [a.reshape(shape) for a, shape in zip(run(image, tensors), shapes, strict=True)]


def distance(got, reference):
    """Largest difference over the largest value of the reference."""
    assert got.shape == reference.shape
    assert np.isfinite(got).all()
    most = np.abs(reference).max(initial=0.0)
    furthest = np.abs(got - reference).max(initial=0.0)
    return furthest / most if most else furthest * math.inf if furthest else 0.0


def whole_numbers(generator, shape, most, density=1.0):
    """Integers from 1 to `most` of both signs as float32, some of them 0: their sums are exact in any order."""
    values = generator.integers(1, most + 1, shape) * generator.choice([-1, 1], shape)
    return (values * (generator.random(shape) < density)).astype(np.float32)


@dataclass(frozen=True)
class Layer:
    """A convolution and the image it is applied to."""

    channels: int
    outputs: int
    height: int
    width: int
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: int = 1
    density: float = 0.5
    bias: bool = True
    seed: int = 0

    @property
    def size(self):
        """Height and width of the output."""
        return tuple(
            (extent + self.pads[a] + self.pads[a + 2] - self.dilations[a] * (self.kernel[a] - 1) - 1)
            // self.strides[a] + 1
            for a, extent in enumerate((self.height, self.width))
        )  # fmt: skip

    @property
    def work(self):
        """Multiplications of the dense convolution."""
        return math.prod((*self.size, *self.kernel, self.outputs, self.channels // self.group))

    @property
    def shape(self):
        return 1, self.channels, self.height, self.width

    def generator(self):
        return np.random.default_rng(self.seed)

    def weight(self):
        shape = (self.outputs, self.channels // self.group, *self.kernel)
        return whole_numbers(self.generator(), shape, 9, self.density)

    def image(self, number=0):
        return whole_numbers(np.random.default_rng((self.seed, number)), self.shape, 99)

    def onto(self, sketch, source="x"):
        """Add this convolution to a sketch."""
        bias = whole_numbers(self.generator(), (self.outputs,), 50) if self.bias else None
        return sketch.conv(
            source, self.weight(), bias, strides=list(self.strides), dilations=list(self.dilations),
            pads=list(self.pads), group=self.group,
        )  # fmt: skip

    def sketch(self):
        return Sketch(*self.shape)


def sizes(*, wide=True):
    """Height and width: small, middling, and, of few rows, wide."""
    small = st.tuples(st.integers(1, 12), st.integers(1, 20))
    middling = st.tuples(st.integers(1, 40), st.integers(1, 72))
    found = st.one_of(small, middling, middling)
    return st.one_of(found, found, st.tuples(st.integers(1, 5), st.sampled_from(WIDE))) if wide else found


@st.composite
def layers(draw, most_work=4_000_000):
    """Any convolution that torch computes too, its output not empty."""
    height, width = draw(sizes())
    kernel = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    plain = draw(st.booleans())
    strides = (1, 1) if plain else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilations = draw(st.one_of(st.just((1, 1)), st.tuples(st.integers(1, 3), st.integers(1, 3))))
    reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    kind = draw(st.sampled_from(("none", "same", "any", "any")))
    if kind == "same":
        top, left = (r // 2 for r in reach)
        pads = (top, left, reach[0] - top, reach[1] - left)
    else:
        pads = (0, 0, 0, 0) if kind == "none" else tuple(draw(st.integers(0, reach[a % 2] + 3)) for a in range(4))
    group = draw(st.sampled_from((1, 1, 1, 2, 3, 8)))
    # Many channels, so that they are taken in blocks, and as many outputs as fill tiles of four.
    inside = draw(st.sampled_from((1, 1, 2, 3, 5, 8, 13, 40)))
    outside = draw(st.sampled_from((1, 1, 2, 3, 4, 7, 12)))
    layer = Layer(
        inside * group, outside * group, height, width, kernel, strides, dilations, pads, group,
        draw(st.sampled_from((0.0, 0.02, 0.1, 0.3, 0.5, 0.9, 1.0))), draw(st.booleans()), draw(st.integers(0, 999)),
    )  # fmt: skip
    if min(layer.size) < 1 or layer.work > most_work:
        # Cut down rather than thrown away: hypothesis dislikes what is thrown away.
        layer = Layer(3, 4, height, width, kernel, pads=(6, 6, 6, 6), density=layer.density, seed=layer.seed)
    return layer


ACTIVATIONS = {
    "Relu": {},
    "Clip": {},
    "LeakyRelu": {"alpha": 0.2},
    "Sigmoid": {},
    "SiLU": {},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "HardSwish": {},
    "Tanh": {},
    "Gelu": {},
    "Elu": {"alpha": 0.7},
    "Erf": {},
    "Mish": {},
    "Softplus": {},
    "PRelu": {},
    "Identity": {},
}
"""Every operator of one value that the engine knows, with attributes other than their defaults."""


def activate(sketch, name, kind):
    """Add an activation; SiLU is two nodes."""
    if kind == "Clip":
        return sketch.node("Clip", name, sketch.constant(-0.5), sketch.constant(0.75))
    if kind == "SiLU":
        return sketch.node("Mul", name, sketch.node("Sigmoid", name))
    if kind == "PRelu":
        return sketch.node("PRelu", name, sketch.constant(-0.3))
    return sketch.node(kind, name, **ACTIVATIONS[kind])


class _Grown:
    """A random network: names with their shapes, from which the next operator takes its operands."""

    def __init__(self, draw):
        self.draw = draw
        self.height, self.width = draw(st.tuples(st.integers(1, 17), st.integers(1, 36)))
        channels = draw(st.integers(1, 5))
        self.sketch = Sketch(1, channels, self.height, self.width)
        self.generator = np.random.default_rng(draw(st.integers(0, 999)))
        self.shapes = {"x": (channels, self.height, self.width)}

    def floats(self, *shape):
        return self.generator.standard_normal(shape).astype(np.float32)

    def pick(self):
        names = list(self.shapes)
        return names[-1] if self.draw(st.booleans()) else self.draw(st.sampled_from(names))

    def keep(self, name, shape):
        self.shapes[name] = tuple(shape)
        return name

    def convolution(self):
        name = self.pick()
        channels, height, width = self.shapes[name]
        k = self.draw(st.sampled_from((1, 3, 3, 5)))
        stride = self.draw(st.sampled_from((1, 1, 1, 2)))
        outputs = channels if self.draw(st.booleans()) else self.draw(st.integers(1, 9))
        weight = self.floats(outputs, channels, k, k) * (self.generator.random((outputs, channels, k, k)) < 0.5)
        attributes = {"pads": [k // 2] * 4, "strides": [stride] * 2}
        made = self.sketch.conv(name, weight / np.sqrt(channels * k * k / 2), self.floats(outputs), **attributes)
        size = ((height - 1) // stride + 1, (width - 1) // stride + 1)
        self.keep(made, (outputs, *size))
        self.after(made)

    def after(self, name):
        """Perhaps what an engine fuses: an addition, a clamp, 2 x 2 pooling."""
        shape = self.shapes[name]
        alike = [other for other, its in self.shapes.items() if its == shape and other != name]
        if alike and self.draw(st.booleans()):
            operands = [name, self.draw(st.sampled_from(alike))]
            name = self.keep(self.sketch.node("Add", *self.draw(st.permutations(operands))), shape)
        if self.draw(st.booleans()):
            name = self.keep(activate(self.sketch, name, self.draw(st.sampled_from(("Relu", "Clip", "SiLU")))), shape)
        if min(shape[1:]) > 1 and self.draw(st.booleans()):
            pooled = self.sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])
            self.keep(pooled, (shape[0], shape[1] // 2, shape[2] // 2))

    def transposed(self):
        name = self.pick()
        channels, height, width = self.shapes[name]
        outputs, k = self.draw(st.integers(1, 5)), self.draw(st.sampled_from((2, 3)))
        weight = self.sketch.constant(self.floats(channels, outputs, k, k) / np.sqrt(channels * k * k / 4))
        bias = self.sketch.constant(self.floats(outputs))
        made = self.sketch.node("ConvTranspose", name, weight, bias, strides=[2, 2], kernel_shape=[k, k])
        self.keep(made, (outputs, 2 * height + k - 2, 2 * width + k - 2))

    def activation(self):
        name = self.pick()
        self.keep(activate(self.sketch, name, self.draw(st.sampled_from(list(ACTIVATIONS)))), self.shapes[name])

    def pooling(self):
        name = self.pick()
        channels, height, width = self.shapes[name]
        kind = self.draw(st.sampled_from(("MaxPool", "AveragePool")))
        made = self.sketch.node(kind, name, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        self.keep(made, (channels, (height - 1) // 2 + 1, (width - 1) // 2 + 1))

    def joined(self):
        name = self.pick()
        others = [other for other, its in self.shapes.items() if its[1:] == self.shapes[name][1:]]
        parts = [name, *self.draw(st.lists(st.sampled_from(others), min_size=1, max_size=2))]
        channels = sum(self.shapes[part][0] for part in parts)
        self.keep(self.sketch.node("Concat", *parts, axis=1), (channels, *self.shapes[name][1:]))

    def combined(self):
        name = self.pick()
        shape = self.shapes[name]
        repeated = {(c, *size) for c in (1, shape[0]) for size in ((1, 1), shape[1:])}
        others = [o for o, its in self.shapes.items() if its in repeated]
        operands = [name, self.draw(st.sampled_from(others))]
        kind = self.draw(st.sampled_from(("Add", "Mul", "Sub")))
        self.keep(self.sketch.node(kind, *self.draw(st.permutations(operands))), shape)

    def channelwise(self):
        name = self.pick()
        shape = self.shapes[name]
        values = [self.sketch.constant(self.floats(shape[0])) for _ in range(3)]
        variance = self.sketch.constant(np.abs(self.floats(shape[0])) + 0.5)
        self.keep(self.sketch.node("BatchNormalization", name, *values, variance, epsilon=1e-3), shape)

    def by_constant(self):
        name = self.pick()
        shape = self.shapes[name]
        kinds = [(1, shape[0], 1, 1), (1, 1, *shape[1:]), (1, *shape), (shape[2],), (shape[0], shape[1], 1)]
        constant = self.sketch.constant(self.floats(*self.draw(st.sampled_from(kinds))))
        operands = [name, constant] if self.draw(st.booleans()) else [constant, name]
        self.keep(self.sketch.node(self.draw(st.sampled_from(("Add", "Mul", "Sub"))), *operands), shape)

    def squeezed(self):
        name = self.pick()
        self.keep(self.sketch.node("GlobalAveragePool", name), (self.shapes[name][0], 1, 1))

    def doubled(self):
        name = self.pick()
        channels, height, width = self.shapes[name]
        if height * width > 1500:
            return
        scales = self.sketch.constant([1, 1, 2, 2])
        given = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
        if self.draw(st.booleans()):
            given = {"coordinate_transformation_mode": "half_pixel", "mode": "linear"}
        self.keep(self.sketch.node("Resize", name, "", scales, **given), (channels, 2 * height, 2 * width))

    def reshaped(self):
        """By way of a vector, and a linear layer in between, to another image."""
        name = self.pick()
        count = math.prod(self.shapes[name])
        if count > 600:
            return
        target = [1, self.draw(st.sampled_from([d for d in range(1, count + 1) if count % d == 0])), 1, -1]
        flat = self.sketch.node("Flatten", name)
        if self.draw(st.booleans()):
            flat = self.sketch.linear(flat, self.floats(count, count) / np.sqrt(count), self.floats(count))
        made = self.sketch.node("Reshape", flat, self.sketch.constant(target, np.int64))
        self.keep(made, (target[1], 1, count // target[1]))

    def normalised(self):
        name = self.pick()
        shape = self.shapes[name]
        if shape[1] * shape[2] < 4:  # with few pixels, variance is rounding
            return
        operands = [self.sketch.constant(self.floats(shape[0])) for _ in range(2)]
        self.keep(self.sketch.node("InstanceNormalization", name, *operands, epsilon=0.1), shape)

    def padded(self):
        name = self.pick()
        channels, *size = self.shapes[name]
        pads = self.draw(st.lists(st.integers(-1, 3), min_size=4, max_size=4))
        sizes = [n + pads[a] + pads[a + 2] for a, n in enumerate(size)]
        if min(sizes) >= 1:
            operands = self.sketch.constant([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64), self.sketch.constant(0.5)
            self.keep(self.sketch.node("Pad", name, *operands), (channels, *sizes))

    def parted(self):
        """Channels in parts, of which one may be part of another."""
        name = self.pick()
        channels, *size = self.shapes[name]
        cuts = sorted(self.draw(st.sets(st.integers(1, channels - 1), max_size=2))) if channels > 1 else []
        sizes = np.diff([0, *cuts, channels]).tolist()
        for part, count in zip(self.sketch.split(name, sizes), sizes, strict=True):
            self.keep(part, (count, *size))

    def sliced(self):
        name = self.pick()
        shape = self.shapes[name]
        starts = [self.draw(st.integers(0, extent - 1)) for extent in shape]
        ends = [self.draw(st.integers(start + 1, extent)) for start, extent in zip(starts, shape, strict=True)]
        steps = [1, *(self.draw(st.integers(1, 3)) for _ in range(2))]
        if self.draw(st.booleans()):
            starts, ends, steps = [starts[0], 0, 0], [ends[0], shape[1], shape[2]], [1, 1, 1]
        sizes = [len(range(*slice(*one).indices(n))) for *one, n in zip(starts, ends, steps, shape, strict=True)]
        self.keep(self.sketch.slice(name, starts, ends, [1, 2, 3], steps), sizes)

    def shuffled(self):
        name = self.pick()
        shape = self.shapes[name]
        groups = self.draw(st.sampled_from([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
        self.keep(self.sketch.shuffle(name, groups, shape), shape)

    def soft(self):
        name = self.pick()
        self.keep(self.sketch.node("Softmax", name, axis=1), self.shapes[name])


@st.composite
def grown_networks(draw):
    """Random networks of many operators, of one output or several."""
    grown = _Grown(draw)
    growth = (
        grown.convolution, grown.convolution, grown.convolution, grown.transposed, grown.activation, grown.pooling,
        grown.joined, grown.combined, grown.channelwise, grown.by_constant, grown.squeezed, grown.doubled,
        grown.reshaped, grown.soft, grown.parted, grown.sliced, grown.shuffled,
        grown.normalised, grown.padded,
    )  # fmt: skip
    for _ in range(draw(st.integers(2, 8))):
        if sum(map(math.prod, grown.shapes.values())) < 60_000:
            draw(st.sampled_from(growth))()
    made = [name for node in grown.sketch.nodes for name in node.outputs if name in grown.shapes]
    if not made:
        made = [activate(grown.sketch, "x", "Relu")]
    outputs = {made[-1], *draw(st.lists(st.sampled_from(made), max_size=2))}
    return grown.sketch.graph(*sorted(outputs))


def written(graph, path):
    """Write a graph as `csr_export` does; the path."""
    header, tensors = content_of(graph)
    return signed(header, tensors, path)


def content_of(graph):
    """Header and tensors of a graph's file, without its digest."""
    tensors = {name: np.array(value, order="C") for name, value in graph.constants.items()}
    for name, matrix in graph.matrices.items():
        tensors |= csr_export._compress(name, matrix.toarray())
    for name, matrix in graph.blocks.items():
        tensors |= matrix.tensors(name)
    header = {
        "schema": 2,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "nodes": [asdict(node) for node in graph.nodes],
        "shapes": {name: list(shape) for name, shape in graph.shapes.items()},
        "input_shape": None if graph.input_shape is None else list(graph.input_shape),
        "opset": graph.opset,
        **({"blocks": {name: matrix.dense for name, matrix in graph.blocks.items()}} if graph.blocks else {}),
    }
    return json.loads(json.dumps(header)), tensors


def signed(header, tensors, path):
    """Write a header and tensors, whatever they are, with the digest that belongs to them."""
    described = header | {"digest": csr.digest(header, tensors)} if isinstance(header, dict) else header
    path.write_bytes(save(tensors, metadata={"sparsemark-csr": json.dumps(described)}))
    return path
