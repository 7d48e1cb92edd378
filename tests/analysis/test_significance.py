"""Known answers of the tests, and that their correction never lowers a p-value."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.analysis import significance
from sparsemark.analysis.significance import signed_rank_interval
from sparsemark.analysis.statistics import Interval


def test_rank_sum_is_exact_by_counting_every_assignment():
    high, low = [3.0, 5.0, 6.0, 7.5], [1.0, 2.0, 4.0, 5.5, 0.5]
    pooled = [*high, *low]

    def wins(chosen):
        others = [v for v in pooled if v not in chosen]
        return sum(a > b for a in chosen for b in others)

    every = [wins(chosen) for chosen in itertools.combinations(pooled, len(high))]
    expected = sum(w >= wins(high) for w in every) / len(every)
    assert significance.rank_sum_p(high, low) == pytest.approx(expected)


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=30), st.lists(st.floats(-5, 5), min_size=3, max_size=30))
def test_rank_sum_is_a_probability_that_falls_as_the_larger_side_rises(a, b):
    p = significance.rank_sum_p(a, b)
    assert 0 < p <= 1
    assert significance.rank_sum_p([v + 1 for v in a], b) <= p + 1e-12
    assert p + significance.rank_sum_p(b, a) >= 1 - 1e-9  # ties count for the null on both sides


def test_rank_sum_agrees_with_scipy_on_both_sides_of_the_exact_limit():
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(4)
    for n, method in ((20, "exact"), (80, "asymptotic")):
        a, b = rng.normal(0.3, 1, n), rng.normal(0, 1, n + 3)
        expected = scipy_stats.mannwhitneyu(a, b, alternative="greater", method=method).pvalue
        assert significance.rank_sum_p(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("signs", "p"), [("+++++", 1 / 32), ("++++++-", 8 / 128), ("---", 1.0), ("++0", 4 / 8)])
def test_sign_test_counts_every_assignment_of_signs(signs, p):
    values = [{"+": 2.5, "-": -0.1, "0": 0.0}[sign] for sign in signs]
    assert significance.sign_test_p(values) == p


def test_holm_on_a_known_example():
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_holm_never_lowers_a_p_value_keeps_their_order_and_counts_the_smallest_as_often_as_there_are(p_values):
    adjusted = significance.holm(p_values)
    order = np.argsort(p_values, kind="stable")
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert list(np.array(adjusted)[order]) == sorted(adjusted)
    assert adjusted[order[0]] == pytest.approx(min(1.0, len(p_values) * min(p_values)))


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=14, unique=True))
@settings(max_examples=50, deadline=None)
def test_the_signed_rank_interval_holds_what_the_exact_test_does_not_reject(values):
    from scipy.stats import wilcoxon

    found = signed_rank_interval(values)

    def p_value(shift):
        return wilcoxon(np.asarray(values) - shift, method="exact").pvalue

    gap = max(1e-12, 1e-9 * max(map(abs, values)))
    if found.high - found.low > 4 * gap:
        assert p_value(found.low + gap) > 0.05
        assert p_value(found.high - gap) > 0.05
    assert p_value(found.low - gap) <= 0.05 + 1e-12
    assert p_value(found.high + gap) <= 0.05 + 1e-12
    assert found.low <= found.estimate <= found.high


def test_two_of_ten_launches_that_lie_badly_move_the_signed_rank_interval_little():
    launches = [0.001, -0.002, 0.003, -0.001, 0.002, -0.003, 0.0, 0.0015, -0.05, -0.06]
    found = signed_rank_interval(launches)
    assert abs(found.estimate) < 0.002
    assert found.high < 0.002
    assert found.low > -0.03


def test_a_few_values_have_the_interval_of_all_of_them():
    assert signed_rank_interval([0.1, 0.3, 0.2]) == Interval(pytest.approx(0.2), 0.1, 0.3)
