"""Textbook execution of a CSR file: convolutions as im2col times a sparse matrix, the rest by torch's own operators.

The sparse product is the engine's. The graph around it is the same for all, so that engines differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from sparsemark.engines.operators import OPERATORS, symmetric_padding
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict
    from sparsemark.formats.csr.graph import CsrMatrix, Graph, Node

Product = Callable[[torch.Tensor], torch.Tensor]
"""Multiply one fixed sparse matrix (rows, k) by dense columns (k, n)."""

Step = Callable[..., Any]


def compile_graph(graph: Graph, product: Callable[[csr_array[Any]], Product]) -> Predict:
    """Return a callable that runs a graph.

    Args:
        graph: a CSR file.
        product: makes the engine's product for one matrix.

    Raises:
        UnsupportedError: naming the operator and the node.
    """
    constants = {name: torch.from_numpy(value) for name, value in graph.constants.items()}
    steps = [(_step(node, graph, product), node.inputs, node.outputs[0]) for node in graph.nodes]
    (input_name,) = graph.inputs

    def predict(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        values: dict[str, Any] = {**constants, "": None, input_name: torch.from_numpy(image)}
        # Not inference_mode: torch's sparse tensors raise under it (pytorch issue 98004).
        with torch.no_grad():
            for step, inputs, output in steps:
                values[output] = step(*(values.get(name) for name in inputs))
        return tuple(values[name].numpy() for name in graph.outputs)

    return predict


def _step(node: Node, graph: Graph, product: Callable[[csr_array[Any]], Product]) -> Step:
    if sum(map(bool, node.outputs)) > 1:
        raise UnsupportedError(f"csr: {node.op} at {node.name}: {len(node.outputs)} outputs, expected one")
    weight = node.inputs[1] if len(node.inputs) > 1 else ""
    if node.op == "Linear":
        return _linear(product(_in_scipy(graph.matrices[weight])))
    if node.op == "Conv" and weight in graph.matrices:
        return _convolution(node, _in_scipy(graph.matrices[weight]), graph.shapes[weight], product)
    if node.op not in OPERATORS:
        raise UnsupportedError(f"csr: {node.op} at {node.name}")
    try:
        return OPERATORS[node.op](node.attributes)
    except UnsupportedError as error:
        raise UnsupportedError(f"csr: {node.op} at {node.name}: {error}") from error


def _in_scipy(matrix: CsrMatrix) -> csr_array[Any]:
    return csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _linear(multiply: Product) -> Step:
    def run(x: torch.Tensor, _weight: None, bias: torch.Tensor | None = None) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        y = multiply(rows.T.contiguous()).T.reshape(*x.shape[:-1], -1)
        return y if bias is None else y + bias

    return run


def _convolution(
    node: Node, matrix: csr_array[Any], shape: tuple[int, ...], product: Callable[[csr_array[Any]], Product]
) -> Step:
    if len(shape) != 4:  # (out, in, height, width)
        raise UnsupportedError(f"csr: Conv at {node.name}: {len(shape) - 2} spatial axes, expected 2")
    groups = node.attributes.get("group", 1)
    stride = node.attributes.get("strides", [1, 1])
    dilation = node.attributes.get("dilations", [1, 1])
    pads, crop = symmetric_padding(node)
    height, width = shape[2:]
    rows = shape[0] // groups
    products = [product(csr_array(matrix[g * rows : (g + 1) * rows])) for g in range(groups)]
    pointwise = (height, width, *stride, *pads) == (1, 1, 1, 1, 0, 0) and not any(crop)

    def run(x: torch.Tensor, _weight: None, bias: torch.Tensor | None = None) -> torch.Tensor:
        x = F.pad(x, crop) if any(crop) else x
        out_height = (x.shape[2] + 2 * pads[0] - dilation[0] * (height - 1) - 1) // stride[0] + 1
        out_width = (x.shape[3] + 2 * pads[1] - dilation[1] * (width - 1) - 1) // stride[1] + 1
        columns = x.flatten(2) if pointwise else F.unfold(x, (height, width), dilation, pads, stride)
        parts = columns.chunk(groups, dim=1)
        images = [
            torch.cat([multiply(part[n]) for multiply, part in zip(products, parts, strict=True)])
            if groups > 1
            else products[0](columns[n])
            for n in range(x.shape[0])
        ]
        y = images[0].unsqueeze(0) if len(images) == 1 else torch.stack(images)
        y = y.reshape(x.shape[0], shape[0], out_height, out_width)
        return y if bias is None else y.add_(bias.view(1, -1, 1, 1))

    return run
