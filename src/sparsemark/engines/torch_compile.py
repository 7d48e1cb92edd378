"""PyTorch through torch.compile, as its makers advise for inference: one graph, static shapes, weights frozen."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UnsupportedError
from sparsemark.references import root_cause

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sparsemark.engines.base import Predict


def load(path: Path, threads: int) -> Predict:
    """Rebuild the network from its checkpoint by its factory, and compile it.

    Raises:
        UnsupportedError: it does not compile as one graph, or there is no C++ compiler.
    """
    import torch
    from torch._inductor import config

    from sparsemark.machine.placement import torch_threads
    from sparsemark.networks.checkpoint import load_checkpoint
    from sparsemark.networks.factory import example_input, output_tensors

    checkpoint = load_checkpoint(path)
    compiled = torch.compile(_own_function(checkpoint.build()), fullgraph=True, dynamic=False)

    def run(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        with torch.inference_mode():
            return tuple(output.numpy() for output in output_tensors(compiled(torch.from_numpy(image))))

    def predict(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        if torch.get_num_threads() == threads:
            return run(image)
        # The number of threads is compiled in: another one would compile the network again.
        with torch_threads(threads):
            return run(image)

    try:
        # Freezing folds BatchNorm and packs the weights; without it they are packed anew in every call.
        with config.patch(freezing=True):
            predict(example_input(checkpoint.variant.model).numpy())
    except Exception as error:
        raise UnsupportedError(f"torch.compile: {root_cause(error)}") from error
    return predict


def _own_function(module: Any) -> Callable[[Any], Any]:
    """Return a function around a network, with a code object that no other network shares.

    torch.compile caches per code object, a few entries each: networks of one class would compete for them.
    """

    def forward(image: Any) -> Any:
        return module(image)

    return FunctionType(forward.__code__.replace(), globals(), closure=forward.__closure__)
