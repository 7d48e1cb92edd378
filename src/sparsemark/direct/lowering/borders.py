"""Borders between native operations and parts of the network that the dense engine runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sparsemark.direct.ir import Border, Dense, vector
from sparsemark.direct.lowering.context import Known
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node

DENSE = "dense part"
"""Operator of a node that stands for such a part. No operator of ONNX has a space in its name."""


def _dense(context: Context, node: Node) -> None:
    """Lower a part: what it reads of the arena as vectors, and vectors for what native operations read of it."""
    sources = {}
    for name in node.inputs:
        # The image is given to it as it came, unless another operation has it as a vector already.
        if name not in context.outside and name != context.input:
            sources[name] = Border(context.compact(name), context.shapes[name])
    results = {}
    for name in node.outputs:
        if not any(reader.op != DENSE for reader in context.readers(name)):
            context.outside.add(name)
        elif enters(context, name):
            results[name] = Border(context.tensors[name], context.shapes[name])
        else:
            raise UnsupportedError(f"{name} is no float32 activation of a known shape")
    part = Dense(node.name, context.known.parts[node.name], sources, results)
    context.dense.append((len(context.operations), part))


def leaves(context: Context, name: str) -> bool:
    """Return whether an activation is an output of the network, or a dense part reads it."""
    return any(user < 0 or context.graph.nodes[user].op == DENSE for user in context.users.get(name, ()))


def enters(context: Context, name: str) -> bool:
    """Reserve a place in the arena for an activation that a dense part makes; False where it cannot have one."""
    shape = context.known.shapes.get(name) if name in context.known.floats else None
    if shape is None or len(shape) < 2 or shape[0] != 1 or min(shape) < 1:  # a batch of one, and features
        return False
    extents = shape[1:] if len(shape) == 4 else (math.prod(shape[1:]), 1, 1)  # an image
    context.set(name, vector(*extents), shape)
    return True


OPERATORS: Mapping[str, Lowering] = {
    DENSE: _dense,
}

__all__ = ["DENSE", "OPERATORS", "Known", "enters"]
