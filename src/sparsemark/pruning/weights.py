"""Weights of the part of a network that runs, found by watching one forward pass.

A weight is a floating parameter of two or more dimensions that the pass uses: kernels and matrices of any layer, those
of recurrent layers and packed projections, embeddings, and parameters outside of layers. What a pass does not touch,
such as a head that only training uses, is none: its zeros make nothing faster.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    """What a forward pass of a network uses.

    Args:
        weights: parameters that a mask can act on, in order of registration, each once.
        parameters: elements of all parameters that it uses, by name.
        computed: elements by layer of weights that the pass computes from parameters at each call, such as
            standardised kernels: a mask on the parameter would not make them zero.
        idle: elements by name of parameters of two or more dimensions that it does not use.
        complexes: elements by name of complex parameters, which nothing here prunes.
    """

    weights: tuple[Weight, ...]
    parameters: dict[str, int]
    computed: dict[str, int]
    idle: dict[str, int]
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
    watch = _Watch(module.eval())
    with torch.no_grad(), _plain_attention(), watch:
        module(*given)
    images = max(1, len(inputs[0]) if inputs and inputs[0].ndim else 1)
    names = dict(module.named_parameters())
    owners = _owners(module)
    weights = []
    idle, parameters, complexes = {}, {}, {}
    for name, parameter in names.items():
        used = watch.uses.get(id(parameter))
        is_weight = parameter.ndim > 1 and parameter.is_floating_point() and parameter.numel() > 0
        if parameter.is_complex() and (used is not None or id(parameter) in watch.folded):
            complexes[owners.get(name, name)] = parameter.numel()
        if used is not None or id(parameter) in watch.folded:
            parameters[name] = parameter.numel()
        elif is_weight:
            idle[owners.get(name, name)] = parameter.numel()
        if used is not None and is_weight:
            owner = owners.get(name, name)
            weights.append(Weight(owner, name, parameter, used.macs // images, used.outputs, used.groups))
    computed: dict[str, int] = {}
    for sources, elements in watch.computed.items():
        label = next((owners.get(name, name) for name, p in names.items() if id(p) in sources), "")
        computed[label] = computed.get(label, 0) + elements
    return Usage(tuple(weights), parameters, computed, idle, complexes)


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
    return found


def named_layers(module: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Yield convolutions and linear layers that own their weight, with their names, in order of registration."""
    for name, layer in module.named_modules():
        if isinstance(layer, LAYERS) and "weight" in layer._parameters:
            yield name, layer


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def listed(names: dict[str, int]) -> str:
    """Return the first few names, and how many more there are."""
    shown = 3
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(list(names)[:shown]) + more


def _owners(module: nn.Module) -> dict[str, str]:
    """Return the names of layers by the names of their weights."""
    return {f"{name}.weight" if name else "weight": name for name, _ in named_layers(module)}


@dataclass
class _Use:
    macs: int = 0
    outputs: int = 0
    groups: int = 1


_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "_addmm_activation")
"""Operators that multiply their last two tensors as matrices."""

_OVER_POSITIONS = ("linear", "mkldnn_rnn_layer", "_native_multi_head_attention", "_transformer_encoder_layer_fwd")
"""Operators that apply each of their matrices at every position of the first tensor."""

_KEEP_ZEROS = (
    *("embedding", "index_select", "index", "gather", "slice", "select", "clone", "_to_copy", "cat", "stack", "repeat"),
    *("flip", "roll", "tril", "triu", "constant_pad_nd", "neg", "abs", "relu", "tanh", "round", "sign", "hardtanh"),
    *("fake_quantize_per_tensor_affine_cachemask", "fake_quantize_per_channel_affine_cachemask"),
    *("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "_fused_moving_avg_obs_fq_helper"),
)
"""Operators in whose result a zero of the parameter is still a zero."""


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own lacks types
    """Records which parameters meet an activation in some operator, and the multiply-adds of it.

    A tensor that depends on parameters and not on the input is a constant. Where its zeros are those of a parameter
    (a scaled kernel) it stands for that parameter; where they are not (a standardised one) it is a computed weight.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.uses: dict[int, _Use] = {}
        self.folded: set[int] = set()
        self.computed: dict[frozenset[int], int] = {}
        self._constants = {_storage(buffer) for buffer in module.buffers()}
        self._stands_for: dict[int, frozenset[int]] = {}
        self._computed_from: dict[int, frozenset[int]] = {}
        self._kept: list[torch.Tensor] = []  # a storage must not be freed while it is known by its address
        self._parameters = {id(parameter): parameter for parameter in module.parameters()}
        for key, parameter in self._parameters.items():
            storage = _storage(parameter)
            self._constants.add(storage)
            self._stands_for[storage] = self._stands_for.get(storage, frozenset()) | {key}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and record what it used."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        operator = func.overloadpacket.__name__
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        made = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
        if operator.startswith("new_") or operator.endswith("_like"):
            given = []  # only their shape and dtype are taken
        if all(_storage(tensor) in self._constants for tensor in given):
            self._fold(operator.rstrip("_"), args, given, made)
        else:
            self._use(operator, args, given, made)
        return output

    def _fold(self, operator: str, args: Any, given: list[torch.Tensor], made: list[torch.Tensor]) -> None:
        """Record what is made of constants, and of which parameters.

        A product of constants, as of a layer that is fed by a buffer, is computed at each call like any other.
        """
        if any(_multiply_adds(operator, args, tensor, given, made) for tensor in given if self._stands(tensor)):
            for tensor in given:
                self._record(operator, args, tensor, given, made)
            given = []
        sources: frozenset[int] = frozenset()
        for tensor in given:
            sources |= self._all_sources(tensor)
        kept = (
            given if operator in _KEEP_ZEROS else given[:1] if operator == "div" else given if operator == "mul" else []
        )
        for tensor in made:
            storage = _storage(tensor)
            if storage in self._constants:  # a view
                continue
            self._constants.add(storage)
            self._kept.append(tensor)
            same = [one for one in kept if operator in _KEEP_ZEROS or one.numel() == tensor.numel()]
            stands: frozenset[int] = frozenset()
            for one in same:
                stands |= self._stands_for.get(_storage(one), frozenset())
            if stands:
                self._stands_for[storage] = stands
            if sources - stands:
                self._computed_from[storage] = sources - stands

    def _stands(self, tensor: torch.Tensor) -> frozenset[int]:
        return self._stands_for.get(_storage(tensor), frozenset())

    def _record(
        self, operator: str, args: Any, tensor: torch.Tensor, given: list[torch.Tensor], made: list[torch.Tensor]
    ) -> None:
        """Record the use of the parameters that a tensor stands for; those that form one operand share its work."""
        keys = self._stands(tensor)
        macs = _multiply_adds(operator, args, tensor, given, made)
        elements = sum(self._parameters[key].numel() for key in keys)
        for key in keys:
            use = self.uses.setdefault(key, _Use())
            if macs:
                use.macs += macs * self._parameters[key].numel() // max(1, elements)
                use.outputs, use.groups = _layout(operator, args, tensor, given, self._parameters[key])

    def _all_sources(self, tensor: torch.Tensor) -> frozenset[int]:
        storage = _storage(tensor)
        return self._stands_for.get(storage, frozenset()) | self._computed_from.get(storage, frozenset())

    def _use(self, operator: str, args: Any, given: list[torch.Tensor], made: list[torch.Tensor]) -> None:
        for tensor in given:
            storage = _storage(tensor)
            if storage not in self._constants:
                continue
            self._record(operator, args, tensor, given, made)
            sources = self._computed_from.get(storage, frozenset())
            self.folded |= sources
            is_computed = sources and storage not in self._stands_for and tensor.ndim > 1
            if is_computed and _multiply_adds(operator, args, tensor, given, made):
                self.computed[sources] = tensor.numel()
        for tensor in made:  # an operator may have written into what was a constant
            if _storage(tensor) not in self._stands_for:
                self._constants.discard(_storage(tensor))


def _storage(tensor: torch.Tensor) -> int:
    """Return what views of one tensor have in common."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else id(tensor)


def _multiply_adds(
    operator: str, args: Any, weight: torch.Tensor, given: list[torch.Tensor], made: list[torch.Tensor]
) -> int:
    """Return the multiply-adds of one call in which a weight takes part."""
    if operator == "convolution":
        image, kernel, transposed = args[0], args[1], args[6]
        # Each weight is used once per output position; in a transposed convolution, once per input position. Channels
        # come second.
        of = image if transposed else made[0]
        return kernel.numel() * (of.numel() // of.shape[1]) if weight is kernel else 0
    if operator in _PRODUCTS:
        left, right = given[-2:]
        return made[0].numel() * left.shape[-1] if weight is left or weight is right else 0
    is_matrix = (operator in _OVER_POSITIONS and weight.ndim == 2) or (
        operator == "_trilinear" and weight is given[1]
    )  # a matrix
    if is_matrix and weight is not given[0]:
        return weight.numel() * (given[0].numel() // max(1, given[0].shape[-1]))
    return 0


def _layout(
    operator: str, args: Any, used: torch.Tensor, given: list[torch.Tensor], parameter: nn.Parameter
) -> tuple[int, int]:
    """Return the axis of a parameter along which output channels lie, and in how many groups."""
    if operator == "convolution":
        return (1, args[8]) if args[6] else (0, 1)
    # A matrix on the right has its outputs last, unless it was transposed for that.
    on_the_right = operator in _PRODUCTS and used is given[-1] and parameter.ndim == 2
    return (1, 1) if on_the_right and used.shape == parameter.shape and used.stride() == parameter.stride() else (0, 1)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keep transformers off the fused path, in which no single matrix shows."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
