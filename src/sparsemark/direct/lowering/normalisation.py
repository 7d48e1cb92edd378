"""Normalisation by the mean and variance of an image's own channels, one by one or in groups."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.ir import Operation, Tensor, planes, vector
from sparsemark.direct.lowering.context import is_shape, per_channel
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node

_PER_CHANNEL = 21
"""Version of ONNX's operators from which on GroupNormalization has a factor for each channel, before for each group."""


def _instance_normalization(context: Context, node: Node) -> None:
    shape = context.shapes[node.inputs[0]]
    if len(shape) not in (3, 4):  # one or two spatial axes
        raise UnsupportedError(f"of shape {shape}")
    factor, term = parameters(context, node.inputs[1:3], shape[1])
    if len(shape) == 4:
        normalised(context, node, context.tensor(node.inputs[0]), 1, factor, term)
        return
    # A vector, as rows of a compact image.
    source, count = context.compact(node.inputs[0]), math.prod(shape[2:])
    rows, made = vector(shape[1], 1, count), vector(shape[1] * count)
    rows.whole = source
    normalised(context, node, rows, 1, factor, term)
    made.whole = context.tensors[node.outputs[0]]
    context.set(node.outputs[0], made, shape)


def _group_normalization(context: Context, node: Node) -> None:
    shape, groups = context.shapes[node.inputs[0]], node.attributes["num_groups"]
    if len(shape) != 4 or not isinstance(groups, int) or groups < 1 or shape[1] % groups:
        raise UnsupportedError(f"{groups} groups of {shape}")
    if context.graph.opset >= _PER_CHANNEL:
        factor, term = parameters(context, node.inputs[1:3], shape[1])
    else:
        factor, term = (np.repeat(one, shape[1] // groups) for one in parameters(context, node.inputs[1:3], groups))
    normalised(context, node, context.tensor(node.inputs[0]), shape[1] // groups, factor, term)


def parameters(context: Context, names: Sequence[str], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factors and terms of a normalisation; without a term, zeros."""
    given = [np.asarray(context.constant(name), np.float64).reshape(-1) if name else np.zeros(count) for name in names]
    factor, term = given
    if factor.size != count or term.size != count:
        raise UnsupportedError(f"{factor.size} factors and {term.size} terms, expected {count}")
    return factor, term


def grouped(context: Context, node: Node, shape: Sequence[int]) -> bool:
    """Lower groups of channels, which exporters write as Reshape, InstanceNormalization, Reshape, Mul, Add.

    Args:
        context: of the lowering.
        node: the first Reshape.
        shape: that it makes.

    Returns:
        False where this is none.
    """
    old = context.shapes[node.inputs[0]]
    inner = context.only_user(node.outputs[0])
    if len(shape) != 3 or len(old) != 4 or inner is None or inner[1].op != "InstanceNormalization":
        return False
    outer = context.only_user(inner[1].outputs[0])
    if outer is None or outer[1].op != "Reshape" or old[1] % shape[1] or inner[1].inputs[0] != node.outputs[0]:
        return False
    sizes = context.graph.constants.get(outer[1].inputs[1])
    if sizes is None or not is_shape(sizes.reshape(-1).tolist(), old):
        return False
    each = old[1] // shape[1]
    factor, term = (np.repeat(one, each) for one in parameters(context, inner[1].inputs[1:3], shape[1]))
    context.done |= {inner[0], outer[0]}
    name = outer[1].outputs[0]
    for kind in ("Mul", "Add"):
        following = context.only_user(name)
        if following is None or following[1].op != kind:
            continue
        operands = [one for one in following[1].inputs if one != name]
        values = per_channel(context.graph.constants.get(operands[0]), old) if len(operands) == 1 else None
        if values is None:
            break
        factor, term = (factor * values, term * values) if kind == "Mul" else (factor, term + values)
        name = following[1].outputs[0]
        context.done.add(following[0])
    made = type(node)(node.op, node.name, node.inputs, (name,), inner[1].attributes)
    normalised(context, made, context.tensor(node.inputs[0]), each, factor, term)
    return True


def normalised(  # noqa: PLR0917 - a normalisation is that much
    context: Context, node: Node, source: Tensor, each: int, factor: NDArray[np.float64], term: NDArray[np.float64]
) -> None:
    """Normalise groups of `each` channels."""
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    if not epsilon >= 0:
        raise UnsupportedError(f"epsilon {epsilon}")
    target = vector(*source.shape) if source.compact else planes(*source.shape, row=source.row)
    step = Operation(
        isa.NORMALIZE, node.name, source, target, numbers={isa.GROUP_CHANNELS: each},
        parameters=np.array([*factor, epsilon], np.float32), more=term.astype(np.float32),
    )  # fmt: skip
    context.set(node.outputs[0], context.add(step))


OPERATORS: Mapping[str, Lowering] = {
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
}
