"""Operators on activations whose channels are the last axis, as in transformers and ConvNeXt.

Such an activation, (1, height, width, channels) or (1, tokens, channels), lies in planes like any image, (channels,
height, width) or (channels, 1, tokens): so a Transpose between the two orders is another name for the same memory, a
product over the last axis is a convolution of one pixel, and what works on single values knows no difference.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.ir import Operation, Tensor, planes, vector
from sparsemark.direct.layout import PIXELS
from sparsemark.direct.lowering import pointwise
from sparsemark.direct.lowering.context import bias_of
from sparsemark.direct.lowering.convolutions import convolve
from sparsemark.direct.lowering.matrices import product_with_vector
from sparsemark.direct.lowering.normalisation import normalised, parameters
from sparsemark.direct.taps import Taps
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sparsemark.direct.ir import Convolution
    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node

_TO_LAST, _TO_FIRST, _TOKENS = [0, 2, 3, 1], [0, 3, 1, 2], [0, 2, 1]
"""Orders of axes that make the channels last, or first again."""


def _planes_of(context: Context, name: str) -> Tensor:
    """Return the planes of an activation whose last axis is taken for channels; turned, where it lies in its order."""
    if name in context.last:
        return context.last[name]
    shape = context.shapes[name]
    if len(shape) not in (3, 4) or shape[0] != 1:
        raise UnsupportedError(f"of shape {shape}")
    whole, (*extents, channels) = context.compact(name), shape[1:]
    tokens = len(extents) == 1
    rows = vector(extents[0], 1 if tokens else extents[1], channels)
    rows.whole = whole
    target = planes(channels, 1 if tokens else extents[0], extents[-1])
    kind = isa.TOKENS if tokens else isa.CHANNELS_FIRST
    context.last[name] = context.add(Operation(isa.TURN, name, rows, target, numbers={isa.KIND: kind}))
    return target


def _as_image(context: Context, name: str) -> str:
    """Name the planes of an activation as an image."""
    tensor = _planes_of(context, name)
    image = context.fresh(f"{name}, channels first")
    context.set(image, tensor)
    return image


def _transpose(context: Context, node: Node) -> None:
    name, made = node.inputs[0], node.outputs[0]
    shape, order = context.shapes[name], list(node.attributes.get("perm", ()))
    if order not in (_TO_LAST, _TO_FIRST, _TOKENS) or len(order) != len(shape) or shape[0] != 1:
        raise UnsupportedError(f"of shape {shape} to {order}")
    turned = tuple(shape[axis] for axis in order)
    if order == _TO_LAST:
        context.last[made], context.shapes[made] = context.tensor(name), turned
    elif order == _TO_FIRST:
        context.set(made, _planes_of(context, name), turned)
    elif name in context.last:
        alias = vector(math.prod(shape))
        tensor = context.last[name]
        alias.whole = tensor if tensor.compact else context.copied(tensor, tensor.shape, node.name, compact=True)
        context.set(made, alias, turned)
    else:
        channels = vector(shape[1], 1, shape[2])
        channels.whole = context.compact(name)
        context.last[made], context.shapes[made] = channels, turned


def pointwise_last(context: Context, node: Node) -> bool:
    """Lower an operator on single values of an activation whose channels are last; False where this is none."""
    lasting = [name for name in node.inputs if name in context.last]
    if not lasting or node.op not in _POINTWISE:
        return False
    shape = context.shapes[lasting[0]]
    others = [name for name in node.inputs if name and name not in lasting]
    operands = {name: _as_image(context, name) for name in lasting}
    constants = {}
    for name in others if node.op in _PAIRS else ():
        if name in context.graph.constants:
            moved = _moved(context.graph.constants[name], shape)
            if moved is None:
                return False
            constants[name] = moved
        elif context.shapes.get(name) == shape:
            operands[name] = _as_image(context, name)
        else:
            return False
    if len({context.shapes[name] for name in lasting}) > 1:
        return False
    made = context.fresh(f"{node.outputs[0]}, channels first")
    inputs = tuple(operands.get(name, name) for name in node.inputs)
    alone = type(node)(node.op, node.name, inputs, (made,), node.attributes)
    if constants:
        ((_, values),) = constants.items()
        first = node.inputs[0] in constants
        pointwise.with_constant(context, alone, _PAIRS[node.op], inputs[1 if first else 0], values, reverse=first)
    else:
        pointwise.OPERATORS[node.op](context, alone)
    context.last[node.outputs[0]], context.shapes[node.outputs[0]] = context.tensors[made], shape
    return True


def _moved(constant: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return a constant beside an activation of `shape` as one beside its planes; None where it has more axes."""
    if constant.ndim > len(shape):
        return None
    padded = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    if len(shape) == 3:  # tokens are a row of pixels
        padded = padded[:, None]
    return np.moveaxis(padded, -1, 1)


_PAIRS = {"Add": isa.ADD, "Sub": isa.SUBTRACT, "Mul": isa.MULTIPLY, "Div": isa.DIVIDE}

_POINTWISE = frozenset({
    "Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Relu", "Sigmoid", "Softplus",
    "Tanh", *_PAIRS,
})  # fmt: skip


def _layer_normalization(context: Context, node: Node) -> None:
    name = node.inputs[0]
    shape = context.shapes[name]
    axis = node.attributes.get("axis", -1)
    if axis not in (-1, len(shape) - 1) or node.attributes.get("stash_type", 1) != 1:
        raise UnsupportedError(f"axis {axis} of {shape}")
    terms = (*node.inputs[1:], "", "")[:2]
    factor, term = parameters(context, terms, shape[-1])
    if len(shape) == 2:  # a batch and features
        normalised(context, node, context.compact(name), shape[1], factor, term)
        context.shapes[node.outputs[0]] = shape
        return
    source = _planes_of(context, name)
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    if not epsilon >= 0:
        raise UnsupportedError(f"epsilon {epsilon}")
    step = Operation(
        isa.NORMALIZE_PIXELS, node.name, source, planes(*source.shape, row=None if source.compact else source.row),
        parameters=np.array([*factor, epsilon], np.float32), more=term.astype(np.float32), scratch=2 * PIXELS,
    )  # fmt: skip
    context.last[node.outputs[0]], context.shapes[node.outputs[0]] = context.add(step), shape


def _linear(context: Context, node: Node) -> None:
    """A vector times a matrix, or the last axis, which is a convolution of one pixel."""
    matrix = context.graph.matrices[node.inputs[1]]
    shape = context.shapes[node.inputs[0]]
    if len(shape) <= 2:  # a batch and features
        product_with_vector(context, node)
        return
    outputs, inputs = matrix.shape
    if shape[-1] != inputs:
        raise UnsupportedError(f"{shape[-1]} inputs, expected {inputs}")
    source = _planes_of(context, node.inputs[0])
    if source.compact:
        source = context.last[node.inputs[0]] = context.copied(source, source.shape, node.inputs[0])
    made = context.fresh(f"{node.outputs[0]}, channels first")
    alone = type(node)(node.op, node.name, node.inputs, (made,), {})
    bias, name = _bias_taken_in(context, node, outputs)
    middle = np.zeros(len(matrix.data), np.int32)
    taps = Taps(matrix.rows, matrix.indices, middle, middle, matrix.data)
    step = convolve(context, alone, source, taps, (outputs, *source.shape[1:]), bias, outputs * inputs)
    name = _addition_taken_in(context, step, name, (*shape[:-1], outputs))
    context.last[name], context.shapes[name] = step.target, (*shape[:-1], outputs)


def _bias_taken_in(context: Context, node: Node, outputs: int) -> tuple[NDArray[np.float32], str]:
    """Return the bias of a product, that of an addition behind it included, and the name of the sum."""
    bias, name = bias_of(context, node, outputs), node.outputs[0]
    following = context.only_user(name)
    if following is not None and following[1].op == "Add":
        place, addition = following
        constants = [context.graph.constants.get(one) for one in addition.inputs if one != name]
        if len(constants) == 1 and constants[0] is not None and constants[0].shape == (outputs,):
            context.done.add(place)
            return bias + constants[0].astype(np.float32), addition.outputs[0]
    return bias, name


def _addition_taken_in(context: Context, step: Convolution, name: str, shape: tuple[int, ...]) -> str:
    """Take in a sum with another activation that lies in planes alike; return the name of what is made then."""
    following = context.only_user(name)
    if following is None or following[1].op != "Add":
        return name
    place, addition = following
    others = [one for one in addition.inputs if one != name]
    other = context.last.get(others[0]) if len(others) == 1 and context.shapes.get(others[0]) == shape else None
    if other is None or other.compact or (other.shape, other.row) != (step.target.shape, step.target.row):
        return name
    step.second = other
    context.done.add(place)
    return addition.outputs[0]


OPERATORS: Mapping[str, Lowering] = {
    "LayerNormalization": _layer_normalization,
    "Linear": _linear,
    "Transpose": _transpose,
}
