"""Gradients of several losses, and the angle between two in the parameters that both depend on.

The paper explains the poor scores of its joint U-Net by gradients that point in different directions (its figure 11).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    Gradients = list[torch.Tensor | None]

ANGLE_EVERY = 10
"""Steps between two measurements of the angle, each of which costs up to two more passes backwards."""


def gradients(
    losses: Sequence[torch.Tensor], parameters: Sequence[torch.Tensor], *, keep_graph: bool = False
) -> list[Gradients]:
    """Return the gradient of each loss in each parameter, None where a loss does not depend on it.

    Each has its parameter's memory format, which fused optimisers rely on and `torch.autograd.grad` does not keep.

    Args:
        losses: scalars of one forward pass.
        parameters: to be differentiated by.
        keep_graph: for another call.
    """
    last = len(losses) - 1
    found = []
    for index, loss in enumerate(losses):
        keep = keep_graph or index < last
        of_loss = torch.autograd.grad(loss, parameters, retain_graph=keep, allow_unused=True)
        found.append([_in_format_of(p, g) for p, g in zip(parameters, of_loss, strict=True)])
    return found


def _in_format_of(parameter: torch.Tensor, gradient: torch.Tensor | None) -> torch.Tensor | None:
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


class Angles:
    """Angles between the gradients of two losses over an epoch."""

    def __init__(self) -> None:
        self._degrees: list[float] = []

    def add(self, first: Gradients, second: Gradients) -> None:
        """Measure one angle, in the parameters in which both have a gradient; zero gradients have none."""
        shared = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
        degrees = angle([a for a, _ in shared], [b for _, b in shared])
        if degrees is not None:
            self._degrees.append(degrees)

    def describe(self) -> dict[str, float]:
        """Return mean and standard deviation in degrees, the share above 90, and how many were measured."""
        if not self._degrees:
            return {}
        degrees = torch.tensor(self._degrees, dtype=torch.float64)
        return {
            "gradient_angle_mean": float(degrees.mean()),
            "gradient_angle_std": float(degrees.std(correction=0)),
            "gradients_opposed": float((degrees > 90).double().mean()),
            "gradient_angles": len(self._degrees),
        }


def angle(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> float | None:
    """Return the angle between two gradients in degrees, 0 to 180; None where one of them is zero."""
    dot = sum(float((a.double() * b.double()).sum()) for a, b in zip(first, second, strict=True))
    lengths = [math.sqrt(sum(float(a.double().square().sum()) for a in gradient)) for gradient in (first, second)]
    if not all(lengths):
        return None
    return math.degrees(math.acos(max(-1.0, min(1.0, dot / math.prod(lengths)))))
