"""The network of a CSR file with dense weights, as ONNX: what a dense engine runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UnsupportedError
from sparsemark.formats.csr.shapes import ShapeInference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.formats.csr.graph import Graph, Node

Value = tuple[int, tuple[int, ...] | None]
"""Element type, of `onnx.TensorProto`, and shape or None where that is open."""

_MOST = 2**28
"""Weights: an ONNX file holds at most 2 GiB."""


def _open_sizes(graph: Graph) -> list[str] | None:
    """Names for the sizes of the input: the same weights serve images of any size that the operators take."""
    return None if graph.input_shape is None else [f"size {axis}" for axis in range(len(graph.input_shape))]


def values_of(graph: Graph, shape: Sequence[int]) -> Mapping[str, Value]:
    """Return what is known of the values of a graph whose input has this shape; as `ShapeInference.values`.

    Raises:
        UnsupportedError: as `densified`.
    """
    (name,) = graph.inputs
    return ShapeInference(_model(graph, {}), name, shape).values()


def densified(graph: Graph, inputs: Mapping[str, Value] | None = None) -> bytes:
    """Write a graph as an ONNX model, its zeros stored as zeros.

    Args:
        graph: to write.
        inputs: element types and shapes of its inputs; those that are not here are float32 and of any shape.

    Raises:
        UnsupportedError: it would be larger than ONNX can hold.
    """
    content: bytes = _model(graph, inputs or {}).SerializeToString()
    return content


def _model(graph: Graph, inputs: Mapping[str, Value]) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    read = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
    sizes = {**graph.shapes, **{name: matrix.dense for name, matrix in graph.blocks.items()}}
    weights = sum(math.prod(shape) for name, shape in sizes.items() if name in read)
    if weights > _MOST:
        raise UnsupportedError(f"dense: {weights} weights, at most {_MOST}")
    dense = {
        name: matrix.toarray().reshape(graph.shapes[name]) for name, matrix in graph.matrices.items() if name in read
    }
    nodes = []
    extra: dict[str, np.ndarray[Any, Any]] = {}
    for node in graph.nodes:
        operands = list(node.inputs)
        if len(operands) > 1 and operands[1] in graph.blocks:
            in_integers, integers = _quantised(graph, node)
            nodes += in_integers
            extra |= integers
            continue
        if node.op == "Linear":
            columns = f"{node.name} columns first"
            extra[columns] = np.ascontiguousarray(dense[operands[1]].T)
            product = node.outputs[0] if len(operands) < 3 or not operands[2] else f"{node.outputs[0]} without bias"
            nodes.append(helper.make_node("MatMul", [operands[0], columns], [product], name=node.name))
            if product != node.outputs[0]:
                nodes.append(helper.make_node("Add", [product, operands[2]], [node.outputs[0]]))
            continue
        domain, _, operator = node.op.rpartition(".")
        made = helper.make_node(
            operator, operands, list(node.outputs), name=node.name, domain=domain, **node.attributes
        )
        nodes.append(made)
    constants: dict[str, np.ndarray[Any, Any]] = {**dense, **extra, **graph.constants}
    used = {name for node in nodes for name in node.input} | set(graph.outputs)
    initializers = [
        numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in constants.items() if name in used
    ]
    unknown = TensorProto.FLOAT, _open_sizes(graph)
    given = [helper.make_tensor_value_info(name, *inputs.get(name, unknown)) for name in graph.inputs]
    # An output's type follows from the nodes: some are indices.
    outputs = [helper.make_empty_tensor_value_info(name) for name in graph.outputs]
    return helper.make_model(
        helper.make_graph(nodes, "densified", given, outputs, initializers),
        opset_imports=[helper.make_opsetid("", graph.opset)],
    )


def _quantised(graph: Graph, node: Node) -> tuple[list[Any], dict[str, np.ndarray[Any, Any]]]:
    """Return a node with a quantised weight, in the form that dense engines compute in integers, and its constants."""
    from onnx import helper

    matrix, name = graph.blocks[node.inputs[1]], node.name or node.outputs[0]
    operands, nodes = list(node.inputs), []
    # The channels of its output are the second axis of a transposed convolution's weight.
    axis = 1 if node.op == "ConvTranspose" else 0
    integers = {operands[1]: (np.moveaxis(matrix.integers(), 0, axis), matrix.scales, axis)}
    scale = _scale_of(graph, operands[0])
    if scale is not None and len(operands) > 2 and operands[2] in graph.constants:
        scales = (scale * matrix.scales).astype(np.float32)
        bias = np.broadcast_to(graph.constants[operands[2]].reshape(-1), scales.shape)
        whole = np.rint(bias / np.where(scales > 0, scales, 1).astype(np.float64))
        operands[2] = f"{name} bias"
        integers[operands[2]] = np.clip(whole, -(2**31), 2**31 - 1).astype(np.int32), scales, 0
    constants: dict[str, np.ndarray[Any, Any]] = {}
    for made, (values, scales, along) in integers.items():
        parts = [f"{made} of {name}, {part}" for part in ("integers", "scales", "zeros")]
        constants |= dict(zip(parts, (values, scales, np.zeros(scales.shape, values.dtype)), strict=True))
        dequantised = f"{made} of {name}"
        nodes.append(helper.make_node("DequantizeLinear", parts, [dequantised], axis=along))
        operands[operands.index(made)] = dequantised
    attributes = {"transB": 1} if node.op == "Linear" else dict(node.attributes)
    op = "Gemm" if node.op == "Linear" else node.op
    nodes.append(helper.make_node(op, operands, list(node.outputs), name=node.name, **attributes))
    return nodes, constants


def _scale_of(graph: Graph, name: str) -> np.float32 | None:
    """Return the scale of an activation that was dequantised; None where it is none, or has several."""
    makers = (node for node in graph.nodes if name in node.outputs and node.op == "DequantizeLinear")
    maker = next(makers, None)
    scale = graph.constants.get(maker.inputs[1]) if maker is not None else None
    return None if scale is None or scale.size != 1 else np.float32(scale.reshape(-1)[0])
