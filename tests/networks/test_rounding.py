"""Rounding to float32: to the nearest, and at random."""

from __future__ import annotations

import numpy as np
import pytest

from sparsemark.networks.evaluation.rounding import at_random, to_nearest

STEP = 2.0**-23
"""From 1 to the next larger float32."""


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_at_random_it_is_one_of_the_two_neighbours_and_right_on_average(share, sign):
    values = np.full(100_000, sign * (1 + share * STEP))
    got = at_random(np.random.default_rng(0))(values)
    up = got == sign * (1 + STEP)
    assert np.array_equal(up, got != sign)
    assert up.mean() == pytest.approx(share, abs=0.01)


def test_what_float32_holds_stays_and_so_does_what_is_not_finite():
    values = np.array([0.0, -1.5, np.inf, -np.inf, np.nan, 1e39, 2.0**-149])
    expected = np.array([0.0, -1.5, np.inf, -np.inf, np.nan, np.inf, 2.0**-149])
    with np.errstate(all="ignore"):
        for rounding in (to_nearest, at_random(np.random.default_rng(0))):
            np.testing.assert_array_equal(rounding(values), expected)


def test_two_runs_at_random_differ_and_a_seed_gives_the_same_again():
    values = np.random.default_rng(1).standard_normal(1000)
    one, other, again = (at_random(np.random.default_rng(seed))(values) for seed in (0, 1, 0))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
