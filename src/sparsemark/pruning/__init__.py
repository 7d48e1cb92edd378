"""Pruners: methods that remove weights or channels. A new one is one file and one line in `PRUNERS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UnsupportedError
from sparsemark.pruning import channels, controls, filters, magnitude
from sparsemark.pruning.base import ChannelPlan, Pruner, Request
from sparsemark.registry import find, missing
from sparsemark.specs import ALL_ONES, DENSE

if TYPE_CHECKING:
    import torch

PRUNERS: dict[str, Pruner] = {
    DENSE: Pruner("nothing", controls.leave_alone),
    "magnitude": Pruner("network", magnitude.mask_globally),
    "magnitude-layerwise": Pruner("layer", magnitude.mask_each_layer),
    "threshold": Pruner("network, biases too", magnitude.mask_below_threshold),
    "random": Pruner("layer, as magnitude", controls.mask_at_random),
    ALL_ONES: Pruner("nothing", controls.mask_nothing),
    "filters": Pruner("filters of a layer", filters.mask_filters),
    "channels": Pruner("parameters", channels.remove_channels, requires=("torch_pruning",)),
}


def prune(module: torch.nn.Module, request: Request) -> ChannelPlan:
    """Prune `module` in place.

    Masks stay attached (torch.nn.utils.prune), so that training holds them; `masks.make_permanent` writes the zeros.

    Args:
        module: a network; it is left in eval mode.
        request: method, fraction, an input, a seed.

    Returns:
        Channels that a structural method cut, to be replayed on a new module; empty for masks.

    Raises:
        UserError: the method is not known.
        UnsupportedError: the method is not installed or cannot handle this network.
    """
    pruner = find(request.spec.method, PRUNERS, "pruner")
    absent = missing(pruner.requires)
    if absent:
        raise UnsupportedError(absent)
    return pruner.apply(module.eval(), request)
