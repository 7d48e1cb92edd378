"""Operators that change shapes and leave values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sparsemark.direct.ir import planes, vector
from sparsemark.direct.lowering.normalisation import grouped
from sparsemark.direct.lowering.slicing import shuffled
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node


def _reshaped(context: Context, node: Node, shape: tuple[int, ...]) -> None:
    old = context.shapes[node.inputs[0]]
    if min(shape, default=0) < 1 or math.prod(old) != math.prod(shape) or shape[0] != 1:
        raise UnsupportedError(f"from {old} to {shape}")
    if len(shape) == 4 and shape == old:  # nothing changes
        context.set(node.outputs[0], context.tensor(node.inputs[0]), shape)
        return
    source = context.compact(node.inputs[0])
    extents = shape[1:] if len(shape) == 4 else (math.prod(shape[1:]), 1, 1)  # an image
    alias = vector(*extents)
    alias.whole, alias.first = source, 0
    context.set(node.outputs[0], alias, shape)


def _flatten(context: Context, node: Node) -> None:
    shape = context.shapes[node.inputs[0]]
    axis = node.attributes.get("axis", 1) % (len(shape) + 1)
    _reshaped(context, node, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _reshape(context: Context, node: Node) -> None:
    old = context.shapes[node.inputs[0]]
    wanted = [int(n) for n in context.constant(node.inputs[1]).reshape(-1)]
    if not node.attributes.get("allowzero", 0):
        wanted = [old[k] if n == 0 else n for k, n in enumerate(wanted)]
    if wanted.count(-1) == 1:
        wanted[wanted.index(-1)] = math.prod(old) // -math.prod(wanted)
    if not shuffled(context, node, wanted) and not grouped(context, node, wanted):
        _reshaped(context, node, tuple(wanted))


def _squeeze(context: Context, node: Node) -> None:
    old = context.shapes[node.inputs[0]]
    if len(node.inputs) < 2 or not node.inputs[1]:  # input, axes
        raise UnsupportedError("without axes")
    axes = {int(a) % len(old) for a in context.constant(node.inputs[1]).reshape(-1)}
    _reshaped(context, node, tuple(n for k, n in enumerate(old) if k not in axes))


def _unsqueeze(context: Context, node: Node) -> None:
    old = context.shapes[node.inputs[0]]
    axes = context.constant(node.inputs[1]).reshape(-1).tolist()
    whole = len(old) + len(axes)
    places = {int(a) % whole for a in axes}
    if len(places) != len(axes):
        raise UnsupportedError(f"axes {axes}")
    rest = iter(old)
    _reshaped(context, node, tuple(1 if k in places else next(rest) for k in range(whole)))


def _identity(context: Context, node: Node) -> None:
    context.set(node.outputs[0], context.tensor(node.inputs[0]), context.shapes[node.inputs[0]])


def _concat(context: Context, node: Node) -> None:
    shapes = [context.shapes[name] for name in node.inputs]
    if any(len(s) != 4 for s in shapes) or node.attributes["axis"] not in (1, -3):  # images
        raise UnsupportedError(f"axis {node.attributes['axis']} of {shapes}")
    if len({s[2:] for s in shapes}) != 1:
        raise UnsupportedError(f"of shapes {shapes}")
    parts = [context.planar(name) for name in node.inputs]
    target = planes(sum(s[1] for s in shapes), shapes[0][2], shapes[0][3], max(part.row for part in parts))
    first = 0
    for part in parts:
        makers = [step for step in context.operations if step.target is part]
        if part.whole is None and part.row == target.row and len(makers) == 1 and parts.count(part) == 1:
            part.whole, part.first = target, first
        else:
            place = planes(*part.shape, row=target.row)
            place.whole, place.first = target, first
            context.add(context.copy(part, part.shape, place, node.name))
        first += part.channels
    context.set(node.outputs[0], target)


OPERATORS: Mapping[str, Lowering] = {
    "Concat": _concat,
    "Dropout": _identity,
    "Flatten": _flatten,
    "Identity": _identity,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
