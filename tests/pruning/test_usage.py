"""Weights are what a forward pass uses, whatever holds them; what it does not use is named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsemark.errors import UnsupportedError
from sparsemark.pruning import Request, prune
from sparsemark.pruning.weights import remarks, usage
from sparsemark.specs import PruneStep
from tests.small_networks import example


class Standardised(nn.Conv2d):
    """Subtracts the mean of its kernel at each call: a zero of the parameter is none of the kernel."""

    def forward(self, x):
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias)


class Scaled(nn.Linear):
    """Multiplies its matrix at each call, as equalised learning rates do: zeros stay zeros."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight * 0.5, self.bias)


def test_weights_that_are_computed_at_each_call_are_named_with_their_share():
    module = nn.Sequential(Standardised(2, 5, 1), nn.Flatten(), Scaled(5, 8, bias=False)).eval()
    used = usage(module, (torch.randn(1, 2, 1, 1),))
    assert [weight.key for weight in used.weights] == ["2.weight"]
    assert used.weights[0].macs == 40
    assert (used.computed, used.total) == ({"0": 10}, 50)
    assert remarks(used) == ["20 % of the weights are computed at each call and cannot be masked: 0"]


def test_a_network_of_computed_weights_is_refused():
    module = nn.Sequential(Standardised(8, 64, 1), nn.Flatten()).eval()
    with pytest.raises(UnsupportedError, match=r"^100 % of the weights are computed at each call .*: 0"):
        prune(module, Request(PruneStep("magnitude", 0.5), (torch.randn(1, 8, 1, 1),)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 6, num_layers=2, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Auxiliary(nn.Module):
    """A head that only training uses, and one that nothing does."""

    def __init__(self):
        super().__init__()
        self.a, self.head, self.aux = nn.Linear(12, 16), nn.Linear(16, 2), nn.Linear(16, 500)
        self.never = nn.Parameter(torch.randn(7, 7))

    def forward(self, x):
        h = self.a(x).relu()
        return (self.head(h), self.aux(h)) if self.training else self.head(h)


class Positions(nn.Module):
    """Parameters that are added and concatenated, and a table that is looked up by the position."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 1, 4))
        self.added, self.table = nn.Parameter(torch.randn(1, 4, 4)), nn.Embedding(9, 4)
        self.matrix, self.scale = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.ones(3))

    def forward(self, x):
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.added + self.table(torch.arange(4))
        return torch.einsum("btc,cd->btd", x, self.matrix) * self.scale


@pytest.mark.parametrize(
    ("module", "shape", "names", "macs"),
    [
        (
            Recurrent(),
            (2, 5, 4),
            [f"rnn.weight_{kind}_l{layer}" for layer in (0, 1) for kind in ("ih", "hh")] + ["head"],
            5 * (24 * 4 + 24 * 6 + 24 * 6 + 24 * 6) + 12,
        ),
        (Auxiliary(), (3, 12), ["a", "head"], 12 * 16 + 32),
        (Positions(), (2, 3, 4), ["first", "added", "matrix", "table.weight"], 4 * 12),
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            (2, 3, 8),
            ["self_attn.in_proj_weight", "self_attn.out_proj", "linear1", "linear2"],
            3 * (8 * 24 + 64 + 2 * 128),
        ),
        (nn.Bilinear(3, 4, 5), None, ["weight"], None),
    ],
)
def test_weights_are_what_runs_whatever_holds_them(module, shape, names, macs):
    inputs = (torch.randn(2, 3), torch.randn(2, 4)) if shape is None else (torch.randn(shape),)
    used = usage(module, inputs)
    assert {weight.name for weight in used.weights} == set(names)
    if macs is not None:
        assert sum(weight.macs for weight in used.weights) == macs
    before = sum(weight.parameter.numel() for weight in used.weights)
    found = prune(module, Request(PruneStep("magnitude", 0.9), inputs))
    assert sum(int((~kept).sum()) for kept in found.masks.values()) == round(0.9 * before)


def test_what_does_not_run_is_named_and_neither_pruned_nor_counted():
    module = Auxiliary()
    with torch.no_grad():
        module.aux.weight.mul_(1e-6)
    used = usage(module, (example("mlp"),))
    assert remarks(used) == ["not run, so neither pruned nor counted: never, aux"]
    assert sum(used.parameters.values()) == 12 * 16 + 16 + 32 + 2
    prune(module, Request(PruneStep("magnitude", 0.5), (example("mlp"),)))
    assert (module.aux.weight != 0).all()
    module = Auxiliary()
    prune(module, Request(PruneStep("channels", 0.5), (example("mlp"),)))
    assert module.a.out_features == 8


class Vain(nn.Module):
    """Heads that run in eval mode and are not returned, and one that only decides."""

    def __init__(self, way="plain"):
        super().__init__()
        self.way = way
        self.a, self.head, self.aside = nn.Linear(12, 16), nn.Linear(16, 2), nn.Linear(16, 500)
        self.gate, self.kernel = nn.Linear(16, 4), nn.Parameter(torch.randn(16, 9))

    def forward(self, x):
        h = self.a(x).relu_()
        aside = self.aside(h).view(len(x), 5, 100).mul_(2)
        torch.cat([aside.flatten(1), (h @ self.kernel)[:, :3]], 1).softmax(1)
        if self.way == "array":
            h = torch.from_numpy(h.numpy())
        return {"out": self.head(h if self.gate(h).sum().item() > 0 else -h), "none": None}


def test_what_no_output_depends_on_is_named_and_neither_pruned_nor_counted():
    module = Vain()
    used = usage(module, (example("mlp"),))
    assert remarks(used) == ["run, but no output depends on it, so neither pruned nor counted: kernel, aside"]
    assert [weight.key for weight in used.weights] == ["a.weight", "head.weight", "gate.weight"]
    assert sum(used.parameters.values()) == 12 * 16 + 16 + 32 + 2 + 64 + 4
    prune(module, Request(PruneStep("magnitude", 0.9), (example("mlp"),)))
    assert (module.aside.weight != 0).all()


def test_all_that_runs_counts_where_a_value_cannot_be_followed():
    assert usage(Vain("array"), (example("mlp"),)).vain == {}


def test_a_value_that_is_written_in_parts_depends_on_each():
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(12, 6), nn.Linear(12, 6)

        def forward(self, x):
            both = torch.zeros(len(x), 12)
            both[:, :6] = self.a(x)
            both[:, 6:].copy_(self.b(x))
            return both + torch.tensor(1.0)

    assert [weight.name for weight in usage(Parts(), (example("mlp"),)).weights] == ["a", "b"]


class Fed(nn.Module):
    """A layer that is fed by a buffer, as tables of relative positions are, and kernels that form one operand."""

    def __init__(self):
        super().__init__()
        self.register_buffer("grid", torch.randn(4, 3))
        self.table, self.q, self.k = nn.Linear(3, 6), nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(4, 6))

    def forward(self, x):
        return nn.functional.linear(x + self.table(self.grid).sum(0), torch.cat([self.q, self.k]))


def test_layers_fed_by_constants_run_and_kernels_of_one_operand_share_its_work():
    used = usage(Fed(), (torch.randn(1, 6),))
    assert {weight.name: weight.macs for weight in used.weights} == {"table": 4 * 18, "q": 12, "k": 24}
    assert (used.computed, used.idle) == ({}, {})


def test_a_network_without_layers_of_channels_says_so():
    with pytest.raises(UnsupportedError, match="no channels to remove"):
        prune(nn.Bilinear(3, 4, 5), Request(PruneStep("channels", 0.5), (torch.randn(2, 3), torch.randn(2, 4))))


def test_a_bilinear_layer_multiplies_at_every_position():
    used = usage(nn.Bilinear(3, 4, 5), (torch.randn(2, 3), torch.randn(2, 4)))
    assert [weight.macs for weight in used.weights] == [60]


def test_complex_weights_are_named():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.real, self.modes = nn.Linear(4, 4), nn.Parameter(torch.randn(3, 4, dtype=torch.complex64))

        def forward(self, x):
            return self.real(torch.fft.irfft(torch.fft.rfft(x) * self.modes.sum(1), n=4))

    assert remarks(usage(Spectral(), (torch.randn(1, 4),))) == ["complex, so neither pruned nor counted: modes"]
