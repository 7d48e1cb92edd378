"""Rounding error of a network in float32: the part of a difference that no engine has to answer for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.networks.evaluation.rounding import to_nearest
from sparsemark.networks.reference import LEAST_BATCHES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sparsemark.networks.reference import Batch, Reference
    from sparsemark.networks.source import Source


def rounding_error(source: Source, batches: Sequence[Batch], reference: Reference) -> float | None:
    """Compute a network in float32 and return max |d| / max |reference|; None where it does not run so.

    A checkpoint runs in PyTorch; of an ONNX file, every result is rounded to float32 after its operator. The first
    batches of the reference are enough for an order of magnitude.

    Args:
        source: a checkpoint or ONNX file.
        batches: arrays of each input.
        reference: float64 outputs for some of the batches.
    """
    chosen = reference.chosen[:LEAST_BATCHES]
    try:
        network = _in_onnx(source) if source.is_onnx else _in_torch(source)
        answers = [network(batches[index]) for index in chosen]
    except Exception:  # it explains a failure, and must not hide it behind another
        return None
    largest = 0.0
    for index, output in enumerate(reference.outputs):
        rows = output[: len(output) // len(reference.chosen) * len(chosen)]
        got = np.concatenate([np.atleast_1d(answer[index]) for answer in answers])
        finite = np.isfinite(rows)
        scale = np.abs(output[np.isfinite(output)]).max(initial=0.0)
        if got.shape != rows.shape or not scale:
            return None
        largest = max(largest, float(np.abs(got[finite] - rows[finite]).max(initial=0.0) / scale))
    return largest if np.isfinite(largest) else None


def _in_onnx(source: Source) -> Callable[[Batch], list[NDArray[Any]]]:
    from sparsemark.networks.onnx_reference import OnnxInFloat64

    return OnnxInFloat64(source.path, rounding=to_nearest)


def _in_torch(source: Source) -> Callable[[Batch], list[NDArray[Any]]]:
    import torch

    from sparsemark.networks.checkpoint import load_checkpoint
    from sparsemark.networks.outputs import output_tensors

    module = load_checkpoint(source.path).build()

    def run(batch: Batch) -> list[NDArray[Any]]:
        with torch.no_grad():
            outputs = module(*(torch.from_numpy(array.copy()) for array in batch))
        return [output.numpy().astype(np.float64) for output in output_tensors(outputs)]

    return run
