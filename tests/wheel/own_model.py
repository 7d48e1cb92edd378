"""A network as a user might bring it: two outputs, odd channel counts, nothing of sparsemark in it."""

import torch
from torch import nn


class Own(nn.Module):
    """A residual encoder with a class and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 27, 5, stride=2, padding=2)
        self.inner = nn.Sequential(nn.Conv2d(27, 27, 3, padding=1, bias=False), nn.BatchNorm2d(27), nn.ReLU())
        self.down = nn.Conv2d(27, 45, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(45, 1, 4, stride=4)
        self.head = nn.Linear(45, 3)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class logits, shape (n, 3), and a mask of the input's height and width."""
        stem = torch.relu(self.stem(image))
        features = torch.relu(self.down(stem + self.inner(stem)))
        return self.head(features.mean(dim=(2, 3))), torch.sigmoid(self.up(features))


def build() -> Own:
    """Make the network."""
    return Own()
