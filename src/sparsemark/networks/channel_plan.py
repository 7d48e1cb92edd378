"""Channel plan: the channels that were removed from a network, and how they are removed from a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.registry import missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

ChannelPlan = tuple[tuple[str, bool, tuple[int, ...]], ...]
"""Torch-Pruning's history.

Layer, whether its outputs or inputs were cut, and which channels, in the order of cutting.
"""

NO_PLAN: ChannelPlan = ()
"""Plan of a method that leaves every shape unchanged."""


def replay(module: torch.nn.Module, plan: ChannelPlan, inputs: Sequence[torch.Tensor]) -> torch.nn.Module:
    """Cut the same channels from a new module, in place; its weights are then ready to be loaded.

    Args:
        module: as its factory makes it.
        plan: what to cut.
        inputs: an example of each, to trace the module with.

    Raises:
        UserError: torch-pruning is missing, or the module is not the one that the plan was made for.
    """
    absent = missing(("torch_pruning",))
    if absent:
        raise UserError(f"{absent}, and without it removed channels cannot be rebuilt")
    import torch_pruning as tp

    from sparsemark.networks.channel_graph import differentiable, traced, untie_states

    history = [[name, is_out, list(indices)] for name, is_out, indices in plan]
    try:
        with differentiable(module), traced(module) as options:
            graph = tp.DependencyGraph().build_dependency(module.eval(), tuple(inputs), **options)
            untie_states(graph)
            graph.load_pruning_history(history)
    except Exception as error:
        raise UserError(f"the channel plan does not fit this network: {type(error).__name__}: {error}") from error
    return module
