"""Gradients of two losses: each its own, the angle between them right, shared parameters found."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training import gradients
from training.gradients import Angles, angle


def test_angle_by_hand():
    east, north = [torch.tensor([2.0, 0.0]), torch.zeros(1)], [torch.tensor([0.0, 3.0]), torch.zeros(1)]
    west = [torch.tensor([-1.0, 0.0]), torch.zeros(1)]
    assert angle(east, east) == pytest.approx(0)
    assert angle(east, north) == pytest.approx(90)
    assert angle(east, west) == pytest.approx(180)
    assert angle(east, [torch.tensor([1.0, 1.0]), torch.zeros(1)]) == pytest.approx(45)
    assert angle(east, [torch.zeros(2), torch.zeros(1)]) is None


class Forked(nn.Module):
    """One shared layer, and a head for each of two losses."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.shared, self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, x):
        return self.first(self.shared(x)).mean(), self.second(self.shared(x)).mean()


def test_each_loss_has_its_own_gradient_and_none_in_the_other_head():
    network, x = Forked(), torch.randn(5, 4)
    parameters = list(network.parameters())
    found = gradients.gradients(network(x), parameters)
    for index, own in enumerate(found):
        network.zero_grad()
        network(x)[index].backward()
        for parameter, gradient in zip(parameters, own, strict=True):
            assert (gradient is None) == (parameter.grad is None)
            if gradient is not None:
                torch.testing.assert_close(gradient, parameter.grad)
    assert [gradient is None for gradient in found[0]] == [False, False, False, False, True, True]


def test_gradients_have_the_memory_format_of_their_parameters():
    """Channels-last images give channels-last gradients; a fused optimiser would read them in the wrong order."""
    network = nn.Conv2d(3, 4, 3)
    images = torch.rand(2, 3, 9, 9).contiguous(memory_format=torch.channels_last)
    (found,) = gradients.gradients([network(images).square().mean()], list(network.parameters()))
    assert [g.stride() for g in found] == [p.stride() for p in network.parameters()]
    network(images).square().mean().backward()
    for gradient, parameter in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_angle_is_that_of_the_shared_layers_alone():
    network, x = Forked(), torch.randn(5, 4)
    network.second.load_state_dict({name: -value for name, value in network.first.state_dict().items()})
    angles, losses = Angles(), network(x)
    angles.add(*gradients.gradients(losses, list(network.parameters()), keep_graph=True))
    assert angles.describe()["gradient_angle_mean"] == pytest.approx(180, abs=0.1)
    assert (angles.describe()["gradients_opposed"], angles.describe()["gradient_angles"]) == (1, 1)
    losses[0].backward()  # the graph is still there


def test_no_angle_describes_nothing():
    angles = Angles()
    angles.add([torch.zeros(2)], [torch.ones(2)])
    assert angles.describe() == {}
