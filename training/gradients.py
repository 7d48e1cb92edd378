"""Gradients of several losses in the parameters that they share, and the angle between them.

The paper explains the poor scores of its joint U-Net by gradients that point in different directions (its figure 11).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

ANGLE_EVERY = 10
"""Steps between two measurements of the angle, each of which costs two more passes backwards."""


def gradients(
    losses: Sequence[torch.Tensor], parameters: Sequence[torch.Tensor], *, keep: bool = False
) -> list[list[torch.Tensor | None]]:
    """Return the gradient of each loss in each parameter, None where a loss does not depend on it.

    Args:
        losses: scalars of one forward pass.
        parameters: to be differentiated by.
        keep: the graph, for another call.
    """
    last = len(losses) - 1
    return [
        list(torch.autograd.grad(loss, parameters, retain_graph=keep or index < last, allow_unused=True))
        for index, loss in enumerate(losses)
    ]


class Angles:
    """Angles between the gradients of two losses over an epoch, in the parameters that both depend on."""

    def __init__(self) -> None:
        self._degrees: list[float] = []

    def measure(self, losses: Sequence[torch.Tensor], network: torch.nn.Module, step: int) -> None:
        """Measure at every tenth step; the graph is kept."""
        if step % ANGLE_EVERY:
            return
        first, second = gradients(losses, list(network.parameters()), keep=True)
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
            "gradient_angle_deviation": float(degrees.std(correction=0)),
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
