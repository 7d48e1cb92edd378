"""PyTorch through torch.compile, as its makers advise for inference: one graph, static shapes, weights frozen."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

from sparsemark.errors import UnsupportedError
from sparsemark.references import root_cause

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    from sparsemark.networks.factory import example_inputs
    from sparsemark.networks.outputs import output_tensors

    checkpoint = load_checkpoint(path)
    compiled = torch.compile(_own_function(checkpoint.build()), fullgraph=True, dynamic=False)

    def run(*inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        with torch.inference_mode():
            return tuple(output.numpy() for output in output_tensors(compiled(*map(torch.from_numpy, inputs))))

    def predict(*inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        if torch.get_num_threads() == threads:
            return run(*inputs)
        # The number of threads is compiled in: another one would compile the network again.
        with torch_threads(threads):
            return run(*inputs)

    try:
        # Freezing folds BatchNorm and packs the weights; without it they are packed anew in every call.
        with config.patch(freezing=True):
            predict(*(one.numpy() for one in example_inputs(checkpoint.variant.model)))
    except Exception as error:
        raise UnsupportedError(f"torch.compile: {root_cause(error)}") from error
    return predict


def _own_function(module: Any) -> Callable[..., Any]:
    """Return a function around a network, with a code object that no other network shares.

    torch.compile caches per code object, a few entries each: networks of one class would compete for them.
    """

    def forward(*inputs: Any) -> Any:
        return module(*inputs)

    return FunctionType(forward.__code__.replace(), globals(), closure=forward.__closure__)
