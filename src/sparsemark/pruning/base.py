"""Pruner: a pruning method, the request passed to it, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sparsemark.networks.channel_plan import NO_PLAN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch

    from sparsemark.networks.channel_plan import ChannelPlan
    from sparsemark.pruning.masks import Masks
    from sparsemark.pruning.ratios import Ratios
    from sparsemark.specs import PruneStep


INPUTS, LOSS = "inputs", "loss"
"""Needs of a method beside the network: training inputs, or those and the gradient of a loss."""


@dataclass(frozen=True)
class Calibration:
    """Training batches of the user's task, and its loss.

    Args:
        name: of the task, for messages.
        batches: returns pairs of inputs and targets, few; several inputs are a tuple or a list.
        loss: takes the network's outputs and the targets, and returns a scalar.
        seed: of the random numbers that batches draw, from 0: the same batches at each call.
    """

    name: str
    batches: Callable[[], Iterable[tuple[Any, Any]]]
    loss: Callable[[Any, Any], torch.Tensor]
    seed: int = 0


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
        data: of the task, None where it brings none.
        ratios: fractions of single layers in place of the method's own choice; None where it is the method's.
    """

    spec: PruneStep
    inputs: tuple[torch.Tensor, ...]
    seed: int = 0
    whole: int | None = None
    more: bool = False
    data: Calibration | None = None
    ratios: Ratios | None = None


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
        needs: `INPUTS` or `LOSS` where it takes `Request.data`.
        takes_ratios: whether it takes `Request.ratios`.
        control: name of the pruner that removes at random as much at the same places; empty for controls.
        has_blocks: whether it counts in blocks of input channels, which no longer hold where channels go afterwards.
    """

    scope: str
    apply: Callable[[torch.nn.Module, Request], Pruned | ChannelPlan]
    requires: tuple[str, ...] = ()
    needs: str = ""
    takes_ratios: bool = False
    control: str = ""
    has_blocks: bool = False
