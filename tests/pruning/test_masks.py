"""Zeros that are written into the weights are held through training, whichever module uses them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from sparsemark.errors import UserError
from sparsemark.networks.outputs import output_tensors
from sparsemark.networks.plain import without_masks
from sparsemark.pruning import Request, prune
from sparsemark.pruning.masks import apply, held, joined, zeros_of
from sparsemark.specs import PruneStep
from tests.small_networks import build, example


class Packed(nn.Module):
    """Weights that no convolution or linear layer of its own holds: recurrent, packed, tied, and a bare matrix."""

    def __init__(self):
        super().__init__()
        self.table, self.rnn = nn.Embedding(6, 8), nn.GRU(8, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.matrix = nn.Parameter(torch.randn(8, 8))
        self.head = nn.Linear(8, 6, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        y, _ = self.rnn(x @ self.matrix)
        return self.head(self.attention(y, y, y)[0])


def network(name):
    if name != "packed":
        return build(name), example(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Packed(), torch.randn(2, 5, 8)


def zeros(module):
    return {name: parameter.detach() == 0 for name, parameter in module.named_parameters() if parameter.ndim > 1}


def train(module, x, optimizer):
    for _ in range(3):
        optimizer.zero_grad()
        sum(tensor.square().sum() for tensor in output_tensors(module.train()(x))).backward()
        optimizer.step()


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["plain", "unet", "grouped", "mlp", "packed"])
def test_masked_weights_stay_zero_and_others_learn(name, optimizer):
    module, x = network(name)
    masks = prune(module, Request(PruneStep("magnitude", 0.5), (x,))).masks
    before, weights = zeros(module), {n: p.detach().clone() for n, p in module.named_parameters()}
    assert {n: (~kept).sum() for n, kept in masks.items()} == {n: before[n].sum() for n in masks}
    with held(module, masks, "training"):
        train(module, x, OPTIMIZERS[optimizer](module.parameters()))
    for n, mask in before.items():
        assert torch.equal(zeros(module)[n], mask), n
    assert all(not torch.equal(p, weights[n]) for n, p in module.named_parameters() if n in masks), "nothing moved"
    assert set(module.state_dict()) == set(network(name)[0].state_dict())


def test_zeros_that_are_not_held_come_back_and_are_named():
    module, x = network("plain")
    masks = prune(module, Request(PruneStep("magnitude", 0.5), (x,))).masks
    train(module, x, OPTIMIZERS["sgd"](module.parameters()))
    assert not all(zeros(module)[n][~kept].all() for n, kept in masks.items())
    with pytest.raises(UserError, match=r"^mine: .* has values where its mask has zeros"), held(module, masks, "mine"):
        pass


def test_gradients_are_free_again_after_the_block():
    module, x = network("plain")
    masks = prune(module, Request(PruneStep("magnitude", 0.5), (x,))).masks
    with held(module, masks, "training"):
        pass
    sum(t.sum() for t in output_tensors(module(x))).backward()
    grads = [p.grad[~masks[n]] for n, p in module.named_parameters() if n in masks]
    assert any(bool((grad != 0).any()) for grad in grads)


def test_frozen_weights_are_held_as_they_are():
    module, x = network("mlp")
    masks = prune(module, Request(PruneStep("magnitude", 0.5), (x,))).masks
    module[0].weight.requires_grad_(requires_grad=False)
    with held(module, masks, "training"):
        train(module, x, OPTIMIZERS["sgd"]([p for p in module.parameters() if p.requires_grad]))
    assert (zeros(module)["0.weight"] == ~masks["0.weight"]).all()


def test_masks_are_joined_by_what_either_zeroes():
    one = {"a": torch.tensor([True, False, True]), "b": torch.tensor([True])}
    other = {"a": torch.tensor([False, True, True]), "c": torch.tensor([False])}
    both = joined(one, other)
    assert {name: kept.tolist() for name, kept in both.items()} == {
        "a": [False, False, True],
        "b": [True],
        "c": [False],
    }


def test_zeros_of_a_network_are_masks_of_themselves():
    module, x = network("plain")
    prune(module, Request(PruneStep("magnitude", 0.5), (x,)))
    names = [name for name, p in module.named_parameters() if p.ndim > 1]
    masks = zeros_of(module, names)
    assert {name: mask.tolist() for name, mask in zeros(module).items()} == {n: (~m).tolist() for n, m in masks.items()}
    apply(module, {names[0]: torch.zeros_like(masks[names[0]])})
    assert zeros(module)[names[0]].all()


def test_masks_that_another_pruner_attached_are_written_and_returned():
    module = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 3))
    torch_prune.l1_unstructured(module[0], "weight", 0.5)
    torch_prune.l1_unstructured(module[1], "weight_hh_l0", 0.25)
    torch_prune.random_unstructured(module[0], "bias", 1)
    masks = without_masks(module)
    assert {name: int((~kept).sum()) for name, kept in masks.items()} == {
        "0.weight": 8,
        "1.weight_hh_l0": 9,
        "0.bias": 1,
    }
    assert not torch_prune.is_pruned(module)
    assert set(module.state_dict()) == set(nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 3)).state_dict())
    assert int((module[0].weight == 0).sum()) == 8
    assert without_masks(module) == {}
