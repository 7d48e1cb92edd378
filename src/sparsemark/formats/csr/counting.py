"""Weights in a CSR file, found as in the ONNX file that it was made from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UserError
from sparsemark.formats.base import Weights
from sparsemark.formats.csr.graph import load_csr
from sparsemark.networks.onnx_constants import Constant, Operation
from sparsemark.networks.onnx_graph import Listing
from sparsemark.networks.onnx_weights import Tally, Visitor
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.formats.csr.graph import Graph


def count(path: Path) -> Weights:
    """Count the weights in a CSR file, those of transposed convolutions included, which are dense in float32.

    Raises:
        UserError: as `load_csr`, or a node's attributes do not fit its operator.
    """
    graph = load_csr(path)
    try:
        return Weights.of(tally_of(graph))
    except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise UserError(f"{path}: its weights cannot be counted: {one_line(error)}") from error


def tally_of(graph: Graph) -> Tally:
    """Find the weights of a graph."""
    stored: dict[str, Constant] = {name: _matrix(graph, name) for name in graph.matrices}
    stored |= {name: _blocks(graph, name) for name in graph.blocks}
    stored |= {name: _constant(graph, name, array) for name, array in graph.constants.items()}
    visitor = Visitor()
    visitor.visit(_operations(graph), dict(stored), "")
    # Listed by the names of the ONNX file.
    known = {str(one.root): one for one in stored.values()}
    visitor.tally.settle(dict(known | stored), Listing(graph.weights, graph.buffers, graph.contents))
    return visitor.tally


def _matrix(graph: Graph, name: str) -> Constant:
    matrix, shape = graph.matrices[name], graph.shapes[name]

    def dense() -> NDArray[Any]:
        return matrix.toarray().reshape(shape)

    size = math.prod(shape)
    return Constant(*_origin(graph, name, size, dense), nonzero=lambda: matrix.data[matrix.data != 0])


def _blocks(graph: Graph, name: str) -> Constant:
    matrix = graph.blocks[name]
    size = math.prod(matrix.dense)
    return Constant(*_origin(graph, name, size, matrix.toarray), nonzero=lambda: matrix.data[matrix.data != 0])


def _constant(graph: Graph, name: str, array: NDArray[Any]) -> Constant:
    return Constant(*_origin(graph, name, array.size, lambda: array))


def _origin(
    graph: Graph, name: str, size: int, load: Callable[[], NDArray[Any]]
) -> tuple[str, int, Callable[[], NDArray[Any]], dict[Any, Constant]]:
    """Return the first fields of a constant; what it was computed from is not in the file, and taken to be as large."""
    root, *sources = graph.origins.get(name, (name,))
    return root, size, load, {source: Constant(source, size, load) for source in sources}


def _operations(graph: Graph) -> Iterator[Operation]:
    for node in graph.nodes:
        domain, _, operator = node.op.rpartition(".")
        # A product with rows first and nothing else.
        op = "Gemm" if node.op == "Linear" else operator
        yield Operation(op, domain, node.inputs, node.outputs, node.attributes, graph.opset)
