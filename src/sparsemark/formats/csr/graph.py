"""The CSR file: every weight matrix in compressed sparse rows, and the graph that uses them; no Python class needed.

`export.py` writes it; to read it takes NumPy and nothing heavier. The container is safetensors: per matrix
`<name>.values` (float32), `<name>.columns` (16 bits where the columns fit, else 32) and `<name>.rows` (row pointers),
other constants as they are, and the graph as JSON in the header; quantised weights as in `blocks`. A convolution's
matrix has one row per output channel and one column per (input channel, kernel row, kernel column), as im2col lays them
out; a linear layer's has one row per output feature. A digest over all of it tells a damaged file.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from sparsemark.errors import UserError
from sparsemark.formats.csr.blocks import BlockMatrix
from sparsemark.networks.onnx_graph import are_contents
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

HEADER = "sparsemark-csr"
SCHEMA = 2

OLDEST_OPSET = 13
"""Before it Squeeze, Softmax, ReduceSum and others took other operands or meant something else."""

_NEWEST_OPSET = 1000
"""Far beyond any existing opset."""

_WIDEST = np.iinfo(np.int32).max
_NO_ATTRIBUTES = ("op_type", "inputs", "outputs", "name", "doc_string", "domain", "overload")
"""Names that attributes of no operator have, and that say something else to ONNX."""


@dataclass(frozen=True)
class Node:
    """One operator: an ONNX operator type, or `Linear` for every product with a constant matrix."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class CsrMatrix:
    """A sparse matrix: non-zeros row by row, their columns, and where each row begins; fields as scipy names them."""

    data: NDArray[np.float32]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int32]
    shape: tuple[int, int]

    @classmethod
    def compress(cls, dense: NDArray[np.float32]) -> CsrMatrix:
        """Build the matrix from the non-zeros of a dense one."""
        rows, columns = np.nonzero(dense)
        indptr = np.searchsorted(rows, np.arange(len(dense) + 1))
        return cls(dense[rows, columns], columns.astype(np.int32), indptr.astype(np.int32), dense.shape)

    @property
    def rows(self) -> NDArray[np.int32]:
        """Row of every non-zero."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.indptr))

    def toarray(self) -> NDArray[np.float32]:
        """The dense matrix."""
        dense = np.zeros(self.shape, np.float32)
        dense[self.rows, self.indices] = self.data
        return dense


@dataclass(frozen=True)
class Graph:
    """A CSR file in memory.

    `matrices` are the sparse weights, `shapes` their dense shapes, `blocks` the weights of a quantised network (second
    operands of `Conv`, `ConvTranspose` and `Linear`, output channels first), `constants` everything else.
    `input_shape` is None where the network takes several; `opset` is the version of ONNX's operators.

    The rest is for counting and absent from older files: `weights` are constants that are weights whatever uses them,
    `buffers` are none; `origins` names, for a constant that was computed when the file was written, its identity and
    the constants that it was computed from.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    matrices: Mapping[str, CsrMatrix]
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, np.ndarray[Any, Any]]
    input_shape: tuple[int, ...] | None = None
    opset: int = OLDEST_OPSET
    weights: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    contents: tuple[tuple[int, ...], ...] = ()
    blocks: Mapping[str, BlockMatrix] = field(default_factory=dict)


def digest(header: Mapping[str, Any], tensors: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """SHA-256 of everything else in the file."""
    described = {key: value for key, value in header.items() if key != "digest"}
    sha = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        sha.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        sha.update(tensor.reshape(-1).view(np.uint8).data)  # not `tobytes`: a copy of all weights
    return sha.hexdigest()


def load_csr(path: Path) -> Graph:
    """Read a CSR file.

    Raises:
        UserError: the file is missing, damaged or was not written by `export`.
    """
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        if header["schema"] != SCHEMA:
            raise UserError(f"{path}: header.schema is {header['schema']!r}, this sparsemark reads {SCHEMA}")
        if digest(header, tensors) != header["digest"]:
            raise UserError(f"{path}: damaged: its digest is not that of its content")
        inputs, outputs = tuple(header["inputs"]), tuple(header["outputs"])
        input_shape, opset = _sizes(header["input_shape"]), _version(header["opset"])
        shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
        matrices = {}
        for name, shape in shapes.items():
            values, columns, rows = (tensors.pop(f"{name}.{part}") for part in ("values", "columns", "rows"))
            matrices[name] = _matrix(values, columns, rows, shape)
        blocks = {}
        for name, shape in header.get("blocks", {}).items():
            data, gaps, scales = (tensors.pop(f"{name}.{part}") for part in ("blocks", "gaps", "scales"))
            blocks[name] = BlockMatrix.of_tensors(data, gaps, scales, shape)
        nodes = tuple(map(_node, header["nodes"]))
        counting = _names(header.get("weights", [])), _names(header.get("buffers", [])), _origins(header)
        contents = _contents(header.get("contents", []))
        graph = Graph(
            inputs, outputs, nodes, matrices, shapes, tensors, input_shape, opset, *counting, contents, blocks
        )
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
) -> CsrMatrix:
    """Build a matrix; raise ValueError unless every index lies inside, in order, once."""
    whole = shape and all(type(size) is int and size > 0 for size in shape)
    if not whole or any(array.ndim != 1 for array in (values, columns, rows)):
        raise ValueError(f"a matrix of shape {shape}")
    width = math.prod(shape[1:])
    starts = rows.astype(np.int64)
    places = columns if columns.dtype.kind in "iu" else columns.astype(np.int64)
    whole = len(starts) == shape[0] + 1 and starts[0] == 0 and starts[-1] == len(values) == len(places)
    if not whole or (np.diff(starts) < 0).any() or max(width, len(values)) > _WIDEST:
        raise ValueError(f"row pointers that are none of {len(values)} values in {shape[0]} rows")
    first_of_row = np.zeros(len(places) + 1, bool)
    first_of_row[starts] = True
    rising = (places[1:] > places[:-1]) | first_of_row[1:-1]
    if places.min(initial=0) < 0 or places.max(initial=0) >= width or not rising.all():
        raise ValueError(f"columns that are outside of {width}, or not in order")
    if values.dtype != np.float32:
        raise ValueError(f"values of type {values.dtype}")
    return CsrMatrix(values, places.astype(np.int32), starts.astype(np.int32), (shape[0], width))


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


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"expected a list of names, found {value!r}")
    return tuple(value)


def _contents(value: Any) -> tuple[tuple[int, ...], ...]:
    if not are_contents(value):
        raise TypeError("contents: expected rows of four numbers")
    return tuple(map(tuple, value))


def _origins(header: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found = {name: _names(origin) for name, origin in header.get("origins", {}).items()}
    if not all(len(origin) > 1 for origin in found.values()):
        raise ValueError("origins: expected an identity and the constants that it was computed from")
    return found


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
    known = {"", *graph.inputs, *graph.constants, *graph.matrices, *graph.blocks}
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
