"""Counts of a pruned network: zeros, multiply-adds on non-zeros, dead channels, per layer and in total."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sparsemark.pruning.layout import outputs_first
from sparsemark.pruning.weights import remarks, usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from sparsemark.pruning.weights import Weight

_SMALLEST_NORMAL = torch.finfo(torch.float32).smallest_normal


@dataclass(frozen=True)
class LayerCount:
    """One weight, named like its layer.

    `macs` are the multiply-adds of one image if nothing were zero; `nonzero_macs` those that remain.
    """

    name: str
    weights: int
    nonzeros: int
    macs: int
    nonzero_macs: int
    channels: int
    dead_channels: int

    @property
    def sparsity(self) -> float:
        """Fraction of zeros among the layer's weights."""
        return 1 - self.nonzeros / self.weights


@dataclass(frozen=True)
class NetworkCount:
    """The part of a network that runs.

    `compressed_bytes` is what zlib makes of the float32 weights, zeros included; `notes` say what is not covered.
    """

    layers: tuple[LayerCount, ...]
    parameters: int
    subnormals: int
    compressed_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def weights(self) -> int:
        """Parameters of two or more dimensions that are used, as `pruning.weights` finds them."""
        return sum(layer.weights for layer in self.layers)

    @property
    def nonzeros(self) -> int:
        """Weights that are not zero."""
        return sum(layer.nonzeros for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image if no weight were zero."""
        return sum(layer.macs for layer in self.layers)

    @property
    def nonzero_macs(self) -> int:
        """Multiply-adds of one image on weights that are not zero."""
        return sum(layer.nonzero_macs for layer in self.layers)

    @property
    def dead_channels(self) -> int:
        """Output channels all of whose weights are zero."""
        return sum(layer.dead_channels for layer in self.layers)


def count(module: nn.Module, inputs: Sequence[torch.Tensor]) -> NetworkCount:
    """Count what a network holds and does for one image; a layer that is called twice does its multiply-adds twice.

    Args:
        module: its zeros written into the parameters.
        inputs: one value of each, batch first.
    """
    used = usage(module, inputs)
    layers = tuple(map(_count_weight, used.weights))
    tensors = [weight.parameter.detach() for weight in used.weights]
    packed = zlib.compress(b"".join(t.contiguous().numpy().tobytes() for t in tensors))
    magnitudes = [t.abs() for t in tensors]
    subnormals = sum(int(((m > 0) & (m < _SMALLEST_NORMAL)).sum()) for m in magnitudes)
    parameters = sum(used.parameters.values())
    return NetworkCount(layers, parameters, subnormals, len(packed), tuple(remarks(used)))


def _count_weight(weight: Weight) -> LayerCount:
    out = outputs_first(weight, weight.parameter.detach())
    total, nonzeros = out.numel(), int(torch.count_nonzero(out))
    dead = int((out.flatten(1) == 0).all(dim=1).sum())
    return LayerCount(weight.name, total, nonzeros, weight.macs, weight.macs * nonzeros // total, out.shape[0], dead)
