"""An auxiliary task, in training only: say where the tumour is, from the last feature map before global pooling.

The label says that there is a tumour somewhere, and a network with few patients to learn from finds other signs of it; the mask says where.
The head is one 1 x 1 convolution that is thrown away afterwards: what is stored, pruned and timed is the plain network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from sparsemark.errors import UserError
from training.slices import SIZE

if TYPE_CHECKING:
    from typing import Self

_POOLING = (nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
_PRIOR_LOGIT = -3.0
"""The head starts at the share of cells that hold tumour, about 1 in 20, and need not spend its first epoch on getting there."""


class Localizer(nn.Module):
    """A head that listens at the input of the network's global pooling, while the `with` block lasts.

    Args:
        network: has a global pooling layer, which is found by its type.

    Raises:
        UserError: the network has none.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        found = [layer for layer in network.modules() if isinstance(layer, _POOLING)]
        if not found:
            raise UserError("localization: the network has no global pooling layer; set it to 0 in the recipe")
        self._pooling = found[-1]
        self._features = torch.empty(0)
        with self, torch.no_grad():
            training = network.training
            reference = next(network.parameters())
            network.eval()(torch.zeros(1, 3, SIZE, SIZE, device=reference.device))
            network.train(training)
        self.head = nn.Conv2d(self._features.shape[1], 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, _PRIOR_LOGIT)  # type: ignore[arg-type]  # Conv2d's bias is there unless refused

    def __enter__(self) -> Self:
        self._handle = self._pooling.register_forward_pre_hook(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _listen(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._features = inputs[0]

    def loss(self, masks: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each cell of the map against the share of it that is tumour, for the batch the network saw last."""
        logits: torch.Tensor = self.head(self._features).float().squeeze(1)
        cells = F.adaptive_avg_pool2d(masks[:, None].float(), logits.shape[-2:]).squeeze(1)
        return F.binary_cross_entropy_with_logits(logits, cells)
