"""PyTorch, eager and dense, one operator after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict


def load(path: Path, threads: int) -> Predict:  # noqa: ARG001 - torch has one pool, set around the measurement
    """Rebuild the network from its checkpoint by its factory."""
    import torch

    from sparsemark.networks.checkpoint import load_checkpoint
    from sparsemark.networks.outputs import output_tensors

    module = load_checkpoint(path).build()

    def predict(*inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        with torch.inference_mode():
            return tuple(output.numpy() for output in output_tensors(module(*map(torch.from_numpy, inputs))))

    return predict
