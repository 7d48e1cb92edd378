"""Mixed execution: a network of which the dense engine runs the parts that are not lowered, between native calls."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sparsemark.direct import isa
from sparsemark.direct.ir import BlockConvolution, Convolution, Matrix
from sparsemark.direct.lowering import lower
from sparsemark.direct.partition import partition, sparse_nodes
from sparsemark.direct.runtime.parts import Part, Session
from sparsemark.errors import UnsupportedError
from sparsemark.formats.csr.densified import densified, values_of
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sparsemark.direct.ir import Lowered
    from sparsemark.formats.csr.densified import Value
    from sparsemark.formats.csr.graph import Graph, Node

_NAMED = 8
"""Operators that a note names; a network has more kinds at times."""


def lower_mixed(graph: Graph, shape: Sequence[int]) -> tuple[Lowered, Mapping[str, Value]]:
    """Lower what can be lowered, for an input of `shape`; the rest is in dense parts.

    Returns:
        The network, and what is known of its activations.

    Raises:
        UnsupportedError: an output is not what it should be, the network is too large, or the file is damaged.
    """
    try:
        values = values_of(graph, shape)
    except UnsupportedError:
        raise
    except Exception as error:  # onnx has no error of its own for what a damaged file makes of it
        raise UnsupportedError(f"direct-csr: dense: {one_line(error)}") from error
    contracted, known = partition(graph, shape, values)
    return lower(contracted, shape, known), values


def open_parts(
    lowered: Lowered, image: str, values: Mapping[str, Value], opener: Callable[[bytes, int], Session], threads: int
) -> tuple[Part, ...]:
    """Open the dense parts.

    Args:
        lowered: the network.
        image: name of its input.
        values: element types and shapes of activations.
        opener: of the dense engine.
        threads: that share a call.

    Raises:
        UnsupportedError: the dense engine cannot run one of them.
    """
    parts = []
    for before, dense in lowered.dense:
        unknown = [name for name in dense.graph.inputs if not values.get(name, (0, None))[0]]
        if unknown:
            raise UnsupportedError(f"direct-csr: {dense.name}: the type of {unknown[0]} is not known")
        try:
            model = densified(dense.graph, {name: values[name] for name in dense.graph.inputs})
            parts.append(Part(before, dense, image, opener(model, threads)))
        except UnsupportedError:
            raise
        except Exception as error:  # as above
            raise UnsupportedError(f"direct-csr: {dense.place}: {one_line(error)}") from error
    return tuple(parts)


def has_weights(lowered: Lowered) -> bool:
    """Whether any native operation has weights, without which there is nothing to gain."""
    return any(isinstance(operation, BlockConvolution | Convolution | Matrix) for operation in lowered.operations)


def dense_nodes(lowered: Lowered) -> list[Node]:
    """Return the nodes that the dense engine runs."""
    return [node for _, part in lowered.dense for node in part.graph.nodes]


def in_words(graph: Graph, lowered: Lowered) -> str:
    """Return how many layers run sparse and which operators run dense."""
    dense = dense_nodes(lowered)
    ids = {id(node) for node in dense}
    layers = sparse_nodes(graph)
    sparse = sum(id(node) not in ids for node in layers)
    return f"{sparse} of {len(layers)} {kinds_of(layers)} sparse; {named(node.op for node in dense)} dense"


def bytes_in_words(graph: Graph, lowered: Lowered) -> str:
    """Return how many of the quantised layers run in int8, and what runs in float32 between them."""
    layers = [node for node in graph.nodes if len(node.inputs) > 1 and node.inputs[1] in graph.blocks]
    count = sum(isinstance(operation, BlockConvolution) for operation in lowered.operations)
    found = f"{count} of {len(layers)} {kinds_of(layers)} in int8"
    in_bytes = *isa.OF_BYTES, isa.INPUT, isa.COPY
    floats = (one for one in lowered.operations if one.code not in in_bytes and not isinstance(one, BlockConvolution))
    names = {operation.name for operation in floats}
    others = named(node.op for node in graph.nodes if node.name in names)
    return f"{found}; {others} in float32" if others else found


def kinds_of(layers: Sequence[Node]) -> str:
    """Return what layers with a sparse matrix are."""
    kinds = {node.op for node in layers}
    if kinds <= {"Conv", "ConvTranspose"}:
        return "convolutions"
    return "linear layers" if kinds == {"Linear"} else "convolutions and linear layers"


def named(operators: Iterable[str]) -> str:
    """List operators, the most frequent ones first."""
    found = [op for op, _ in Counter(operators).most_common()]
    more = [f"{len(found) - _NAMED} more"] if len(found) > _NAMED else []
    return ", ".join([*found[:_NAMED], *more])
