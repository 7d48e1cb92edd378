"""Lowering of a CSR file's graph to the interpreter's steps: shapes, fusion, taps.

Every convolution becomes one of stride 1 over planes: a stride splits its input into a plane for each phase, dilation
and padding are other offsets, groups are taps that are not there, a transposed convolution makes a plane for each phase
of its output. What follows a convolution (an addition, a clamp, 2 x 2 pooling) goes into it.

A new operator is one function `(Context, Node) -> None` and one line in an `OPERATORS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.direct.ir import Lowered
from sparsemark.direct.lowering import convolutions, matrices, pointwise, pooling, shaping
from sparsemark.direct.lowering.context import Context
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.direct.lowering.context import Lowering
    from sparsemark.formats.csr.graph import Graph, Node

_OPERATORS: Mapping[str, Lowering] = {
    **convolutions.OPERATORS,
    **matrices.OPERATORS,
    **pointwise.OPERATORS,
    **pooling.OPERATORS,
    **shaping.OPERATORS,
}


def lower(graph: Graph, shape: Sequence[int]) -> Lowered:
    """Lower a graph for one image of `shape`, (1, channels, height, width), or one vector, (1, features).

    Raises:
        UnsupportedError: naming the operator and the node.
    """
    context = Context(graph, tuple(shape))
    for i, node in enumerate(graph.nodes):
        if i not in context.done:
            _lower(context, node)
    outputs = tuple((context.tensor(name), context.shapes[name]) for name in graph.outputs)
    return Lowered(tuple(shape), tuple(context.steps), outputs)


def _lower(context: Context, node: Node) -> None:
    """Lower one node; whatever is wrong with it is a reason."""
    where = f"direct-csr: {node.op} at {node.name}"
    lowering = _OPERATORS.get(node.op)
    if lowering is None or sum(map(bool, node.outputs)) != 1:
        raise UnsupportedError(where)
    try:
        lowering(context, node)
    except UnsupportedError as error:
        raise UnsupportedError(f"{where}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Attributes of a damaged file may be anything.
        raise UnsupportedError(f"{where}: {type(error).__name__}: {error}") from error
