"""Shapes of an ONNX model's values for one shape of its input: ONNX's own inference, given what is known of constants.

Its data propagation covers most of what exporters write to compute a shape, but not all (`Cast` of a quotient, `Floor`,
the sizes of `Resize`, the ends of `Slice`). So inference and folding take turns; see `conversion.convert`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.networks.onnx_constants import Array

_READ = 2**10
"""Elements of a constant that inference may read as sizes, axes or scales; of larger ones it gets the shape alone."""


class ShapeInference:
    """A model without its weights, whose input has one shape.

    Args:
        model: an `onnx.ModelProto`; left as it is.
        name: of the input.
        shape: of the input.
    """

    def __init__(self, model: Any, name: str, shape: Sequence[int]) -> None:
        from onnx import ModelProto

        self._model = ModelProto()
        self._model.opset_import.extend(model.opset_import)
        self._model.ir_version = max(model.ir_version, _INITIALIZERS_ALONE)
        graph = self._model.graph
        graph.name = model.graph.name or "graph"
        graph.node.extend(model.graph.node)
        graph.sparse_initializer.extend(model.graph.sparse_initializer)
        stored = {tensor.name for tensor in model.graph.initializer}
        for tensor in model.graph.initializer:
            if math.prod(tensor.dims) <= _READ:
                graph.initializer.add().CopyFrom(tensor)
            else:
                graph.input.append(_described(tensor.name, tensor.data_type, tensor.dims))
        for value in model.graph.input:
            if value.name == name:
                graph.input.append(_described(name, value.type.tensor_type.elem_type, shape))
            elif value.name not in stored:
                graph.input.add().CopyFrom(value)
        # What the file says of the shapes of outputs and values between holds for other inputs.
        for value in model.graph.output:
            kept = graph.output.add()
            kept.CopyFrom(value)
            if kept.type.WhichOneof("value") == "tensor_type":
                kept.type.tensor_type.ClearField("shape")

    def replace(self, values: Mapping[str, Array]) -> None:
        """Put the values of nodes that were computed in place of these nodes."""
        from onnx import helper, numpy_helper

        graph = self._model.graph
        left = [node for node in graph.node if not (any(node.output) and {*node.output} - {""} <= values.keys())]
        del graph.node[:]
        graph.node.extend(left)
        for name, value in values.items():
            if value.size <= _READ:
                graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
            else:
                graph.input.append(_described(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes that are known; those that stay open are not among them."""
        return {name: shape for name, (_, shape) in self.values().items() if shape is not None}

    def values(self) -> dict[str, tuple[int, tuple[int, ...] | None]]:
        """Return the element type (of `onnx.TensorProto`) of each value, and its shape, None where that is open."""
        from onnx import shape_inference

        try:
            inferred = shape_inference.infer_shapes(self._model, data_prop=True).graph
        except Exception:  # the converter's own exception classes; without shapes such nodes stay nodes
            return {}
        found: dict[str, tuple[int, tuple[int, ...] | None]] = {}
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            kind = value.type.tensor_type
            known = kind.HasField("shape") and all(one.HasField("dim_value") for one in kind.shape.dim)
            found[value.name] = kind.elem_type, tuple(one.dim_value for one in kind.shape.dim) if known else None
        return found


_INITIALIZERS_ALONE = 4
"""Version of the format from which on initialisers need not be listed among the inputs."""


def _described(name: str, kind: int, shape: Sequence[int]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, list(shape))
