"""Channels removed through torch-pruning: the network that remains is smaller, in every engine.

Torch-Pruning's ratio counts channels; what is asked for here is a share of parameters, so the ratio is solved for.
"""

from __future__ import annotations

import contextlib
import copy
import io
from typing import TYPE_CHECKING

import torch
from torch.utils import _pytree as pytree

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.pruning.masks import named_layers, output_layers, prunable_layers
from sparsemark.registry import missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.pruning.base import ChannelPlan, Request

_BISECTIONS = 12
"""Halvings of the ratio: 1/4096 is finer than one channel of any layer below 4096."""


def remove_channels(module: torch.nn.Module, request: Request) -> ChannelPlan:
    """Remove the channels of smallest L1 norm, coupled layers together, until the given share of parameters is gone.

    Whole channels, and multiples of `round_to` of them, come as near to that share as they can. Layers that make an
    output keep their channels. In one of several rounds nothing is removed where that comes nearest.

    Raises:
        UnsupportedError: what torch-pruning says, where it cannot handle the network or finds nothing to remove; or no
            layer has weights, or two share them.
    """
    if request.spec.sparsity == 0:
        return ()
    prunable_layers(module)
    module.requires_grad_(requires_grad=True)
    before = _output_shapes(module, request.example)
    ratio = _solve_ratio(module, request)
    if ratio is None:
        return ()
    plan = _cut(module, ratio, request)
    if not plan:
        raise UnsupportedError("torch-pruning found no channel that it can remove")
    after = _output_shapes(module, request.example)
    if before != after:
        raise UnsupportedError(f"removing channels changed the output from {before} to {after}")
    return plan


def replay(module: torch.nn.Module, plan: ChannelPlan, input_shape: Sequence[int]) -> torch.nn.Module:
    """Cut the same channels from a new module, in place; its weights are then ready to be loaded.

    Raises:
        UserError: torch-pruning is missing, or the module is not the one that the plan was made for.
    """
    absent = missing(("torch_pruning",))
    if absent:
        raise UserError(f"{absent}, and without it removed channels cannot be rebuilt")
    import torch_pruning as tp

    history = [[name, is_out, list(indices)] for name, is_out, indices in plan]
    module.requires_grad_(requires_grad=True)
    try:
        graph = tp.DependencyGraph().build_dependency(module.eval(), torch.zeros(tuple(input_shape)))
        graph.load_pruning_history(history)
    except Exception as error:
        raise UserError(f"the channel plan does not fit this network: {type(error).__name__}: {error}") from error
    return module


def _solve_ratio(module: torch.nn.Module, request: Request) -> float | None:
    """Bisect the channel ratio whose removed share of parameters is nearest to the one asked for.

    Returns:
        The ratio; None where removing nothing comes nearest, if other rounds remove something.
    """
    target = request.spec.sparsity
    total = request.whole or _parameter_count(module)
    gone = 1 - _parameter_count(module) / total
    low, high = 0.0, 1.0
    best, best_distance = (None, abs(gone - target)) if request.more or gone else (0.0, 1.0)
    for _ in range(_BISECTIONS):
        ratio = (low + high) / 2
        trial = copy.deepcopy(module)
        _cut(trial, ratio, request)
        removed = 1 - _parameter_count(trial) / total
        if abs(removed - target) < best_distance:
            best, best_distance = ratio, abs(removed - target)
        low, high = (ratio, high) if removed < target else (low, ratio)
    return best


def _parameter_count(module: torch.nn.Module) -> int:
    """Return the number of a network's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _cut(module: torch.nn.Module, ratio: float, request: Request) -> ChannelPlan:
    import torch_pruning as tp

    round_to = request.spec.round_to
    try:
        # Its default dictionaries are mutable and shared between calls, hence fresh ones; its warnings go to stdout.
        with contextlib.redirect_stdout(io.StringIO()), torch.enable_grad():
            pruner = tp.pruner.BasePruner(
                module,
                request.example,
                importance=tp.importance.GroupMagnitudeImportance(p=1),
                pruning_ratio=ratio,
                pruning_ratio_dict=_ratios(module, ratio, round_to),
                ignored_layers=list(output_layers(module, request.example)),
                round_to=round_to if round_to > 1 else None,
                in_channel_groups={},
                out_channel_groups={},
                num_heads={},
                channel_groups={},
            )
            pruner.step()
            history: list[tuple[str, bool, list[int]]] = pruner.DG.pruning_history()
            module(request.example)
    except Exception as error:
        raise UnsupportedError(f"torch-pruning: {type(error).__name__}: {' '.join(str(error).split())}") from error
    return tuple((name, bool(is_out), tuple(int(i) for i in indices)) for name, is_out, indices in history)


def _ratios(module: torch.nn.Module, ratio: float, round_to: int) -> dict[torch.nn.Module, float]:
    """The ratio of each layer, held where `round_to` channels are left.

    Beyond that torch-pruning rounds down to none, refuses, and leaves the layer whole: asking for more would remove
    less. Half a channel of slack keeps floating point from losing one.
    """
    channels = {
        layer: layer.out_features if isinstance(layer, torch.nn.Linear) else layer.out_channels
        for _, layer in named_layers(module)
    }
    return {layer: max(0.0, min(ratio, 1 - (round_to + 0.5) / count)) for layer, count in channels.items()}


def _output_shapes(module: torch.nn.Module, example: torch.Tensor) -> list[tuple[int, ...]]:
    with torch.no_grad():
        leaves = pytree.tree_leaves(module.eval()(example))
    return [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, torch.Tensor)]
