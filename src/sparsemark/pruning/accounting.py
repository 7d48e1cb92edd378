"""Counts of a pruned network: zeros, multiply-adds on non-zeros, dead channels, per layer and in total."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sparsemark.pruning.masks import named_layers

if TYPE_CHECKING:
    from torch import nn

    from sparsemark.pruning.masks import Layer

_SMALLEST_NORMAL = torch.finfo(torch.float32).smallest_normal


@dataclass(frozen=True)
class LayerCount:
    """One layer with weights.

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
    """A whole network, masks applied. `compressed_bytes` is what zlib makes of the float32 weights, zeros included."""

    layers: tuple[LayerCount, ...]
    parameters: int
    subnormals: int
    compressed_bytes: int

    @property
    def weights(self) -> int:
        """Weights of convolutions and linear layers."""
        return sum(layer.weights for layer in self.layers)

    @property
    def nonzeros(self) -> int:
        """Weights of convolutions and linear layers that are not zero."""
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


def count(module: nn.Module, example: torch.Tensor) -> NetworkCount:
    """Count what a network holds and does for one image; a layer that is called twice does its multiply-adds twice.

    Args:
        module: with masks attached or permanent.
        example: one input, batch first.
    """
    positions: dict[str, int] = {}
    names = {id(layer): name for name, layer in named_layers(module)}

    def record(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        # Each weight is used once per output position; in a transposed convolution, once per input position.
        of = inputs[0] if getattr(layer, "transposed", False) else output
        # Channels come second in convolutions and last in linear layers; what remains are positions and images. Divided
        # by the example's images, not the layer's: windows or tokens may have been folded into its batch.
        channels = of.shape[-1] if isinstance(layer, torch.nn.Linear) else of.shape[1]
        name = names[id(layer)]
        positions[name] = positions.get(name, 0) + of.numel() // (channels * len(example))

    handles = [layer.register_forward_hook(record) for _, layer in named_layers(module)]
    try:
        with torch.no_grad():
            module.eval()(example)
    finally:
        for handle in handles:
            handle.remove()
    layers = tuple(_count_layer(name, layer, positions.get(name, 0)) for name, layer in named_layers(module))
    tensors = [layer.weight.detach() for _, layer in named_layers(module)]
    packed = zlib.compress(b"".join(t.contiguous().numpy().tobytes() for t in tensors))
    magnitudes = [t.abs() for t in tensors]
    subnormals = sum(int(((m > 0) & (m < _SMALLEST_NORMAL)).sum()) for m in magnitudes)
    return NetworkCount(layers, sum(p.numel() for p in module.parameters()), subnormals, len(packed))


def _filters_first(layer: Layer, weight: torch.Tensor) -> torch.Tensor:
    """Turn a transposed convolution's weight, (in, out / groups, ...), into (out, in / groups, ...)."""
    return torch.cat([part.transpose(0, 1) for part in weight.chunk(getattr(layer, "groups", 1))])


def _count_layer(name: str, layer: Layer, positions: int) -> LayerCount:
    weight = layer.weight.detach()
    out = _filters_first(layer, weight) if getattr(layer, "transposed", False) else weight
    nonzeros = int(torch.count_nonzero(weight))
    dead = int((out.flatten(1) == 0).all(dim=1).sum())
    return LayerCount(
        name, weight.numel(), nonzeros, weight.numel() * positions, nonzeros * positions, out.shape[0], dead
    )
