"""Float64 outputs of a network: the reference that every engine is checked against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sparsemark.networks.source import Source


Outputs = tuple["NDArray[np.float64]", ...]
"""Every output of the network, each for all images: shape (images, ...)."""


def stack(answers: Sequence[Sequence[NDArray[Any]]]) -> tuple[NDArray[Any], ...]:
    """Concatenate the answers for all images, output by output; a single number becomes one value per image."""
    return tuple(np.concatenate([np.atleast_1d(one) for one in output]) for output in zip(*answers, strict=True))


def float64_outputs(source: Source, images: Sequence[NDArray[np.float32]]) -> Outputs:
    """Compute the reference: the network itself, in float64, in the library that defines it.

    For a checkpoint that is PyTorch, for an ONNX file ONNX's reference evaluator, which computes in float64 what it is
    given in float64.

    Args:
        source: a checkpoint or ONNX file.
        images: input batches.
    """
    answers = _onnx_answers(source, images) if source.is_onnx else _torch_answers(source, images)
    return tuple(output.astype(np.float64) for output in stack(answers))


def _torch_answers(source: Source, images: Sequence[NDArray[np.float32]]) -> list[list[NDArray[Any]]]:
    import torch

    from sparsemark.networks.checkpoint import load_checkpoint
    from sparsemark.networks.factory import output_tensors

    module = load_checkpoint(source.path).build().double()
    with torch.inference_mode():
        # Copied: a network may return one of its buffers.
        return [
            [output.numpy().copy() for output in output_tensors(module(torch.from_numpy(image).double()))]
            for image in images
        ]


def _onnx_answers(source: Source, images: Sequence[NDArray[np.float32]]) -> list[list[NDArray[Any]]]:
    from onnx import TensorProto, numpy_helper
    from onnx.reference import ReferenceEvaluator

    from sparsemark.networks.onnx_model import inputs_of, load_onnx

    model = load_onnx(source.path)
    for tensor in (*model.graph.initializer, *_constants(model)):
        if tensor.data_type == TensorProto.FLOAT:
            wide = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    (name,) = inputs_of(model)
    try:
        evaluator = ReferenceEvaluator(model)
        runs = [evaluator.run(None, {name: image.astype(np.float64)}) for image in images]
        return [[np.asarray(output) for output in outputs] for outputs in runs]
    except Exception as error:
        raise UnsupportedError(f"no float64 reference: onnx: {' '.join(str(error).split())[:200]}") from error


def _constants(model: Any) -> Iterator[Any]:
    """The tensors in a model's `Constant` nodes, numbers turned into tensors, and every `Cast` to float32 widened."""
    from onnx import TensorProto, helper, numpy_helper

    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
                array = np.asarray(numbers, dtype=np.float32)
                attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(array)))
            if node.op_type == "Constant" and attribute.name == "value":
                yield attribute.t
