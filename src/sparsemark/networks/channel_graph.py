"""Torch-pruning's graph of a network: which channels must be removed together.

Torch-pruning follows autograd's graph. That of a recurrent layer shows gates and time steps, through which it would cut
states as if they were features. Here such a layer is a single node, which loses features of its input and nothing else.
"""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from sparsemark.networks.outputs import output_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RECURRENT = (nn.RNNBase, nn.RNNCellBase)

_MOST_VISITS = 100
"""Sets of channels of one operation that are followed: the networks tried had 17, one with a circle has no end."""


def recurrent_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return the recurrent layers and cells by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, RECURRENT)}


@contextmanager
def traced(module: nn.Module) -> Iterator[dict[str, Any]]:
    """Make recurrent layers single nodes, and refuse groups of channels that have no end, within the block.

    Yields:
        Options for torch-pruning's `build_dependency` and its pruners.
    """
    layers = recurrent_layers(module).values()
    handles = [layer.register_forward_hook(_as_one_node, with_kwargs=True) for layer in layers]
    pruner = _InputFeatures()
    try:
        with _finite_groups(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters outside of layers: what cannot be cut is found by trying
            yield {
                "forward_fn": call,
                "output_transform": output_tensors,
                "customized_pruners": {type(layer): pruner for layer in layers},
            }
    finally:
        for handle in handles:
            handle.remove()


def untie_states(graph: Any) -> list[nn.Module]:
    """Remove from a graph what ties the initial states of recurrent layers to the features of their input.

    Returns:
        The nodes that must keep all channels: recurrent layers and what makes their states.
    """
    kept = []
    for node in graph.module2node.values():
        if _is_state(node):
            node.dependencies = [one for one in node.dependencies if not isinstance(one.target.module, RECURRENT)]
        elif isinstance(node.module, RECURRENT):
            node.dependencies = [one for one in node.dependencies if not _is_state(one.target)]
        else:
            continue
        kept.append(node.module)
    return kept


@contextmanager
def differentiable(module: nn.Module) -> Iterator[None]:
    """Let all parameters take gradients within the block, frozen ones too, by which torch-pruning traces layers."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
    try:
        yield
    finally:
        for name, parameter in module.named_parameters():
            if name in frozen:
                parameter.requires_grad = False


def call(module: nn.Module, inputs: Sequence[torch.Tensor]) -> object:
    """Call a module as torch-pruning is to call it: its own way feeds the rows of a single tensor as arguments."""
    return module(*(one.clone() for one in inputs))


class _InputFeatures:
    """How torch-pruning cuts a recurrent layer. Its own way knows LSTMs only, and cuts their states wrongly."""

    pruning_dim = -1

    def prune_in_channels(self, layer: Any, indices: Sequence[int]) -> None:
        """Remove features of the input, from both directions."""
        kept = sorted(set(range(layer.input_size)) - set(indices))
        for name in ("weight_ih", "weight_ih_l0", "weight_ih_l0_reverse"):
            weight = getattr(layer, name, None)
            if weight is not None:
                setattr(layer, name, nn.Parameter(weight.detach()[:, kept], requires_grad=weight.requires_grad))
        layer.input_size = len(kept)

    def prune_out_channels(self, _layer: Any, indices: Sequence[int]) -> None:
        """Refuse: a state is cut in each gate and time step."""
        raise ValueError(f"{len(indices)} states of a recurrent layer would be cut")

    def get_in_channels(self, layer: Any) -> int:
        """Return the number of features of the input."""
        return int(layer.input_size)

    def get_out_channels(self, layer: Any) -> int:
        """Return the number of features of the output."""
        directions = 2 if getattr(layer, "bidirectional", False) else 1
        return directions * int(getattr(layer, "proj_size", 0) or layer.hidden_size)

    def get_in_channel_groups(self, _layer: Any) -> int:
        """Return one: every feature is on its own."""
        return 1

    get_out_channel_groups = get_in_channel_groups


class _OneNode(torch.autograd.Function):
    """Outputs that autograd takes for computed from other tensors in one step. It is never run backwards."""

    @staticmethod
    def forward(_context: Any, count: int, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the first `count` tensors."""
        return tuple(tensor.clone() for tensor in tensors[:count])


class _State(torch.autograd.Function):
    """A state on its way into a recurrent layer, by which its node is known. It is never run backwards."""

    @staticmethod
    def forward(_context: Any, state: torch.Tensor) -> torch.Tensor:
        """Return the state."""
        return state.clone()


def _is_state(node: Any) -> bool:
    return isinstance(node.grad_fn, _State._backward_cls)


def _as_one_node(_layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], outputs: Any) -> Any:
    """Return the outputs of a recurrent layer as if one operation had made them of its input and states."""
    sequence, *states = filter(_is_floating, pytree.tree_leaves((named.pop("input", None), arguments, named)))
    # An input of the network takes no gradient, without which there would be no node.
    source = sequence if sequence.requires_grad else sequence.detach().requires_grad_()
    leaves, structure = pytree.tree_flatten(outputs)  # those of a packed sequence among them
    whole = [leaf.detach() for leaf in leaves if _is_floating(leaf)]
    apart = [_State.apply(state) for state in states]  # type: ignore[no-untyped-call]  # torch's own lacks types
    made = iter(_OneNode.apply(len(whole), *whole, source, *apart))  # type: ignore[no-untyped-call]  # as above
    return pytree.tree_unflatten([next(made) if _is_floating(leaf) else leaf for leaf in leaves], structure)


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point()


@contextmanager
def _finite_groups() -> Iterator[None]:
    """Raise ValueError where torch-pruning would follow the channels of one operation round a circle for ever.

    Gates that are split from a layer which is fed its own state are such a circle: each round names other channels.
    """
    from torch_pruning.dependency.group import Group

    add = Group.add_dep

    def add_dep(self: Any, dep: Any, idxs: Any) -> None:
        visits = vars(self).setdefault("_visits", Counter())
        visits[dep.target, dep.handler] += 1
        if visits[dep.target, dep.handler] > _MOST_VISITS:
            raise ValueError(f"channels that depend on each other in a circle, at {dep.target.name}")
        add(self, dep, idxs)

    Group.add_dep = add_dep
    try:
        yield
    finally:
        Group.add_dep = add
