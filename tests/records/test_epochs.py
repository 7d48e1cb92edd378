"""Epochs are read from every form of history, and from nothing else."""

from __future__ import annotations

import pytest

from sparsemark.records.epochs import epochs_of

FIRST, SECOND, THIRD = ({"epoch": number} for number in (1, 2, 3))


def test_one_training_is_one_round():
    assert list(epochs_of({"epochs": [FIRST, SECOND]})) == [(1, FIRST), (1, SECOND)]


def test_rounds_of_a_schedule_are_numbered():
    history = {"rounds": [{"epochs": [FIRST, SECOND]}, {"epochs": [THIRD]}]}
    assert list(epochs_of(history)) == [(1, FIRST), (1, SECOND), (2, THIRD)]


@pytest.mark.parametrize(
    "history", [None, {}, [], "text", {"epochs": 5}, {"epochs": [1]}, {"rounds": 3}, {"rounds": [1]}]
)
def test_another_form_has_no_epochs(history):
    assert list(epochs_of(history)) == []
