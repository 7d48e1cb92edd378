"""The classifiers studied: plain convolutional networks with 3, 4 and 9 layers, and a wide one for benchmarks.

Input: float32 in [0, 1], shape (n, 3, 128, 128): the eight-bit image over 255. Nothing is subtracted, since the first
BatchNorm does that; bringing patients to one brightness is the loader's part (`training/intensity.py`). Output: two
logits, no tumour and tumour.

In eval mode only convolutions, BatchNorm, ReLU, max pooling and one linear layer are left. No operation works in place:
tracers that cut channels follow every tensor to the module that made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGE_CHANNELS = 3
CLASSES = 2
DROPOUT = 0.3


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """Layers of one 3 x 3 convolution that keeps height and width; BatchNorm brings the bias."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


class CNN(nn.Module):
    """Stages of 3 x 3 convolutions, each halved by max pooling; then global max pooling, Dropout and one linear layer.

    The maximum over the image asks "is there a tumour anywhere", as the label does; an average would dilute a lesion of
    few pixels.

    Args:
        stages: output channels of the convolutions, a sequence per stage.
        dropout: share of the pooled features set to zero in training.
    """

    def __init__(self, stages: Sequence[Sequence[int]], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = IMAGE_CHANNELS
        for stage in stages:
            for width in stage:
                layers += convolution(channels, width)
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (n, 2), of images, shape (n, 3, height, width)."""
        pooled: Tensor = self.flatten(self.pool(self.features(images)))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


def cnn3(widths: tuple[int, int] = (16, 32), dropout: float = DROPOUT) -> CNN:
    """Build the 3-layer network: two convolutions and the linear layer."""
    return CNN([[width] for width in widths], dropout)


def cnn4(widths: tuple[int, int, int] = (16, 32, 64), dropout: float = DROPOUT) -> CNN:
    """Build the 4-layer network: three convolutions and the linear layer."""
    return CNN([[width] for width in widths], dropout)


def cnn9(widths: tuple[int, int, int, int] = (16, 32, 64, 128), dropout: float = DROPOUT) -> CNN:
    """Build the 9-layer network: four pairs of convolutions and the linear layer."""
    return CNN([[width, width] for width in widths], dropout)


def cnn9_wide(widths: tuple[int, int, int, int] = (32, 64, 128, 256), dropout: float = DROPOUT) -> CNN:
    """Build the 9-layer network at twice the width: four times the multiply-adds, for timing."""
    return cnn9(widths, dropout)
