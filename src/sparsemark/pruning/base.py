"""Pruner: a pruning method, the request passed to it, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sparsemark.networks.channel_plan import NO_PLAN

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from sparsemark.networks.channel_plan import ChannelPlan
    from sparsemark.pruning.masks import Masks
    from sparsemark.specs import PruneStep


@dataclass(frozen=True)
class Request:
    """Request to a pruner.

    Args:
        spec: method and fraction.
        inputs: one value of each, to trace the network with.
        seed: of random methods.
        whole: parameters of the network that the fraction is of, where earlier rounds of the step may have removed
            some; None for the network as it is given.
        more: further rounds of the step follow, so that finding nothing to remove now is no failure.
    """

    spec: PruneStep
    inputs: tuple[torch.Tensor, ...]
    seed: int = 0
    whole: int | None = None
    more: bool = False


@dataclass(frozen=True)
class Pruned:
    """What a pruner did to a module.

    Args:
        plan: channels that it removed, to be replayed on a new module.
        masks: by parameter name, True where a value stays; their zeros are in the parameters.
        notes: what it left alone, in words.
    """

    plan: ChannelPlan = NO_PLAN
    masks: Masks = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pruner:
    """A pruning method.

    Args:
        scope: over what its fraction is counted.
        apply: prunes the module in place. It may return the plan of the channels that it cut, and leave masks of
            torch.nn.utils.prune attached, in place of a `Pruned`.
        requires: modules without which it cannot run.
    """

    scope: str
    apply: Callable[[torch.nn.Module, Request], Pruned | ChannelPlan]
    requires: tuple[str, ...] = ()
