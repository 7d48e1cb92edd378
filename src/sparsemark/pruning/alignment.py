"""Check that the inputs which a cut removed are those of the channels which it removed.

Torch-pruning follows channels through reshapes by their sizes alone. Where a network reorders them, as by flattening
channels that come last, the sizes fit and the inputs are those of other channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sparsemark.networks.channel_graph import RECURRENT, call
from sparsemark.networks.outputs import output_tensors
from sparsemark.pruning.weights import LAYERS, tied_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

_MIXING = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.MultiheadAttention, nn.LocalResponseNorm)
"""Layers whose every output depends on the number of channels, so that fewer of them are another function."""

_SAME = 1e-3
"""Largest difference of two outputs over the largest value: sums in another order."""

MISALIGNED = (
    "what is left computes something else than the network without the removed channels: it mixes them, or reorders "
    "them in a way that torch-pruning does not follow"
)


class RemovedInputs:
    """Inputs of layers that a cut removed, numbered as in the whole network."""

    def __init__(self) -> None:
        self._left: dict[str, list[int]] = {}
        self._unknown = False

    def add(self, group: Any, graph: Any) -> None:
        """Record a group of torch-pruning's before it is cut."""
        for one, places in group:
            layer = one.target.module
            groups = getattr(layer, "groups", 1)
            # Of a depthwise convolution the channel itself goes; other groups renumber what is left.
            self._unknown |= isinstance(layer, _MIXING) or groups not in (1, getattr(layer, "out_channels", 1))
            is_reader = isinstance(layer, (*LAYERS, *RECURRENT)) and groups == 1
            if is_reader and graph.is_in_channel_pruning_fn(one.handler):
                name = graph._module2name[layer]
                left = self._left.setdefault(name, list(range(graph.get_in_channels(layer))))
                self._left[name] = [number for place, number in enumerate(left) if place not in set(places)]

    def fit(self, whole: nn.Module, cut: nn.Module, inputs: Sequence[torch.Tensor]) -> bool:
        """Return whether the cut network computes what the whole one does without those inputs.

        Args:
            whole: the network before the cut. Its weights are changed.
            cut: the network after it.
            inputs: one value of each.

        Returns:
            True too where a layer mixes all channels, since nothing can be told then.
        """
        if self._unknown:
            return True
        with torch.no_grad():
            _untie(whole)
            for name, left in self._left.items():
                layer = whole.get_submodule(name)
                for weight in _input_weights(layer):
                    gone = torch.ones(weight.shape[1], dtype=torch.bool)
                    gone[left] = False
                    weight[:, gone] = 0
            expected, found = (output_tensors(call(one.eval(), inputs)) for one in (whole, cut))
        return all(
            one.shape != other.shape or _distance(one, other) <= _SAME
            for one, other in zip(expected, found, strict=True)
        )


def _untie(module: nn.Module) -> None:
    """Copy tied weights in place, so that zeros in one layer's inputs are none of another layer's, as after the cut."""
    for _, *others in tied_weights(module):
        for name in others:
            owner, _, own = name.rpartition(".")
            layer = module.get_submodule(owner)
            layer.register_parameter(own, nn.Parameter(getattr(layer, own).detach().clone()))


def _input_weights(layer: Any) -> list[torch.Tensor]:
    """Return the weights of a layer with its inputs along the second axis."""
    if isinstance(layer, RECURRENT):
        names = ("weight_ih", "weight_ih_l0", "weight_ih_l0_reverse")
        return [getattr(layer, name) for name in names if hasattr(layer, name)]
    return [layer.weight.transpose(0, 1) if getattr(layer, "transposed", False) else layer.weight]


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    if not one.is_floating_point():
        return float((one != other).any())
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-12)) if one.numel() else 0.0
