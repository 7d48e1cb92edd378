"""Operators that take parts of a tensor, or put its channels in another order.

Channels follow each other in memory, so some of them in a row are a view of the whole. Parts of rows are copied.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sparsemark.direct import isa
from sparsemark.direct.ir import Operation, Tensor, part_of, planes
from sparsemark.direct.lowering.context import is_shape
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node


def _channels(context: Context, name: str, first: int, count: int) -> tuple[Tensor, tuple[int, ...]]:
    """View `count` channels from `first` on; also its shape."""
    shape, whole = context.shapes[name], context.tensor(name)
    # A compact tensor of three axes lies as a vector: each of its channels is several values of that.
    values = math.prod(shape[1:]) // shape[1] // (whole.height * whole.width)
    return part_of(whole, first * values, count * values), (1, count, *shape[2:])


def _split(context: Context, node: Node) -> None:
    shape = context.shapes[node.inputs[0]]
    axis = node.attributes.get("axis", 0)
    if len(shape) < 2 or axis not in (1, 1 - len(shape)):
        raise UnsupportedError(f"axis {axis} of {shape}")
    parts = len(node.outputs)
    if len(node.inputs) > 1 and node.inputs[1]:  # data, sizes
        sizes = [int(size) for size in context.constant(node.inputs[1]).reshape(-1)]
    else:
        each = -(-shape[1] // parts)
        sizes = [each] * (parts - 1) + [shape[1] - each * (parts - 1)]
    if len(sizes) != parts or sum(sizes) != shape[1] or min(sizes) < 1:
        raise UnsupportedError(f"{shape[1]} channels into {sizes}")
    first = 0
    for name, size in zip(node.outputs, sizes, strict=True):
        if name:
            context.set(name, *_channels(context, node.inputs[0], first, size))
        first += size


def _slice(context: Context, node: Node) -> None:
    name = node.inputs[0]
    shape = context.shapes[name]
    starts, ends = (context.constant(one).reshape(-1).tolist() for one in node.inputs[1:3])
    axes, steps = (
        context.constant(node.inputs[i]).reshape(-1).tolist() if len(node.inputs) > i and node.inputs[i] else default
        for i, default in ((3, list(range(len(starts)))), (4, [1] * len(starts)))
    )
    taken = [range(size) for size in shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -len(shape) <= axis < len(shape) or step < 1:
            raise UnsupportedError(f"axis {axis} of {shape} in steps of {step}")
        taken[axis] = taken[axis][slice(start, end, step)]
    if len({axis % len(shape) for axis in axes}) != len(axes) or not all(taken):
        raise UnsupportedError(f"from {starts} to {ends} along {axes} of {shape}")
    if taken[0] != range(1) or (len(shape) > 1 and taken[1].step != 1 and len(taken[1]) > 1):
        raise UnsupportedError(f"steps of {steps} along {axes} of {shape}")
    within = [axis for axis in range(2, len(shape)) if taken[axis] != range(shape[axis])]
    if within and len(shape) != 4:  # an image
        raise UnsupportedError(f"along {axes} of {shape}")
    if within:
        # A copy keeps all channels; those that are wanted are a view of it, or of what is copied.
        everything = name == context.input and name not in context.tensors
        source = None if everything else _channels(context, name, taken[1].start, len(taken[1]))[0]
        copied = _cropped(context, node, source, (shape[1], shape[2], shape[3]), taken[2], taken[3])
        kept = part_of(copied, taken[1].start, len(taken[1])) if everything else copied
        context.set(node.outputs[0], kept)
    else:
        context.set(node.outputs[0], *_channels(context, name, taken[1].start, len(taken[1])))


def _cropped(  # noqa: PLR0917 - a copy is that much
    context: Context, node: Node, source: Tensor | None, shape: tuple[int, int, int], rows: range, columns: range
) -> Tensor:
    """Copy some rows and columns of an image."""
    channels = shape[0] if source is None else source.channels
    target = planes(channels, len(rows), len(columns))
    step = context.copy(
        source, shape, target, node.name, ROW_STRIDE=rows.step, COLUMN_STRIDE=columns.step, ROW_START=rows.start,
        COLUMN_START=columns.start,
    )  # fmt: skip
    return context.add(step)


def shuffled(context: Context, node: Node, shape: Sequence[int]) -> bool:
    """Lower a shuffle of channels, which exporters write as Reshape, Transpose, Reshape; False where this is none.

    Args:
        context: of the lowering.
        node: the first Reshape.
        shape: that it makes.
    """
    transpose = context.only_user(node.outputs[0])
    if len(shape) != 5 or transpose is None or transpose[1].op != "Transpose":
        return False
    reshape = context.only_user(transpose[1].outputs[0])
    old = context.shapes[node.inputs[0]]
    plain = len(old) == 4 and tuple(old) == (1, shape[1] * shape[2], *shape[3:])
    if not plain or list(transpose[1].attributes.get("perm", ())) != [0, 2, 1, 3, 4] or reshape is None:
        return False
    wanted = context.graph.constants.get(reshape[1].inputs[1]) if reshape[1].op == "Reshape" else None
    if wanted is None or not is_shape(wanted.reshape(-1).tolist(), old):
        return False
    groups, each = shape[1:3]
    source = context.planar(node.inputs[0])
    target = planes(*source.shape, row=source.row)
    for group in range(groups):
        taken = part_of(source, group * each, each)
        context.add(context.copy(taken, taken.shape, part_of(target, group, each, groups), node.name))
    context.done |= {transpose[0], reshape[0]}
    context.set(reshape[1].outputs[0], target)
    return True


def _depth_to_space(context: Context, node: Node) -> None:
    scale, mode = node.attributes["blocksize"], node.attributes.get("mode", "DCR")
    source = context.planar(node.inputs[0])
    if mode != "CRD" or not isinstance(scale, int) or scale < 1 or source.channels % scale**2:
        raise UnsupportedError(f"mode {mode}, blocks of {scale} of {source.channels} channels")
    target = planes(source.channels // scale**2, source.height * scale, source.width * scale)
    numbers = {isa.ROW_STRIDE: scale, isa.COLUMN_STRIDE: scale, isa.PHASES: scale**2}
    context.set(node.outputs[0], context.add(Operation(isa.INTERLEAVE, node.name, source, target, numbers=numbers)))


OPERATORS: Mapping[str, Lowering] = {
    "DepthToSpace": _depth_to_space,
    "Slice": _slice,
    "Split": _split,
}
