"""Intervals over groups: none of no width where a bootstrap could not know better, and their coverage."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest

from sparsemark.analysis.groups import grouped_interval, interval_of, loss_interval, units_needed, unseen
from sparsemark.records.scores import Score, SingleInputs


def singles(right, wrong):
    """Single inputs, those that are right first."""
    return SingleInputs({str(i): (float(i < right), 1.0) for i in range(right + wrong)})


def patients(scores, weights=None):
    return {str(i): (score, (weights or [30.0] * len(scores))[i]) for i, score in enumerate(scores)}


def wilson(found, count):
    return tuple(binomtest(found, count).proportion_ci(method="wilson"))


@pytest.mark.parametrize(("right", "wrong"), [(100, 0), (0, 100), (99, 1), (60, 40)])
def test_single_inputs_have_the_interval_of_wilson(right, wrong):
    low, high = interval_of(singles(right, wrong))
    assert (low, high) == pytest.approx(wilson(right, right + wrong))
    assert high - low > 0.03


def test_groups_that_all_score_the_same_are_bounded_by_their_number():
    few, many = (interval_of(patients([1.0] * count, [float(i + 1) for i in range(count)])) for count in (9, 90))
    assert (few[1], many[1]) == pytest.approx((1, 1))
    assert few[0] < many[0] < 0.97
    low, high = interval_of(patients([0.8] * 9))
    assert low < 0.8 < high < 1
    assert grouped_interval([0.8], [4.0])[0] < 0.2, "one group says next to nothing"


def test_groups_without_weight_are_none():
    assert interval_of(patients([1.0, 1.0, 0.0], [1.0, 3.0, 0.0])) == pytest.approx(
        interval_of(patients([1.0, 1.0], [1.0, 3.0]))
    )
    dense, pruned = (patients([0.9] * 8 + [last], [1.0] * 8 + [0.0]) for last in (0.1, 0.5))
    low, high = loss_interval(dense, pruned, higher_is_better=True)
    assert low < 0 < high


def test_what_has_no_bounds_has_no_interval_where_all_groups_agree():
    assert interval_of(patients([3.2] * 9)) is None
    assert loss_interval(patients([3.2] * 9), patients([3.4] * 9), higher_is_better=False) is None


def test_a_share_that_was_not_seen_is_that_of_wilson():
    for count in (1, 9, 100):
        assert unseen(count) == pytest.approx(wilson(0, count)[1])
    for share in (0.3, 0.01):
        assert unseen(units_needed(share)) <= share < unseen(units_needed(share) - 1)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_loss_that_was_never_seen_is_not_excluded(higher_is_better):
    for dense in (singles(100, 0), singles(60, 40)):
        low, high = loss_interval(dense, dense, higher_is_better=higher_is_better)
        assert (low, high) == pytest.approx((-unseen(100), unseen(100)))
    graded = patients([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    low, high = loss_interval(graded, graded, higher_is_better=higher_is_better)
    assert (low, high) == pytest.approx((-unseen(6), unseen(6)))
    worse = patients([score - 0.1 for score, _ in graded.values()])
    low, high = loss_interval(graded, worse, higher_is_better=higher_is_better)
    assert low < (0.1 if higher_is_better else -0.1) < high, "as large in every group"


def test_one_pair_more_widens_the_interval_of_a_loss():
    dense = singles(100, 0)
    none, one, two = (loss_interval(dense, singles(100 - n, n), higher_is_better=True) for n in (0, 1, 2))
    assert none[1] < one[1] < two[1]
    # Tango's score interval of 1 and 0 of 100, which no installed library computes, is [-2.8, 5.4] points.
    assert one == pytest.approx((-0.028, 0.054), abs=0.001)


@pytest.mark.parametrize(("down", "up"), [(0.002, 0.001), (0.02, 0.01), (0.1, 0.1), (0.3, 0.05)])
def test_paired_intervals_cover_the_loss_in_19_of_20_samples(down, up):
    @cache
    def interval(worse, better):
        both = 100 - worse - better
        dense, pruned = ([1] * (both + worse) + [0] * better, [1] * both + [0] * worse + [1] * better)
        return loss_interval(patients(dense), patients(pruned), higher_is_better=True)

    drawn = np.random.default_rng(0).multinomial(100, [down, up, 1 - down - up], 1000)
    ends = np.array([interval(worse, better) for worse, better, _ in drawn])
    assert np.mean((ends[:, 0] <= down - up) & (down - up <= ends[:, 1])) > 0.94


def test_a_stored_interval_without_width_is_none():
    assert Score(1.0, 1.0, 1.0).interval is None
    assert Score(1.0, 0.96, 1.0).interval == (0.96, 1.0)
    assert Score(1.0).interval is None
