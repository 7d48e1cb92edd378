"""Concatenation of quantised activations along channels, and repetition of their pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.blocks import BLOCK
from sparsemark.direct.ir import Operation, words
from sparsemark.direct.lowering.byte_products import copied_bytes, interleaved, levels_of, quantized_next
from sparsemark.direct.lowering.context import Bytes
from sparsemark.direct.lowering.resampling import repeats_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.ir import Tensor
    from sparsemark.direct.lowering.context import Context
    from sparsemark.formats.csr.graph import Node


def concat_in_bytes(context: Context, node: Node) -> bool:
    """Lower a Concat up to the QuantizeLinear behind it; False where it runs in float32.

    What has the scale and zero point of the result lies in it from the start, as far as it begins with a word; the
    rest is requantised.
    """
    if not all(name in context.quantised for name in node.inputs):
        return False
    shapes, parts = [context.shapes[name] for name in node.inputs], [context.quantised[name] for name in node.inputs]
    following = quantized_next(context, node.outputs[0])
    if following is None or following[2] != (-math.inf, math.inf) or node.attributes.get("axis") not in (1, -3):
        return False
    size = parts[0].tensor.shape[1:]
    if any(shape != (1, part.channels, *size) for shape, part in zip(shapes, parts, strict=True)):
        return False
    places, last, _ = following
    scale, zero, integers = levels_of(context, last)
    channels = sum(part.channels for part in parts)
    target = words(channels, *size, zero)
    tensors, first = [part.tensor for part in parts], 0
    for part in parts:
        is_same = (part.scale, part.zero) == (scale, zero) and first % BLOCK == 0
        if is_same and _may_lie_in(context, part.tensor, target) and tensors.count(part.tensor) == 1:
            part.tensor.whole, part.tensor.first = target, first // BLOCK
        else:
            place = words(first % BLOCK + part.channels, *size, zero)
            place.whole, place.first = target, first // BLOCK
            if is_same:
                step = copied_bytes(part.tensor, place, node.name, (1, 1))
            else:
                numbers, table = {isa.SCALES: part.channels, isa.FIRST_BYTE: first % BLOCK}, _table(part, scale, zero)
                step = Operation(isa.REQUANTIZE, node.name, part.tensor, place, numbers=numbers, parameters=table)
            context.add(step)
        first += part.channels
    context.done.update(places)
    context.shapes[last.outputs[0]] = (1, channels, *size)
    context.quantised[last.outputs[0]] = Bytes(target, channels, scale, zero, integers)
    return True


def _may_lie_in(context: Context, part: Tensor, target: Tensor) -> bool:
    """Whether one operation makes a tensor, which may then write to a part of another one."""
    makers = [step for step in context.operations if step.target is part]
    return part.whole is None and part.fill == target.fill and len(makers) == 1


def _table(part: Bytes, scale: np.float32, zero: int) -> NDArray[np.float32]:
    """Return what dequantising and quantising make of each byte: 256 bytes, four of them a float."""
    levels = np.arange(256, dtype=np.float32) - np.float32(part.zero)
    with np.errstate(over="ignore"):
        found = np.rint((levels * part.scale / scale).clip(-zero, 255 - zero)) + zero
    table: NDArray[np.float32] = found.astype(np.uint8).view(np.float32)
    return table


def resize_in_bytes(context: Context, node: Node) -> bool:
    """Lower a Resize that repeats rows and columns; False where it runs in float32."""
    source, shape = context.quantised[node.inputs[0]], context.shapes[node.inputs[0]]
    if len(shape) != 4 or shape != (1, source.channels, *source.tensor.shape[1:]):
        return False
    down, across = repeats_of(context, node)
    if not (down and across):
        return False
    size, made = (down * shape[2], across * shape[3]), source.tensor
    if (down, across) != (1, 1):
        made = words(source.channels, *size, source.zero)
        context.add(interleaved(node, source.tensor, made, (down, across), 1))
    context.shapes[node.outputs[0]] = (1, source.channels, *size)
    context.quantised[node.outputs[0]] = replace(source, tensor=made)
    return True
