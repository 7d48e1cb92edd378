"""Controls for a pruning result: nothing removed, and a mask of ones. Random ones come with each method's scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparsemark.pruning.base import Pruned
from sparsemark.pruning.weights import prunable

if TYPE_CHECKING:
    from sparsemark.pruning.base import Request


def leave_alone(module: torch.nn.Module, request: Request) -> Pruned:  # noqa: ARG001 - a pruner that removes nothing
    """Leave the network as it was trained."""
    return Pruned()


def mask_nothing(module: torch.nn.Module, request: Request) -> Pruned:
    """Mask with ones: fine-tuned as long as the pruned networks, the dense control of latency and of accuracy."""
    weights = prunable(module, request.inputs)
    return Pruned(masks={weight.key: torch.ones_like(weight.parameter, dtype=torch.bool) for weight in weights})
