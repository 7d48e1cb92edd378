"""Damaged and hostile CSR files for `direct-csr`, one after the other, in a process that may die of them.

`python -m tests.direct.mutations FIRST COUNT FOLDER` writes a line of JSON for each that ended in neither a reason nor
an answer, and at last one that counts. What a number stands for never changes, so that it can be looked at alone;
`python -m tests.direct.mutations NAME=FILE ...` tries some files.
"""

from __future__ import annotations

import copy
import faulthandler
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save

import sparsemark
from tests.direct.graphs import Sketch, activate, content_of, signed, whole_numbers, written

ROOT = Path(__file__).parents[2]

SPARE = 2 << 30
"""Bytes of memory that one small file may make a process take."""

SECONDS = 300
"""After which a file is said to hang; each takes a few hundredths, and seconds where others have the processor."""

_STEPS = ("refused", "ran")

# --- what is mutated


def _image_network():
    """Convolutions of every kind and what is fused into them, on few pixels."""
    generator = np.random.default_rng(0)
    sketch = Sketch(1, 3, 16, 32)
    stem = sketch.conv("x", whole_numbers(generator, (8, 3, 3, 3), 9, 0.5), np.ones(8), pads=[1, 1, 1, 1])
    stem = activate(sketch, stem, "SiLU")
    down = sketch.conv(stem, whole_numbers(generator, (8, 8, 3, 3), 9, 0.1), np.ones(8), pads=[1, 1, 1, 1])
    down = sketch.node("MaxPool", sketch.node("Relu", down), kernel_shape=[2, 2], strides=[2, 2])
    deep = sketch.conv(down, whole_numbers(generator, (8, 1, 5, 3), 9, 0.5), pads=[2, 1, 2, 1], group=8)
    deep = sketch.node("Clip", sketch.node("Add", deep, down), sketch.constant(-1.0), sketch.constant(6.0))
    strided = sketch.conv(
        deep, whole_numbers(generator, (6, 8, 4, 3), 9, 0.3), np.ones(6), strides=[2, 1], pads=[1, 0, 2, 3],
        dilations=[1, 2],
    )  # fmt: skip
    weight = sketch.constant(whole_numbers(generator, (6, 4, 3, 3), 9, 0.5))
    up = sketch.node(
        "ConvTranspose", strided, weight, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
        output_padding=[1, 1], dilations=[1, 1], group=1,
    )  # fmt: skip
    large = sketch.node(
        "Resize", deep, "", sketch.constant([1, 1, 1, 2]), coordinate_transformation_mode="asymmetric", mode="nearest",
        nearest_mode="floor",
    )  # fmt: skip
    up = sketch.node("Concat", activate(sketch, up, "Tanh"), activate(sketch, up, "LeakyRelu"), axis=1)
    mask = sketch.node("Sigmoid", sketch.conv(up, whole_numbers(generator, (1, 8, 1, 1), 9)))
    flat = sketch.node("Flatten", sketch.node("GlobalAveragePool", large), axis=1)
    kind = sketch.node("Softmax", sketch.linear(flat, whole_numbers(generator, (3, 8), 9), np.ones(3)), axis=1)
    return sketch.graph(mask, kind)


def _pooled_network():
    """Make a network of gates and the other operators of images."""
    generator = np.random.default_rng(1)
    sketch = Sketch(1, 4, 9, 11)
    constants = [sketch.constant(np.ones(4) * n) for n in (1, 0.5, 0.1, 2)]
    name = sketch.node("BatchNormalization", "x", *constants, epsilon=1e-5)
    name = sketch.node("AveragePool", name, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 1, 1, 0], count_include_pad=1)
    name = sketch.node("MaxPool", name, kernel_shape=[3, 3], strides=[1, 2], pads=[1, 1, 1, 1], ceil_mode=1)
    for kind in ("HardSigmoid", "HardSwish", "Gelu", "Elu", "Erf", "Identity"):
        name = activate(sketch, name, kind)
    gate = activate(sketch, sketch.node("ReduceMean", name, sketch.constant([2, 3], np.int64), keepdims=1), "Sigmoid")
    name = sketch.node("Mul", name, gate)
    name = sketch.node("Sub", sketch.node("Add", name, sketch.constant(np.ones((1, 4, 1, 1)))), sketch.constant(0.5))
    name = sketch.node("Div", name, sketch.constant(2.0))
    name = sketch.node("Reshape", name, sketch.constant([0, -1, 6, 2], np.int64))
    name = sketch.conv(name, whole_numbers(generator, (4, 10, 2, 2), 9, 0.4))
    best = sketch.node("Unsqueeze", sketch.node("GlobalMaxPool", name), sketch.constant([0], np.int64))
    return sketch.graph(name, sketch.node("Squeeze", best, sketch.constant([0], np.int64)))


def _vector_network():
    generator = np.random.default_rng(2)
    sketch = Sketch(1, 12)
    name = sketch.linear("x", whole_numbers(generator, (16, 12), 9, 0.5), np.ones(16))
    name = sketch.linear(activate(sketch, name, "Relu"), whole_numbers(generator, (16, 16), 9, 0.2))
    name = sketch.node("Reshape", name, sketch.constant([1, 4, 2, 2], np.int64))
    name = sketch.conv(name, whole_numbers(generator, (2, 2, 3, 3), 9, 0.5), pads=[1, 1, 1, 1], group=2)
    return sketch.graph(sketch.node("Flatten", name, axis=1))


def _parts_network():
    """Channels and pixels in parts, and in another order."""
    generator = np.random.default_rng(3)
    sketch = Sketch(1, 3, 8, 20)
    parts = [sketch.slice("x", [y, x], [99, 99], [2, 3], [2, 2]) for y in (0, 1) for x in (0, 1)]
    name = sketch.node("Concat", *parts, axis=1)
    name = sketch.conv(name, whole_numbers(generator, (8, 12, 3, 3), 9, 0.3), np.ones(8), pads=[1, 1, 1, 1])
    first, second = sketch.split(sketch.node("Relu", name), [4, 4])
    second = sketch.conv(second, whole_numbers(generator, (4, 4, 3, 3), 9, 0.3), pads=[1, 1, 1, 1])
    name = sketch.shuffle(sketch.node("Concat", first, second, axis=1), 2, (8, 4, 10))
    name = sketch.slice(name, [1, 2], [5, 9], [1, 3])
    name = sketch.node("DepthToSpace", name, blocksize=2, mode="CRD")
    return sketch.graph(name, second)


def _resampled_network():
    """Sizes that change, normalisation, and operands that are repeated."""
    generator = np.random.default_rng(4)
    sketch = Sketch(1, 4, 6, 10)
    pads = sketch.constant([0, 0, 1, 2, 0, 0, 0, 1], np.int64)
    name = sketch.node("PRelu", sketch.node("Pad", "x", pads, mode="reflect"), sketch.constant(np.ones((4, 1, 1))))
    scales, region = sketch.constant([1, 1, 2, 1.5]), ""
    name = sketch.node(
        "Resize", name, region, scales, mode="linear", coordinate_transformation_mode="half_pixel",
        nearest_mode="floor", antialias=0,
    )  # fmt: skip
    operands = [sketch.constant(whole_numbers(generator, (4,), 9)) for _ in range(2)]
    name = sketch.node("InstanceNormalization", name, *operands, epsilon=0.1)
    name = sketch.node("Pad", name, sketch.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    name = activate(sketch, sketch.conv(name, whole_numbers(generator, (4, 4, 3, 3), 9, 0.3)), "Mish")
    mask = activate(sketch, sketch.conv(name, whole_numbers(generator, (1, 4, 1, 1), 9)), "Softplus")
    name = sketch.node("Mul", mask, sketch.node("Div", sketch.constant(np.ones((14, 19))), name))
    name = sketch.node("GroupNormalization", name, *operands, num_groups=2, epsilon=0.1)
    wide = sketch.constant([1, 2, -1], np.int64), sketch.constant([1, 4, 14, 19], np.int64)
    halves = [sketch.constant(np.ones(2)) for _ in range(2)]
    inner = sketch.node("InstanceNormalization", sketch.node("Reshape", name, wide[0]), *halves, epsilon=0.1)
    name = sketch.node("Mul", sketch.node("Reshape", inner, wide[1]), sketch.constant(np.ones((4, 1, 1))))
    small = sketch.constant([1, 4, 5, 7], np.int64)
    given = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    return replace(sketch.graph(sketch.node("Resize", name, "", "", small, **given)), opset=21)


def _mobile_network():
    """Make a network of strided convolutions of each channel by itself, and of odd widths."""
    generator = np.random.default_rng(5)
    sketch = Sketch(1, 5, 13, 32)
    name = sketch.conv("x", whole_numbers(generator, (7, 5, 3, 3), 9, 0.9), np.ones(7), pads=[1, 1, 1, 1])
    name = sketch.node("Relu", name)
    name = sketch.conv(
        name, whole_numbers(generator, (7, 1, 3, 5), 9), np.ones(7), strides=[2, 2], pads=[1, 2, 0, 3], group=7,
        dilations=[1, 1],
    )  # fmt: skip
    name = sketch.node("Clip", name, sketch.constant(0.0), sketch.constant(6.0))
    name = sketch.conv(name, whole_numbers(generator, (9, 7, 1, 1), 9), np.ones(9))
    return sketch.graph(name)


def _quantised_network():
    """Make a network of bytes: strides, groups, pooling, features, and operators in float32 between them."""
    generator = np.random.default_rng(6)

    def weight(*shape):
        return sketch.block_weight(whole_numbers(generator, shape, 127, 0.5), np.full(shape[0], 0.01))

    sketch = Sketch(1, 3, 9, 16)
    name = sketch.quantized("x", 0.02, 7)
    name = sketch.node(
        "Conv", name, weight(6, 3, 3, 3), sketch.constant(np.ones(6)), strides=[2, 1], pads=[1, 1, 1, 1], group=1
    )
    name = sketch.quantized(sketch.node("Relu", name), 0.1, 0)
    name = sketch.quantized(sketch.node("Clip", sketch.node("Add", name, name)), 0.2, 3)
    name = sketch.node("MaxPool", name, kernel_shape=[2, 2], strides=[1, 2], pads=[0, 0, 0, 0])
    name = sketch.node("Conv", name, weight(4, 3, 3, 2), group=2, dilations=[1, 2], pads=[1, 0, 1, 2])
    name = sketch.node("Tanh", sketch.quantized(name, 0.5, 100, np.int8))
    name = sketch.node("Flatten", sketch.quantized(name, 0.01, 128), axis=1)
    name = sketch.node("Linear", name, weight(3, 128), sketch.constant(np.ones(3)))
    return sketch.graph(sketch.quantized(name, 0.3, 9))


def _quantised_unet():
    """Make a network of bytes that joins what a transposed convolution and a Resize make with what came before."""
    generator = np.random.default_rng(7)

    def weight(*shape):
        return sketch.block_weight(whole_numbers(generator, shape, 127, 0.5), np.full(shape[0], 0.01))

    sketch = Sketch(1, 3, 8, 12)
    skip = sketch.quantized("x", 0.02, 7)
    small = sketch.quantized(sketch.node("MaxPool", skip, kernel_shape=[2, 2], strides=[2, 2]), 0.02, 7)
    up = sketch.node(
        "ConvTranspose", small, weight(5, 3, 2, 2), sketch.constant(np.ones(5)), kernel_shape=[2, 2], strides=[2, 2],
        pads=[0, 0, 0, 0], output_padding=[0, 0], dilations=[1, 1], group=1,
    )  # fmt: skip
    large = sketch.node(
        "Resize", small, "", sketch.constant([1, 1, 2, 2]), coordinate_transformation_mode="asymmetric",
        mode="nearest", nearest_mode="floor",
    )  # fmt: skip
    parts = skip, sketch.quantized(up, 0.05, 100), sketch.quantized(large, 0.02, 7)
    name = sketch.quantized(sketch.node("Concat", *parts, axis=1), 0.02, 7)
    name = sketch.node("Conv", name, weight(4, 11, 3, 3), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return sketch.graph(sketch.quantized(name, 0.5, 100), skip)


def networks():
    """Make the networks that are mutated."""
    return [
        _image_network(), _pooled_network(), _vector_network(), _parts_network(), _resampled_network(),
        _mobile_network(), _quantised_network(), _quantised_unet(),
    ]  # fmt: skip


# --- mutations

_NUMBERS = (
    0, 1, -1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 100, 255, 256, 1000, 4095, 4096, 4097, 65535, 65536, 2**20, 2**24,
    2**28, 2**31 - 1, 2**31, -(2**31), 2**32, 2**32 + 1, 2**62, 2**63 - 1, 2**63, -(2**63), 10**30, 0.5, 1.5, -0.5,
    1e-30, 1e30, 1e308, -1e308, math.nan, math.inf, -math.inf,
)  # fmt: skip
_OTHERS = (
    None, True, False, "", "x", "1", "NOTSET", "VALID", "SAME_UPPER", "nearest", "linear", "tanh", "half_pixel", [], {},
    [[]], [0], [1, 1], [-1, -1], [2, 2], [0, 0, 0, 0], [-1, -1, -1, -1], [4096] * 4, [2**40] * 4, [1] * 5, [1.5, 1.5],
    ["a"], {"a": 1}, [None], "\x00", "é" * 50, [[[[[[[1]]]]]]],
)  # fmt: skip
_ATTRIBUTES = (
    "kernel_shape", "strides", "pads", "dilations", "group", "auto_pad", "output_padding", "output_shape", "axis",
    "axes", "keepdims", "ceil_mode", "count_include_pad", "alpha", "beta", "epsilon", "training_mode", "allowzero",
    "mode", "nearest_mode", "coordinate_transformation_mode", "approximate", "storage_order", "name", "domain",
    "doc_string", "inputs", "momentum", "noop_with_empty_axes", "cubic_coeff_a", "exclude_outside", "antialias", "",
    "blocksize", "perm", "num_outputs", "split", "num_groups", "keep_aspect_ratio_policy", "extrapolation_value",
)  # fmt: skip
_OPERATORS = (
    "Conv", "Linear", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean",
    "ReduceMax", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Mul", "Add", "Sub", "Div", "HardSigmoid", "HardSwish", "Tanh",
    "Gelu", "Elu", "Erf", "Identity", "Dropout", "BatchNormalization", "Concat", "Flatten", "Reshape", "Squeeze",
    "Unsqueeze", "Softmax", "Resize", "Det", "x.Relu", "", "Split", "Slice", "Transpose", "DepthToSpace",
    "Mish", "Softplus", "PRelu", "Pad", "InstanceNormalization", "GroupNormalization",
    "QuantizeLinear", "DequantizeLinear",
)  # fmt: skip
_KINDS = (np.float64, np.float16, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64, np.bool_)


class Mutator:
    """Changes files, by a generator of its own."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def one_of(self, things):
        return things[int(self.random.integers(len(things)))]

    def chance(self, share):
        return self.random.random() < share

    def value(self, like=None):
        if isinstance(like, int) and not isinstance(like, bool) and self.chance(0.5):
            return self.one_of([like + 1, like - 1, -like, 2 * like, like // 2, int(self.random.integers(0, 12))])
        return copy.deepcopy(self.one_of(_NUMBERS if self.chance(0.6) else _OTHERS))

    def mutated(self, files):
        """Content of one changed file."""
        kind = self.random.random()
        content, header, tensors = self.one_of(files)
        if kind < 0.2:
            return self.bytes_changed(bytearray(content), files)
        header, tensors = copy.deepcopy(header), dict(tensors)
        for _ in range(int(self.random.integers(1, 4))):
            kind = self.random.random()
            if kind < 0.3:
                header = self.anywhere(header)
            elif kind < 0.75 and isinstance(header, dict) and self.has_nodes(header):
                self.node_changed(header)
            else:
                self.tensor_changed(header, tensors)
        return header, tensors

    @staticmethod
    def has_nodes(header):
        nodes = header.get("nodes")
        whole = isinstance(nodes, list) and nodes and all(isinstance(n, dict) and len(n) == 5 for n in nodes)
        return whole and all(
            isinstance(n["attributes"], dict) and isinstance(n["inputs"], list) and isinstance(n["outputs"], list)
            for n in nodes
        )

    def bytes_changed(self, content, files):
        for _ in range(int(self.random.integers(1, 9))):
            size = len(content)
            where = int(self.random.integers(size)) if self.chance(0.5) else int(self.random.integers(min(size, 600)))
            length = int(self.random.integers(1, 9))
            kind = int(self.random.integers(6))
            if kind == 0:
                content[where] = int(self.random.integers(256))
            elif kind == 1:
                content[where] ^= 1 << int(self.random.integers(8))
            elif kind == 2:
                del content[where : where + length]
            elif kind == 3:
                content[where:where] = self.random.bytes(length)
            elif kind == 4:
                content[where : where + length] = self.one_of(files)[0][where : where + length]
            else:
                del content[where:]
            if not content:
                break
        return bytes(content)

    def anywhere(self, header):
        """Change, drop, double or move any part of a header."""
        places = list(_places(header))
        holder, key = self.one_of(places)
        kind = int(self.random.integers(6))
        if kind <= 2:
            holder[key] = self.value(holder[key])
        elif kind == 3:
            del holder[key]
        elif kind == 4:
            other, name = self.one_of(places)
            holder[key] = copy.deepcopy(other[name]) if name in _keys(other) else None
        elif isinstance(holder, list):
            holder.insert(int(self.random.integers(len(holder) + 1)), copy.deepcopy(holder[key]))
        else:
            holder[self.one_of(_ATTRIBUTES)] = self.value()
        return header

    def node_changed(self, header):
        """Change one node such that it may still mean something."""
        node = self.one_of(header["nodes"])
        kind = int(self.random.integers(9))
        names = [
            "",
            *(name for n in header["nodes"] for name in (*n["inputs"], *n["outputs"]) if isinstance(name, str)),
        ]
        if kind == 0:
            node["op"] = self.one_of(_OPERATORS)
        elif kind <= 3:
            self.attribute_changed(node["attributes"])
        elif kind == 4 and node["inputs"]:
            node["inputs"][int(self.random.integers(len(node["inputs"])))] = self.one_of(names)
        elif kind == 5 and node["outputs"]:
            node["outputs"][0] = self.one_of([*names, *(f"{name} by phase" for name in names)])
        elif kind == 6:
            header["nodes"].insert(int(self.random.integers(len(header["nodes"]))), copy.deepcopy(node))
        elif kind == 7:
            self.shape_changed(header.get("input_shape"))
        elif isinstance(header.get("shapes"), dict) and header["shapes"]:
            self.shape_changed(header["shapes"][self.one_of(list(header["shapes"]))])

    def attribute_changed(self, attributes):
        name = self.one_of(list(attributes)) if attributes and self.chance(0.7) else self.one_of(_ATTRIBUTES)
        now = attributes.get(name)
        if isinstance(now, list) and now:
            now[int(self.random.integers(len(now)))] = self.value(self.one_of(now))
        else:
            attributes[name] = self.value(now)

    def shape_changed(self, shape):
        if not isinstance(shape, list) or not shape:
            return
        if self.chance(0.5) or not all(isinstance(n, int) for n in shape):
            shape[int(self.random.integers(len(shape)))] = self.value(self.one_of(shape))
        else:
            # As many columns, shared out in another way.
            columns = math.prod(shape[1:])
            shape[1:] = self.one_of([[columns], [columns, 1, 1], [1, columns, 1], [1, 1, columns], shape[:0:-1]])

    def tensor_changed(self, header, tensors):
        if not tensors:
            return
        name = self.one_of(list(tensors))
        tensor = np.array(tensors[name])
        kind = int(self.random.integers(10))
        if kind <= 3 and tensor.size:
            flat = tensor.reshape(-1)
            for _ in range(int(self.random.integers(1, 4))):
                number = self.one_of(_NUMBERS)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    flat[int(self.random.integers(flat.size))] = np.asarray(float(number)).astype(flat.dtype)
        elif kind == 4:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tensor = tensor.astype(self.one_of(_KINDS))
        elif kind == 5:
            shape = self.one_of([(-1,), (1, -1), (-1, 1), (1, 1, -1), (-1, 1, 1, 1)])
            tensor = tensor.reshape(shape)
        elif kind == 6:
            tensor = tensor.reshape(-1)[: int(self.random.integers(tensor.size + 1))]
        elif kind == 7:
            tensor = np.concatenate([tensor.reshape(-1)] * int(self.random.integers(1, 4)))
        elif kind == 8:
            tensor = self.random.permutation(tensor.reshape(-1)).reshape(tensor.shape)
        else:
            del tensors[name]
            if self.chance(0.5) or not isinstance(header, dict):
                return
            name = self.one_of([name, f"{name}.rows", "x", "matrix0.values"])
        tensors[name] = np.array(tensor, order="C")


def _keys(holder):
    return range(len(holder)) if isinstance(holder, list) else holder.keys()


def _places(value):
    """Every part of a tree as its holder and its key there."""
    for key in list(_keys(value)):
        yield value, key
        if isinstance(value[key], list | dict):
            yield from _places(value[key])


def files_of(folder):
    """Content, header and tensors of the files that are mutated."""
    found = []
    for graph in networks():
        path = written(graph, folder / "original.csr")
        found.append((path.read_bytes(), *content_of(graph)))
    return found


def write_mutation(number, files, path):
    """Write the file of this number; False where there is no such file: some headers cannot be written at all."""
    mutated = Mutator((number, 77)).mutated(files)
    if isinstance(mutated, bytes):
        path.write_bytes(mutated)
        return True
    header, tensors = mutated
    try:
        signed(header, tensors, path)
    except (TypeError, ValueError, UnicodeError):
        described = json.dumps(header)
        path.write_bytes(save(tensors, metadata={"sparsemark-csr": described}))
    return True


# --- the process that may die


def _watch_programs():
    """Have every program checked before it runs, whatever it then does by luck."""
    from sparsemark.direct import autotune, network
    from tests.direct.bounds import check_places, check_program

    known = {"pixels": 0}
    lower, place, assemble = network.lower, network.place, network.assemble

    def lowered(graph, shape):
        known["pixels"] = math.prod(shape[1:])
        return lower(graph, shape)

    def placed(network):
        floats = place(network)
        check_places(network, floats)
        return floats

    def assembled(steps, choices, floats, threads, *more):
        program = assemble(steps, choices, floats, threads, *more)
        if len(program.tiles) < 20_000:
            check_program(program, steps, threads, known["pixels"])
        return program

    network.lower, network.place, network.assemble, autotune.assemble = lowered, placed, assembled, assembled


def _try(path, threads):
    """Load a file and run it; how that ended, and the shape of the image."""
    from sparsemark.direct.network import Network
    from sparsemark.engines.direct_csr import open_dense
    from sparsemark.errors import UnsupportedError, UserError
    from sparsemark.formats.csr.graph import load_csr

    try:
        graph = load_csr(path)
        run = Network(graph, threads, open_dense=open_dense)
        shape = tuple(graph.input_shape or (1, 3, 16, 32))
        image = np.random.default_rng(0).standard_normal((1, *shape[1:])).astype(np.float32)
        run(image)
        run(image)
    except (UserError, UnsupportedError) as error:
        if "\n" in str(error):
            raise AssertionError("a reason of several lines") from error
        return "refused"
    return "ran"


def _limit_memory():
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + SPARE, size + SPARE))


def _prepare(folder):
    """Compile, load what is loaded late, and allow little more memory than that took."""
    warnings.simplefilter("ignore")
    _watch_programs()
    for graph in networks():
        for threads in (1, 2):
            if _try(written(graph, folder / "unchanged.csr"), threads) != "ran":
                raise AssertionError("the file that nothing was changed in")
    _limit_memory()


def try_files(paths):
    """Return how each of some files ends."""
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
    for name, path in paths.items():
        faulthandler.dump_traceback_later(SECONDS / 3, exit=True)
        try:
            ended = _try(path, 1)
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"[:300]
        faulthandler.cancel_dump_traceback_later()
        _say({"name": name, "ended": ended})
    os._exit(0)


def try_many(first, count, folder):
    """Try mutations, and say which ended badly."""
    from sparsemark.direct import autotune, network

    files = files_of(folder)
    _prepare(folder)
    autotune._REPEATS = network._CONTEST = 1  # nobody asks for the fastest
    path = folder / "mutated.csr"
    counted = dict.fromkeys(_STEPS, 0)
    for number in range(first, first + count):
        (folder / "now").write_text(json.dumps({"number": number, **counted}))
        write_mutation(number, files, path)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        start = time.perf_counter()
        try:
            counted[_try(path, 1 + (number % 8 == 0))] += 1
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [
                f"{Path(f.filename).name}:{f.name}"
                for f in frames
                if "sparsemark" in f.filename or "tests" in f.filename
            ]
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            _say({"number": number, "error": reason, "at": ours[-1] if ours else ""})
        seconds = time.perf_counter() - start
        if seconds > SECONDS / 6:
            _say({"number": number, "error": f"took {seconds:.0f} s", "at": "slow"})
        faulthandler.cancel_dump_traceback_later()
    _say({"done": count, **counted})
    os._exit(0)  # threads that sleep in a runner are not waited for


def _say(what):
    print(json.dumps(what), flush=True)


# --- the process that waits for it


def run_mutations(count, folder, first=0, chunk=1000):
    """Run so many mutations; what went wrong, and how the others ended."""
    failures, counted = [], dict.fromkeys(_STEPS, 0)
    number, last = first, first + count
    while number < last:
        some = min(chunk, last - number)
        ended, said = _in_a_process(number, some, folder)
        failures += [one for one in said if "error" in one]
        done = next((one for one in said if "done" in one), None)
        if done is not None:
            number += some
            for step in _STEPS:
                counted[step] += done[step]
            continue
        now = folder / "now"
        last_said = json.loads(now.read_text()) if now.exists() else {"number": number, **dict.fromkeys(_STEPS, 0)}
        reason = " ".join(ended.stderr.split())[-300:]
        failures.append(
            {"number": last_said["number"], "error": f"died with {ended.returncode}: {reason}", "at": "the process"}
        )
        for step in _STEPS:
            counted[step] += last_said[step]
        number = last_said["number"] + 1
        now.unlink(missing_ok=True)
        if len([f for f in failures if f["at"] == "the process"]) > 50:
            break
    return failures, counted


def run_files(paths):
    """How each of some files (by a name) ends: "refused", "ran", or what went wrong."""
    found = {}
    while len(found) < len(paths):
        rest = {name: path for name, path in paths.items() if name not in found}
        ended, said = _in_a_process(*(f"{name}={path}" for name, path in rest.items()))
        found |= {one["name"]: one["ended"] for one in said}
        died = next((name for name in rest if name not in found), None)
        if died is not None:
            found[died] = f"died with {ended.returncode}: {' '.join(ended.stderr.split())[-600:]}"
    return found


def _in_a_process(*arguments):
    source = str(Path(sparsemark.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, str(ROOT)])}
    command = [sys.executable, "-m", "tests.direct.mutations", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return ended, [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    if "=" in sys.argv[1]:
        try_files({name: Path(path) for name, path in (one.split("=", 1) for one in sys.argv[1:])})
    try_many(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
