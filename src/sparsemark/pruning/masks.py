"""Masks: which weights of a network stay, applied by writing zeros and held through training.

A mask is a boolean tensor by parameter name. The parameters keep their names and their identity, whatever module uses
them: torch.nn.utils.prune computes a masked weight in a hook of its layer, which packed and shared weights do not run.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from sparsemark.errors import TaskError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

Masks = dict[str, torch.Tensor]
"""By name of the parameter, True where a value stays; of the parameter's shape."""


def apply(module: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Write the zeros of masks into the parameters, in place."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, kept in masks.items():
            # Not a product: it would leave -0.0 where a negative weight was.
            parameters[name].masked_fill_(~kept, 0.0)


def zeros_of(module: nn.Module, names: Mapping[str, torch.Tensor] | list[str]) -> Masks:
    """Return masks of the zeros that parameters hold now."""
    parameters = dict(module.named_parameters())
    return {name: parameters[name].detach() != 0 for name in names}


def joined(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> Masks:
    """Return masks that zero what either does."""
    both = dict(first)
    for name, kept in second.items():
        both[name] = both[name] & kept if name in both else kept
    return both


@contextmanager
def held(module: nn.Module, masks: Mapping[str, torch.Tensor], what: str) -> Iterator[None]:
    """Hold masked values at zero while a module is trained: their gradients are zero.

    Optimisers leave a weight of zero with a gradient of zero where it is, momentum and weight decay included.

    Args:
        module: masks applied.
        masks: by parameter name.
        what: trains the module, for the message.

    Raises:
        TaskError: a masked value is no longer zero, so that what was trained was another network.
    """
    parameters = dict(module.named_parameters())

    def hold(name: str, kept: torch.Tensor) -> torch.utils.hooks.RemovableHandle:
        return parameters[name].register_hook(  # type: ignore[no-any-return, no-untyped-call]
            lambda gradient: _masked(gradient, kept.to(gradient.device))
        )

    handles = [hold(name, kept) for name, kept in masks.items() if parameters[name].requires_grad]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    now = dict(module.named_parameters())
    for name, kept in masks.items():
        if name not in now or now[name].shape != kept.shape or bool((now[name].detach().cpu()[~kept] != 0).any()):
            raise TaskError(
                f"{what}: {name} has values where its mask has zeros, or another shape; expected masked weights to "
                "stay zero, as they do while the optimiser follows the gradients of the module's own parameters"
            )


def _masked(gradient: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    # Of an embedding the gradient can be sparse, which has no masked_fill.
    return gradient * kept.to(gradient.dtype) if gradient.is_sparse else gradient.masked_fill(~kept, 0.0)
