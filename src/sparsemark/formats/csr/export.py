"""Write a CSR file: from the exported ONNX graph, so that it holds what any exportable network does."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from sparsemark.errors import UnsupportedError
from sparsemark.files import write_atomically
from sparsemark.formats import onnx as onnx_file
from sparsemark.formats.csr import counting
from sparsemark.formats.csr.blocks import BlockMatrix
from sparsemark.formats.csr.conversion import TURNED, convert
from sparsemark.formats.csr.graph import HEADER, OLDEST_OPSET, SCHEMA, CsrMatrix, Graph, digest
from sparsemark.formats.csr.quantised import Quantised, detached
from sparsemark.machine.temporary import temporary_folder
from sparsemark.networks import onnx_model, onnx_weights
from sparsemark.networks.onnx_graph import listed_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sparsemark.networks.onnx_constants import Array
    from sparsemark.networks.onnx_weights import Piece, Tally
    from sparsemark.networks.source import Source

_NARROW = np.iinfo(np.uint16)


def export(source: Source, path: Path) -> None:
    """Convert the variant's ONNX graph; errors as in `formats.onnx.export`."""
    with temporary_folder() as folder:
        exported = folder / "network.onnx"
        onnx_file.export(source, exported)
        model = onnx_model.load_onnx(exported)
    inputs = onnx_model.inputs_of(model)
    if len(inputs) != 1:
        raise UnsupportedError(f"csr: the network has {len(inputs)} inputs, expected one")
    _check_dtype(model, inputs[0])
    model, integers = detached(model)
    original = onnx_weights.tally_of(model)
    listing = listed_in(model)
    try:
        model = onnx_model.modernised(onnx_model.inlined(model), OLDEST_OPSET)
    except UnsupportedError as error:
        raise UnsupportedError(f"csr: {error}") from error
    shape = _fixed_shape(model, inputs[0])
    turned = [name for name, weight in integers.items() if weight.rows_first(turned=True) is not None]
    converted = convert(model, inputs[0], shape or source.model.input_shape, turned)
    blocks = _blocks(converted.matrices, integers)
    converted.matrices = {name: dense for name, dense in converted.matrices.items() if name not in blocks}
    compressed = {name: _compress(name, dense) for name, dense in converted.matrices.items()}
    graph = Graph(
        inputs=tuple(inputs),
        outputs=tuple(value.name for value in model.graph.output),
        nodes=tuple(converted.nodes),
        matrices={name: _matrix(name, parts, converted.matrices[name]) for name, parts in compressed.items()},
        shapes={name: dense.shape for name, dense in converted.matrices.items()},
        constants=converted.constants,
        input_shape=tuple(source.model.input_shape) if converted.fixed and shape is None else shape,
        opset=onnx_model.opset_of(model),
        weights=tuple(listing.weights),
        buffers=tuple(listing.buffers),
        contents=tuple(map(tuple, listing.contents)),
        origins=converted.origins,
        blocks=blocks,
    )
    write_atomically(path, _packed(_reconciled(graph, original), compressed.values()))


def _packed(graph: Graph, compressed: Iterable[Mapping[str, Array]]) -> bytes:
    """Serialise a graph, its matrices given as tensors."""
    tensors = dict(graph.constants)
    for parts in compressed:
        tensors |= parts
    for name, matrix in graph.blocks.items():
        tensors |= matrix.tensors(name)
    header = {
        "schema": SCHEMA,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "nodes": [asdict(node) for node in graph.nodes],
        "shapes": graph.shapes,
        "input_shape": graph.input_shape,
        "opset": graph.opset,
        "weights": graph.weights,
        "buffers": graph.buffers,
        "contents": graph.contents,
        "origins": graph.origins,
    }
    if graph.blocks:
        header["blocks"] = {name: matrix.dense for name, matrix in graph.blocks.items()}
    header["digest"] = digest(header, tensors)
    content: bytes = save(tensors, metadata={HEADER: json.dumps(header)})
    return content


def _check_dtype(model: Any, name: str) -> None:
    from onnx import TensorProto

    (value,) = (value for value in model.graph.input if value.name == name)
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        dtype = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        raise UnsupportedError(f"csr: input {name} is {dtype}, expected float32")


def _fixed_shape(model: Any, name: str) -> tuple[int, ...] | None:
    (value,) = (value for value in model.graph.input if value.name == name)
    sizes = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
    return sizes if sizes and all(size > 0 for size in sizes) else None


def _blocks(matrices: Mapping[str, Array], integers: Mapping[str, Quantised]) -> dict[str, BlockMatrix]:
    """Return the quantised weights among matrices, whose scales are those of rows."""
    found = {}
    for name in matrices:
        weight = integers.get(name) or integers.get(name.removesuffix(TURNED))
        rows = weight.rows_first(turned=name not in integers) if weight else None
        if rows is not None:
            found[name] = BlockMatrix.compress(*rows)
    return found


def _compress(name: str, dense: Array) -> dict[str, Array]:
    if dense.dtype != np.float32:
        raise UnsupportedError(f"csr: weight {name} is {dense.dtype}, expected float32")
    matrix = CsrMatrix.compress(dense.reshape(dense.shape[0], -1))
    narrow = matrix.shape[1] <= _NARROW.max + 1
    return {
        f"{name}.values": matrix.data,
        f"{name}.columns": matrix.indices.astype(np.uint16 if narrow else np.int32),
        f"{name}.rows": matrix.indptr,
    }


def _matrix(name: str, parts: Mapping[str, Array], dense: Array) -> CsrMatrix:
    values, columns, rows = (parts[f"{name}.{part}"] for part in ("values", "columns", "rows"))
    return CsrMatrix(values, columns.astype(np.int32), rows, (dense.shape[0], dense.size // dense.shape[0]))


def _reconciled(graph: Graph, original: Tally) -> Graph:
    """Return a graph that counts as the ONNX model does.

    Weights that nothing uses any more once constants are computed, such as an embedding read at fixed places, are kept
    and listed; what only looks like a weight in the new graph is listed as none.
    """
    here = counting.tally_of(graph)
    missing = {str(key): piece for key, piece in original.pieces.items() if key not in here.pieces}
    surplus = {str(key): piece for key, piece in here.pieces.items() if key not in original.pieces}
    # The same weight by another name: a function's, put in place of its call.
    for key, piece in list(missing.items()):
        alike = (other for other, found in surplus.items() if _content(found) == _content(piece))
        renamed = next(alike, None)
        if renamed is not None:
            del missing[key], surplus[renamed]
    kept: dict[str, Array] = {}
    for key, piece in missing.items():
        value = None if piece.constant is None else piece.constant.value()
        if value is not None and key not in graph.constants and key not in graph.matrices:
            kept[key] = np.array(value, order="C")
    listed = (*graph.weights, *(key for key in missing if key not in graph.weights))
    return replace(graph, weights=listed, buffers=(*graph.buffers, *surplus), constants={**graph.constants, **kept})


def _content(piece: Piece) -> tuple[int, int, int]:
    return piece.total, piece.nonzeros, piece.bits
