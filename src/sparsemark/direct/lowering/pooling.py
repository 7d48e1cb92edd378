"""Pooling over windows and over whole planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.direct import isa
from sparsemark.direct.ir import Operation, planes, vector
from sparsemark.direct.lowering.context import window_numbers, window_of
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node


def _pool(context: Context, node: Node, kind: int) -> None:
    kernel = node.attributes["kernel_shape"]
    if len(kernel) != 2:  # height and width
        raise UnsupportedError(f"{len(kernel)} spatial axes, expected 2")
    stride, dilation, pads, _ = window_of(node, kernel)
    _, channels, height, width = context.shapes[node.inputs[0]]
    if dilation != (1, 1):
        raise UnsupportedError("dilation")
    if node.attributes.get("ceil_mode", 0) and kind == isa.AVERAGE_WITH_PADDING:
        raise UnsupportedError("ceil_mode with padding that counts")
    size = []
    for a, extent in enumerate((height, width)):
        room = extent + pads[a] + pads[a + 2] - kernel[a]
        count = (-(-room // stride[a]) if node.attributes.get("ceil_mode", 0) else room // stride[a]) + 1
        if (count - 1) * stride[a] >= extent + pads[a]:
            count -= 1  # a window must begin inside the image
        if pads[a] >= kernel[a] or pads[a + 2] >= kernel[a] or room < 0:
            raise UnsupportedError("a window that lies outside the image")
        size.append(count)
    source = context.tensor(node.inputs[0])
    target = planes(channels, *size)
    numbers = {isa.KIND: kind} | window_numbers((height, width), kernel, stride, pads)
    context.set(
        node.outputs[0], context.add(Operation(isa.POOL, node.name, source, target, numbers=numbers, scratch=width))
    )


def _max_pool(context: Context, node: Node) -> None:
    _pool(context, node, isa.MAXIMUM)


def _average_pool(context: Context, node: Node) -> None:
    _pool(context, node, isa.AVERAGE_WITH_PADDING if node.attributes.get("count_include_pad", 0) else isa.AVERAGE)


def _global(context: Context, node: Node, kind: int, *, keep: bool = True) -> None:
    _, channels, height, width = context.shapes[node.inputs[0]]
    numbers = {isa.KIND: kind, isa.SOURCE_HEIGHT: height, isa.SOURCE_WIDTH: width}
    target = context.add(
        Operation(isa.GLOBAL_POOL, node.name, context.tensor(node.inputs[0]), vector(channels), numbers=numbers)
    )
    context.set(node.outputs[0], target, (1, channels, 1, 1) if keep else (1, channels))


def _global_average_pool(context: Context, node: Node) -> None:
    _global(context, node, isa.AVERAGE)


def _global_max_pool(context: Context, node: Node) -> None:
    _global(context, node, isa.MAXIMUM)


def _reduce_mean(context: Context, node: Node) -> None:
    _reduce(context, node, isa.AVERAGE)


def _reduce_max(context: Context, node: Node) -> None:
    _reduce(context, node, isa.MAXIMUM)


def _reduce(context: Context, node: Node, kind: int) -> None:
    axes = node.attributes.get("axes") or context.constant(node.inputs[1]).reshape(-1).tolist()
    if len(context.shapes[node.inputs[0]]) != 4 or sorted(int(a) % 4 for a in axes) != [2, 3]:  # rows, columns
        raise UnsupportedError(f"over axes {axes}")
    _global(context, node, kind, keep=bool(node.attributes.get("keepdims", 1)))


OPERATORS: Mapping[str, Lowering] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "MaxPool": _max_pool,
    "ReduceMax": _reduce_max,
    "ReduceMean": _reduce_mean,
}
