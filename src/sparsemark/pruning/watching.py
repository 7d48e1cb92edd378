"""Which parameters meet an activation in a forward pass, with what work, and whether an output depends on it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sparsemark.networks.outputs import output_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn


@dataclass
class Use:
    """Work of a parameter in a pass, and how its output channels lie, as in `sparsemark.pruning.weights.Weight`."""

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


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own lacks types
    """Records which parameters meet an activation in some operator, and the multiply-adds of it.

    A tensor that depends on parameters and not on the input is a constant. Where its zeros are those of a parameter
    (a scaled kernel) it stands for that parameter; where they are not (a standardised one) it is a computed weight.

    Every other tensor is a value, made from values and parameters: what no output is made from is computed in vain.

    Args:
        module: the network.
        inputs: what it is called with.

    Attributes:
        uses: work of the parameters that meet an activation, by id.
        folded: ids of the parameters that are part of a computed weight.
        computed: elements of computed weights, by the ids that they are computed from.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.uses: dict[int, Use] = {}
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
        self._addresses: list[StorageWeakRef] = []  # the address of a value that is gone must not be another's
        self._values = {_storage(one): number for number, one in enumerate(inputs)}
        self._made_from: list[set[int]] = [set() for _ in inputs]
        self._met: list[set[int]] = [set() for _ in inputs]
        self._read: set[int] = set()  # values that Python itself has read, and may have decided by
        self._always: set[int] = set()  # parameters that meet a constant
        self._traceable = True

    def effective(self, outputs: Any) -> frozenset[int]:
        """Return the ids of the parameters that an output depends on: all that were used where that cannot be told.

        Args:
            outputs: what the network returned.
        """
        tensors = output_tensors(outputs)
        found = set(self._always)
        reached: set[int] = set()
        waiting = set(self._read)
        for tensor in tensors:
            storage = _storage(tensor)
            found |= self._all_sources(tensor)
            if storage in self._values:
                waiting.add(self._values[storage])
            elif storage not in self._constants:
                self._traceable = False
        if not tensors or not self._traceable:
            return frozenset(self._parameters)
        while waiting:
            value = waiting.pop()
            reached.add(value)
            found |= self._met[value]
            waiting |= self._made_from[value] - reached
        return frozenset(found)

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
                self._always |= self._all_sources(tensor)
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
            use = self.uses.setdefault(key, Use())
            if macs:
                use.macs += macs * self._parameters[key].numel() // max(1, elements)
                use.outputs, use.groups = _layout(operator, args, tensor, given, self._parameters[key])

    def _all_sources(self, tensor: torch.Tensor) -> frozenset[int]:
        storage = _storage(tensor)
        return self._stands_for.get(storage, frozenset()) | self._computed_from.get(storage, frozenset())

    def _use(self, operator: str, args: Any, given: list[torch.Tensor], made: list[torch.Tensor]) -> None:
        self._connect(operator, given, made)
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

    def _connect(self, operator: str, given: list[torch.Tensor], made: list[torch.Tensor]) -> None:
        """Record what values are made from. Views of a value, and what is written into it, are that value."""
        values: set[int] = set()
        met: set[int] = set()
        for tensor in given:
            storage = _storage(tensor)
            met |= self._all_sources(tensor)
            if storage in self._values:
                values.add(self._values[storage])
            elif storage not in self._constants and not (operator == "lift_fresh" and tensor.ndim == 0):
                self._traceable = False  # of an array of NumPy; what Python reads by `item` is known
        if not made:
            self._read |= values
        before = {_storage(tensor) for tensor in given}
        for tensor in made:
            storage = _storage(tensor)
            if storage not in before or storage not in self._values:
                self._values[storage] = len(self._made_from)
                if tensor.layout is torch.strided:
                    self._addresses.append(StorageWeakRef(tensor.untyped_storage()))  # type: ignore[no-untyped-call]  # as above
                self._made_from.append(set())
                self._met.append(set())
            self._made_from[self._values[storage]] |= values
            self._met[self._values[storage]] |= met


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
def plain_attention() -> Iterator[None]:
    """Keep transformers off the fused path, in which no single matrix shows."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
