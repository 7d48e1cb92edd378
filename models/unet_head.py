"""U-Net with a classification head: mask Y and label Z from one contracting path, as in the paper's figure 5.

Input: float32 in [0, 1], shape (n, 3, 128, 128). Outputs: the mask's logits, shape (n, 1, 128, 128), and two logits, no
tumour and tumour. The head takes the maximum of each channel at the lowest level: is there a tumour anywhere?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from models.unet import WIDTHS, UNet

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = 2
DROPOUT = 0.3


class UNetHead(UNet):
    """A U-Net whose lowest features also go through global max pooling, Dropout and one linear layer.

    Args:
        widths: channels of each level, full size first.
        dropout: share of the pooled features set to zero in training.
    """

    def __init__(self, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__(widths)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # two outputs, not one
        """Return the mask's logits, shape (n, 1, height, width), and logits, shape (n, 2)."""
        features = self.encode(images)
        logits: Tensor = self.classifier(self.dropout(self.flatten(self.pool(features[-1]))))
        return self.decode(features), logits


def unet_head(widths: tuple[int, ...] = WIDTHS, dropout: float = DROPOUT) -> UNetHead:
    """Build the U-Net with both outputs."""
    return UNetHead(widths, dropout)
