"""Pruners: methods that remove weights or channels. A new one is one file and one line in `PRUNERS`.

Each names a random control, which takes as much of every layer, in the same units. That of `threshold` takes weights
only, as `magnitude` does, where the method counts biases as well.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from sparsemark.errors import UnsupportedError
from sparsemark.networks.plain import without_masks
from sparsemark.pruning import channel_importance, controls, filters, magnitude
from sparsemark.pruning.base import INPUTS, LOSS, Pruned, Pruner, Request
from sparsemark.pruning.blocks import (
    block_magnitudes,
    draw_blocks,
    lowest_blocks,
    lowest_blocks_in_network,
    two_of_four,
)
from sparsemark.pruning.calibration import calibration
from sparsemark.pruning.channels import by_importance
from sparsemark.pruning.lamp import lamp_scores
from sparsemark.pruning.masks import joined
from sparsemark.pruning.scores import at_random, by_score, lowest_in_layer, lowest_in_network, lowest_in_rows
from sparsemark.pruning.taylor import taylor_scores
from sparsemark.pruning.wanda import wanda_scores
from sparsemark.registry import find, missing
from sparsemark.specs import ALL_ONES, DENSE, RANDOM

PRUNERS: dict[str, Pruner] = {
    DENSE: Pruner("nothing", controls.leave_alone),
    "magnitude": by_score("network", magnitude.magnitudes, lowest_in_layer, lowest_in_network, control=RANDOM),
    "magnitude-layerwise": by_score("layer", magnitude.magnitudes, lowest_in_layer, control="random-layerwise"),
    "threshold": Pruner("network, biases too", magnitude.mask_below_threshold, control=RANDOM),
    "lamp": by_score("network", lamp_scores, lowest_in_layer, lowest_in_network, control="random-lamp"),
    "taylor": by_score(
        "network", taylor_scores, lowest_in_layer, lowest_in_network, needs=LOSS, control="random-taylor"
    ),
    "wanda": by_score("output channel", wanda_scores, lowest_in_rows, needs=INPUTS, control="random-wanda"),
    "block4": by_score(
        "blocks of the network",
        block_magnitudes,
        lowest_blocks,
        lowest_blocks_in_network,
        control="random-block4",
        has_blocks=True,
    ),
    "block4-layerwise": by_score(
        "blocks of a layer", block_magnitudes, lowest_blocks, control="random-block4-layerwise", has_blocks=True
    ),
    "nm24": by_score(
        "each block of four",
        block_magnitudes,
        two_of_four,
        takes_ratios=False,
        control="random-nm24",
        has_blocks=True,
    ),
    RANDOM: at_random("layer, as magnitude", magnitude.magnitudes, lowest_in_layer, lowest_in_network),
    "random-layerwise": at_random("layer", magnitude.magnitudes, lowest_in_layer),
    "random-lamp": at_random("layer, as lamp", lamp_scores, lowest_in_layer, lowest_in_network),
    "random-taylor": at_random("layer, as taylor", taylor_scores, lowest_in_layer, lowest_in_network, needs=LOSS),
    "random-wanda": at_random("output channel", magnitude.magnitudes, lowest_in_rows),
    "random-block4": at_random(
        "blocks of a layer, as block4",
        block_magnitudes,
        lowest_blocks,
        lowest_blocks_in_network,
        draw=draw_blocks,
        has_blocks=True,
    ),
    "random-block4-layerwise": at_random(
        "blocks of a layer", block_magnitudes, lowest_blocks, draw=draw_blocks, has_blocks=True
    ),
    "random-nm24": at_random("each block of four", block_magnitudes, two_of_four, takes_ratios=False, has_blocks=True),
    ALL_ONES: Pruner("nothing", controls.mask_nothing),
    "filters": Pruner("filters of a layer", filters.mask_filters),
    "channels": by_importance(channel_importance.by_norm, control="random-channels"),
    "channels-taylor": by_importance(channel_importance.by_taylor, needs=LOSS, control="random-channels"),
    "channels-bn": by_importance(channel_importance.by_scale, control="random-channels-bn"),
    "random-channels": by_importance(channel_importance.by_chance),
    "random-channels-bn": by_importance(channel_importance.by_chance_where_scaled),
}


def prune(module: torch.nn.Module, request: Request) -> Pruned:
    """Prune `module` in place, its zeros written into the parameters.

    Args:
        module: a network; it is left in eval mode.
        request: method, fraction, inputs, a seed.

    Returns:
        Masks to be held in training, the plan of the channels that were cut, and what was left alone.

    Raises:
        UserError: the method is not known, or needs data that the request lacks.
        UnsupportedError: the method is not installed or cannot handle this network.
    """
    pruner = find(request.spec.method, PRUNERS, "pruner")
    absent = missing(pruner.requires)
    if absent:
        raise UnsupportedError(absent)
    if pruner.needs:
        calibration(request)
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
