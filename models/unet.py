"""U-Net (Ronneberger et al., 2015), slim: 16 channels at full size, BatchNorm, transposed convolutions.

Input: float32 in [0, 1], shape (n, 3, 128, 128); height and width are multiples of 16. Output: the mask's logits, shape
(n, 1, 128, 128), above 0 where a tumour is the likelier.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

IMAGE_CHANNELS = 3
WIDTHS = (16, 32, 64, 96, 128)
"""Channels at full size, and after each halving."""


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """Layers of one 3 x 3 convolution that keeps height and width; BatchNorm brings the bias."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, which is what each level of a U-Net has on each side."""
    return nn.Sequential(*convolution(inputs, outputs), *convolution(outputs, outputs))


class UNet(nn.Module):
    """Contracting path, expanding path, and a convolution of 1 x 1 to the mask.

    On the way up, features are doubled in size by a transposed convolution and joined to those of the same size from
    the way down.

    Args:
        widths: channels of each level, full size first.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(double_convolution(a, b) for a, b in pairwise((IMAGE_CHANNELS, *widths)))
        self.downsample = nn.MaxPool2d(2)
        rising = list(pairwise(reversed(widths)))
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in rising)
        self.join = nn.ModuleList(double_convolution(2 * b, b) for _, b in rising)
        self.mask = nn.Conv2d(widths[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the mask's logits, shape (n, 1, height, width), of images, shape (n, 3, height, width)."""
        features = [self.down[0](images)]
        for level in self.down[1:]:
            features.append(level(self.downsample(features[-1])))
        *skipped, x = features
        for upsample, join in zip(self.upsample, self.join, strict=True):
            x = join(torch.cat([upsample(x), skipped.pop()], dim=1))
        logits: Tensor = self.mask(x)
        return logits


def unet(widths: tuple[int, ...] = WIDTHS) -> UNet:
    """Build the U-Net for segmentation."""
    return UNet(widths)
