"""Operators that work on each value by itself, or on pairs of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import isa as op
from sparsemark.direct.ir import Operation as Step
from sparsemark.direct.ir import planes, vector
from sparsemark.direct.lowering.context import bounds_of
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node


def _unary(context: Context, node: Node, kind: int, p: float = 0.0, q: float = 0.0) -> None:
    source = context.tensor(node.inputs[0])
    target = vector(*source.shape) if source.compact else planes(*source.shape, row=source.row)
    step = Step(op.UNARY, node.name, source, target, numbers={op.KIND: kind}, parameters=np.array([p, q], np.float32))
    context.set(node.outputs[0], context.add(step), context.shapes[node.inputs[0]])


def _relu(context: Context, node: Node) -> None:
    _unary(context, node, op.CLIP, *bounds_of(context, node))


def _leaky_relu(context: Context, node: Node) -> None:
    _unary(context, node, op.LEAKY, node.attributes.get("alpha", 0.01))


def _elu(context: Context, node: Node) -> None:
    _unary(context, node, op.EXPONENTIAL_LINEAR, node.attributes.get("alpha", 1.0))


def _sigmoid(context: Context, node: Node) -> None:
    product = context.only_user(node.outputs[0])
    if product and product[1].op == "Mul" and set(product[1].inputs) == {node.inputs[0], node.outputs[0]}:
        context.done.add(product[0])
        _unary(context, type(node)("Sigmoid", node.name, node.inputs, product[1].outputs, {}), op.SILU)
        return
    _unary(context, node, op.SIGMOID)


def _hard_sigmoid(context: Context, node: Node) -> None:
    _unary(context, node, op.HARD_SIGMOID, node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5))


def _hard_swish(context: Context, node: Node) -> None:
    _unary(context, node, op.HARD_SWISH)


def _tanh(context: Context, node: Node) -> None:
    _unary(context, node, op.TANH)


def _gelu(context: Context, node: Node) -> None:
    if node.attributes.get("approximate", "none") != "none":
        raise UnsupportedError(f"approximate {node.attributes['approximate']}")
    _unary(context, node, op.GELU)


def _erf(context: Context, node: Node) -> None:
    _unary(context, node, op.ERROR_FUNCTION)


def _softmax(context: Context, node: Node) -> None:
    source, shape = context.tensor(node.inputs[0]), context.shapes[node.inputs[0]]
    if len(shape) not in (2, 4):  # vectors and images
        raise UnsupportedError(f"of shape {shape}")
    if node.attributes.get("axis", -1) % len(shape) != 1:
        raise UnsupportedError(f"axis {node.attributes.get('axis', -1)} of {shape}")
    target = vector(*source.shape) if source.compact else planes(*source.shape, row=source.row)
    context.set(node.outputs[0], context.add(Step(op.SOFTMAX, node.name, source, target)), shape)


def _batch_normalization(context: Context, node: Node) -> None:
    if node.attributes.get("training_mode", 0):
        raise UnsupportedError("training mode")
    scale, shift, mean, variance = (
        np.asarray(context.constant(name), np.float64).reshape(-1) for name in node.inputs[1:5]
    )
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    _channelwise(context, node, node.inputs[0], factor, shift - mean * factor)


def _channelwise(context: Context, node: Node, name: str, factor: NDArray[Any], term: NDArray[Any]) -> None:
    source = context.tensor(name)
    target = vector(*source.shape) if source.compact else planes(*source.shape, row=source.row)
    spread = [np.broadcast_to(np.asarray(a, np.float32), (source.channels,)).copy() for a in (factor, term)]
    step = Step(op.CHANNELWISE, node.name, source, target, parameters=spread[0], more=spread[1])
    context.set(node.outputs[0], context.add(step), context.shapes[name])


def _arithmetic(context: Context, node: Node, kind: int) -> None:
    a, b = node.inputs
    if b in context.graph.constants or a in context.graph.constants:
        _with_constant(context, node, kind, a, b)
        return
    shapes = context.shapes[a], context.shapes[b]
    if kind in (op.ADD, op.MULTIPLY) and math.prod(shapes[0]) < math.prod(shapes[1]):
        a, b = b, a
        shapes = shapes[::-1]
    first, second = context.tensor(a), context.tensor(b)
    if shapes[0] != shapes[1] and shapes[1] != (*shapes[0][:2], 1, 1):
        raise UnsupportedError(f"of shapes {shapes}")
    if shapes[0] != shapes[1] and not second.compact:
        second = context.copied(second, second.shape, b, compact=True)
    target = vector(*first.shape) if first.compact else planes(*first.shape, row=first.row)
    step = Step(op.BINARY, node.name, first, target, second, {op.KIND: kind})
    context.set(node.outputs[0], context.add(step), shapes[0])


def _with_constant(context: Context, node: Node, kind: int, a: str, b: str) -> None:
    """A factor and a term for each channel."""
    reverse = a in context.graph.constants
    name, constant = (b, context.constant(a)) if reverse else (a, context.constant(b))
    shape = context.shapes[name]
    values = np.asarray(constant, np.float64)
    if values.ndim > len(shape):
        raise UnsupportedError(f"a constant of shape {values.shape} beside {shape}")
    if values.size != 1:
        padded = (1,) * (len(shape) - values.ndim) + values.shape
        if len(padded) != len(shape) or padded != (1, shape[1], *(1,) * (len(shape) - 2)):
            raise UnsupportedError(f"a constant of shape {values.shape} beside {shape}")
    values = values.reshape(-1)
    if kind == op.ADD:
        _channelwise(context, node, name, np.ones(1), values)
    elif kind == op.MULTIPLY:
        _channelwise(context, node, name, values, np.zeros(1))
    elif kind == op.SUBTRACT:
        _channelwise(context, node, name, np.full(1, -1.0 if reverse else 1.0), values if reverse else -values)
    elif reverse:
        raise UnsupportedError("a constant divided by an activation")
    else:
        _channelwise(context, node, name, 1 / values, np.zeros(1))


def _add(context: Context, node: Node) -> None:
    _arithmetic(context, node, op.ADD)


def _sub(context: Context, node: Node) -> None:
    _arithmetic(context, node, op.SUBTRACT)


def _mul(context: Context, node: Node) -> None:
    _arithmetic(context, node, op.MULTIPLY)


def _div(context: Context, node: Node) -> None:
    _arithmetic(context, node, op.DIVIDE)


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
    "Mul": _mul,
    "Relu": _relu,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Sub": _sub,
    "Tanh": _tanh,
}
