"""Rounds of a pruning rise to the sparsity that was asked, and share the same total of fine-tuning."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.pruning import Request, prune
from sparsemark.pruning.schedules import GRADUAL_ROUNDS, ITERATIVE_ROUNDS, rounds
from sparsemark.pruning.weights import named_layers
from sparsemark.specs import GRADUAL, ITERATIVE, ONE_SHOT, SCHEDULES, PruneStep, Pruning
from tests.small_networks import build, example

MOST = {ONE_SHOT: 1, ITERATIVE: ITERATIVE_ROUNDS, GRADUAL: GRADUAL_ROUNDS}
STEPS = st.sampled_from(
    [PruneStep("channels", 0.5, 16), PruneStep("filters", 0.2), PruneStep("all-ones"), PruneStep("random", 0.3)]
)
LAST = st.builds(PruneStep, st.sampled_from(["magnitude", "channels", "random"]), st.floats(0.001, 0.999))
ANY = st.builds(
    lambda before, last, schedule: Pruning((*before, last), schedule),
    st.lists(STEPS, max_size=3),
    LAST,
    st.sampled_from(SCHEDULES),
)


def enough(pruning, epochs):
    """Whether a schedule has at least two rounds, each with an epoch."""
    return pruning.schedule == ONE_SHOT or epochs > len(pruning.steps)


@given(ANY, st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_every_schedule_spends_all_epochs_and_ends_at_the_step_that_was_asked(pruning, epochs):
    assume(enough(pruning, epochs))
    found = rounds(pruning, epochs)
    assert sum(one.epochs for one in found) == epochs
    assert found[-1].step == pruning.steps[-1]
    assert all(one.epochs >= 0 for one in found)
    if epochs >= len(pruning.steps):
        assert all(one.epochs >= 1 for one in found), "a round without fine-tuning is none"
    assert max(one.epochs for one in found) == found[-1].epochs


@given(ANY, st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_earlier_steps_are_applied_once_and_the_last_one_in_rounds_that_rise(pruning, epochs):
    assume(enough(pruning, epochs))
    *before, last = pruning.steps
    found = rounds(pruning, epochs)
    once, several = found[: len(before)], found[len(before) :]
    assert [one.step for one in once] == before
    assert all(one.first and one.last for one in once)
    assert len(several) == max(1, min(MOST[pruning.schedule], epochs - len(before)))
    assert {(one.step.method, one.step.round_to) for one in several} == {(last.method, last.round_to)}
    sparsities = [one.step.sparsity for one in several]
    assert all(lower < higher for lower, higher in itertools.pairwise([0.0, *sparsities]))
    assert [one.first for one in several] == [True] + [False] * (len(several) - 1)
    assert [one.last for one in several] == [False] * (len(several) - 1) + [True]


def test_dense_has_no_round():
    assert rounds(Pruning(), 6) == []


@pytest.mark.parametrize("method", ["magnitude", "channels"])
def test_one_shot_is_the_step_itself_to_the_last_bit(method):
    """Or a study's channels would be cut at another ratio than before."""
    for sparsity in (0.1, 0.3, 0.7, 0.9):
        (only,) = rounds(Pruning.of(method, sparsity), 6)
        assert (only.step, only.epochs, only.first, only.last) == (PruneStep(method, sparsity), 6, True, True)


def test_iterative_takes_the_same_share_of_what_is_left_each_time():
    sparsities = [one.step.sparsity for one in rounds(Pruning.of("magnitude", 0.9, schedule=ITERATIVE), 6)]
    assert [round(100 * sparsity) for sparsity in sparsities] == [54, 78, 90]
    left = [1.0, *(1 - sparsity for sparsity in sparsities)]
    shares = [after / before for before, after in itertools.pairwise(left)]
    assert shares == pytest.approx([shares[0]] * 3)


def test_gradual_follows_the_cubic_schedule():
    found = rounds(Pruning.of("magnitude", 0.8, schedule=GRADUAL), 20)
    assert [one.step.sparsity for one in found] == pytest.approx([0.8 * (1 - (1 - t / 8) ** 3) for t in range(1, 9)])
    assert [one.epochs for one in found] == [2] * 7 + [6]


def test_fewer_epochs_than_rounds_leave_rounds_out():
    for epochs in range(2, 12):
        found = rounds(Pruning.of("magnitude", 0.8, schedule=GRADUAL), epochs)
        assert len(found) == min(epochs, GRADUAL_ROUNDS)
        assert found[-1].step.sparsity == 0.8
    composed = rounds(Pruning.parse("gradual-channels:0.5+magnitude:0.8"), 3)
    assert [(one.step.method, one.step.sparsity, one.epochs) for one in composed] == [
        ("channels", 0.5, 1),
        ("magnitude", pytest.approx(0.7), 1),
        ("magnitude", 0.8, 1),
    ]


@given(ANY, st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_a_schedule_of_one_round_is_refused_for_it_would_be_one_shot_under_another_name(pruning, epochs):
    if enough(pruning, epochs):
        assert rounds(pruning, epochs)
    else:
        with pytest.raises(UserError, match=rf"{epochs} epochs of fine-tuning; a schedule needs at least"):
            rounds(pruning, epochs)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def apply(module, image, text, epochs=20):
    """Apply all rounds, as preparation does, and yield the module after each."""
    whole = 0
    for one in rounds(Pruning.parse(text), epochs):
        whole = parameters(module) if one.first else whole
        prune(module, Request(one.step, (image,), 0, whole, more=not one.last))
        yield one


def wide():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 2))


@pytest.mark.parametrize("schedule", ["iterative", "gradual"])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9])
def test_channels_by_rounds_remove_in_all_the_share_that_was_asked(schedule, sparsity):
    module = wide()
    before = parameters(module)
    left = [before]
    for one in apply(module, example("mlp"), f"{schedule}-channels:{sparsity}"):
        left.append(parameters(module))
        assert 1 - left[-1] / before == pytest.approx(one.step.sparsity, abs=0.03)
    assert left == sorted(left, reverse=True)
    assert 1 - left[-1] / before == pytest.approx(sparsity, abs=0.02)


@pytest.mark.parametrize("text", ["iterative-channels:0.5", "gradual-channels:0.5", "gradual-channels:0.5:16"])
def test_rounds_too_small_for_a_whole_channel_are_passed_over(text):
    """The last round of a gradual schedule asks for a thousandth: nothing removed is then the nearest."""
    module = wide()
    before = parameters(module)
    left = [parameters(module) for _ in apply(module, example("mlp"), text)]
    if text.startswith("gradual"):
        assert len(set(left)) < len(left)
    assert 1 - left[-1] / before == pytest.approx(0.5, abs=0.09)


@pytest.mark.parametrize("text", ["channels:0.3:96", "iterative-channels:0.3:96", "gradual-channels:0.3:96"])
def test_steps_of_which_no_round_removes_anything_are_refused(text):
    with pytest.raises(UnsupportedError, match="found no channel that it can remove"):
        list(apply(wide(), example("mlp"), text))


@pytest.mark.parametrize("text", ["gradual-magnitude:0.5+channels:0.5", "channels:0.3+channels:0.5"])
def test_share_of_a_step_is_of_what_the_step_before_has_left(text):
    module = wide()
    whole = parameters(module)
    for one in apply(module, example("mlp"), text):
        if one.first:
            before = whole
        whole = parameters(module)
    if text.startswith("channels"):
        assert before < parameters(wide())
    assert 1 - parameters(module) / before == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("schedule", ["iterative", "gradual"])
@pytest.mark.parametrize("method", ["magnitude", "magnitude-layerwise", "random"])
@pytest.mark.parametrize("network", ["plain", "unet"])
def test_masks_by_rounds_reach_each_rounds_sparsity(schedule, method, network):
    """Zeros of earlier rounds count, so that the last one ends where one shot does."""
    module = build(network)
    total = sum(layer.weight.numel() for _, layer in named_layers(module))
    kept = set()
    for one in apply(module, example(network), f"{schedule}-{method}:0.8"):
        zeros = {
            (name, int(index))
            for name, layer in named_layers(module)
            for index in (layer.weight == 0).flatten().nonzero().flatten()
        }
        assert len(zeros) / total == pytest.approx(one.step.sparsity, abs=0.02)
        assert kept <= zeros
        kept = zeros


@pytest.mark.parametrize("text", ["magnitude:0.9+random:0.5", "filters:0.5+magnitude:0.3", "magnitude:0.6+random:0.6"])
def test_zeros_of_an_earlier_mask_count_for_a_later_one(text):
    module = build("plain")
    weights = [layer for _, layer in named_layers(module)]
    total = sum(layer.weight.numel() for layer in weights)
    zeros = [
        sum(int((layer.weight == 0).sum()) for layer in weights) / total for _ in apply(module, example("plain"), text)
    ]
    assert zeros[-1] == pytest.approx(max(zeros[0], Pruning.parse(text).sparsity), abs=0.002)
