"""Float64 outputs of a network: the reference that every engine is checked against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    if source.is_onnx:
        from sparsemark.networks.onnx_reference import onnx_answers

        answers = onnx_answers(source.path, [(image,) for image in images])
    else:
        answers = _torch_answers(source, images)
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
