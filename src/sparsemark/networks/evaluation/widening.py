"""Widen an ONNX model: every float in it becomes float64, whatever makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.networks.onnx_constants import STANDARD
from sparsemark.networks.onnx_graph import densified

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_NARROW = frozenset({1, 10, 16})
"""`onnx.TensorProto`: FLOAT, FLOAT16, BFLOAT16."""

_DOUBLE = 11

_TYPE_ATTRIBUTES = {
    "BlackmanWindow": "output_datatype",
    "Cast": "to",
    "DequantizeLinear": "output_dtype",
    "EyeLike": "dtype",
    "HammingWindow": "output_datatype",
    "HannWindow": "output_datatype",
    "MelWeightMatrix": "output_datatype",
    "SequenceEmpty": "dtype",
}
"""Operators with an attribute that names the type of their output."""

_FLOAT_BY_DEFAULT = frozenset({"BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix", "SequenceEmpty"})
"""Those that make float32 where the attribute is absent."""

_ROUNDING = frozenset({"precision", "softmax_precision", "stash_type"})
"""Attributes that name a type to compute in."""


def widen(model: Any) -> dict[str, NDArray[Any]]:
    """Widen a model in place, and return the constants of its main graph, which are removed from it.

    Constants that are listed among the inputs are no inputs any more. A model of 2 GiB would not fit its own format
    once widened.

    Raises:
        ValueError: a constant is damaged.
    """
    from onnx import numpy_helper

    for entry in model.opset_import:
        entry.domain = "" if entry.domain in STANDARD else entry.domain
    graph = model.graph
    for inner in _graphs(graph):
        _widen_graph(inner)
    constants = {one.name: _wide(numpy_helper.to_array(one)) for one in graph.initializer}
    constants |= {one.values.name: _wide(densified(one)) for one in graph.sparse_initializer}
    del graph.initializer[:]
    del graph.sparse_initializer[:]
    fed = [value for value in graph.input if value.name not in constants]
    del graph.input[:]
    graph.input.extend(fed)
    return constants


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(np.float64) if floating else array


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and the bodies in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node or body.output:
                    yield from _graphs(body)


def _widen_graph(graph: Any) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        _widen_type(value.type)
    for node in graph.node:
        if node.domain in STANDARD:
            node.domain = ""
            _widen_node(node)


def _widen_stored(graph: Any) -> None:
    """Widen the constants that a body stores."""
    from onnx import numpy_helper

    for sparse in graph.sparse_initializer:
        graph.initializer.append(numpy_helper.from_array(densified(sparse), sparse.values.name))
    del graph.sparse_initializer[:]
    for tensor in graph.initializer:
        _widen_tensor(tensor)


def _widen_type(kind: Any) -> None:
    which = kind.WhichOneof("value")
    if which in ("tensor_type", "sparse_tensor_type"):
        held = getattr(kind, which)
        if held.elem_type in _NARROW:
            held.elem_type = _DOUBLE
    elif which in ("sequence_type", "optional_type"):
        _widen_type(getattr(kind, which).elem_type)
    elif which == "map_type":
        _widen_type(kind.map_type.value_type)


def _widen_tensor(tensor: Any) -> None:
    from onnx import numpy_helper

    if tensor.data_type in _NARROW:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def _widen_node(node: Any) -> None:
    from onnx import helper, numpy_helper

    op = node.op_type
    for attribute in list(node.attribute):
        if attribute.name in _ROUNDING:
            node.attribute.remove(attribute)
        elif attribute.name == _TYPE_ATTRIBUTES.get(op) and attribute.i in _NARROW:
            attribute.i = _DOUBLE
        elif op == "Constant":
            _widen_constant(attribute)
        else:
            _widen_attribute(attribute)
    present = {attribute.name for attribute in node.attribute}
    if op == "ConstantOfShape" and "value" not in present:
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))
    if op in _FLOAT_BY_DEFAULT and _TYPE_ATTRIBUTES[op] not in present:
        node.attribute.append(helper.make_attribute(_TYPE_ATTRIBUTES[op], _DOUBLE))


def _widen_attribute(attribute: Any) -> None:
    if attribute.HasField("tp"):
        _widen_type(attribute.tp)
    if attribute.HasField("t"):
        _widen_tensor(attribute.t)
    for body in (attribute.g, *attribute.graphs):
        _widen_stored(body)


def _widen_constant(attribute: Any) -> None:
    """Widen the value of a `Constant` node."""
    from onnx import helper, numpy_helper

    if attribute.name == "value":
        _widen_tensor(attribute.t)
        return
    if attribute.name == "sparse_value":
        array = _wide(densified(attribute.sparse_tensor))
    elif attribute.name in ("value_float", "value_floats"):
        # The file holds float32.
        numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        array = np.asarray(numbers, np.float32).astype(np.float64)
    else:
        return
    attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(array)))
