"""Sums of two quantised activations that are quantised right away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.ir import Operation, words
from sparsemark.direct.lowering.byte_products import levels_of, quantized_next
from sparsemark.direct.lowering.context import Bytes

if TYPE_CHECKING:
    from sparsemark.direct.lowering.context import Context
    from sparsemark.formats.csr.graph import Node

_MOST = float(np.finfo(np.float32).max) / 4
"""Largest value of an operand: sums of two are finite."""


def add_in_bytes(context: Context, node: Node) -> bool:
    """Lower an Add of two activations of one shape up to the QuantizeLinear behind it; False where it is another."""
    names = node.inputs
    if len(names) != 2 or not all(name in context.quantised for name in names):
        return False
    shape = context.shapes[names[0]]
    one, other = (context.quantised[name] for name in names)
    following = quantized_next(context, node.outputs[0])
    if following is None or context.shapes[names[1]] != shape or one.tensor.shape != other.tensor.shape:
        return False
    if 255 * max(float(one.scale), float(other.scale)) > _MOST:
        return False
    places, last, bounds = following
    scale, zero, integers = levels_of(context, last)
    found = Bytes(words(one.channels, *one.tensor.shape[1:], zero), one.channels, scale, zero, integers)
    numbers = np.array([one.scale, one.zero, other.scale, other.zero, *bounds, scale, zero], np.float32)
    context.add(Operation(isa.ADD_BYTES, node.name, one.tensor, found.tensor, other.tensor, parameters=numbers))
    context.done.update(places)
    context.shapes[last.outputs[0]] = shape
    context.quantised[last.outputs[0]] = found
    return True
