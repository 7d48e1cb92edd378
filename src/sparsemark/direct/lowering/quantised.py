"""Operators of quantised networks (QDQ): what runs in bytes, and conversions where the rest runs in float32.

A network quantises an activation, and dequantises it before each operator that reads it. Convolutions and products
whose operands and results are quantised run on the bytes; pooling and changes of shape leave bytes as they are. All
else is dequantised and runs in float32.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.ir import Operation, Tensor, words
from sparsemark.direct.lowering.borders import leaves
from sparsemark.direct.lowering.byte_joining import concat_in_bytes, resize_in_bytes
from sparsemark.direct.lowering.byte_products import (
    convolution_of_bytes,
    levels_of,
    linear_of_bytes,
    transposed_of_bytes,
)
from sparsemark.direct.lowering.byte_sums import add_in_bytes
from sparsemark.direct.lowering.context import Bytes, is_shape, window_numbers, window_of
from sparsemark.errors import UnsupportedError
from sparsemark.formats.csr.graph import CsrMatrix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.blocks import BlockMatrix
    from sparsemark.formats.csr.graph import Node


def in_bytes(context: Context, node: Node) -> bool:
    """Lower a node that reads quantised activations, or has quantised weights; False where it runs in float32."""
    weight = node.inputs[1] if len(node.inputs) > 1 else ""
    if weight in context.graph.blocks:
        product = _PRODUCTS.get(node.op)
        if product is not None and product(context, node, context.graph.blocks[weight]):
            return True
        _weight_in_float(context, weight, turned=node.op == "ConvTranspose")
        return False
    way = _ON_BYTES.get(node.op)
    return way is not None and node.inputs[0] in context.quantised and way(context, node)


def check_integers(context: Context, node: Node) -> None:
    """Refuse a node whose integers leave: what is in the arena is floats, to the network and to dense parts."""
    for name in node.outputs:
        made = context.quantised.get(name)
        if made is not None and made.integers is not None and leaves(context, name):
            raise UnsupportedError(f"its {made.integers} leave as such")


def _weight_in_float(context: Context, name: str, *, turned: bool) -> None:
    """Replace a quantised weight by the numbers that it stands for; turned, input channels are its first axis."""
    graph, weight = context.graph, context.graph.blocks[name]
    blocks = {other: one for other, one in graph.blocks.items() if other != name}
    if turned:
        dense = np.ascontiguousarray(weight.toarray().swapaxes(0, 1))
        context.graph = replace(graph, constants={**graph.constants, name: dense}, blocks=blocks)
        return
    matrix = CsrMatrix.compress(weight.toarray().reshape(weight.dense[0], -1))
    context.graph = replace(
        graph,
        matrices={**graph.matrices, name: matrix},
        shapes={**graph.shapes, name: weight.dense},
        blocks=blocks,
    )


def _quantize(context: Context, node: Node) -> None:
    name, made = node.inputs[0], node.outputs[0]
    scale, zero, integers = levels_of(context, node)
    shape = context.shapes[name]
    known = context.quantised.get(name)
    context.shapes[made] = shape
    if known is not None and known.integers is None and (known.scale, known.zero) == (scale, zero):
        context.quantised[made] = replace(known, integers=integers)
        return
    if len(shape) not in (2, 4) or shape[0] != 1:  # features, images
        raise UnsupportedError(f"an activation of shape {shape}")
    source = context.tensor(name)
    extents = shape[1:] if len(shape) == 4 else (shape[1], 1, 1)
    if math.prod(source.shape) != math.prod(extents) or (len(shape) == 4 and source.shape != extents):
        raise UnsupportedError(f"an activation of shape {shape}")
    if source.shape != extents:
        source = context.compact(name)
        features = Tensor(extents[0], 1, 1, 1, compact=True, whole=source)
        source = features
    found = Bytes(words(*extents, zero), extents[0], scale, zero, integers)
    numbers = {isa.SCALES: extents[0]}
    context.add(Operation(isa.QUANTIZE, node.name, source, found.tensor, numbers=numbers, parameters=found.parameters))
    context.quantised[made] = found


def _dequantize(context: Context, node: Node) -> None:
    name = node.inputs[0]
    source = context.quantised.get(name)
    if source is None or source.integers is None:
        raise UnsupportedError(f"operand {name} is no quantised activation")
    scale, zero, integers = levels_of(context, node)
    if integers != source.integers:
        raise UnsupportedError(f"zero points of {integers}, of {source.integers}")
    context.shapes[node.outputs[0]] = context.shapes[name]
    context.quantised[node.outputs[0]] = replace(source, scale=scale, zero=zero, integers=None)


def _max_pool(context: Context, node: Node) -> bool:
    """Largest byte of each window."""
    source = context.quantised[node.inputs[0]]
    kernel = node.attributes["kernel_shape"]
    if len(kernel) != 2 or node.attributes.get("ceil_mode", 0):  # height and width
        return False
    stride, dilation, pads, _ = window_of(node, kernel)
    height, width = source.tensor.shape[1:]
    size = tuple((n + pads[a] + pads[a + 2] - kernel[a]) // stride[a] + 1 for a, n in enumerate((height, width)))
    if dilation != (1, 1) or any(pads[a] >= kernel[a] or pads[a + 2] >= kernel[a] for a in (0, 1)) or min(size) < 1:
        return False
    _pooled(context, node, source, size, kernel, stride, pads)
    context.shapes[node.outputs[0]] = (1, source.channels, *size)
    return True


def _global_max_pool(context: Context, node: Node) -> bool:
    """Largest byte of each channel."""
    source, shape = context.quantised[node.inputs[0]], context.shapes[node.inputs[0]]
    keep = True
    if node.op == "ReduceMax":
        axes = node.attributes.get("axes") or context.constant(node.inputs[1]).reshape(-1).tolist()
        if len(shape) != 4 or sorted(int(axis) % 4 for axis in axes) != [2, 3]:  # rows, columns
            return False
        keep = bool(node.attributes.get("keepdims", 1))
    if len(shape) != 4 or sum(map(bool, node.outputs)) != 1:
        return False
    _pooled(context, node, source, (1, 1), source.tensor.shape[1:], (1, 1), (0, 0))
    context.shapes[node.outputs[0]] = (1, source.channels, 1, 1) if keep else (1, source.channels)
    return True


def _pooled(  # noqa: PLR0917 - a window is that much
    context: Context,
    node: Node,
    source: Bytes,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[int],
) -> None:
    target = words(source.channels, size[0], size[1], source.zero)
    numbers = window_numbers((source.tensor.height, source.tensor.width), kernel, stride, pads)
    scratch = source.tensor.width  # of a maximum of all pixels
    context.add(Operation(isa.POOL_BYTES, node.name, source.tensor, target, numbers=numbers, scratch=scratch))
    context.quantised[node.outputs[0]] = replace(source, tensor=target)


def _reshaped(context: Context, node: Node) -> bool:
    """Features of an image, or what stays as it is."""
    name, shape = node.inputs[0], context.shapes[node.inputs[0]]
    flat = (1, math.prod(shape))
    made = {"Flatten": flat, "Identity": shape, "Dropout": shape}.get(node.op)
    if node.op == "Flatten" and node.attributes.get("axis", 1) != 1:
        return False
    if node.op == "Reshape":
        wanted = [int(n) for n in context.constant(node.inputs[1]).reshape(-1)]
        made = next((one for one in (flat, shape) if is_shape(wanted, one)), None)
    if made is None or shape[0] != 1 or sum(map(bool, node.outputs)) != 1:
        return False
    context.quantised[node.outputs[0]] = context.quantised[name]
    context.shapes[node.outputs[0]] = made
    return True


_PRODUCTS: Mapping[str, Callable[[Context, Node, BlockMatrix], bool]] = {
    "Conv": convolution_of_bytes,
    "ConvTranspose": transposed_of_bytes,
    "Linear": linear_of_bytes,
}
"""Operators with a quantised weight; each returns whether it runs in bytes."""

_ON_BYTES: Mapping[str, Callable[[Context, Node], bool]] = {
    "Add": add_in_bytes,
    "Concat": concat_in_bytes,
    "Dropout": _reshaped,
    "Flatten": _reshaped,
    "GlobalMaxPool": _global_max_pool,
    "Identity": _reshaped,
    "MaxPool": _max_pool,
    "ReduceMax": _global_max_pool,
    "Reshape": _reshaped,
    "Resize": resize_in_bytes,
}
"""Operators that may leave bytes as they are; each returns whether it does."""

OPERATORS: Mapping[str, Lowering] = {
    "DequantizeLinear": _dequantize,
    "QuantizeLinear": _quantize,
}
