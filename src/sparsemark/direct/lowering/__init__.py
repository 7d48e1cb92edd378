"""Lowering of a CSR file's graph to the interpreter's operations: shapes, fusion, taps.

Every convolution becomes one of stride 1 over planes: a stride splits its input into a plane for each phase, dilation
and padding are other offsets, groups are taps that are not there, a transposed convolution makes a plane for each phase
of its output. What follows a convolution (an addition, a clamp, 2 x 2 pooling) goes into it.

A new operator is one function `(Context, Node) -> None` and one line in an `OPERATORS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.direct.ir import Lowered
from sparsemark.direct.lowering import (
    borders,
    channels_last,
    convolutions,
    normalisation,
    pointwise,
    pooling,
    quantised,
    resampling,
    shaping,
    slicing,
)
from sparsemark.direct.lowering.byte_pooling import pooled
from sparsemark.direct.lowering.context import Context
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.direct.ir import Tensor
    from sparsemark.direct.lowering.context import Lowering
    from sparsemark.formats.csr.graph import Graph, Node

_OPERATORS: Mapping[str, Lowering] = {
    **borders.OPERATORS,
    **channels_last.OPERATORS,
    **convolutions.OPERATORS,
    **normalisation.OPERATORS,
    **pointwise.OPERATORS,
    **pooling.OPERATORS,
    **quantised.OPERATORS,
    **resampling.OPERATORS,
    **shaping.OPERATORS,
    **slicing.OPERATORS,
}


_SEVERAL_OUTPUTS = frozenset({"Split", borders.DENSE})
"""Operators of which more than the first output is taken."""


@dataclass
class _Refusal:
    """Why nodes of one operator are not taken: the name and the reason of the first of them."""

    name: str
    reason: str
    count: int = 0


class NotTakenError(UnsupportedError):
    """Operators that are not taken, with the number of nodes of each."""

    def __init__(self, refused: Mapping[str, _Refusal]) -> None:
        super().__init__("direct-csr: " + "; ".join(_in_words(op, one) for op, one in refused.items()))
        self.operators = {op: one.count for op, one in refused.items()}


_NOTHING_KNOWN = borders.Known()


def lower(graph: Graph, shape: Sequence[int], known: borders.Known = _NOTHING_KNOWN) -> Lowered:
    """Lower a graph for one image of `shape`, (1, channels, height, width), or one vector, (1, features).

    Args:
        graph: to lower.
        shape: of its input.
        known: what is known of activations that dense parts make, of which `partition` has put some into the graph.

    Raises:
        NotTakenError: naming every operator that is not taken, how many nodes there are of it, and one of them.
    """
    context = Context(graph, tuple(shape))
    context.known = known
    refused: dict[str, _Refusal] = {}
    unknown: set[str] = set()
    for i, node in enumerate(graph.nodes):
        if i in context.done:
            continue
        # What follows a node that is refused has operands without a shape; only its operator can be judged.
        behind = not unknown.isdisjoint(node.inputs)
        reason = _reason_against(context, node) if behind else _lower(context, node)
        if reason is not None:
            first = refused.setdefault(node.op, _Refusal(node.name, reason))
            first.count += 1
        if behind or reason is not None:
            unknown |= set(node.outputs)
    if refused:
        raise NotTakenError(refused)
    outputs = tuple(_output(context, name) for name in graph.outputs)
    return pooled(Lowered(tuple(shape), tuple(context.operations), outputs, tuple(context.dense)))


def refusals(graph: Graph, shape: Sequence[int], known: borders.Known) -> set[int]:
    """Return the places of the nodes that are not taken, if a dense part runs those and gives what is known of them."""
    context = Context(graph, tuple(shape))
    context.known = known
    refused: set[int] = set()
    unknown: set[str] = set()
    for i, node in enumerate(graph.nodes):
        if i in context.done:
            continue
        behind = not unknown.isdisjoint(node.inputs)
        if not behind and _lower(context, node) is None:
            continue
        refused.add(i)
        for name in node.outputs:
            if not borders.enters(context, name):
                unknown.add(name)
    return refused


def _output(context: Context, name: str) -> tuple[Tensor | None, tuple[int, ...]]:
    if name in context.outside:
        return None, context.known.shapes.get(name, ())
    return context.tensor(name), context.shapes[name]


def _in_words(op: str, refusal: _Refusal) -> str:
    reason = f": {refusal.reason}" if refusal.reason else ""
    several = f" and {refusal.count - 1} more" if refusal.count > 1 else ""
    return f"{op} at {refusal.name}{several}{reason}"


def _reason_against(context: Context, node: Node) -> str | None:
    """Return why a node cannot be lowered, whatever its operands; "" for an unknown operator, None where it may be."""
    if node.op not in _OPERATORS:
        return ""
    if not node.outputs or not node.outputs[0]:
        return "without an output"
    others = [name for name in node.outputs[1:] if name in context.users]
    if others and node.op not in _SEVERAL_OUTPUTS:
        return f"output {others[0]}"
    return None


def _lower(context: Context, node: Node) -> str | None:
    """Lower one node; return what is wrong with it, whatever that is, or None."""
    reason = _reason_against(context, node)
    if reason is not None:
        return reason
    try:
        if not quantised.in_bytes(context, node) and not channels_last.pointwise_last(context, node):
            _OPERATORS[node.op](context, node)
        quantised.check_integers(context, node)
    except UnsupportedError as error:
        return str(error)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Attributes of a damaged file may be anything.
        return f"{type(error).__name__}: {error}"
    return None
