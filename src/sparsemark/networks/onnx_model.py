"""ONNX file: loading it, and what it declares of its inputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.networks.onnx_constants import STANDARD
from sparsemark.networks.onnx_names import check_graph
from sparsemark.specs import FLOAT32, INPUT_DTYPES, InputSpec

if TYPE_CHECKING:
    from collections.abc import Sequence


def load_onnx(path: Path) -> Any:
    """Read an ONNX file as `onnx.ModelProto`.

    The checker refuses more than ONNX Runtime does: outputs without a shape, operators that only the runtime has, newer
    versions of the format. A file that it refuses is accepted if ONNX Runtime opens it.

    Raises:
        UserError: the file is missing, damaged or no ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    # onnx's own errors come in several types: of text that is no UTF-8, or a model that protobuf cannot write.
    refusals = (DecodeError, onnx.checker.ValidationError, ValueError, RuntimeError, MemoryError)
    try:
        model = onnx.load(str(path))
        check_graph(model.graph)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except refusals as error:
        raise UserError(_no_model(path, error)) from error
    try:
        # Beyond 2 GiB, protobuf cannot pass the model on.
        onnx.checker.check_model(model if model.ByteSize() < _MOST_BYTES else str(path))
    except refusals as error:
        if not _runs(path) or not _is_whole(model):
            raise UserError(_no_model(path, error)) from error
    return model


_MOST_BYTES = 2**31
_MOST_NODES = 10**6


def _no_model(path: Path, error: Exception) -> str:
    return f"{path}: expected an ONNX model: {' '.join(str(error).split())[:200]}"


def _is_whole(model: Any) -> bool:
    """Whether every constant has the data that its sizes promise: runtimes pass over those that nothing reads."""
    from onnx import TensorProto, numpy_helper

    # numpy takes any negative size for one that is left to it.
    if any(size < 0 for tensor in model.graph.initializer for size in tensor.dims):
        return False
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        return False  # what is beside the file was read with it
    try:
        for tensor in model.graph.initializer:
            numpy_helper.to_array(tensor)
    except Exception:  # of sizes that do not fit, unknown types, files that are missing
        return False
    return True


def _runs(path: Path) -> bool:
    """Whether ONNX Runtime opens a file."""
    # Else it writes an identifier to the user's cache and reports its use from another thread.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # its own exception classes, one for each kind of fault
        return False
    return bool(session.get_outputs())


def inputs_of(model: Any) -> list[str]:
    """Names of the inputs to feed to an `onnx.ModelProto`; older files list their constants among the inputs too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [value.name for value in model.graph.input if value.name not in constants]


def opset_of(model: Any) -> int:
    """Version of ONNX's own operators in an `onnx.ModelProto`; 0 where it uses none."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 0)


def inlined(model: Any) -> Any:
    """Return a model with its own functions put in place of their calls.

    Raises:
        UnsupportedError: it would have too many nodes.
    """
    if not model.functions:
        return model
    import onnx.inliner

    sizes: dict[tuple[str, str], int] = {}
    # A function may call those that stand before or after it; rounds settle, or grow beyond any bound.
    for _ in model.functions:
        for function in model.functions:
            sizes[function.domain, function.name] = sum(
                sizes.get((one.domain, one.op_type), 1) for one in function.node
            )
        if max(sizes.values()) > _MOST_NODES:
            raise UnsupportedError(f"functions of more than {_MOST_NODES} nodes")

    return onnx.inliner.inline_local_functions(model)


def modernised(model: Any, oldest: int = 13, newest: int = 21) -> Any:
    """Return a model with the operators of a recent version of ONNX.

    Args:
        model: an `onnx.ModelProto`.
        oldest: version from which on it is left alone.
        newest: version to convert to.

    Raises:
        UnsupportedError: it cannot be converted; with the converter's reason.
    """
    opset = opset_of(model)
    if opset >= oldest:
        return model
    from onnx import version_converter

    try:
        return _resized_as_before(version_converter.convert_version(model, newest), opset)
    except Exception as error:  # most are assertions about the converter's own code
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # Behind the assertion and its place in the converter's code.
        reason = lines[0].rpartition("` failed: ")[2][:200]
        raise UnsupportedError(f"ONNX opset {opset}, which cannot be converted to {newest}: {reason}") from error


_COORDINATES_NAMED = 11
"""Version of ONNX's operators from which on Resize names its coordinates; before, they were asymmetric."""


def _resized_as_before(model: Any, opset: int) -> Any:
    """Name the coordinates of older versions in every Resize, which the converter leaves at the newer default."""
    from onnx import helper

    if opset < _COORDINATES_NAMED:
        for node in model.graph.node:
            if node.op_type == "Resize" and "coordinate_transformation_mode" not in {
                one.name for one in node.attribute
            }:
                meant = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
                node.attribute.extend(helper.make_attribute(name, value) for name, value in meant.items())
    return model


def input_specs_of(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Return name, shape and dtype of each input to feed; an open size is 0, and the dtype is named as NumPy does.

    An input of unknown rank has the shape ().

    Raises:
        UserError: the file is missing, no ONNX, or has an input that is no tensor.
    """
    from onnx import helper

    model = load_onnx(path)
    names = set(inputs_of(model))
    specs = []
    for value in model.graph.input:
        if value.name not in names:
            continue
        if value.type.WhichOneof("value") != "tensor_type":
            raise UserError(f"{path}: input {value.name}: expected a tensor, found a {value.type.WhichOneof('value')}")
        try:
            dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        except KeyError as error:
            raise UserError(f"{path}: input {value.name}: expected a tensor with a data type") from error
        specs.append((value.name, tuple(_sizes(value)), dtype))
    return specs


def _sizes(value: Any) -> list[int]:
    # Old exporters write -1 for a size that is open.
    return [max(size.dim_value, 0) for size in value.type.tensor_type.shape.dim]


def onnx_inputs(reference: str, given: Sequence[InputSpec] = ()) -> tuple[InputSpec, ...]:
    """Return the inputs of an ONNX file in its order, sizes and dtypes as given, else as the file declares them.

    A batch that the file leaves open is 1.

    Args:
        reference: path of the file.
        given: by name, or in the file's order; none for what the file declares.

    Raises:
        UserError: the file is missing or no ONNX, leaves another size than the batch open, or has other inputs than
            those given.
    """
    declared = input_specs_of(Path(reference))
    known = [name for name, _, _ in declared]
    if given and len(given) != len(declared):
        raise UserError(f"{reference}: {len(given)} inputs given, expected {len(declared)}: {', '.join(known)}")
    if not declared:
        raise UserError(f"{reference}: expected an ONNX model with inputs, found none")
    stranger = next((one.name for one in given if one.name and one.name not in known), None)
    if stranger is not None:
        raise UserError(f"{reference}: has no input {stranger}; expected {', '.join(known)}")
    by_name = {one.name: one for one in given} if len(given) > 1 and all(one.name for one in given) else {}
    found = []
    for index, (name, sizes, dtype) in enumerate(declared):
        if by_name and name not in by_name:
            raise UserError(f"{reference}: no size of its input {name}; say it with --input {name}=...")
        one = by_name.get(name) or (given[index] if given else None)
        found.append(_as_declared(reference, one, name if len(declared) > 1 else "", sizes, dtype))
    return tuple(found)


def _as_declared(reference: str, one: InputSpec | None, name: str, sizes: tuple[int, ...], dtype: str) -> InputSpec:
    if dtype not in INPUT_DTYPES:
        raise UserError(f"{reference}: input {name} is {dtype}; expected one of {', '.join(INPUT_DTYPES)}")
    called = f" {name}" if name else ""
    if one is None:
        if not sizes or not all(sizes[1:]):
            raise UserError(
                f"{reference}: declares an input{called} of {_in_words(sizes)}; say which sizes with --input "
                f"{_example(name, sizes)}"
            )
        return InputSpec((sizes[0] or 1, *sizes[1:]), dtype, name)
    fits = len(sizes) == len(one.shape) and all(
        declared in (0, size) for declared, size in zip(sizes, one.shape, strict=True)
    )
    if not fits or one.dtype not in (FLOAT32, dtype):
        raise UserError(
            f"{reference}: input {one.text} does not fit this network: it declares{called} {_in_words(sizes)}"
            + ("" if dtype == FLOAT32 else f":{dtype}")
        )
    return InputSpec(one.shape, dtype, name)


def _example(name: str, sizes: Sequence[int]) -> str:
    """Return what to fill in: a batch of 1, and N for each other size that is open."""
    filled = [str(size or ("N" if index else 1)) for index, size in enumerate(sizes)]
    return f"{name}{'=' if name else ''}{','.join(filled) or '1,N,...'}"


def _in_words(sizes: Sequence[int]) -> str:
    return ",".join(str(size or "any") for size in sizes) or "no sizes"
