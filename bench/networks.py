"""Networks that are timed and not trained: a residual network and a U-Net of the study's size, random weights."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class _Block(nn.Module):
    """Two convolutions around which the input goes; where the shape changes, through one of 1 x 1."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.around: nn.Module = nn.Identity()
        if (inputs, stride) != (outputs, 1):
            self.around = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x)) + self.around(x)
        return nn.functional.relu(y)


class _Residual(nn.Module):
    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, widths[0])]
        for inputs, outputs in pairwise(widths):
            layers += [_Block(inputs, outputs, 2), _Block(outputs, outputs, 1)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(widths[-1], 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


class _UNet(nn.Module):
    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        channels = (3, *widths)
        self.down = nn.ModuleList(nn.Sequential(_convolution(a, b), _convolution(b, b)) for a, b in pairwise(channels))
        pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.join = nn.ModuleList(nn.Sequential(_convolution(2 * b, b), _convolution(b, b)) for _, b in pairs)
        self.mask = nn.Conv2d(widths[0], 1, 1)
        self.classifier = nn.Linear(widths[-1], 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x, skipped = images, []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            skipped.append(x)
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        for up, join, skip in zip(self.up, self.join, skipped[-2::-1], strict=True):
            x = join(torch.cat([up(x), skip], dim=1))
        mask: Tensor = torch.sigmoid(self.mask(x))
        return mask, logits


def residual(widths: tuple[int, ...] = (24, 32, 64, 128)) -> nn.Module:
    """Build a residual network: a stem and two blocks at each further width."""
    return _Residual(widths)


def unet(widths: tuple[int, ...] = (16, 32, 64, 128)) -> nn.Module:
    """Build a U-Net with two outputs: a mask of the image's size, and logits."""
    return _UNet(widths)
