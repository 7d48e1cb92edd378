"""ONNX file in ONNX Runtime, ready for linters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.engines.onnx_runtime import faster_level, open_session
from sparsemark.errors import UserError
from sparsemark.measurement.explanation.onnx_profile import peak, profile
from sparsemark.measurement.explanation.pairs import time_calls
from sparsemark.measurement.explanation.subject import OnnxSubject, Window
from sparsemark.networks.onnx_model import load_onnx, onnx_inputs
from sparsemark.records.explanation import Explanation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sparsemark.measurement.explanation.onnx_profile import Profiled
    from sparsemark.specs import InputSpec

ENGINE = "onnxruntime"


def load_fixed(path: Path, given: Sequence[InputSpec] = ()) -> Any:
    """Load an ONNX file as `onnx.ModelProto` with sizes fixed.

    Args:
        path: of the file.
        given: sizes of its inputs where it leaves them open.

    Raises:
        UserError: the file is missing, damaged, no ONNX, or leaves a size open that was not given.
    """
    model = load_onnx(path)
    if model.ByteSize() >= _MOST_BYTES:
        raise UserError(f"{path}: over 2 GiB with its weights, more than explain can take apart")
    return _with_sizes(model, onnx_inputs(str(path), given))


def profiled_file(path: Path, fixed: Any, threads: int = 1) -> OnnxSubject:
    """Profile an ONNX file.

    Args:
        path: of the file.
        fixed: what `load_fixed` returned.
        threads: that share a call.

    Raises:
        UnsupportedError: ONNX Runtime cannot run it.
    """
    level = faster_level(path, threads)
    profiled = profile(fixed, threads, level.name)
    session = open_session(fixed.SerializeToString(), threads, level=level.name)
    inputs = dict(profiled.inputs)
    explanation = Explanation(
        path.name,
        ENGINE,
        threads,
        tuple(array.shape for array in inputs.values()),
        time_calls(lambda: session.run(None, inputs)),
        profiled.layers,
        peak(threads),
        notes=level.notes,
    )
    return OnnxSubject(explanation, path, fixed, level.name, inputs, tuple(_windows(fixed, profiled)))


_MOST_BYTES = 2**31


def _with_sizes(model: Any, inputs: Sequence[InputSpec]) -> Any:
    """Return a model whose inputs have these sizes; those inside are left to be inferred."""
    import onnx

    from sparsemark.networks.onnx_model import inputs_of

    made = onnx.ModelProto()
    made.CopyFrom(model)
    names = inputs_of(model)
    by_name = {value.name: value for value in made.graph.input}
    opened = any(not size.dim_value for name in names for size in by_name[name].type.tensor_type.shape.dim)
    for name, spec in zip(names, inputs, strict=True):
        sizes = by_name[name].type.tensor_type.shape.dim
        for size, value in zip(sizes, spec.shape, strict=True):
            size.dim_value = value
    if opened:  # what was noted of open sizes contradicts fixed ones
        del made.graph.value_info[:]
        for output in made.graph.output:
            output.type.tensor_type.ClearField("shape")
    return made


def _windows(model: Any, profiled: Profiled) -> Any:
    from onnx import helper, numpy_helper, shape_inference

    graph = shape_inference.infer_shapes(model).graph
    initial = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input)
    }
    for layer, node in zip(profiled.layers, profiled.original, strict=True):
        source = shapes.get(node.input[0], ()) if node is not None else ()
        if node is not None and node.op_type == "Conv" and node.input[1] in initial and len(source) == 4:
            attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            weight = np.asarray(numpy_helper.to_array(initial[node.input[1]]), np.float32)
            yield Window(layer, weight, attributes, source)
