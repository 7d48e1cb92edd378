"""ONNX graph to operations and stored constants, and the lists of weights in a model's metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sparsemark.networks.onnx_constants import STANDARD, Array, Constant, Operation

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

LISTED, BUFFERS, CONTENTS = "sparsemark.weights", "sparsemark.buffers", "sparsemark.contents"
"""Metadata of a file that we export, as in `Listing`."""


def operations_of(
    nodes: Iterable[Any], opsets: Mapping[str, int], given: Mapping[str, Any] | None = None
) -> Iterator[Operation]:
    """Return ONNX nodes as operations.

    Args:
        nodes: `onnx.NodeProto`.
        opsets: version by domain.
        given: attributes that a function is called with, for nodes that refer to them.
    """
    from onnx import helper

    version = next((opsets[domain] for domain in STANDARD if domain in opsets), 1)
    for node in nodes:
        attributes = {}
        for attribute in node.attribute:
            meant = (given or {}).get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
            if meant is not None:
                attributes[attribute.name] = helper.get_attribute_value(meant)
        if node.overload:
            attributes["overload"] = node.overload
        yield Operation(node.op_type, node.domain, tuple(node.input), tuple(node.output), attributes, version)


_NUMBERS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
"""Attributes of the `Constant` operator that hold numbers, and the dtype that the specification gives them."""


def constant_of(operation: Operation, root: Hashable) -> Constant | None:
    """Return the constant of a `Constant` node; None where it holds text."""
    for kind, value in operation.attributes.items():
        if kind in _NUMBERS:
            return Constant.of(root, np.array(value, dtype=_NUMBERS[kind]))
        if kind == "value":
            return _tensor(value, root)
        if kind == "sparse_value":
            return _sparse(value, root)
    return None


def initializers_of(graph: Any, path: str = "") -> dict[str, Constant | None]:
    """Return the stored constants of an `onnx.GraphProto` by name; `path` is the prefix of their identities."""
    found: dict[str, Constant | None] = {one.name: _tensor(one, f"{path}{one.name}") for one in graph.initializer}
    for sparse in graph.sparse_initializer:
        found[sparse.values.name] = _sparse(sparse, f"{path}{sparse.values.name}")
    return found


def _tensor(tensor: Any, root: Hashable) -> Constant:
    from onnx import numpy_helper

    return Constant(root, int(np.prod(tensor.dims, dtype=object)), lambda: numpy_helper.to_array(tensor))


_MOST_DENSE = 2**29
"""Elements of a sparse constant that is made dense."""


def _sparse(tensor: Any, root: Hashable) -> Constant:
    from onnx import numpy_helper

    size = int(np.prod(tensor.dims, dtype=object))

    def kept() -> Array:
        values = numpy_helper.to_array(tensor.values)
        found: Array = values[values != 0]
        return found

    def load() -> Array | None:
        return densified(tensor) if size <= _MOST_DENSE else None

    return Constant(root, size, load, nonzero=kept)


def densified(tensor: Any) -> Array:
    """Return an `onnx.SparseTensorProto` as a dense array.

    Raises:
        ValueError: its indices lie outside.
    """
    from onnx import numpy_helper

    values, indices = numpy_helper.to_array(tensor.values), numpy_helper.to_array(tensor.indices)
    shape = tuple(tensor.dims)
    places = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    dense: Array = np.zeros(int(np.prod(shape, dtype=object)), values.dtype)
    if places.size and not 0 <= places.min() <= places.max() < dense.size:
        raise ValueError("indices of a sparse tensor outside of its shape")
    dense[places] = values
    reshaped: Array = dense.reshape(shape)
    return reshaped


class Listing(NamedTuple):
    """What a file says of its constants.

    Args:
        weights: names of those that are weights, whatever uses them.
        buffers: names of those that are none.
        contents: how many weights of the network hold the same values, as rows of what `content_of` returns and their
            number; empty where the file does not say.
    """

    weights: Sequence[str] = ()
    buffers: Sequence[str] = ()
    contents: Sequence[Sequence[int]] = ()


def listed_in(model: Any) -> Listing:
    """Return what a model's metadata says of its constants; a list that is none is ignored."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return Listing(names(metadata.get(LISTED)), names(metadata.get(BUFFERS)), _rows(metadata.get(CONTENTS)))


def content_of(array: Array) -> tuple[int, int, int]:
    """Return elements, non-zero ones, and the sum of the bit patterns of those, whatever their order."""
    kept = array[array != 0]
    return array.size, kept.size, bits_of(kept)


def bits_of(kept: Array) -> int:
    """Return the sum of the bit patterns of elements; 0 for types whose patterns NumPy cannot read as integers."""
    if kept.dtype.itemsize not in (1, 2, 4, 8):
        return 0
    return int(np.ascontiguousarray(kept).view(f"u{kept.dtype.itemsize}").sum(dtype=np.uint64))


def are_contents(rows: Any) -> bool:
    """Return whether a value is a list of `Listing.contents`."""
    return isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == 4 and all(type(one) is int and 0 <= one < 2**64 for one in row)
        for row in rows
    )


def _rows(text: str | None) -> Sequence[Sequence[int]]:
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return ()
    return found if are_contents(found) else ()


def names(text: str | None) -> list[str]:
    """Return a JSON list of names; an empty one where the text is anything else."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []
