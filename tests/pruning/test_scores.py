"""Scores against values computed by hand, and what is chosen by them."""

from __future__ import annotations

import copy
import itertools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sparsemark.errors import UserError
from sparsemark.pruning import Request, prune
from sparsemark.pruning.base import Calibration
from sparsemark.pruning.calibration import digest, gradient_magnitudes
from sparsemark.pruning.lamp import lamp_scores
from sparsemark.pruning.layout import blocks, outputs_first
from sparsemark.pruning.taylor import taylor_scores
from sparsemark.pruning.wanda import squared_inputs, wanda_scores
from sparsemark.pruning.weights import named_layers, prunable
from sparsemark.specs import PruneStep
from sparsemark.study.requirements import calibration_of
from sparsemark.study.task import Task
from tests.pruning.pruned import learnt_from, pruned, squares, zeros
from tests.small_networks import NETWORKS, build, example


def linear(*rows):
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer


def request(method="magnitude", sparsity=0.5, inputs=None, data=None):
    return Request(PruneStep(method, sparsity), (torch.ones(1, 2) if inputs is None else inputs,), data=data)


def scored(score, module, asked):
    return score(module, prunable(module, asked.inputs), asked)


def test_lamp_is_the_square_over_the_squares_that_are_no_smaller():
    scores, notes = scored(lamp_scores, linear([1.0, -2.0], [3.0, 0.5]), request())
    expected = [[1 / (1 + 4 + 9), 4 / (4 + 9)], [1.0, 0.25 / (0.25 + 1 + 4 + 9)]]
    torch.testing.assert_close(scores["weight"], torch.tensor(expected).double())
    assert notes == ()


def test_lamp_spares_the_layer_that_magnitude_would_empty():
    def network():
        return nn.Sequential(linear([0.1, 0.2], [0.3, 0.4]), linear([1.0, 2.0], [3.0, 4.0]))

    one, other = network(), network()
    prune(one, request("magnitude"))
    prune(other, request("lamp"))
    assert [int((layer.weight == 0).sum()) for layer in one] == [4, 0]
    assert [int((layer.weight == 0).sum()) for layer in other] == [2, 2]


def test_taylor_is_weight_times_gradient_as_a_mean_of_absolute_values_over_batches():
    """The loss is the sum of outputs, so the gradient of each weight is its input: 1 and 3, then -1 and 5."""
    batches = [(torch.tensor([[1.0, 3.0]]), None), (torch.tensor([[-1.0, 5.0]]), None)]
    data = Calibration("task.py", lambda: batches, lambda outputs, _: outputs.sum())
    module = linear([2.0, -1.0], [0.5, 4.0])
    scores, _ = scored(taylor_scores, module, request("taylor", data=data))
    torch.testing.assert_close(scores["weight"], torch.tensor([[2.0 * 1, 1.0 * 4], [0.5 * 1, 4.0 * 4]]))
    assert module.weight.grad is None
    prune(module, request("taylor", data=data))
    assert module.weight.tolist() == [[0.0, -1.0], [0.0, 4.0]]


def test_wanda_is_weight_times_norm_of_its_input_compared_within_an_output():
    batches = [(torch.tensor([[3.0, 1.0]]), None), (torch.tensor([[4.0, 0.0]]), None)]
    data = Calibration("task.py", lambda: batches, None)
    module = linear([1.0, -6.0], [1.0, 4.0])
    scores, notes = scored(wanda_scores, module, request("wanda", data=data))
    torch.testing.assert_close(scores["weight"], torch.tensor([[1.0 * 5, 6.0 * 1], [1.0 * 5, 4.0 * 1]]))
    assert notes == ()
    prune(module, request("wanda", data=data))
    assert module.weight.tolist() == [[0.0, -6.0], [1.0, 0.0]]


def test_input_norms_of_a_convolution_are_those_of_its_unfolded_input():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False)
    images = [torch.randn(2, 4, 9, 8), torch.randn(1, 4, 9, 8)]
    found = squared_inputs(layer, learnt_from(*images))["weight"]
    unfolded = [F.unfold(image, 3, dilation=2, padding=1, stride=2) for image in images]
    expected = sum(one.square().sum(dim=(0, 2)) for one in unfolded).reshape(2, 1, 2, 3, 3)
    torch.testing.assert_close(found, expected.expand(2, 3, 2, 3, 3).reshape(6, 2, 3, 3))


def test_wanda_names_what_it_scores_by_magnitude():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.matrix = nn.Linear(4, 4), nn.Parameter(torch.arange(16.0).reshape(4, 4) + 1)

        def forward(self, x):
            return self.layer(x) @ self.matrix

    inputs = torch.ones(1, 4)
    found = prune(Own(), request("wanda", inputs=inputs, data=learnt_from(inputs)))
    assert found.notes == ("wanda: scored by magnitude alone, since no layer shows their inputs: matrix",)


@pytest.mark.parametrize("network", NETWORKS)
def test_wanda_takes_as_many_of_every_output(network):
    module, _ = pruned(network, "wanda", 0.4)
    gone = zeros(module)
    for weight in prunable(build(network), (example(network),)):
        rows = outputs_first(weight, gone[weight.name]).flatten(1)
        assert set(rows.sum(dim=1).tolist()) == {4 * rows.shape[1] // 10}


@pytest.mark.parametrize("sparsity", [0.95, 0.9999])
@pytest.mark.parametrize("method", ["wanda", "random-wanda"])
def test_no_output_channel_loses_all_its_weights(method, sparsity):
    """To the nearest number, 95 % of a depthwise 3 x 3 would be all nine weights, and of 8 inputs all eight."""
    module, _ = pruned("mobile", method, sparsity)
    for _, layer in named_layers(module):
        assert layer.weight.flatten(1).any(dim=1).all()
    assert {int(row.count_nonzero()) for row in module[1][0].weight} == {1}


def test_counts_are_not_lowered_by_floating_point():
    """0.29 of 100 is 28.999999999999996."""
    module = nn.Linear(100, 2, bias=False)
    prune(module, request("random-wanda", 0.29, torch.ones(1, 100)))
    assert (module.weight == 0).sum(dim=1).tolist() == [29, 29]


def test_random_blocks_go_as_often_where_they_are_padded():
    """A block of four and one of one: one draw a value would take 42 % of the short ones and 27 % of the others."""
    module = nn.Linear(5, 6000, bias=False)
    prune(module, request("random-block4-layerwise", 0.3, torch.ones(1, 5)))
    gone = (module.weight == 0).float()
    assert gone[:, :4].mean() == pytest.approx(0.3, abs=0.02)
    assert gone[:, 4].mean() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(gone[:, 0], gone[:, 3])


def test_random_blocks_that_are_zero_already_come_first():
    module = nn.Linear(8, 50, bias=False)
    module.weight.data[:20, :4] = 0
    before = module.weight == 0
    prune(module, request("random-block4-layerwise", 0.3, torch.ones(1, 8)))
    assert (module.weight[before] == 0).all()
    assert int((module.weight == 0).sum()) == 120


def test_blocks_are_four_input_channels_at_one_output_and_place():
    module = nn.Sequential(nn.Conv2d(6, 2, (1, 2), bias=False), nn.Flatten(), nn.Linear(2, 1))
    (weight, _) = prunable(module, (torch.ones(1, 6, 1, 2),))
    places = blocks(weight)
    # Numbers of weight[output, channel, 0, column] are 12 output + 2 channel + column.
    assert places[0].tolist() == [0, 2, 4, 6]
    assert places[1].tolist() == [8, 10, -1, -1]
    assert places[2].tolist() == [1, 3, 5, 7]
    assert places.shape == (8, 4)
    assert sorted(places[places >= 0].tolist()) == list(range(24))


def test_blocks_of_the_smallest_mean_go_whole():
    module = linear([1.0, 1.0, 1.0, 9.0, 2.0, 2.0, 2.0, 2.0], [5.0] * 8)
    prune(module, request("block4", 0.25, torch.ones(1, 8)))
    assert module.weight.tolist() == [[1.0, 1.0, 1.0, 9.0, 0.0, 0.0, 0.0, 0.0], [5.0] * 8]


def test_layerwise_blocks_are_the_same_share_of_every_layer():
    module, _ = pruned("mlp", "block4-layerwise", 0.5)
    for (name, layer), (_, before) in zip(named_layers(module), named_layers(build("mlp")), strict=True):
        gone = (layer.weight == 0).reshape(-1, 4)
        assert torch.equal(gone.any(dim=1), gone.all(dim=1)), name
        assert int(gone.all(dim=1).sum()) == len(gone) // 2
        means = before.weight.abs().reshape(-1, 4).mean(dim=1)
        assert means[gone.all(dim=1)].max() <= means[~gone.all(dim=1)].min()


def test_two_of_four_keeps_the_two_largest_and_of_a_padded_block_two_as_well():
    module = linear([1.0, -4.0, 3.0, 2.0, 7.0, 5.0, 6.0], [8.0, 1.0, 1.5, -9.0, 0.1, 0.2, 0.3])
    found = prune(nn.Sequential(module), request("nm24", 0.5, torch.ones(1, 7)))
    expected = [[0.0, -4.0, 3.0, 0.0, 7.0, 0.0, 6.0], [8.0, 0.0, 0.0, -9.0, 0.0, 0.2, 0.3]]
    torch.testing.assert_close(module.weight.data, torch.tensor(expected))
    assert found.notes == ("nm24: input channels are no multiple of 4, so the last block is padded: 0",)


def test_two_of_four_by_rounds_does_the_cheapest_blocks_first():
    module = linear([5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 30.0, 40.0])
    prune(module, Request(PruneStep("nm24", 0.25), (torch.ones(1, 4),), more=True))
    assert module.weight.tolist() == [[5.0, 6.0, 7.0, 8.0], [0.0, 0.0, 30.0, 40.0]]
    prune(module, request("nm24", 0.5, torch.ones(1, 4)))
    assert module.weight.tolist() == [[0.0, 0.0, 7.0, 8.0], [0.0, 0.0, 30.0, 40.0]]


class Scaled(nn.Module):
    """Channel 1 has the smallest scale of BatchNorm, channel 2 the smallest norm, channel 0 the smallest gradient."""

    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Conv2d(1, 3, 1, bias=False), nn.BatchNorm2d(3), nn.Linear(3, 1)
        self.body.weight.data = torch.tensor([3.0, 2.0, 1.0]).reshape(3, 1, 1, 1)
        self.norm.weight.data = torch.tensor([0.5, 0.1, 0.9])
        self.head.weight.data = torch.tensor([[0.01, 4.0, 1.0]])

    def forward(self, x):
        return self.head(self.norm(self.body(x)).mean(dim=(2, 3)))


@pytest.mark.parametrize(("method", "gone"), [("channels-bn", 1), ("channels-taylor", 0)])
def test_channels_go_by_what_the_method_scores(method, gone):
    module, image = Scaled(), torch.ones(1, 1, 2, 2)
    found = prune(module, Request(PruneStep(method, 0.33), (image,), data=learnt_from(image)))
    assert found.plan == (("body", True, (gone,)),)
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("method", ["channels-bn", "random-channels-bn"])
def test_layers_without_a_batchnorm_stay_whole_and_are_named(method):
    module, found = pruned("plain", method, 0.3)
    assert found.notes == (f"{method}: nothing to score by, so all channels stay in 7",)
    assert module[7].out_features == 8
    assert module[0][0].out_channels < 6


def test_frozen_weights_have_a_gradient_and_stay_frozen():
    module = build("mlp")
    module[0].weight.requires_grad_(requires_grad=False)
    found = gradient_magnitudes(module, learnt_from(example("mlp")))
    assert found["0.weight"].abs().sum() > 0
    assert not module[0].weight.requires_grad


class Bare:
    """A task whose batches have no targets."""

    def images(self, part):
        return np.zeros((1, 12), np.float32)

    def score(self, outputs, part):
        return 0.0

    def batches(self, seed):
        yield torch.ones(1, 12)

    def loss(self, outputs, targets):
        return outputs.sum()


class Breaks(Bare):
    """One whose batches fail after the first."""

    def batches(self, seed):
        yield torch.ones(1, 12), 0.0
        yield 1 / 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Calibration("task.py", list, squares), "task.py: batches: yields nothing"),
        (Calibration("task.py", lambda: [(torch.ones(1, 5), 0.0)], squares), "task.py: batches: inputs that the netw"),
        (
            Calibration("task.py", lambda: [(example("mlp"), 0.0)], lambda *_: torch.tensor(1.0)),
            "task.py: loss: has no gradient",
        ),
        (calibration_of(Task(Breaks(), "task.py"), 0), "task.py: batches: failed: ZeroDivisionError"),
        (calibration_of(Task(Bare(), "task.py"), 0), "task.py: batches: yields Tensor; expected pairs of inputs and"),
    ],
)
def test_data_that_do_not_do_are_one_line(data, words):
    with pytest.raises(UserError, match=words):
        prune(build("mlp"), Request(PruneStep("taylor", 0.5), (example("mlp"),), data=data))


def test_digest_tells_batches_apart():
    first, second = torch.tensor([[1.0]]), torch.tensor([[2.0]])
    digests = [digest(learnt_from(*inputs)) for inputs in ((first,), (second,), (first, second), (first,))]
    assert digests[0] == digests[3]
    assert all(one != other for one, other in itertools.combinations(digests[:3], 2))


class Box:
    """A target of a user's own class."""

    def __init__(self, value):
        self.value = value


DIFFERENT = [
    torch.zeros(2, 2),
    torch.zeros(1, 4),
    torch.zeros(2, 2, dtype=torch.float64),
    torch.zeros(2, 2, dtype=torch.bfloat16),
    torch.zeros(2, 2, dtype=torch.int32),
    torch.ones(2, 2, dtype=torch.bfloat16),
    torch.tensor(0.0),
    np.zeros((2, 2), np.float32),
    np.zeros((4,), np.float32),
    np.float32(0),
    {"a": torch.zeros(2, 2)},
    {"b": torch.zeros(2, 2)},
    0,
    0.0,
    "0",
    None,
    Box(1),
]


def test_digest_tells_shapes_dtypes_and_places_apart():
    def of(target):
        return digest(Calibration("task.py", lambda: [(torch.ones(1, 2), target)], squares))

    digests = [of(target) for target in DIFFERENT]
    assert len(set(digests)) == len(digests)
    assert [of(copy.deepcopy(target)) for target in DIFFERENT] == digests
    # Objects count by their class: their text holds an address.
    assert of(Box(1)) == of(Box(2))
    assert of(np.array([Box(1)])) == of(np.array([Box(1)]))
    assert of(torch.eye(3).to_sparse()) != of(torch.zeros(3, 3).to_sparse())


def test_batches_are_the_same_whatever_was_drawn_before():
    data = TensorDataset(torch.arange(12.0).reshape(6, 2), torch.zeros(6))

    def batches():
        for inputs, targets in DataLoader(data, batch_size=2, shuffle=True):
            yield inputs * (1 + np.random.rand()) + random.random(), targets  # noqa: NPY002 - as users' code has it

    def of(seed):
        return digest(Calibration("task.py", batches, squares, seed))

    first = of(1)
    torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002 - as above
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 - as above
    assert of(1) == first
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002 - as above
    assert random.getstate() == states[2]
    assert of(2) != first


@pytest.mark.parametrize("method", ["taylor", "wanda", "lamp"])
def test_zeros_of_an_earlier_round_count_though_other_scores_are_zero_too(method):
    """The second input is always zero, so its weights score nothing."""
    module = linear([0.0, 5.0, 1.0, 2.0], [0.0, 5.0, 1.0, 2.0])
    inputs = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    prune(module, request(method, 0.25, inputs, learnt_from(inputs)))
    assert int((module.weight == 0).sum()) == 2
    assert module.weight[:, 1].all()
