"""Outputs of a network as tensors, however it returns them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator


def output_tensors(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors among what a network returns, in order.

    A tensor, or any nesting of tuples, lists, mappings, dataclasses and objects with attributes; None and plain values
    are left out. Complex tensors become real ones with a last axis of two.
    """
    return [
        torch.view_as_real(tensor).contiguous() if tensor.is_complex() else tensor for tensor in _walk(outputs, set())
    ]


def is_nested_plainly(outputs: Any) -> bool:
    """Return whether the outputs are what exporters take: real tensors in tuples, lists and dictionaries."""
    if isinstance(outputs, torch.Tensor):
        return not outputs.is_complex()
    if type(outputs) in (tuple, list):
        return all(map(is_nested_plainly, outputs))
    if type(outputs) is dict:
        return all(map(is_nested_plainly, outputs.values()))
    return outputs is None


class Flat(nn.Module):
    """A network with its outputs in one flat tuple, for exporters and compilers that know no other nesting."""

    PREFIX = "inner."
    """What stands before the names of the network's own parameters."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return every output tensor of the network."""
        return tuple(output_tensors(self.inner(*inputs)))


def _walk(value: Any, above: set[int]) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
        return
    if id(value) in above or isinstance(value, type | ModuleType | FunctionType | nn.Module):
        return
    above = above | {id(value)}
    for part in _parts(value):
        yield from _walk(part, above)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, tuple | list):
        yield from value
    elif dataclasses.is_dataclass(value):
        yield from (getattr(value, field.name) for field in dataclasses.fields(value))
    elif hasattr(value, "__dict__"):
        yield from vars(value).values()
