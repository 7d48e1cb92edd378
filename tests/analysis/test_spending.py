"""Choice of trials: the most time saved for the score lost, and no more than is wanted."""

from __future__ import annotations

import pytest

from sparsemark.analysis.spending import Trial, spend


def trial(name, fraction, saved, lost=0.0, *, change=0.0, method="magnitude"):
    return Trial(method, (name,), fraction, saved, lost, change)


def test_the_cheapest_time_is_saved_first_until_enough_is():
    dear, cheap, cheaper = trial("a", 0.5, 0.3, 0.10), trial("b", 0.5, 0.3, 0.02), trial("c", 0.5, 0.1, 0.001)
    assert spend([dear, cheap, cheaper], 0.35) == [cheaper, cheap]
    assert spend([dear, cheap, cheaper], 0.05) == [cheaper]
    assert spend([dear, cheap, cheaper], 0.7) == [cheaper, cheap, dear]


def test_a_place_is_raised_where_its_second_half_costs_less_than_another_place():
    half, most, other = trial("a", 0.5, 0.2, 0.01), trial("a", 0.75, 0.4, 0.03), trial("b", 0.5, 0.2, 0.05)
    assert spend([half, most, other], 0.35) == [most]


def test_one_fraction_of_a_place_counts_once():
    half, most = trial("a", 0.5, 0.2, 0.01), trial("a", 0.75, 0.3, 0.02)
    assert sum(one.saved for one in spend([half, most], 9.0)) == pytest.approx(0.3)


def test_channels_and_zeros_of_one_layer_are_two_places():
    both = [trial("a", 0.5, 0.2), trial("a", 0.25, 0.2, method="channels")]
    assert len(spend(both, 0.4)) == 2


def test_of_places_that_lose_no_score_the_one_whose_outputs_change_least_goes_first():
    calm, wild = trial("a", 0.5, 0.2, change=0.01), trial("b", 0.5, 0.21, change=0.3)
    assert spend([wild, calm], 0.1) == [calm]


def test_a_better_score_is_worth_no_more_than_an_equal_one():
    lucky, calm = trial("a", 0.5, 0.2, lost=-0.05, change=0.2), trial("b", 0.5, 0.2, change=0.1)
    assert spend([lucky, calm], 0.1) == [calm]


@pytest.mark.parametrize("saved", [0.0, -0.4, 0.002])
def test_what_saves_nothing_is_never_taken(saved):
    assert spend([trial("a", 0.5, saved)], 1.0) == []
