"""Epochs are read from every form of history, and from nothing else."""

from __future__ import annotations

import pytest

from sparsemark.records.epochs import cost_of, epochs_of

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


TIMED = {
    "rounds": [
        {"epochs": [{"seconds": 5.0, "validation_seconds": 1.0}]},
        {"epochs": [{"seconds": 7.0, "validation_seconds": 2.0}]},
    ]
}


@pytest.mark.parametrize(
    ("provenance", "seconds"),
    [
        ({"history": TIMED, "pruning_seconds": 3.0, "finetuning_seconds": 4.0}, 18.0),
        ({"history": {"epochs": [FIRST]}, "pruning_seconds": 3.0, "finetuning_seconds": 4.0}, 7.0),
        ({"history": None, "pruning_seconds": 3.0, "finetuning_seconds": 0.0}, 3.0),
        ({"history": TIMED}, None),
        ({"history": TIMED, "pruning_seconds": "3", "finetuning_seconds": 4.0}, None),
    ],
)
def test_cost_is_of_pruning_and_of_epochs_that_say_what_they_took(provenance, seconds):
    assert cost_of(provenance) == seconds
