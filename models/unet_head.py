"""U-Net with a classification head: mask Y and label Z from one contracting path, as in the paper's figure 5.

Its layers are those of `unet.py`, written out again so that this file is read from top to bottom and stands alone.

Input: float32 in [0, 1], shape (n, 3, 128, 128); height and width are multiples of 16. Outputs: the mask's logits,
shape (n, 1, 128, 128), above 0 where a tumour is the likelier, and two logits, no tumour and tumour. The head takes the
maximum of each channel at the lowest level: is there a tumour anywhere?
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

IMAGE_CHANNELS = 3
CLASSES = 2
DROPOUT = 0.3
WIDTHS = (16, 32, 64, 96, 128)
"""Channels at full size, and after each halving."""


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """Layers of one 3 x 3 convolution that keeps height and width; BatchNorm brings the bias."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, which is what each level of a U-Net has on each side."""
    return nn.Sequential(*convolution(inputs, outputs), *convolution(outputs, outputs))


class UNetHead(nn.Module):
    """Contracting path, expanding path with a convolution of 1 x 1 to the mask, and a head on the lowest features.

    On the way up, features are doubled in size by a transposed convolution and joined to those of the same size from
    the way down. The head is global max pooling, Dropout and one linear layer.

    Args:
        widths: channels of each level, full size first.
        dropout: share of the pooled features set to zero in training.
    """

    def __init__(self, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.down = nn.ModuleList(double_convolution(a, b) for a, b in pairwise((IMAGE_CHANNELS, *widths)))
        self.downsample = nn.MaxPool2d(2)
        rising = list(pairwise(reversed(widths)))
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in rising)
        self.join = nn.ModuleList(double_convolution(2 * b, b) for _, b in rising)
        self.mask = nn.Conv2d(widths[0], 1, 1)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask's logits, shape (n, 1, height, width), and logits, shape (n, 2)."""
        features = [self.down[0](images)]
        for level in self.down[1:]:
            features.append(level(self.downsample(features[-1])))
        *skipped, x = features
        logits: Tensor = self.classifier(self.dropout(self.flatten(self.pool(x))))
        for upsample, join in zip(self.upsample, self.join, strict=True):
            x = join(torch.cat([upsample(x), skipped.pop()], dim=1))
        mask: Tensor = self.mask(x)
        return mask, logits


def unet_head(widths: tuple[int, ...] = WIDTHS, dropout: float = DROPOUT) -> UNetHead:
    """Build the U-Net with both outputs."""
    return UNetHead(widths, dropout)
