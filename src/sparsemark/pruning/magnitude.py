"""The smallest weights become zero: over the whole network, in each layer, or below one threshold as the paper says it.

Source: Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparsemark.pruning.base import Pruned
from sparsemark.pruning.masks import apply
from sparsemark.pruning.weights import prunable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.pruning.base import Request
    from sparsemark.pruning.scores import Scores
    from sparsemark.pruning.weights import Weight


def magnitudes(
    module: torch.nn.Module,  # noqa: ARG001 - as every score function takes it
    weights: Sequence[Weight],
    request: Request,  # noqa: ARG001 - as above
) -> tuple[Scores, tuple[str, ...]]:
    """Return the absolute values of the weights."""
    return {weight.key: weight.parameter.detach().abs() for weight in weights}, ()


def mask_below_threshold(module: torch.nn.Module, request: Request) -> Pruned:
    """Mask weights and biases below one threshold, chosen so that the given fraction of both lies below it.

    This is the paper's wording ("we zero out few weights and biases", "weights less than a threshold are ignored");
    `magnitude` leaves biases alone. Biases are those beside a weight: a normalisation's shift is none.
    """
    parameters = dict(module.named_parameters())
    owners = {weight.key.rpartition(".")[0] for weight in prunable(module, request.inputs)}
    names = [weight.key for weight in prunable(module, request.inputs)]
    names += [
        name for name, p in parameters.items() if p.ndim == 1 and "bias" in name and name.rpartition(".")[0] in owners
    ]
    tensors = {name: parameters[name].detach() for name in names}
    values = torch.cat([tensor.abs().flatten() for tensor in tensors.values()])
    # Rounded as torch's own pruning rounds a fraction; the largest value always stays.
    below = min(round(request.spec.sparsity * values.numel()), values.numel() - 1)
    threshold = values.sort().values[below]
    masks = {name: tensor.abs() >= threshold for name, tensor in tensors.items()}
    apply(module, masks)
    return Pruned(masks=masks)
