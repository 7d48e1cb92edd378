"""Coupled layers: whose channels go together, as those before a residual addition, and whose cannot go at all."""

from __future__ import annotations

import contextlib
import copy
import io
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from sparsemark.networks.channel_graph import call, differentiable, traced, untie_states
from sparsemark.networks.outputs import output_tensors
from sparsemark.pruning.output_layers import output_layers
from sparsemark.pruning.weights import named_layers, usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch_pruning import DependencyGraph


def free_layers(module: nn.Module, inputs: Sequence[torch.Tensor]) -> list[list[str]]:
    """Return the names of layers that can lose channels, those that lose them together in one list.

    Raises:
        UnsupportedError: no layer has weights, or an output leaves no trace in autograd's graph.
    """
    running = frozenset(usage(module, inputs).parameters)
    with differentiable(module):
        outputs = {id(layer) for layer in output_layers(module, inputs)}
        kept = frozenset(name for name, layer in named_layers(module) if id(layer) in outputs)
        last = range(len(output_shapes(module, inputs)))
        stuck = kept | set(stuck_layers(module, inputs, 1, kept=kept, running=running, last=last))
        return [
            group
            for group in coupled_layers(module, inputs)
            if not stuck & set(group) and widths(module)[group[0]] > 1 and f"{group[0]}.weight" in running
        ]


def stuck_layers(
    module: nn.Module,
    inputs: Sequence[torch.Tensor],
    multiple: int,
    *,
    kept: frozenset[str],
    running: frozenset[str],
    last: Sequence[int],
) -> list[str]:
    """Return the names of layers that run and lose not even one multiple of channels.

    Each is tried on a copy, but one only of those whose channels go together.

    Args:
        module: the network.
        inputs: one value of each.
        multiple: of channels.
        kept: names of layers that are not tried.
        running: names of the parameters that the network uses.
        last: outputs that must keep their shape.
    """
    expected = output_shapes(module, inputs)
    channels = widths(module)
    found: list[str] = []
    tried: set[str] = set()
    for names in coupled_layers(module, inputs):
        name = names[0]
        if tried & set(names) or name in kept or channels[name] <= multiple or f"{name}.weight" not in running:
            continue
        tried |= set(names)
        trial = copy.deepcopy(module)
        try:
            with _graph(trial, inputs) as (graph, whole):
                layer = trial.get_submodule(name)
                pruning = graph.get_pruner_of_module(layer).prune_out_channels
                group = graph.get_pruning_group(layer, pruning, list(range(multiple)))
                free = not any(
                    graph.is_out_channel_pruning_fn(one.handler) and one.target.module in whole for one, _ in group
                )
                group.prune()
            shapes = output_shapes(trial, inputs)
            fits = free and all(shapes[index] == expected[index] for index in last)
        except Exception:
            fits = False
        if not fits:
            found += names
    return found


def coupled_layers(module: nn.Module, inputs: Sequence[torch.Tensor]) -> list[list[str]]:
    """Return the names of layers, those whose output channels can only be removed together in one list."""
    layers = {layer: name for name, layer in named_layers(module)}
    try:
        with _graph(module, inputs) as (graph, _):
            groups = [
                [
                    layers[part.dep.target.module]
                    for part in group
                    if part.dep.target.module in layers and graph.is_out_channel_pruning_fn(part.dep.handler)
                ]
                for group in graph.get_all_groups(root_module_types=list({type(layer) for layer in layers}))
            ]
    except Exception:  # what one of them meets, each alone will say
        groups = []
    known = {name for names in groups for name in names}
    return [list(dict.fromkeys(names)) for names in groups if names] + [
        [name] for name in layers.values() if name not in known
    ]


def smallest_of_coupled(
    module: nn.Module, inputs: Sequence[torch.Tensor], by_name: Mapping[str, float]
) -> dict[str, float]:
    """Return a value of each layer by its name, of coupled layers the smallest that is given.

    Args:
        module: the network.
        inputs: one value of each.
        by_name: values by the name of a weight; layers without any, coupled ones included, are left out.
    """
    found: dict[str, float] = {}
    for names in coupled_layers(module, inputs):
        weights = [f"{name}.weight".lstrip(".") for name in names]
        given = [by_name[weight] for weight in weights if weight in by_name]
        found |= {name: min(found.get(name, math.inf), *given) for name in names} if given else {}
    return found


@contextlib.contextmanager
def _graph(module: nn.Module, inputs: Sequence[torch.Tensor]) -> Iterator[tuple[DependencyGraph, list[nn.Module]]]:
    """Trace a network for the time of the block; yield its graph and the nodes that must keep all channels."""
    import torch_pruning as tp

    with contextlib.redirect_stdout(io.StringIO()), torch.enable_grad(), traced(module) as options:
        graph = tp.DependencyGraph().build_dependency(module, inputs, **options)
        yield graph, untie_states(graph)


def widths(module: nn.Module) -> dict[str, int]:
    """Return the number of output channels of each layer."""
    return {
        name: layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        for name, layer in named_layers(module)
    }


def output_shapes(module: nn.Module, inputs: Sequence[torch.Tensor]) -> list[tuple[int, ...]]:
    """Return the shapes of all outputs."""
    with torch.no_grad():
        return [tuple(tensor.shape) for tensor in output_tensors(call(module.eval(), inputs))]
