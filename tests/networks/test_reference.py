"""The float64 reference is the network itself, whether it is rebuilt from a checkpoint or read from an ONNX file."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.errors import NoFloat64Error, UnsupportedError
from sparsemark.networks.checkpoint import Checkpoint, Header, save_checkpoint
from sparsemark.networks.factory import build_model
from sparsemark.networks.reference import float64_outputs, spread
from sparsemark.networks.source import Source
from sparsemark.specs import ModelSpec, Variant
from tests.small_networks import artifact, batches, build, images, reference, source


def test_reference_is_the_network_in_float64():
    module = build("residual").double()
    inputs = batches("residual", 2)
    with torch.no_grad():
        expected = torch.cat([module(torch.from_numpy(image).double()) for (image,) in inputs]).numpy()
    found = float64_outputs(source("residual"), inputs)
    (got,) = found.outputs
    assert found.notes == ()
    assert sorted(found.chosen) == [0, 1]
    expected = expected[list(found.chosen)]
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("network", ["plain", "unet", "odd", "mlp"])
def test_reference_of_an_onnx_file_agrees_with_that_of_its_checkpoint(network):
    """Closer than float32 can, so float64 it is; except where BatchNorm was folded into float32 weights."""
    exported = artifact(network, "none", "onnx")
    got = float64_outputs(Source(source(network).model, exported.path), batches(network)).outputs
    for one, other in zip(got, reference(network, "none").outputs, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= (1e-6 if network in ("plain", "unet") else 1e-8) * np.abs(other).max()


def test_references_agree_between_formats():
    """What every engine is compared with does not depend on the file: unet's own outputs, computed by torch."""
    module = build("unet").double()
    with torch.no_grad():
        expected = [module(torch.from_numpy(images("unet")[i]).double()) for i in reference("unet", "none").chosen]
    for index, output in enumerate(reference("unet", "none").outputs):
        np.testing.assert_allclose(output, torch.cat([one[index] for one in expected]).numpy(), rtol=1e-12)


NETWORKS_OF_OTHER_DTYPES = """
import torch
from torch import nn
from torch.nn import functional as F
class Net(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.body, self.rnn = how, nn.Linear(6, 6), nn.GRUCell(6, 6)
        self.register_buffer("steps", torch.tensor([1, 2]))
    def forward(self, x):
        if self.how == "float": x = x.float() / 3
        if self.how == "to": x = (x / 3).to(torch.float32).type(torch.FloatTensor)
        if self.how == "zeros": x = x / 3 + torch.zeros(1) + torch.full((1,), 0.1) + torch.arange(6).float()
        if self.how == "state": x = self.rnn(x / 3, torch.zeros(len(x), 6))
        if self.how == "softmax": x = F.softmax(x, 1, dtype=torch.float32)
        if self.how == "integers": x = x / self.steps[1] + torch.tensor(3) // 2
        if self.how == "bfloat16": x = (x / 3).to(torch.bfloat16)
        if self.how == "autocast":
            with torch.autocast("cpu", torch.bfloat16): return self.body(x / 3).float()
        if self.how == "attention":
            x = (x.float() / 3)[None, None]
            x = F.scaled_dot_product_attention(x, x, x)[0, 0]
        if self.how == "generator":
            x = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        if self.how == "random": x = F.dropout(x.repeat(32, 1), 0.5)  # so many that no two draws are alike
        if self.how == "writes": x.div_(3.0)
        if self.how == "seeded": torch.manual_seed(0); x = x + torch.randn_like(x)
        if self.how == "shapes": x = x[x[:, 0] > 0]
        if self.how == "stateful": self.steps += 1; x = x * self.steps[0]
        if self.how == "numpy": x = torch.from_numpy(x.numpy().astype("float32"))
        return self.body(x.float() if self.how == "bfloat16" else x)
"""


@pytest.fixture
def of_kind(tmp_path):
    def make(how, count=3):
        (tmp_path / "net.py").write_text(NETWORKS_OF_OTHER_DTYPES + f"\ndef {how}(): return Net({how!r})\n")
        model = ModelSpec(how, f"{tmp_path / 'net.py'}:{how}", (2, 6))
        path = tmp_path / "net.safetensors"
        module = build_model(model)
        save_checkpoint(path, Checkpoint(Header(Variant(model)), module.state_dict()))
        x = np.random.default_rng(0).standard_normal((count, 2, 6), dtype=np.float32)
        return module.eval(), Source(model, path), [(one,) for one in x]

    yield make
    for name in [n for n, m in sys.modules.items() if getattr(m, "__file__", None) == str(tmp_path / "net.py")]:
        del sys.modules[name]


@pytest.mark.parametrize("how", ["float", "to", "zeros", "state", "softmax", "integers", "writes", "attention"])
def test_networks_that_name_a_dtype_themselves_are_computed_in_float64(how, of_kind):
    module, source, inputs = of_kind(how)
    kept = [one.copy() for (one,) in inputs]
    found = float64_outputs(source, inputs)
    (outputs,) = found.outputs
    assert found.notes == ()
    assert outputs.dtype == np.float64
    assert (outputs.astype(np.float32) != outputs).any(), "no float32 on the way out"
    with torch.no_grad():
        single = torch.cat([module(torch.from_numpy(inputs[i][0].copy())) for i in found.chosen]).numpy()
    assert 0 < np.abs(outputs - single).max() < 1e-6 * np.abs(outputs).max()
    assert all(np.array_equal(one, before) for (one,), before in zip(inputs, kept, strict=True))
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_a_network_that_computes_in_16_bits_is_named(how, of_kind):
    _, source, inputs = of_kind(how)
    found = float64_outputs(source, inputs)
    assert found.notes == ("the network computes in bfloat16 itself, the reference in float64",)


@pytest.mark.parametrize("how", ["random", "stateful"])
def test_a_network_that_answers_in_two_ways_is_named_and_no_engine(how, of_kind):
    _, source, inputs = of_kind(how)
    with pytest.raises(UnsupportedError, match="different answers to one input in eval mode"):
        float64_outputs(source, inputs)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("seeded", r"draws random numbers in eval mode \(randn_like\)"),
        ("generator", r"draws random numbers in eval mode \(randn\)"),
        ("shapes", "depends on the values of its input"),
    ],
)
def test_what_engines_cannot_be_compared_on_is_named(how, words, of_kind):
    _, source, inputs = of_kind(how, 8)
    with pytest.raises(UnsupportedError, match=words):
        float64_outputs(source, inputs)


def test_a_network_that_float64_is_impossible_for_says_why(of_kind):
    _, source, inputs = of_kind("numpy")
    with pytest.raises(NoFloat64Error, match="RuntimeError"):
        float64_outputs(source, inputs)


def test_batches_are_run_while_there_is_time_but_never_fewer_than_eight(of_kind):
    _, source, inputs = of_kind("float", 20)
    few, all_of_them = float64_outputs(source, inputs, 0.0), float64_outputs(source, inputs)
    assert len(few.chosen) == 8
    assert few.chosen == all_of_them.chosen[:8]
    assert sorted(all_of_them.chosen) == list(range(20))
    np.testing.assert_array_equal(few.outputs[0], all_of_them.outputs[0][: 8 * 2])


@given(st.integers(1, 200))
@settings(deadline=None)
def test_every_beginning_of_the_order_is_spread_over_all(count):
    order = spread(count)
    assert sorted(order) == list(range(count))
    for length in (4, 8, 16):
        if length < count:
            gaps = np.diff([-1, *sorted(order[:length]), count])
            assert gaps.max() <= 3 * count / length + 1
