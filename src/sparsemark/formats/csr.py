"""The CSR file: every weight matrix in compressed sparse rows, and the graph that uses them; no Python class needed.

Made from the exported ONNX graph, so that it holds what any exportable network does, BatchNorm folded. The container is
safetensors: per matrix `<name>.values` (float32), `<name>.columns` (16 bits where the columns fit, else 32) and
    `<name>.rows` (row pointers), other constants as they are, and the graph as JSON in the header. A convolution's
    matrix has one row per output channel and one column per (input channel, kernel row, kernel column), as im2col lays
    them out; a linear layer's has one row per output feature. A digest over all of it tells a damaged file.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.files import write_atomically
from sparsemark.formats import onnx_file
from sparsemark.formats.protocol import Source, Weights
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scipy.sparse import csr_array

_HEADER = "sparsemark-csr"
_SCHEMA = 2
_NARROW = np.iinfo(np.uint16)

_ONNX_DOMAINS = ("", "ai.onnx")
"""Names of ONNX's own operator set; other sets use the same operator names for other things."""

_OLDEST_OPSET = 13
"""Before it Squeeze, Softmax, ReduceSum and others took other operands or meant something else."""

_NEWEST_OPSET = 1000
"""Far beyond any that there is."""

_WIDEST = np.iinfo(np.int32).max
_NO_ATTRIBUTES = ("op_type", "inputs", "outputs", "name", "doc_string", "domain", "overload")
"""Names that attributes of no operator have, and that say something else to ONNX."""

_TAKE_A_MATRIX = ("Conv", "Linear")
"""Operators whose second operand may be one of `Graph.matrices`."""


@dataclass(frozen=True)
class Node:
    """One operator: an ONNX operator type, or `Linear` for every product with a constant matrix."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """A CSR file in memory.

    `matrices` are the sparse weights, `shapes` their dense shapes, `constants` everything else. `input_shape` is None
    where the network takes several; `opset` is the version of ONNX's operators.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    matrices: Mapping[str, csr_array[np.float32]]
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, np.ndarray[Any, Any]]
    input_shape: tuple[int, ...] | None = None
    opset: int = _OLDEST_OPSET


def export(source: Source, path: Path) -> None:
    """Convert the variant's ONNX graph; errors as in `onnx_file.export`."""
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "network.onnx"
        onnx_file.export(source, exported)
        model = onnx_file.load_onnx(exported)
    inputs = onnx_file.inputs_of(model)
    if len(inputs) != 1:
        raise UnsupportedError(f"csr: the network has {len(inputs)} inputs, expected one")
    nodes, constants, matrices = _convert(model)
    tensors = dict(constants)
    for name, dense in matrices.items():
        tensors |= _compress(name, dense.reshape(dense.shape[0], -1))
    header = {
        "schema": _SCHEMA,
        "inputs": inputs,
        "outputs": [value.name for value in model.graph.output],
        "nodes": [asdict(node) for node in nodes],
        "shapes": {name: dense.shape for name, dense in matrices.items()},
        "input_shape": _fixed_shape(model, inputs[0]),
        "opset": _opset(model),
    }
    header["digest"] = digest(header, tensors)
    write_atomically(path, save(tensors, metadata={_HEADER: json.dumps(header)}))


def digest(header: Mapping[str, Any], tensors: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """SHA-256 of everything else in the file."""
    described = {key: value for key, value in header.items() if key != "digest"}
    sha = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        sha.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        sha.update(tensor.tobytes())
    return sha.hexdigest()


def _fixed_shape(model: Any, name: str) -> list[int] | None:
    (value,) = (value for value in model.graph.input if value.name == name)
    sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    return sizes if sizes and all(size > 0 for size in sizes) else None


def _opset(model: Any) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in _ONNX_DOMAINS), 0)


def _compress(name: str, dense: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    from scipy.sparse import csr_array

    if dense.dtype != np.float32:
        raise UnsupportedError(f"csr: weight {name} is {dense.dtype}, expected float32")
    matrix = csr_array(dense)
    narrow = dense.shape[1] <= _NARROW.max + 1
    return {
        f"{name}.values": matrix.data,
        f"{name}.columns": matrix.indices.astype(np.uint16 if narrow else np.int32),
        f"{name}.rows": matrix.indptr.astype(np.int32),
    }


def _convert(model: Any) -> tuple[list[Node], dict[str, Any], dict[str, Any]]:
    """Split an ONNX model into nodes, constants and the weight matrices to be compressed."""
    from onnx import helper

    opset = _opset(model)
    if opset < _OLDEST_OPSET:
        raise UnsupportedError(f"csr: ONNX opset {opset}, expected {_OLDEST_OPSET} or later")
    constants = onnx_file.constants_of(model)
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
    if weight is None or node.op not in ("Conv", "Gemm", "MatMul") or weight.ndim < 2:  # noqa: PLR2004 - a matrix
        return node
    name = node.inputs[1]
    if node.op == "Conv":
        matrices[name] = weight
        return node
    scaled = node.attributes.get("alpha", 1.0) != 1.0 or node.attributes.get("beta", 1.0) != 1.0
    if weight.ndim > 2 or scaled or node.attributes.get("transA", 0):  # noqa: PLR2004 - a matrix
        return node
    rows_first = bool(node.attributes.get("transB", 0))
    # The same constant may be used both ways, so each way has a name of its own.
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


def load_csr(path: Path) -> Graph:
    """Read a CSR file.

    Raises:
        UserError: the file is missing, damaged or was not written by `export`.
    """
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        if header["schema"] != _SCHEMA:
            raise UserError(f"{path}: header.schema is {header['schema']!r}, this sparsemark reads {_SCHEMA}")
        if digest(header, tensors) != header["digest"]:
            raise UserError(f"{path}: damaged: its digest is not that of its content")
        inputs, outputs = tuple(header["inputs"]), tuple(header["outputs"])
        input_shape, opset = _sizes(header["input_shape"]), _version(header["opset"])
        shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
        matrices = {}
        for name, shape in shapes.items():
            values, columns, rows = (tensors.pop(f"{name}.{part}") for part in ("values", "columns", "rows"))
            matrices[name] = _matrix(values, columns, rows, shape)
        nodes = tuple(map(_node, header["nodes"]))
        graph = Graph(inputs, outputs, nodes, matrices, shapes, tensors, input_shape, opset)
        _check_names(graph)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (
        SafetensorError,
        AttributeError,
        IndexError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(f"{path}: damaged, or no CSR file of sparsemark: {one_line(error)}") from error
    return graph


def _matrix(
    values: np.ndarray[Any, Any], columns: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], shape: tuple[int, ...]
) -> csr_array[np.float32]:
    """Put a matrix together; ValueError unless every index lies inside, in order, once.

    scipy's own check looks at nothing where the last row pointer is 0, and goes where the pointers say.
    """
    from scipy.sparse import csr_array

    if not shape or min(shape) < 1 or any(array.ndim != 1 for array in (values, columns, rows)):
        raise ValueError(f"a matrix of shape {shape}")
    width = math.prod(shape[1:])
    starts, places = rows.astype(np.int64), columns.astype(np.int64)
    whole = len(starts) == shape[0] + 1 and starts[0] == 0 and starts[-1] == len(values) == len(places)
    if not whole or (np.diff(starts) < 0).any() or width > _WIDEST:
        raise ValueError(f"row pointers that are none of {len(values)} values in {shape[0]} rows")
    falls = np.flatnonzero(np.diff(places) <= 0) + 1
    if places.min(initial=0) < 0 or places.max(initial=0) >= width or not np.isin(falls, starts).all():
        raise ValueError(f"columns that are outside of {width}, or not in order")
    if values.dtype != np.float32:
        raise ValueError(f"values of type {values.dtype}")
    return csr_array((values, places.astype(np.int32), starts.astype(np.int32)), shape=(shape[0], width))


def _node(entry: Mapping[str, Any]) -> Node:
    """Read a node of the header; TypeError where it holds anything but names and attributes."""
    op, name, attributes = entry["op"], entry["name"], entry["attributes"]
    inputs, outputs = tuple(entry["inputs"]), tuple(entry["outputs"])
    if not all(isinstance(text, str) for text in (op, name, *inputs, *outputs)) or not isinstance(attributes, dict):
        raise TypeError(f"a node {name!r}: expected names and attributes")
    for key, value in attributes.items():
        kinds = {type(one) for one in value} if isinstance(value, list) else {type(value)}
        if len(kinds) != 1 or not kinds <= {int, float, str} or key in _NO_ATTRIBUTES:
            raise TypeError(f"{op} at {name}: attribute {key} is {value!r}")
    return Node(op, name, inputs, outputs, attributes)


def _sizes(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(type(size) is int and size > 0 for size in value):
        raise TypeError(f"input_shape is {value!r}, expected positive sizes or null")
    return tuple(value)


def _version(value: Any) -> int:
    if type(value) is not int or not 0 < value <= _NEWEST_OPSET:
        raise TypeError(f"opset is {value!r}, expected a version")
    return value


def _check_names(graph: Graph) -> None:
    """Raise ValueError where a name is given twice, or a node or an output names what nothing before it makes."""
    if not graph.outputs:
        raise ValueError("outputs: expected at least one")
    known = {"", *graph.inputs, *graph.constants, *graph.matrices}
    for node in graph.nodes:
        twice = [name for name in node.outputs if name and name in known]
        if twice:
            raise ValueError(f"{node.op} at {node.name} makes {twice[0]}, which is there already")
        absent = set(node.inputs) - known
        if absent:
            raise ValueError(f"{node.op} at {node.name} needs {min(absent)}, which is not in the file")
        known |= set(node.outputs)
    if not set(graph.outputs) <= known:
        raise ValueError(f"nothing makes the output {min(set(graph.outputs) - known)}")


def count(path: Path) -> Weights:
    """Count the weights in a CSR file, those of transposed convolutions included, which stay dense."""
    graph = load_csr(path)
    dense = {name for node in graph.nodes if node.op in onnx_file.WEIGHTED for name in node.inputs[:2]}
    arrays = [graph.constants[name] for name in dense if name in graph.constants]
    total = sum(int(np.prod(shape)) for shape in graph.shapes.values()) + sum(a.size for a in arrays)
    nonzeros = sum(m.nnz for m in graph.matrices.values()) + sum(int(np.count_nonzero(a)) for a in arrays)
    return Weights(total, nonzeros)
