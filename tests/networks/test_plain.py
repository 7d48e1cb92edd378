"""Plain form of a network: attachments are folded into the weights, the user's own object is left alone."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from sparsemark.errors import UserError
from sparsemark.networks.factory import build
from sparsemark.networks.plain import copied, plain
from sparsemark.specs import ModelSpec


def body():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def masked():
    module = body()
    torch_prune.l1_unstructured(module[0], "weight", 0.5)
    torch_prune.random_unstructured(module[3], "weight", 0.2)
    torch_prune.random_unstructured(module[3], "weight", 0.2)
    return module


def parametrised(norm):
    module = body()
    norm(module[0])
    return module.eval()


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def doubled():
    module = body()
    parametrize.register_parametrization(module[3], "weight", Doubled())
    return module


def sparse():
    module = body()
    module[3].weight = nn.Parameter(module[3].weight.detach().to_sparse())
    return module


CASES = {
    "masks": (masked, "masks of 2 weights made permanent"),
    "weight_norm": (lambda: parametrised(weight_norm), "folded into the weights: WeightNorm"),
    "old weight_norm": (lambda: parametrised(nn.utils.weight_norm), "folded into the weights: WeightNorm"),
    "spectral_norm": (lambda: parametrised(spectral_norm), "folded into the weights: SpectralNorm"),
    "old spectral_norm": (lambda: parametrised(nn.utils.spectral_norm), "folded into the weights: SpectralNorm"),
    "own": (doubled, "folded into the weights: Doubled"),
    "compiled": (lambda: torch.compile(body()), "unwrapped from torch.compile"),
    "parallel": (lambda: nn.DataParallel(body()), "unwrapped from DataParallel"),
    "both": (lambda: nn.DataParallel(torch.compile(body())), "unwrapped from torch.compile"),
    "nothing": (body, None),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
@pytest.mark.parametrize("name", CASES)
def test_a_plain_network_answers_the_same_and_has_the_names_of_a_plain_one(name):
    make, note = CASES[name]
    module = make()
    expected = module._orig_mod(X) if name == "compiled" else module(X)
    found, notes = plain(module, "m:f")
    assert notes == (() if note is None else (note,))
    torch.testing.assert_close(found(X), expected)
    assert set(found.state_dict()) == set(body().state_dict())
    assert all(isinstance(p, nn.Parameter) and p.is_leaf for p in found.parameters())
    found.load_state_dict(body().state_dict())
    torch.testing.assert_close(found(X), body()(X))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_dtype_is_cast_with_a_note_and_the_users_module_keeps_its_own(dtype):
    module = body().to(dtype)
    found, notes = plain(copied(module, "m:f"), "m:f")
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    assert {p.dtype for p in module.parameters()} == {dtype}
    assert notes == (f"cast to float32 from {str(dtype).removeprefix('torch.')}",)
    again, twice = plain(copied(module, "m:f"), "m:f")
    assert twice == notes
    assert torch.equal(again[0].weight, found[0].weight)


def test_sparse_tensors_are_made_dense():
    found, notes = plain(sparse(), "m:f")
    assert notes == ("1 sparse tensors made dense",)
    torch.testing.assert_close(found(X), body()(X))


def test_training_mode_is_kept_and_folding_takes_no_step_of_the_power_iteration():
    module = parametrised(spectral_norm).train()
    before = copy.deepcopy(module).eval()(X)
    found, _ = plain(module, "m:f")
    assert found.training
    torch.testing.assert_close(found.eval()(X), before)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.jit.script(body()), r"^m:f: returned a TorchScript module \(RecursiveScriptModule\)"),
        (lambda: torch.jit.trace(body(), X), r"^m:f: returned a TorchScript module"),
        (lambda: nn.Sequential(torch.jit.script(nn.Linear(2, 2))), r"its part 0\)"),
        (
            lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(2, 2))),
            r"returned a quantised module \(Linear, its part 0\)",
        ),
        (lambda: body().to("meta"), r"^m:f: parameters on the meta device have no values"),
    ],
)
def test_what_has_no_plain_form_is_refused_by_name(make, words):
    with pytest.raises(UserError, match=words):
        plain(make(), "m:f")


def test_extra_state_and_lazy_layers_stay():
    class Extra(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer = {"a": 1}, nn.LazyLinear(4)

        def get_extra_state(self):
            return self.table

        def set_extra_state(self, state):
            self.table = state

    found, notes = plain(Extra(), "m:f")
    assert notes == ()
    assert found.table == {"a": 1}
    assert found.layer(torch.zeros(1, 3)).shape == (1, 4)


def test_names_of_the_users_own_that_look_like_a_mask_are_left_alone():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight_orig = nn.Parameter(torch.ones(2, 2))
            self.register_buffer("weight_mask", torch.zeros(2, 2))

    found, notes = plain(Own(), "m:f")
    assert notes == ()
    assert found.weight_orig.all()


def test_a_copy_of_masks_that_are_attached_is_one():
    module = masked()
    found = copied(module, "m:f")
    assert not any(p is q for p in found.parameters() for q in module.parameters())
    torch.testing.assert_close(plain(found, "m:f")[0](X), module(X))
    assert torch_prune.is_pruned(module), "the user's own stays as it is"


class Locked(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.lock = threading.Lock()


class Closing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.call = lambda x: self.layer(x).relu()

    def forward(self, x):
        return self.call(x)


@pytest.mark.parametrize(
    ("make", "words"), [(Locked, "it cannot be copied: TypeError"), (Closing, "a function in it keeps that object")]
)
def test_the_same_object_each_time_that_has_no_copy_is_refused(make, words):
    with pytest.raises(UserError, match=f"^m:f: the factory returns the same object each time.*{words}"):
        copied(make(), "m:f")


SHARED = """
from torch import nn
INNER = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
def itself(): return INNER
def wrapped(): return nn.DataParallel(INNER)
def within(): return nn.Sequential(INNER, nn.ReLU())
def held(): layer = nn.Linear(2, 2); layer.weight = nn.Parameter(INNER[0].weight.detach()[:2]); return layer
"""


@pytest.mark.parametrize("factory", ["itself", "wrapped", "within", "held"])
def test_networks_of_one_factory_have_no_memory_in_common(factory, tmp_path):
    (tmp_path / "net.py").write_text(SHARED)
    model = ModelSpec("net", f"{tmp_path / 'net.py'}:{factory}", (1, 2))
    first = build(model)[0]
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert all(parameter.any() for parameter in build(model)[0].parameters())
