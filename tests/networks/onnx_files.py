"""ONNX models written node by node, and what ONNX Runtime makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUNTIME = "com.microsoft"


def array(*shape: int, seed: int = 0, zeros: float = 0.0) -> np.ndarray[Any, Any]:
    """Random float32 numbers, a share of them zero."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(shape).astype(np.float32)
    return np.where(generator.random(shape) < zeros, np.float32(0), values)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), domain: str = "", **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), list(outputs), domain=domain, **attributes)


def model_of(
    nodes: Sequence[Any],
    constants: Mapping[str, Any],
    shape: Sequence[int | str] = (1, 4),
    opset: int = 20,
    *,
    dtype: int = TensorProto.FLOAT,
    outputs: Mapping[str, int] | None = None,
    rank: int = 2,
    functions: Sequence[Any] = (),
    inputs: Sequence[Any] | None = None,
    domains: Sequence[str] = (RUNTIME,),
) -> Any:
    """A model with the input x and the output y."""
    given = inputs or [helper.make_tensor_value_info("x", dtype, list(shape))]
    made = [
        helper.make_tensor_value_info(name, kind, [None] * rank)
        for name, kind in (outputs or {"y": TensorProto.FLOAT}).items()
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return helper.make_model(
        helper.make_graph(list(nodes), "g", given, made, tensors),
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(one, 1) for one in domains)],
        functions=list(functions),
        ir_version=10,
    )


def run(model: Any, feed: Mapping[str, Any]) -> list[Any]:
    """Outputs of ONNX Runtime without its optimisations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feed)))
