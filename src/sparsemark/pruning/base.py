"""What a pruner is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from sparsemark.specs import PruneSpec

ChannelPlan = tuple[tuple[str, bool, tuple[int, ...]], ...]
"""Torch-Pruning's history.

Layer, whether its outputs or inputs were cut, and which channels, in the order of cutting.
"""

NO_PLAN: ChannelPlan = ()
"""What a method returns that leaves every shape as it is."""


@dataclass(frozen=True)
class Request:
    """What is asked of a pruner: how much, an input to trace the network with, and the seed of random methods."""

    spec: PruneSpec
    example: torch.Tensor
    seed: int = 0


@dataclass(frozen=True)
class Pruner:
    """A method that takes something out of a network.

    Args:
        scope: over what its fraction is counted.
        apply: prunes the module in place, masks left attached, and returns what it cut away for good.
        requires: modules without which it cannot run.
    """

    scope: str
    apply: Callable[[torch.nn.Module, Request], ChannelPlan]
    requires: tuple[str, ...] = ()
