"""Pruner: a pruning method, the request passed to it and the channel plan that it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from sparsemark.specs import PruneStep

ChannelPlan = tuple[tuple[str, bool, tuple[int, ...]], ...]
"""Torch-Pruning's history.

Layer, whether its outputs or inputs were cut, and which channels, in the order of cutting.
"""

NO_PLAN: ChannelPlan = ()
"""Plan of a method that leaves every shape unchanged."""


@dataclass(frozen=True)
class Request:
    """Request to a pruner.

    Args:
        spec: method and fraction.
        example: an input to trace the network with.
        seed: of random methods.
        whole: parameters of the network that the fraction is of, where earlier rounds of the step may have removed
            some; None for the network as it is given.
        more: further rounds of the step follow, so that finding nothing to remove now is no failure.
    """

    spec: PruneStep
    example: torch.Tensor
    seed: int = 0
    whole: int | None = None
    more: bool = False


@dataclass(frozen=True)
class Pruner:
    """A pruning method.

    Args:
        scope: over what its fraction is counted.
        apply: prunes the module in place, masks left attached, and returns the plan of the channels that it cut.
        requires: modules without which it cannot run.
    """

    scope: str
    apply: Callable[[torch.nn.Module, Request], ChannelPlan]
    requires: tuple[str, ...] = ()
