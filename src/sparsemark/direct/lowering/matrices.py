"""Products of a constant matrix and a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.ir import Matrix, Tensor, vector
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.lowering.context import Context
    from sparsemark.formats.csr.graph import Node


def append_matrix(  # noqa: PLR0917 - a matrix is that much
    context: Context,
    node: Node,
    out: NDArray[np.int32],
    column: NDArray[np.int32],
    values: NDArray[np.float32],
    outputs: int,
    inputs: int,
    bias: NDArray[np.float32],
    count: int,
) -> Tensor:
    """Append the product of a matrix, given by its entries, and the node's first operand."""
    source = context.compact(node.inputs[0])
    if source.channels * source.height * source.width != inputs:
        raise UnsupportedError(f"{source.channels * source.height * source.width} inputs, expected {inputs}")
    order = np.lexsort((column, out))
    rows = np.searchsorted(out[order], np.arange(outputs + 1)).astype(np.int32)
    step = Matrix(
        isa.LINEAR, node.name, source, vector(outputs), None, {}, bias,
        rows=rows, columns=column[order], values=values[order], weights=count,
    )  # fmt: skip
    context.set(node.outputs[0], context.add(step))
    return step.target


def product_with_vector(context: Context, node: Node) -> None:
    """Lower the product of a constant matrix and a vector; UnsupportedError where the operand is no vector."""
    matrix = context.graph.matrices[node.inputs[1]]
    shape = context.shapes[node.inputs[0]]
    if len(shape) != 2 or shape[0] != 1:  # batch and features
        raise UnsupportedError(f"input of shape {shape}, expected 1 x features")
    outputs, inputs = matrix.shape
    bias = np.zeros(outputs, np.float32)
    if len(node.inputs) > 2 and node.inputs[2]:  # input, weight, bias
        bias = np.broadcast_to(np.asarray(context.constant(node.inputs[2]), np.float32).reshape(-1), (outputs,)).copy()
    target = append_matrix(
        context, node, matrix.rows, matrix.indices, matrix.data, outputs, inputs, bias, outputs * inputs
    )
    context.set(node.outputs[0], target, (1, outputs))
