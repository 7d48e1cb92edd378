"""A cast in the forward pass that float32 weights cannot follow is named, and the input is not blamed for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sparsemark.errors import UserError
from sparsemark.networks.factory import build_model, check_input, example_inputs
from sparsemark.networks.plain import plain
from sparsemark.specs import ModelSpec

MODEL = ModelSpec("m", "m:f", (2, 6))
DTYPES = [torch.bfloat16, torch.float16, torch.float64]


def name_of(dtype):
    return str(dtype).removeprefix("torch.")


class Island(nn.Module):
    """A float32 network that casts its input for one layer, and casts the answer back."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype
        self.first, self.middle, self.last = nn.Linear(6, 8), nn.Linear(8, 8).to(dtype), nn.Linear(8, 3)

    def forward(self, x):
        x = self.middle(self.first(x).to(self.dtype)).float()
        return self.last(x).double().float()  # a cast behind the one that fails


class Following(Island):
    """Casts to whatever the layer has."""

    def forward(self, x):
        return self.last(self.middle(self.first(x).to(self.middle.weight.dtype)).float())


class Functional(Island):
    """Calls no layer with what it casts."""

    def forward(self, x):
        middle = self.middle
        return self.last(nn.functional.linear(self.first(x).to(self.dtype), middle.weight, middle.bias).float())


class Stacked(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(6, 6), Island(dtype))

    def forward(self, x):
        return self.blocks(x)


def refusal(module, model=MODEL):
    with pytest.raises(UserError) as caught:
        check_input(plain(module, "m:f")[0], model)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_layer_in_another_dtype_is_named_with_the_cast_and_what_to_do(dtype):
    line = refusal(Island(dtype))
    assert line.startswith(
        f"m:f: its forward (Island) computes in {name_of(dtype)}, but the weights of its part middle (Linear) are "
        "float32 here: mat1 and mat2 must have the same dtype"
    )
    assert line.endswith("; expected a cast to the dtype of the weights, as in x.to(layer.weight.dtype)")
    assert "does not fit" not in line


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_expected_is_accepted(dtype):
    module = Following(dtype)
    expected = module(*example_inputs(MODEL))
    found, notes = plain(module, "m:f")
    check_input(found, MODEL)
    assert notes == (f"cast to float32 from {name_of(dtype)}",)
    torch.testing.assert_close(found(*example_inputs(MODEL)), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_whole_network_in_another_dtype_that_casts_its_input_is_named_too(dtype):
    assert f"its forward (Island) computes in {name_of(dtype)}, but the weights" in refusal(Island(dtype).to(dtype))


def test_the_part_that_casts_is_named_by_its_path():
    assert refusal(Stacked(torch.bfloat16)).startswith(
        "m:f: its part blocks.1 (Island) computes in bfloat16, but the weights of its part blocks.1.middle (Linear) are"
    )


def test_weights_that_are_used_outside_of_their_layer_are_those_of_the_part_that_runs():
    assert "computes in bfloat16, but the weights of its forward (Functional)" in refusal(Functional(torch.bfloat16))


def test_a_dtype_that_no_operator_was_asked_for_is_the_layers_that_meets_it():
    class Window(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.window = nn.Linear(6, 2), torch.from_numpy(np.hanning(6))

        def forward(self, x):
            return self.layer(x * self.window)

    assert "it computes in another dtype, but the weights of its part layer (Linear)" in refusal(Window().double())


@pytest.mark.parametrize("module", [nn.Linear(5, 2), Island(torch.bfloat16)])
def test_inputs_that_do_not_fit_are_the_inputs_fault(module):
    """Whatever it casts: without the cast the network would fail as well."""
    assert "m:f: input 2,7 does not fit this network" in refusal(module, ModelSpec("m", "m:f", (2, 7)))


def test_the_network_is_left_in_float32_and_without_hooks():
    module = plain(Island(torch.bfloat16), "m:f")[0]
    for _ in range(2):
        with pytest.raises(UserError, match="computes in bfloat16"):
            check_input(module, MODEL)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_the_reason_comes_through_the_factory(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Half(nn.Linear):\n"
        "    def forward(self, x): return super().forward(x.half()).float()\n"
        "def build(): return Half(6, 2).half()\n"
    )
    model = ModelSpec("half", f"{tmp_path / 'net.py'}:build", (2, 6))
    with pytest.raises(
        UserError, match=r"net\.py:build: its forward \(Half\) computes in float16, but the weights of "
    ):
        check_input(build_model(model), model)
