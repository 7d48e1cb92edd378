"""ONNX model in memory: loading it, its inputs, its constants and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UserError
from sparsemark.networks.onnx_names import check_graph
from sparsemark.references import ONNX_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.specs import ModelSpec

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose constant operand is a weight."""

_CONSTANT_TYPES = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
"""Attributes of the `Constant` operator that hold numbers, and the dtype that the specification gives them."""


def load_onnx(path: Path) -> Any:
    """Read an ONNX file as `onnx.ModelProto`.

    Raises:
        UserError: the file is missing, damaged or no ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
        check_graph(model.graph)
        onnx.checker.check_model(model)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError, RuntimeError, MemoryError) as error:
        # onnx's own errors come in several types: of text that is no UTF-8, or a model that protobuf cannot write.
        raise UserError(f"{path}: expected an ONNX model: {' '.join(str(error).split())[:200]}") from error
    return model


def inputs_of(model: Any) -> list[str]:
    """Names of the inputs to feed to an `onnx.ModelProto`; older files list their constants among the inputs too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in constants]


def constants_of(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Constants of an `onnx.ModelProto` by name: initialisers, values of `Constant` nodes, and other names of both."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and not node.domain:
            kind = node.attribute[0].name
            value = helper.get_attribute_value(node.attribute[0])
            if kind == "value":
                constants[node.output[0]] = numpy_helper.to_array(value)
            elif kind in _CONSTANT_TYPES:
                constants[node.output[0]] = np.array(value, dtype=_CONSTANT_TYPES[kind])
        elif node.op_type == "Identity" and not node.domain and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]  # PyTorch's exporter stores equal tensors once
    return constants


def weights_of(model: Any) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Constant operands of convolutions and matrix products in an `onnx.ModelProto`, by name."""
    constants = constants_of(model)
    used = [name for node in model.graph.node if node.op_type in WEIGHTED for name in node.input[:2]]
    return {name: constants[name] for name in used if name in constants}


def input_shape_of(reference: str) -> tuple[int, ...] | None:
    """Input shape of an ONNX file, with a batch of 1 where it leaves that open; None for a factory, which has none.

    Raises:
        UserError: the file is missing, no ONNX, has not exactly one input, or leaves another size than the batch open.
    """
    if not reference.endswith(ONNX_SUFFIX):
        return None
    sizes = _declared_sizes(reference)
    if not sizes or not all(sizes[1:]):
        raise UserError(f"{reference}: declares an input of {_in_words(sizes)}; say which sizes with --input")
    return (sizes[0] or 1, *sizes[1:])


def check_onnx_input(model: ModelSpec) -> None:
    """Check the given input shape against the one that the ONNX file declares.

    Raises:
        UserError: they differ in a size that the file does not leave open; or as `input_shape_of`.
    """
    sizes = _declared_sizes(model.reference)
    fits = len(sizes) == len(model.input_shape) and all(
        declared in (0, given) for declared, given in zip(sizes, model.input_shape, strict=True)
    )
    if not fits:
        given = ",".join(map(str, model.input_shape))
        raise UserError(f"{model.reference}: input {given} does not fit this network: it declares {_in_words(sizes)}")


def _in_words(sizes: Sequence[int]) -> str:
    return ",".join(str(size or "any") for size in sizes) or "no sizes"


def _declared_sizes(reference: str) -> list[int]:
    """Sizes of an ONNX file's one input, 0 where they are open."""
    model = load_onnx(Path(reference))
    names = inputs_of(model)
    if len(names) != 1:
        raise UserError(f"{reference}: expected an ONNX model with one input, found {len(names)}")
    (value,) = [value for value in model.graph.input if value.name == names[0]]
    # Old exporters write -1 for a size that is open.
    return [max(size.dim_value, 0) for size in value.type.tensor_type.shape.dim]
