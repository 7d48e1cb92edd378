"""Operators that work on each value by itself, or on pairs of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.ir import Operation, planes, vector
from sparsemark.direct.lowering.context import bounds_of, per_channel
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node


def _unary(context: Context, node: Node, kind: int, p: float = 0.0, q: float = 0.0) -> None:
    source = context.tensor(node.inputs[0])
    target = vector(*source.shape) if source.compact else planes(*source.shape, row=source.row)
    step = Operation(
        isa.UNARY, node.name, source, target, numbers={isa.KIND: kind}, parameters=np.array([p, q], np.float32)
    )
    context.set(node.outputs[0], context.add(step), context.shapes[node.inputs[0]])


def _relu(context: Context, node: Node) -> None:
    _unary(context, node, isa.CLIP, *bounds_of(context, node))


def _leaky_relu(context: Context, node: Node) -> None:
    _unary(context, node, isa.LEAKY, node.attributes.get("alpha", 0.01))


def _elu(context: Context, node: Node) -> None:
    _unary(context, node, isa.EXPONENTIAL_LINEAR, node.attributes.get("alpha", 1.0))


def _sigmoid(context: Context, node: Node) -> None:
    product = _product_with(context, node.inputs[0], node.outputs[0])
    if product is not None:
        context.done.add(product[0])
        _unary(context, type(node)("Sigmoid", node.name, node.inputs, product[1].outputs, {}), isa.SILU)
        return
    _unary(context, node, isa.SIGMOID)


def _hard_sigmoid(context: Context, node: Node) -> None:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    product = _product_with(context, node.inputs[0], node.outputs[0])
    if product is not None and (np.float32(alpha), beta) == (np.float32(1 / 6), 0.5):
        context.done.add(product[0])
        _unary(context, type(node)("HardSwish", node.name, node.inputs, product[1].outputs, {}), isa.HARD_SWISH)
        return
    _unary(context, node, isa.HARD_SIGMOID, alpha, beta)


def _product_with(context: Context, factor: str, name: str) -> tuple[int, Node] | None:
    """The one reader of an activation, with its place, if it multiplies it by another."""
    following = context.only_user(name)
    multiplies = following is not None and following[1].op == "Mul" and set(following[1].inputs) == {factor, name}
    return following if multiplies else None


def _softplus(context: Context, node: Node) -> None:
    tangent = context.only_user(node.outputs[0])
    if tangent is not None and tangent[1].op == "Tanh" and tangent[1].outputs:
        product = _product_with(context, node.inputs[0], tangent[1].outputs[0])
        if product is not None:
            context.done |= {tangent[0], product[0]}
            _unary(context, type(node)("Mish", node.name, node.inputs, product[1].outputs, {}), isa.MISH)
            return
    _unary(context, node, isa.SOFTPLUS)


def _mish(context: Context, node: Node) -> None:
    _unary(context, node, isa.MISH)


def _prelu(context: Context, node: Node) -> None:
    """The slope below zero is one number, or one for each channel."""
    shape = context.shapes[node.inputs[0]]
    slope = per_channel(context.constant(node.inputs[1]), shape)
    if slope is None:
        raise UnsupportedError(f"a slope of shape {context.constant(node.inputs[1]).shape} beside {shape}")
    _channelwise(context, node, node.inputs[0], slope, np.zeros(1), isa.RECTIFY)


def _hard_swish(context: Context, node: Node) -> None:
    _unary(context, node, isa.HARD_SWISH)


def _tanh(context: Context, node: Node) -> None:
    _unary(context, node, isa.TANH)


def _gelu(context: Context, node: Node) -> None:
    if node.attributes.get("approximate", "none") != "none":
        raise UnsupportedError(f"approximate {node.attributes['approximate']}")
    _unary(context, node, isa.GELU)


def _erf(context: Context, node: Node) -> None:
    _unary(context, node, isa.ERROR_FUNCTION)


def _softmax(context: Context, node: Node) -> None:
    source, shape = context.tensor(node.inputs[0]), context.shapes[node.inputs[0]]
    if len(shape) not in (2, 4):  # vectors and images
        raise UnsupportedError(f"of shape {shape}")
    if node.attributes.get("axis", -1) % len(shape) != 1:
        raise UnsupportedError(f"axis {node.attributes.get('axis', -1)} of {shape}")
    target = vector(*source.shape) if source.compact else planes(*source.shape, row=source.row)
    context.set(node.outputs[0], context.add(Operation(isa.SOFTMAX, node.name, source, target)), shape)


def _batch_normalization(context: Context, node: Node) -> None:
    if node.attributes.get("training_mode", 0):
        raise UnsupportedError("training mode")
    scale, shift, mean, variance = (
        np.asarray(context.constant(name), np.float64).reshape(-1) for name in node.inputs[1:5]
    )
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    _channelwise(context, node, node.inputs[0], factor, shift - mean * factor)


def _channelwise(  # noqa: PLR0917 - a line for each channel is that much
    context: Context, node: Node, name: str, factor: NDArray[Any], term: NDArray[Any], kind: int = isa.AFFINE
) -> None:
    source, shape = context.tensor(name), context.shapes[name]
    target = vector(*source.shape) if source.compact else planes(*source.shape, row=source.row)
    # A compact tensor of three axes lies as a vector: each of its channels is several values of that.
    each = source.channels // shape[1] if len(shape) > 1 else 1
    numbers = [np.broadcast_to(np.asarray(a, np.float32), (source.channels // each,)) for a in (factor, term)]
    factors, terms = (np.repeat(one, each) for one in numbers)
    step = Operation(isa.CHANNELWISE, node.name, source, target, None, {isa.KIND: kind}, factors, terms)
    context.set(node.outputs[0], context.add(step), context.shapes[name])


_OTHER_WAY = {
    isa.ADD: isa.ADD,
    isa.MULTIPLY: isa.MULTIPLY,
    isa.SUBTRACT: isa.SUBTRACT_FROM,
    isa.DIVIDE: isa.DIVIDE_INTO,
}
"""What an operation is when its operands change places."""


def _arithmetic(context: Context, node: Node, kind: int) -> None:
    a, b = node.inputs
    if b in context.graph.constants or a in context.graph.constants:
        reverse = a in context.graph.constants
        name, constant = (b, context.constant(a)) if reverse else (a, context.constant(b))
        with_constant(context, node, kind, name, constant, reverse=reverse)
        return
    shapes = context.shapes[a], context.shapes[b]
    if math.prod(shapes[0]) < math.prod(shapes[1]):
        a, b, shapes, kind = b, a, shapes[::-1], _OTHER_WAY[kind]
    if shapes[0] != shapes[1] and not _repeats(shapes[1], shapes[0]):
        raise UnsupportedError(f"of shapes {shapes}")
    first, second = context.tensor(a), context.tensor(b)
    if shapes[0] != shapes[1] and second.height * second.width == 1 and not second.compact:
        second = context.copied(second, second.shape, b, compact=True)
    target = vector(*first.shape) if first.compact else planes(*first.shape, row=first.row)
    step = Operation(isa.BINARY, node.name, first, target, second, {isa.KIND: kind})
    context.set(node.outputs[0], context.add(step), shapes[0])


def _repeats(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a tensor is repeated over the channels, the pixels or both of an image or a vector."""
    if len(shape) != len(whole) or len(shape) not in (2, 4):
        return False
    return shape[0] == whole[0] and shape[1] in (1, whole[1]) and shape[2:] in (whole[2:], (1, 1))


def with_constant(context: Context, node: Node, kind: int, name: str, constant: NDArray[Any], *, reverse: bool) -> None:
    """Lower a pair with a constant: a factor and a term for each channel, or numbers for each pixel.

    Args:
        context: of the lowering.
        node: that it comes from.
        kind: of BINARY.
        name: of the activation.
        constant: the other operand.
        reverse: whether the constant is the first.
    """
    shape = context.shapes[name]
    values = per_channel(constant, shape)
    if values is None or (reverse and kind == isa.DIVIDE):
        _with_map(context, node, _OTHER_WAY[kind] if reverse else kind, name, constant)
    elif kind == isa.ADD:
        _channelwise(context, node, name, np.ones(1), values)
    elif kind == isa.MULTIPLY:
        _channelwise(context, node, name, values, np.zeros(1))
    elif kind == isa.SUBTRACT:
        _channelwise(context, node, name, np.full(1, -1.0 if reverse else 1.0), values if reverse else -values)
    else:
        _channelwise(context, node, name, 1 / values, np.zeros(1))


def _with_map(context: Context, node: Node, kind: int, name: str, constant: NDArray[Any]) -> None:
    """Combine an activation with a constant that is repeated over channels or pixels, or neither."""
    shape = context.shapes[name]
    padded = (1,) * (len(shape) - constant.ndim) + constant.shape
    if len(shape) not in (2, 4) or constant.ndim > len(shape) or np.broadcast_shapes(padded, shape) != shape:
        raise UnsupportedError(f"a constant of shape {constant.shape} beside {shape}")
    source = context.tensor(name)
    channels, alone = padded[1], math.prod(padded[2:]) == 1
    extents = (1, 1) if alone else source.shape[1:]
    image = padded[1:] if len(shape) == 4 else (channels, 1, 1)  # an image
    values = np.broadcast_to(np.asarray(constant, np.float32).reshape(image), (channels, *extents))
    target = vector(*source.shape) if source.compact else planes(*source.shape, row=source.row)
    numbers = {
        isa.KIND: kind,
        isa.SECOND_STEP: math.prod(extents) if channels > 1 else 0,
        isa.SECOND_ROW: 0 if alone else extents[1],
    }
    step = Operation(isa.BINARY, node.name, source, target, None, numbers, constant=values.reshape(-1).copy())
    context.set(node.outputs[0], context.add(step), shape)


def _add(context: Context, node: Node) -> None:
    _arithmetic(context, node, isa.ADD)


def _sub(context: Context, node: Node) -> None:
    _arithmetic(context, node, isa.SUBTRACT)


def _mul(context: Context, node: Node) -> None:
    _arithmetic(context, node, isa.MULTIPLY)


def _div(context: Context, node: Node) -> None:
    _arithmetic(context, node, isa.DIVIDE)


OPERATORS: Mapping[str, Lowering] = {
    "Add": _add,
    "BatchNormalization": _batch_normalization,
    "Clip": _relu,
    "Div": _div,
    "Elu": _elu,
    "Erf": _erf,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Mish": _mish,
    "Mul": _mul,
    "PRelu": _prelu,
    "Relu": _relu,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Sub": _sub,
    "Tanh": _tanh,
}
