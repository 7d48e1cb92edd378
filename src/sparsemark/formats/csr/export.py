"""Write a CSR file: from the exported ONNX graph, so that it holds what any exportable network does."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from sparsemark.errors import UnsupportedError
from sparsemark.files import write_atomically
from sparsemark.formats import onnx as onnx_file
from sparsemark.formats.csr.graph import HEADER, OLDEST_OPSET, SCHEMA, CsrMatrix, Node, digest
from sparsemark.machine.temporary import temporary_folder
from sparsemark.networks import onnx_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sparsemark.networks.source import Source

_NARROW = np.iinfo(np.uint16)

_ONNX_DOMAINS = ("", "ai.onnx")
"""Names of ONNX's own operator set; other sets use the same operator names for other things."""

_TAKE_A_MATRIX = ("Conv", "Linear")
"""Operators whose second operand may be one of `Graph.matrices`."""


def export(source: Source, path: Path) -> None:
    """Convert the variant's ONNX graph; errors as in `formats.onnx.export`."""
    with temporary_folder() as folder:
        exported = folder / "network.onnx"
        onnx_file.export(source, exported)
        model = onnx_model.load_onnx(exported)
    inputs = onnx_model.inputs_of(model)
    if len(inputs) != 1:
        raise UnsupportedError(f"csr: the network has {len(inputs)} inputs, expected one")
    nodes, constants, matrices = _convert(model)
    tensors = dict(constants)
    for name, dense in matrices.items():
        tensors |= _compress(name, dense.reshape(dense.shape[0], -1))
    header = {
        "schema": SCHEMA,
        "inputs": inputs,
        "outputs": [value.name for value in model.graph.output],
        "nodes": [asdict(node) for node in nodes],
        "shapes": {name: dense.shape for name, dense in matrices.items()},
        "input_shape": _fixed_shape(model, inputs[0]),
        "opset": _opset(model),
    }
    header["digest"] = digest(header, tensors)
    write_atomically(path, save(tensors, metadata={HEADER: json.dumps(header)}))


def _fixed_shape(model: Any, name: str) -> list[int] | None:
    (value,) = (value for value in model.graph.input if value.name == name)
    sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    return sizes if sizes and all(size > 0 for size in sizes) else None


def _opset(model: Any) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in _ONNX_DOMAINS), 0)


def _compress(name: str, dense: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    if dense.dtype != np.float32:
        raise UnsupportedError(f"csr: weight {name} is {dense.dtype}, expected float32")
    matrix = CsrMatrix.compress(dense)
    narrow = dense.shape[1] <= _NARROW.max + 1
    return {
        f"{name}.values": matrix.data,
        f"{name}.columns": matrix.indices.astype(np.uint16 if narrow else np.int32),
        f"{name}.rows": matrix.indptr,
    }


def _convert(model: Any) -> tuple[list[Node], dict[str, Any], dict[str, Any]]:
    """Split an ONNX model into nodes, constants and the weight matrices to be compressed."""
    from onnx import helper

    opset = _opset(model)
    if opset < OLDEST_OPSET:
        raise UnsupportedError(f"csr: ONNX opset {opset}, expected {OLDEST_OPSET} or later")
    constants = onnx_model.constants_of(model)
    matrices: dict[str, Any] = {}
    nodes = []
    for node in model.graph.node:
        if node.output and node.output[0] in constants:
            continue  # a Constant
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        name = node.name or node.output[0]
        op = node.op_type if node.domain in _ONNX_DOMAINS else f"{node.domain}.{node.op_type}"
        converted = Node(op, name, tuple(node.input), tuple(node.output), _plain(attributes, node.op_type, name))
        nodes.append(_take_weight(converted, constants, matrices))
    # A matrix may be needed as it is elsewhere, and a constant may be an output.
    used = {value.name for value in model.graph.output}
    for node in nodes:
        taken = node.op in _TAKE_A_MATRIX and node.inputs[1] in matrices
        used |= {name for index, name in enumerate(node.inputs) if index != 1 or not taken}
    kept = {name: np.array(value, order="C") for name, value in constants.items() if name in used}
    return nodes, kept, matrices


def _take_weight(node: Node, constants: Mapping[str, Any], matrices: dict[str, Any]) -> Node:
    """Move a node's constant operand to `matrices`, rows first; products of two matrices become `Linear`."""
    weight = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or node.op not in ("Conv", "Gemm", "MatMul") or weight.ndim < 2:  # a matrix
        return node
    name = node.inputs[1]
    if node.op == "Conv":
        matrices[name] = weight
        return node
    scaled = node.attributes.get("alpha", 1.0) != 1.0 or node.attributes.get("beta", 1.0) != 1.0
    if weight.ndim > 2 or scaled or node.attributes.get("transA", 0):  # a matrix
        return node
    rows_first = bool(node.attributes.get("transB", 0))
    # The same constant may be used both ways, so each way has a separate name.
    stored = name if rows_first else f"{name}.T"
    matrices[stored] = weight if rows_first else weight.T
    return Node("Linear", node.name, (node.inputs[0], stored, *node.inputs[2:]), node.outputs, {})


def _plain(attributes: Mapping[str, Any], op: str, node: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, bytes):
            plain[name] = value.decode()
        elif isinstance(value, int | float):
            plain[name] = value
        elif isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
            plain[name] = list(value)
        else:
            raise UnsupportedError(f"csr: {op} at {node}: attribute {name} is no number, list or text")
    return plain
