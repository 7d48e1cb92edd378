"""Importance of channels, by torch-pruning: which of a group of coupled layers go first.

All methods remove the same share of channels from every layer that they score, and differ in which. Layers without a
BatchNorm are not scored by `by_scale`, so its random control leaves them alone as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sparsemark.errors import UnsupportedError
from sparsemark.pruning.calibration import calibration, gradient_magnitudes

if TYPE_CHECKING:
    from collections.abc import Callable

    from sparsemark.pruning.base import Request

    Importance = Callable[[Any], torch.Tensor | None]
    """Scores the channels of a group of torch-pruning's; None where it has nothing to go by, and they stay."""


@dataclass(frozen=True)
class Importances:
    """Importance of the channels of a network, whose ratio is found by cutting copies of it.

    Args:
        of: returns the importance for the network or a copy of it.
        unscored: names of layers that it had nothing to score by, with their channels; grows with the calls.
    """

    of: Callable[[nn.Module], Importance]
    unscored: dict[str, int] = field(default_factory=dict)


def by_norm(module: nn.Module, request: Request) -> Importances:  # noqa: ARG001 - as all of them take it
    """Score channels by the L1 norm of their weights.

    Source: Li et al., Pruning Filters for Efficient ConvNets, 2017; over groups, Fang et al., DepGraph, 2023.
    """
    import torch_pruning as tp

    return Importances(lambda _: tp.importance.GroupMagnitudeImportance(p=1))


def by_taylor(module: nn.Module, request: Request) -> Importances:
    """Score channels by the sum of |weight * gradient| of the task's loss, its mean over the calibration batches.

    A variant of Molchanov et al., Importance Estimation for Neural Network Pruning, 2019, as said in `taylor`.

    Raises:
        UserError: the request has no data, or the task fails.
    """
    import torch_pruning as tp

    gradients = gradient_magnitudes(module, calibration(request))

    def importance(copy: nn.Module) -> Importance:
        # torch-pruning reads them beside the weights and cuts both; a copy of a module has none.
        for name, parameter in copy.named_parameters():
            parameter.grad = gradients[name].clone() if name in gradients else None
        scored: Importance = tp.importance.GroupTaylorImportance()
        return scored

    return Importances(importance)


def by_scale(module: nn.Module, request: Request) -> Importances:
    """Score channels by the scale of the BatchNorm behind them; channels without one stay.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming, 2017. There the scales are
    trained with an L1 penalty, which the user's training may or may not have.

    Raises:
        UnsupportedError: the network has no BatchNorm with a scale.
    """
    import torch_pruning as tp

    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not any(norm.affine for norm in norms):
        raise UnsupportedError(f"{request.spec.method}: the network has no BatchNorm with a scale to go by")
    unscored: dict[str, int] = {}

    def importance(copy: nn.Module) -> Importance:
        names = {layer: name for name, layer in copy.named_modules()}
        by_scale_of = tp.importance.BNScaleImportance()

        def scored(group: Any) -> torch.Tensor | None:
            found: torch.Tensor | None = by_scale_of(group)
            if found is None:
                unscored[names.get(group[0].dep.target.module, "a parameter")] = len(group[0].idxs)
            return found

        return scored

    return Importances(importance, unscored)


def by_chance_where_scaled(module: nn.Module, request: Request) -> Importances:
    """Score channels at random where `by_scale` scores them; errors as there."""
    scales, chances = by_scale(module, request), by_chance(module, request)

    def importance(copy: nn.Module) -> Importance:
        scale_of, chance_of = scales.of(copy), chances.of(copy)
        return lambda group: None if scale_of(group) is None else chance_of(group)

    return Importances(importance, scales.unscored)


def by_chance(module: nn.Module, request: Request) -> Importances:  # noqa: ARG001 - as all of them take it
    """Score channels at random, the same for every copy of a module."""

    def importance(_: nn.Module) -> Importance:
        generator = torch.Generator().manual_seed(request.seed)
        return lambda group: torch.rand(len(group[0].idxs), generator=generator)

    return Importances(importance)
