"""Properties of the statistics: what they are invariant to, what they refuse, and that known answers come out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.analysis import statistics as stats
from sparsemark.analysis.contamination import DRIFT_LIMIT
from sparsemark.records.measurement import Measurement
from tests.synthetic import BLOCK, samples

SECONDS = st.floats(1e-5, 10.0)
MANY = st.lists(SECONDS, min_size=BLOCK * stats.BLOCKS_NEEDED, max_size=120)
RATIOS = st.floats(0.05, 20.0)


@st.composite
def intervals(draw):
    estimate, below, above = draw(RATIOS), draw(st.floats(0, 1)), draw(st.floats(0, 1))
    return stats.Interval(estimate, estimate * math.exp(-below), estimate * math.exp(above))


@pytest.mark.parametrize(("percent", "floor"), [(90, 64), (95, 130), (99, 662)])
def test_percentile_floor_is_mlperfs_and_follows_from_the_binomial(percent, floor):
    assert stats.percentile_floor(percent) == floor

    def chance_of_fewer_than_two_beyond(n):
        return sum(math.comb(n, k) * (1 - percent / 100) ** k * (percent / 100) ** (n - k) for k in (0, 1))

    assert chance_of_fewer_than_two_beyond(floor) <= 0.01 < chance_of_fewer_than_two_beyond(floor - 1)


@pytest.mark.parametrize("percent", [90, 95, 99])
def test_percentile_is_absent_below_its_floor_and_there_from_it_on(percent):
    floor = stats.percentile_floor(percent)
    values = list(np.linspace(1, 2, floor))
    assert stats.percentile(values[:-1], percent) is None
    assert stats.percentile(values, percent) == pytest.approx(1 + percent / 100)


def test_block_medians_take_whole_blocks_only():
    assert stats.block_medians([1, 2, 9, 4, 5, 6, 7], 3).tolist() == [2, 5]
    assert stats.block_medians([1.0], 2).size == 0
    with pytest.raises(ValueError, match="block is 0"):
        stats.block_medians([1.0], 0)


def test_pairs_without_a_partner_are_left_out():
    ratios = stats.log_time_ratios([2.0] * 6, [1.0] * 4, 2)
    assert ratios == pytest.approx([math.log(2)] * 2)


@settings(max_examples=25, deadline=None)
@given(MANY, MANY, st.floats(0.01, 100))
def test_speedup_is_invariant_to_the_clocks_unit_and_its_interval_holds_the_estimate(candidate, reference, scale):
    plain = stats.speedup_interval(candidate, reference, BLOCK)
    scaled = stats.speedup_interval([scale * s for s in candidate], [scale * s for s in reference], BLOCK)
    assert dataclasses.astuple(scaled) == pytest.approx(dataclasses.astuple(plain))
    assert plain.low <= plain.estimate * (1 + 1e-12)
    assert plain.estimate <= plain.high * (1 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(MANY, MANY)
def test_swapping_candidate_and_reference_inverts_the_speedup(candidate, reference):
    there = stats.speedup_interval(candidate, reference, BLOCK)
    back = stats.speedup_interval(reference, candidate, BLOCK)
    assert (1 / back.estimate, 1 / back.high, 1 / back.low) == pytest.approx(dataclasses.astuple(there))


def test_a_drift_that_both_feel_cancels():
    rng = np.random.default_rng(0)
    candidate, reference = (1e-3 * ms * np.exp(rng.normal(0, 0.001, 160)) for ms in (5, 15))
    drift = np.repeat(np.linspace(1, 3, 20), BLOCK)
    still, moved = (
        stats.speedup_interval(list(candidate * d), list(reference * d), BLOCK) for d in (np.ones(160), drift)
    )
    assert moved.estimate == pytest.approx(still.estimate) == pytest.approx(3, rel=0.001)
    assert stats.drift(list(reference * drift), BLOCK) > 0.5 > DRIFT_LIMIT


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        blocks = rng.normal(0.3, 0.01, 20)
        interval = stats.percentile_interval(float(np.median(blocks)), stats.resampled_medians(blocks))
        covered += interval.low <= 0.3 <= interval.high
    assert 180 <= covered <= 199


def test_resampling_is_the_same_in_every_call_and_in_pieces(monkeypatch):
    blocks = np.random.default_rng(2).normal(size=12)
    whole = stats.resampled_medians(blocks)
    assert np.array_equal(whole, stats.resampled_medians(blocks))
    assert not np.array_equal(whole, stats.resampled_medians(blocks, stream=1))
    monkeypatch.setattr(stats, "_RESAMPLED_AT_ONCE", 12 * 300)
    assert np.array_equal(whole, stats.resampled_medians(blocks))


def test_summary_has_the_fields_of_a_measurement_and_nothing_below_a_floor():
    candidate, reference = samples(np.random.default_rng(3), 5.0, pairs=20)
    summary = stats.summarise(candidate, reference, BLOCK)
    assert {f.name for f in dataclasses.fields(summary)} <= {f.name for f in dataclasses.fields(Measurement)}
    assert summary.samples == 160
    assert summary.p50_ms == pytest.approx(1e3 * np.median(candidate))
    assert summary.p50_ms < summary.p90_ms < summary.p95_ms
    assert summary.p99_ms is None
    assert summary.speedup_low < summary.speedup < summary.speedup_high
    assert summary.reference_p50_ms == pytest.approx(1e3 * np.median(reference))
    few = stats.summarise(candidate[:40], reference[:40], BLOCK)
    assert few.speedup is not None
    assert (few.speedup_low, few.speedup_high, few.p90_ms) == (None, None, None)
    alone = stats.summarise([0.001], [], BLOCK)
    assert alone.p50_ms == pytest.approx(1.0)
    assert (alone.speedup, alone.reference_p50_ms, alone.reference_drift) == (None, None, None)
    with pytest.raises(ValueError, match="samples_s is empty"):
        stats.summarise([], [0.1], BLOCK)


def test_quotient_of_a_ratio_by_itself_is_one_and_wider():
    ratio = stats.Interval(2.0, 1.9, 2.2)
    itself = stats.quotient(ratio, ratio)
    assert itself.estimate == 1.0
    assert itself.high / itself.low > ratio.high / ratio.low


@given(intervals(), intervals())
def test_quotient_holds_its_estimate_and_inverts(a, b):
    there, back = stats.quotient(a, b), stats.quotient(b, a)
    assert there.low <= there.estimate * (1 + 1e-9)
    assert there.estimate <= there.high * (1 + 1e-9)
    assert there.estimate == pytest.approx(a.estimate / b.estimate)
    assert (back.low, back.high) == pytest.approx((1 / there.high, 1 / there.low))


def test_drift_sees_a_step_and_a_bump_but_not_one_odd_block():
    quiet = [1.0] * 90
    assert stats.drift(quiet, 3) == 0.0
    assert stats.drift(quiet[:45] + [1.1] * 45, 3) == pytest.approx(0.1)
    assert stats.drift(quiet[:30] + [1.1] * 30 + quiet[:30], 3) == pytest.approx(0.1)
    assert stats.drift([*quiet[:-3], 9.0, 9.0, 9.0], 3) == 0.0
    assert stats.drift(quiet[:6], 3) is None
