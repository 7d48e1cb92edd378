"""Gain of a change that was timed in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from sparsemark.analysis.gains import rank
from sparsemark.records.explanation import Advice

CALL = 0.010
NOISE = np.random.default_rng(0).normal(0, 2e-5, (2, 12))


def advice(name, gain, noise=NOISE):
    before = CALL + noise[0]
    return Advice(name, (), tuple(before), tuple(before - gain + noise[1]))


def test_changes_are_sorted_by_what_they_gain_with_its_interval():
    ranked = rank([advice("small", 3e-4), advice("large", 2e-3), advice("worse", -1e-3)], CALL)
    assert [one.advice.linter for one in ranked] == ["large", "small", "worse"]
    assert [one.pays for one in ranked] == [True, True, False]
    for one, gain in zip(ranked, (2e-3, 3e-4, -1e-3), strict=True):
        assert one.gain_s.low <= gain <= one.gain_s.high
        assert one.gain_s.estimate == pytest.approx(gain, abs=3e-5)


@pytest.mark.parametrize("gain", [0.0, 0.5e-4])
def test_what_is_within_noise_or_below_one_per_cent_of_a_call_does_not_pay(gain):
    (one,) = rank([advice("none", gain)], CALL)
    assert not one.pays


def test_a_gain_whose_interval_holds_zero_does_not_pay():
    wild = np.random.default_rng(1).normal(0, 5e-3, (2, 12))
    (one,) = rank([advice("wild", 3e-4, wild)], CALL)
    assert one.gain_s.low < 0
    assert not one.pays


def test_without_pairs_nothing_is_claimed():
    (one,) = rank([Advice("untimed", (), (), ())], CALL)
    assert one.gain_s is None
    assert not one.pays
