"""Weights of the part of a network that runs, found by watching one forward pass.

A weight is a floating parameter of two or more dimensions that the pass uses: kernels and matrices of any layer, those
of recurrent layers and packed projections, embeddings, and parameters outside of layers. What a pass does not touch,
such as a head that only training uses, is none: its zeros make nothing faster. Nor is what no output depends on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from sparsemark.errors import UnsupportedError
from sparsemark.pruning.watching import Watch, plain_attention

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from torch.nn.modules.conv import _ConvNd

    Layer = _ConvNd | nn.Linear

LAYERS: tuple[type[Layer], ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)
"""Layers whose output channels are known."""

_LEAST_COVERED = 0.05
"""Share of the weights that a mask must be able to act on: below, a pruned network would be the dense one by name."""


@dataclass(frozen=True)
class Weight:
    """A parameter of two or more dimensions that the forward pass uses.

    Args:
        name: of the layer that owns it, or of the parameter where that is no convolution or linear layer.
        key: name of the parameter.
        parameter: the tensor itself, shared by whatever else is tied to it.
        macs: multiply-adds of one image in which it takes part.
        outputs: the axis along which output channels lie.
        groups: of a transposed convolution, which has its outputs' channels in so many parts.
    """

    name: str
    key: str
    parameter: nn.Parameter = field(repr=False)
    macs: int
    outputs: int = 0
    groups: int = 1


@dataclass(frozen=True)
class Usage:
    """Parameters that a forward pass of a network uses for its outputs, and those that it does not.

    Args:
        weights: parameters that a mask can act on, in order of registration, each once.
        parameters: elements of all parameters that it uses so, by name.
        computed: elements by layer of weights that the pass computes from parameters at each call, such as
            standardised kernels: a mask on the parameter would not make them zero.
        idle: elements by name of parameters of two or more dimensions that it does not use.
        vain: elements by name of those that it uses for what no output depends on, such as a head that is not returned.
        complexes: elements by name of complex parameters, which nothing here prunes.
    """

    weights: tuple[Weight, ...]
    parameters: dict[str, int]
    computed: dict[str, int]
    idle: dict[str, int]
    vain: dict[str, int] = field(default_factory=dict)
    complexes: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Elements of all weights, those that are computed included."""
        return sum(weight.parameter.numel() for weight in self.weights) + sum(self.computed.values())


def usage(module: nn.Module, inputs: Sequence[torch.Tensor]) -> Usage:
    """Watch one forward pass in eval mode.

    Args:
        module: any network.
        inputs: one value of each input, batch first.
    """
    given = [one.clone() for one in inputs]
    watch = Watch(module.eval(), given)
    with torch.no_grad(), plain_attention(), watch:
        outputs = module(*given)
    effective = watch.effective(outputs)
    images = max(1, len(inputs[0]) if inputs and inputs[0].ndim else 1)
    names = dict(module.named_parameters())
    owners = _owners(module)
    weights = []
    idle, vain, parameters, complexes = {}, {}, {}, {}
    for name, parameter in names.items():
        used = watch.uses.get(id(parameter))
        is_weight = parameter.ndim > 1 and parameter.is_floating_point() and parameter.numel() > 0
        takes_part = used is not None or id(parameter) in watch.folded
        if takes_part and id(parameter) not in effective:
            if is_weight:
                vain[owners.get(name, name)] = parameter.numel()
            continue
        if takes_part and parameter.is_complex():
            complexes[owners.get(name, name)] = parameter.numel()
        if takes_part:
            parameters[name] = parameter.numel()
        elif is_weight:
            idle[owners.get(name, name)] = parameter.numel()
        if used is not None and is_weight:
            owner = owners.get(name, name)
            weights.append(Weight(owner, name, parameter, used.macs // images, used.outputs, used.groups))
    computed: dict[str, int] = {}
    for sources, elements in watch.computed.items():
        if not sources & effective:
            continue
        label = next((owners.get(name, name) for name, p in names.items() if id(p) in sources), "")
        computed[label] = computed.get(label, 0) + elements
    return Usage(tuple(weights), parameters, computed, idle, vain, complexes)


def prunable(module: nn.Module, inputs: Sequence[torch.Tensor]) -> tuple[Weight, ...]:
    """Return the weights to mask.

    Raises:
        UnsupportedError: there is none, or nearly all are computed at each call.
    """
    used = usage(module, inputs)
    if not used.total:
        raise UnsupportedError(
            "no weight to prune: no parameter of two or more dimensions takes part in a forward pass"
        )
    covered = sum(weight.parameter.numel() for weight in used.weights)
    if covered < _LEAST_COVERED * used.total:
        raise UnsupportedError(
            f"{100 * (1 - covered / used.total):.0f} % of the weights are computed at each call and cannot be masked: "
            f"{', '.join(used.computed)}"
        )
    return used.weights


def remarks(used: Usage) -> list[str]:
    """Return what a reader of a sparsity must know of the weights that it does not cover."""
    found = []
    if used.computed:
        share = sum(used.computed.values()) / used.total
        found.append(
            f"{_percent(share)} of the weights are computed at each call and cannot be masked: {listed(used.computed)}"
        )
    if used.complexes:
        found.append(f"complex, so neither pruned nor counted: {listed(used.complexes)}")
    if used.idle:
        found.append(f"not run, so neither pruned nor counted: {listed(used.idle)}")
    if used.vain:
        found.append(f"run, but no output depends on it, so neither pruned nor counted: {listed(used.vain)}")
    return found


def named_layers(module: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Yield convolutions and linear layers that own their weight, with their names, in order of registration."""
    for name, layer in module.named_modules():
        if isinstance(layer, LAYERS) and "weight" in layer._parameters:
            yield name, layer


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def tied_weights(module: nn.Module) -> list[list[str]]:
    """Return the names of each parameter that has several, such as an embedding that is the head's weight as well."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [shared for shared in names.values() if len(shared) > 1]


def listed(names: Collection[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = 3
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(list(names)[:shown]) + more


def _owners(module: nn.Module) -> dict[str, str]:
    """Return the names of layers by the names of their weights."""
    return {f"{name}.weight" if name else "weight": name for name, _ in named_layers(module)}
