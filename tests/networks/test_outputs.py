"""Tensors are found in whatever a network returns, in order."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from sparsemark.networks.outputs import Flat, is_nested_plainly, output_tensors

A, B = torch.ones(1, 2), torch.zeros(1, 3)


@dataclass
class Out:
    logits: Any
    hidden: Any = None


Pair = namedtuple("Pair", "first second")


@pytest.mark.parametrize(
    ("value", "is_plain"),
    [
        ((A, B), True),
        ([A, [B, None]], True),
        ({"a": A, "b": {"c": B}}, True),
        (OrderedDict(a=A, b=B), False),
        (Out(A, B), False),
        (Out(A, [Out(B)]), False),
        (Pair(A, B), False),
        (SimpleNamespace(a=A, n=3, b=B), False),
        ((A, "text", 3, Out(B)), False),
    ],
)
def test_tensors_come_out_in_order(value, is_plain):
    found = output_tensors(value)
    assert [id(tensor) for tensor in found] == [id(A), id(B)]
    assert is_nested_plainly(value) is is_plain


def test_complex_tensors_are_two_reals():
    (found,) = output_tensors(torch.tensor([1 + 2j]))
    assert torch.equal(found, torch.tensor([[1.0, 2.0]]))
    assert not is_nested_plainly(torch.tensor([1j]))


def test_an_object_that_holds_itself_ends():
    value = SimpleNamespace(a=A)
    value.itself = value
    assert len(output_tensors(value)) == 1


@pytest.mark.parametrize("value", [None, 3, "x", (), {}, object(), nn.Linear(2, 2), torch])
def test_where_there_is_no_tensor_there_is_none(value):
    assert output_tensors(value) == []


def test_a_flat_network_returns_all_of_them():
    class Net(nn.Module):
        def forward(self, x, y):
            return {"a": Out(x + y), "b": x}

    got = Flat(Net())(A, A)
    assert [tuple(tensor.shape) for tensor in got] == [(1, 2), (1, 2)]
    assert torch.equal(got[0], 2 * A)
