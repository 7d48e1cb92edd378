"""Launches: a cell's interval holds what differs between processes, and contaminated launches are set aside openly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sparsemark.analysis.launches import (
    blocks_of,
    log_ratio_intervals,
    merged,
    ratio_drift_of,
    reference_drift_of,
    student_quantile,
    with_intervals,
)
from sparsemark.specs import AA
from tests.synthetic import BLOCK, samples, timed

REFERENCE_MS = 15.0


def launch(name="a", ms=7.5, pairs=7, seed=0, **fields):
    return timed(name, *samples(np.random.default_rng(seed), ms, pairs=pairs), launch_pairs=(pairs,), **fields)


def cells(rng, count, *, launches=3, between=0.01, within=0.02, blocks=7):
    """Cells of true log ratio 0, by the spread between processes and between blocks."""
    return [[rng.normal(0, between) + rng.normal(0, within, blocks) for _ in range(launches)] for _ in range(count)]


def test_launches_are_joined_in_order_and_can_be_told_apart():
    rows = [launch(seed=seed, pairs=pairs) for seed, pairs in enumerate((7, 7, 6))]
    row = merged(rows, 3)
    assert (row.launches, row.launch_pairs, row.samples) == (3, (7, 7, 6), 20 * BLOCK)
    assert row.samples_s == sum((one.samples_s for one in rows), ())
    for blocks, one in zip(blocks_of(row), rows, strict=True):
        np.testing.assert_array_equal(blocks, blocks_of(one)[0])


def test_contaminated_launches_are_set_aside_where_enough_are_clean_and_kept_in_the_record():
    rows = [launch(seed=0), launch(seed=1, ms=70.0, steal=0.5), launch(seed=2), launch(seed=3)]
    rows = [replace(row, reference_drift=0.0) for row in rows]
    row = merged(rows, 3)
    assert row.samples_s == rows[0].samples_s + rows[2].samples_s + rows[3].samples_s
    assert (row.aside_samples_s, row.aside_reference_s) == (rows[1].samples_s, rows[1].reference_s)
    assert row.steal is None


def test_where_too_few_are_clean_all_count_and_the_cell_says_that_it_is_contaminated():
    rows = [replace(launch(seed=seed, steal=0.5 * (seed > 0)), reference_drift=0.0) for seed in range(3)]
    row = merged(rows, 2)
    assert (row.launches, row.steal, row.aside_samples_s) == (3, 0.5, ())


def test_a_reference_that_lies_elsewhere_in_the_next_process_is_no_drift():
    still = [timed("a", [0.01] * 56, [ms / 1e3] * 56, launch_pairs=(7,)) for ms in (15.0, 20.0)]
    row = merged(still, 2)
    assert (reference_drift_of(row), ratio_drift_of(row)) == (0.0, 0.0)
    moving = timed("a", [0.01] * 56, list(np.linspace(0.01, 0.02, 56)), launch_pairs=(7,))
    assert reference_drift_of(moving) > 0.3


def test_the_estimate_is_the_mean_over_launches_and_the_interval_students():
    ratios = [0.5, 0.52, 0.57]
    rows = [timed("a", [ratio * 0.015] * 56, [0.015] * 56, launch_pairs=(7,), engine="e") for ratio in ratios]
    (row,) = with_intervals([merged(rows, 3)])
    logs = -np.log(ratios)
    half = 4.302653 * logs.std(ddof=1) / np.sqrt(3)
    assert row.speedup == pytest.approx(np.exp(logs.mean()))
    assert (row.speedup_low, row.speedup_high) == pytest.approx(tuple(np.exp(logs.mean() + np.array([-half, half]))))


def test_a_row_of_one_launch_keeps_its_interval():
    row = launch()
    assert with_intervals([row]) == [row]


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.7062), (2, 4.30265), (10, 2.22814), (1e6, 1.95996)])
def test_quantiles_of_student(freedom, expected):
    assert student_quantile(freedom) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("between", [0.0, 0.005, 0.03])
def test_intervals_cover_what_they_claim_whatever_differs_between_processes(between):
    rng = np.random.default_rng(7)
    covered = [
        interval.low <= 0 <= interval.high
        for _ in range(300)
        for interval in log_ratio_intervals(cells(rng, 8, between=between))
    ]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_a_cell_noisier_than_the_others_of_its_engine_is_covered_too():
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(400):
        quiet = cells(rng, 7, between=0.002)
        covered.append(log_ratio_intervals([*quiet, *cells(rng, 1, between=0.0, within=0.2)])[-1])
    assert np.mean([one.low <= 0 <= one.high for one in covered]) >= 0.93


def test_two_launches_that_agree_by_chance_are_no_certain_ones():
    """Of two alone, agreement is as frequent as it is worthless: blocks of one process say nothing of the next."""
    rng = np.random.default_rng(7)
    covered = [
        interval.low <= 0 <= interval.high
        for _ in range(1500)
        for interval in log_ratio_intervals(cells(rng, 1, launches=2, between=0.01, within=0.02, blocks=20))
    ]
    assert np.mean(covered) >= 0.94


def test_a_cell_of_few_blocks_has_the_freedom_of_few():
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(400):
        quiet = cells(rng, 7, between=0.002, blocks=3)
        covered.append(log_ratio_intervals([*quiet, *cells(rng, 1, between=0.0, within=0.2, blocks=3)])[-1])
    assert np.mean([one.low <= 0 <= one.high for one in covered]) >= 0.94


def test_a_cell_whose_processes_differ_more_than_the_others_is_wider():
    rng = np.random.default_rng(7)
    covered, others = [], []
    for _ in range(400):
        quiet = cells(rng, 7, between=0.002)
        *rest, last = log_ratio_intervals([*quiet, *cells(rng, 1, between=0.05)])
        covered.append(last.low <= 0 <= last.high)
        others += [one.low <= 0 <= one.high for one in rest]
    assert np.mean(covered) >= 0.82
    assert np.mean(others) >= 0.95


def test_launches_without_any_spread_have_an_interval_of_no_extent():
    for count in (1, 3):
        for one in log_ratio_intervals([[np.full(5, 0.1)] * 2] * count):
            assert (one.low, one.estimate, one.high) == (0.1, 0.1, 0.1)


def test_blocks_far_out_do_not_make_intervals_too_wide():
    """They move the median of a launch little."""
    rng = np.random.default_rng(7)
    halves = []
    for _ in range(200):
        (blocks,) = cells(rng, 1, between=0.0, within=0.01, blocks=21)
        (plain,) = log_ratio_intervals([blocks])
        for launch_ in blocks:
            launch_[rng.integers(21)] += 1.0
        (disturbed,) = log_ratio_intervals([blocks])
        halves.append((disturbed.high - disturbed.low) / (plain.high - plain.low))
    assert np.median(halves) < 1.2


def test_what_was_timed_against_itself_is_pooled_apart():
    """Processes that differ do so for both of its sides, and so say nothing of the spread of another ratio."""
    apart = [timed(f"{i}", [0.010 * (1 + i / 10)] * 56, [0.015] * 56, launch_pairs=(7,), engine="e") for i in range(3)]
    itself = [
        timed("itself", [0.010 * (1 + i / 1000)] * 56, [0.010] * 56, launch_pairs=(7,), engine="e", control=AA)
        for i in range(3)
    ]
    one, other = (merged([replace(row, name=name) for row in rows], 3) for name, rows in (("a", apart), ("b", itself)))

    together, alone = with_intervals([one, other]), [*with_intervals([one]), *with_intervals([other])]

    assert together == alone
    assert together[1].speedup_high / together[1].speedup_low < 1.02 < together[0].speedup_high


def test_one_launch_cannot_cover_it():
    """Resampling blocks of one process claims more than it knows: why launches are needed at all."""
    from sparsemark.analysis.statistics import percentile_interval, resampled_medians

    rng = np.random.default_rng(7)
    covered = []
    for ((blocks,),) in (cells(rng, 1, launches=1, between=0.03, blocks=20) for _ in range(100)):
        interval = percentile_interval(float(np.median(blocks)), resampled_medians(blocks))
        covered.append(interval.low <= 0 <= interval.high)
    assert np.mean(covered) < 0.6
