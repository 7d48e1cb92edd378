"""Layout of weights: output channels first, and blocks of four neighbouring input channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from sparsemark.pruning.weights import Weight

BLOCK = 4
"""Input channels in a block: what one instruction multiplies in int8, and what 2:4 sparsity counts in."""


def outputs_first(weight: Weight, tensor: torch.Tensor) -> torch.Tensor:
    """Turn a tensor of a weight's shape into (outputs, inputs, ...).

    Weights of transposed convolutions are (inputs, outputs / groups, ...).
    """
    if weight.outputs == 0:
        return tensor
    return torch.cat([part.transpose(0, 1) for part in tensor.chunk(weight.groups)])


def elements(weight: Weight) -> torch.Tensor:
    """Return the numbers of a weight's elements, in the order of its flattened tensor, as (outputs, inputs, ...)."""
    numbers = torch.arange(weight.parameter.numel()).reshape(weight.parameter.shape)
    return outputs_first(weight, numbers)


def blocks(weight: Weight) -> torch.Tensor:
    """Return the numbers of the elements of each block, shape (blocks, 4).

    A block is 1 x 4: one output, one place in the kernel, four input channels. Where those are no multiple of four, the
    last block of each output and place is padded with -1.
    """
    numbers = elements(weight).movedim(1, -1)
    return F.pad(numbers, (0, -numbers.shape[-1] % BLOCK), value=-1).reshape(-1, BLOCK)


def input_channels(weight: Weight) -> int:
    """Return the input channels of each output: of one group, where there are several."""
    shape = weight.parameter.shape
    return shape[1] if weight.outputs == 0 else shape[0] // weight.groups
