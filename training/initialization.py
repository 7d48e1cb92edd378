"""Initial weights: functions by the name that a recipe gives, each drawing a weight in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

PAPER_STANDARD_DEVIATION = 0.1


def draw_normal(weight: torch.Tensor, generator: torch.Generator) -> None:
    """Draw from N(0, 0.1), as the paper did."""
    nn.init.normal_(weight, std=PAPER_STANDARD_DEVIATION, generator=generator)


def draw_kaiming(weight: torch.Tensor, generator: torch.Generator) -> None:
    """Draw so that the variance survives a convolution and a ReLU (He et al., 2015)."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)


def draw_xavier(weight: torch.Tensor, generator: torch.Generator) -> None:
    """Draw from Xavier's uniform distribution, which the paper tried for ResNet3."""
    nn.init.xavier_uniform_(weight, generator=generator)


INITIALIZATIONS: dict[str, Callable[[torch.Tensor, torch.Generator], None]] = {
    "normal": draw_normal,
    "kaiming": draw_kaiming,
    "xavier": draw_xavier,
}


def initialize(module: nn.Module, name: str, seed: int) -> None:
    """Draw every convolution's and linear layer's weights, clear their biases, and reset BatchNorm, in place."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            with torch.no_grad():
                INITIALIZATIONS[name](layer.weight, generator)
                if layer.bias is not None:
                    layer.bias.zero_()
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_parameters()
