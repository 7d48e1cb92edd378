"""ResNet3: a stem, three residual blocks, pooling over the image, and one linear layer.

`resnet3` pools by the average, as the paper says; `resnet3_max` by the maximum, since an average may dilute a lesion of
few pixels. Nothing else differs.

Input: float32 in [0, 1], shape (n, 3, 128, 128). Output: two logits, no tumour and tumour. Initial weights are drawn by
the recipe of the training (`kaiming`, `xavier` or `normal`, the paper's N(0, 0.1)).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

IMAGE_CHANNELS = 3
CLASSES = 2
DROPOUT = 0.3
WIDTHS = (16, 32, 64, 128)
"""Channels of the stem, then of each block."""


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """Convolution without a bias, which the BatchNorm after it brings."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; height and width are halved by the first one, and by the shortcut.

    The shortcut is a convolution of 1 x 1, since the shape changes (He et al., 2015, option B).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, 3, stride=2)
        self.activation = nn.ReLU()
        self.second = convolution(outputs, outputs, 3)
        self.shortcut = convolution(inputs, outputs, 1, stride=2)
        self.sum_activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return features, shape (n, outputs, height / 2, width / 2)."""
        y: Tensor = self.second(self.activation(self.first(x)))
        summed: Tensor = self.sum_activation(y + self.shortcut(x))
        return summed


class ResNet(nn.Module):
    """A stem at full size, a residual block at each further width, pooling, Dropout and one linear layer.

    Args:
        widths: channels of the stem, then of each block.
        pool: of all pixels of a channel.
        dropout: share of the pooled features set to zero in training.
    """

    def __init__(self, widths: tuple[int, ...], pool: nn.Module, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(IMAGE_CHANNELS, widths[0], 3), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(inputs, outputs) for inputs, outputs in pairwise(widths)))
        self.pool = pool
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (n, 2), of images, shape (n, 3, height, width)."""
        pooled: Tensor = self.flatten(self.pool(self.blocks(self.stem(images))))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


def resnet3(widths: tuple[int, ...] = WIDTHS, dropout: float = DROPOUT) -> ResNet:
    """Build the paper's form: average pooling."""
    return ResNet(widths, nn.AdaptiveAvgPool2d(1), dropout)


def resnet3_max(widths: tuple[int, ...] = WIDTHS, dropout: float = DROPOUT) -> ResNet:
    """Build the network with maximum pooling."""
    return ResNet(widths, nn.AdaptiveMaxPool2d(1), dropout)
