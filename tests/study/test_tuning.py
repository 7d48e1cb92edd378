"""Time of fine-tuning: one estimate for all networks after the first epoch, and what is left of it."""

from __future__ import annotations

import logging

import pytest

from sparsemark.specs import ModelSpec, Pruning, Variant
from sparsemark.study.tuning import Tuning

MODEL = ModelSpec("net", "net.py:build", (1, 1, 8, 8))
DENSE, *PRUNED = (Variant(MODEL, Pruning.parse(text)) for text in ("none", "magnitude:0.5", "lamp:0.5", "channels:0.5"))


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "sparsemark.study.tuning")
    return lambda: [record.getMessage() for record in caplog.records]


def planned(epochs, *, shorter=True, variants=(DENSE, *PRUNED)):
    tuning = Tuning(epochs)
    tuning.plan(variants, shorter=shorter)
    return tuning


def test_all_networks_are_estimated_once_and_after_one_epoch(said):
    tuning = planned(3)
    tuning.prepared(DENSE)
    assert said() == []
    assert tuning.left == ""
    tuning.took(80)
    expected = "fine-tuning: about 12 minutes for 3 networks of 3 epochs; --epochs 1 or fewer --prune for less"
    assert said() == [expected]
    tuning.took(80)
    tuning.took(80)
    tuning.prepared(PRUNED[0])
    tuning.took(500)
    assert said() == [expected]


def test_what_is_left_is_of_all_networks_by_their_own_pace():
    tuning = planned(3)
    tuning.took(100)
    assert tuning.left == ", about 13 minutes left for 3 networks"
    tuning.took(100)
    tuning.took(100)
    tuning.prepared(PRUNED[0])
    assert tuning.left == ", about 10 minutes left for 2 networks"
    tuning.took(40)
    assert tuning.left == ", about 6 minutes left for 2 networks", "two at 40 s, three at the mean of 85"
    tuning.prepared(PRUNED[1])
    tuning.took(20)
    assert tuning.left == ", about 40 s left of this network"


@pytest.mark.parametrize(
    ("epochs", "count", "shorter", "expected"),
    [
        (1, 3, True, "about 5 minutes for 3 networks of 1 epoch; fewer --prune for less"),
        (6, 1, True, "about 10 minutes for one network of 6 epochs; --epochs 1 for less"),
        (1, 1, True, "about 100 s for one network of 1 epoch"),
        (3, 2, False, "about 10 minutes for 2 networks of 3 epochs"),
    ],
)
def test_only_what_makes_it_shorter_is_named(epochs, count, shorter, expected, said):
    planned(epochs, shorter=shorter, variants=PRUNED[:count]).took(100)
    assert said() == [f"fine-tuning: {expected}".replace("100 s", "2 minutes")]


def test_a_networks_epochs_of_an_earlier_process_are_not_to_come(said):
    tuning = planned(6, variants=PRUNED[:1])
    tuning.begun_after(4)
    tuning.took(60)
    expected = "fine-tuning: about 2 minutes for one network of 6 epochs of which some are done; --epochs 1 for less"
    assert said() == [expected]
    assert tuning.left == ", about 60 s left of this network"


def test_networks_that_are_found_do_not_count(said):
    tuning = planned(2)
    for variant in PRUNED[:2]:
        tuning.prepared(variant)
    tuning.took(300)
    assert said() == ["fine-tuning: about 10 minutes for one network of 2 epochs; --epochs 1 for less"]


def test_a_few_seconds_are_not_worth_a_line(said):
    planned(3).took(2)
    assert said() == []


def test_a_search_before_the_plan_takes_no_estimate_away(said):
    tuning = Tuning(2)
    tuning.took(100)
    assert tuning.left == ", about 2 minutes left of this network"
    tuning.prepared(PRUNED[2])
    tuning.plan((DENSE, *PRUNED[:2]))
    tuning.took(60)
    assert said() == ["fine-tuning: about 4 minutes for 2 networks of 2 epochs"]


def test_a_loop_of_the_tasks_own_counts_all_its_epochs(said):
    tuning = planned(3)
    tuning.took(120, 3)
    assert said() == ["fine-tuning: about 6 minutes for 3 networks of 3 epochs; --epochs 1 or fewer --prune for less"]
    tuning.prepared(PRUNED[0])
    assert tuning.left == ", about 4 minutes left for 2 networks"


def test_epochs_are_counted_over_all_rounds_of_a_network():
    tuning = Tuning(6)
    assert tuning.at == "epoch 1 of 6"
    tuning.took(1)
    tuning.begun_after(2)
    assert tuning.at == "epoch 4 of 6"
    tuning.prepared(PRUNED[0])
    assert tuning.at == "epoch 1 of 6"
