"""Pruners: methods that remove weights or channels. A new one is one file and one line in `PRUNERS`."""

from __future__ import annotations

from dataclasses import replace

import torch

from sparsemark.errors import UnsupportedError
from sparsemark.networks.plain import without_masks
from sparsemark.pruning import channels, controls, filters, magnitude
from sparsemark.pruning.base import Pruned, Pruner, Request
from sparsemark.pruning.masks import joined
from sparsemark.registry import find, missing
from sparsemark.specs import ALL_ONES, DENSE

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


def prune(module: torch.nn.Module, request: Request) -> Pruned:
    """Prune `module` in place, its zeros written into the parameters.

    Args:
        module: a network; it is left in eval mode.
        request: method, fraction, inputs, a seed.

    Returns:
        Masks to be held in training, the plan of the channels that were cut, and what was left alone.

    Raises:
        UserError: the method is not known.
        UnsupportedError: the method is not installed or cannot handle this network.
    """
    pruner = find(request.spec.method, PRUNERS, "pruner")
    absent = missing(pruner.requires)
    if absent:
        raise UnsupportedError(absent)
    before = _nonzeros(module)
    returned = pruner.apply(module.eval(), request)
    attached = without_masks(module)
    pruned = returned if isinstance(returned, Pruned) else Pruned(returned)
    pruned = replace(pruned, masks=joined(pruned.masks, attached))
    if request.spec.sparsity and not request.more and pruned.masks and _nonzeros(module) == before:
        note = f"{request.spec.text} changed nothing: as many weights were zero already"
        pruned = replace(pruned, notes=(*pruned.notes, note))
    return pruned


def _nonzeros(module: torch.nn.Module) -> int:
    return sum(int(torch.count_nonzero(parameter)) for parameter in module.parameters())
