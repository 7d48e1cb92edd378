"""Measured sparsities between which an engine becomes as fast as dense."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemark.analysis.break_even import Crossing, break_evens, crossing
from sparsemark.analysis.statistics import Interval
from tests.synthetic import REFERENCE_MS, cell, study_run

GRID = (0.0, 0.3, 0.5, 0.7, 0.9)
RISING = (2.0, 1.6, 1.25, 0.8, 0.3)
"""Times relative to the reference, for each sparsity of the grid."""


def points(*speedups, width=0.01):
    """Points of the grid with these speedups, each with an interval that wide on both sides."""
    return [(share, Interval(s, s - width, s + width)) for share, s in zip(GRID, speedups, strict=True)]


def test_a_level_is_reached_between_two_measured_points():
    assert crossing(points(0.5, 0.6, 0.8, 1.2, 3.0), 1.0) == Crossing(0.5, 0.7)
    assert crossing(points(0.5, 0.6, 0.8, 1.2, 3.0), 2.0) == Crossing(0.7, 0.9)


def test_always_faster_and_never_faster_have_one_end():
    assert crossing(points(1.2, 1.3, 1.4, 2.0, 3.0), 1.0) == Crossing(None, 0.0)
    assert crossing(points(0.2, 0.3, 0.4, 0.5, 0.9), 1.0) == Crossing(0.9, None)


def test_an_interval_that_holds_the_level_is_unsettled():
    assert crossing(points(0.5, 0.6, 1.005, 1.2, 3.0), 1.0) == Crossing(0.3, 0.7, (0.5,))
    assert crossing(points(0.5, 0.6, 0.8, 0.9, 1.0), 1.0) == Crossing(0.7, None, (0.9,))
    assert crossing(points(1.0, 1.0, 1.0, 1.0, 1.0), 1.0) == Crossing(None, None, GRID)


def test_it_is_the_last_crossing_that_counts():
    """From there on the engine stays faster; a lucky point before is none."""
    assert crossing(points(0.9, 1.1, 0.95, 0.98, 2.0), 1.0) == Crossing(0.7, 0.9)
    assert crossing(points(0.9, 1.1, 1.0, 1.5, 2.0), 1.0) == Crossing(0.0, 0.7, (0.5,)), "1.1 was before a doubt"


@given(st.lists(st.floats(0.1, 10), min_size=5, max_size=5), st.floats(0.001, 0.09))
def test_a_faster_engine_never_breaks_even_later_and_the_ends_are_measured(speedups, width):
    slow, fast = (crossing(points(*(factor * s for s in speedups), width=width), 1.0) for factor in (1, 1.5))
    for found in (slow, fast):
        assert {found.below, found.reached, *found.unsettled} <= {None, *GRID}
        if found.below is not None and found.reached is not None:
            assert found.below < found.reached
            assert all(found.below < share < found.reached for share in found.unsettled)
    assert (2 if fast.reached is None else fast.reached) <= (2 if slow.reached is None else slow.reached)
    assert (-1 if fast.below is None else fast.below) <= (-1 if slow.below is None else slow.below)


def series(factors, method="magnitude", **fields):
    common = {"model": "n", "engine": "direct-csr", "format": "csr", "speedup_reference": "elsewhere"} | fields
    rows = []
    for i, (share, factor) in enumerate(zip(GRID, factors, strict=True)):
        named = {"method": method if share else "none", "sparsity": share}
        rows.append(cell(i, factor * REFERENCE_MS, f"n-{share}-{fields}", **named, **common))
    return rows


def test_the_crossing_lies_between_the_points_where_the_times_cross():
    (found,) = break_evens(series(RISING))
    assert (found.model, found.method, found.engine) == ("n", "magnitude", "direct-csr")
    assert (found.least, found.most) == (0.0, 0.9)
    assert found.over_dense == Crossing(0.5, 0.7)


def test_zeros_are_held_against_the_engines_own_dense_form():
    (found,) = break_evens(series((0.5, 0.5, 0.5, 0.4, 0.1)))
    assert found.over_dense == Crossing(None, 0.0)
    assert found.by_zeros == Crossing(0.5, 0.7)
    (alone,) = break_evens(series(RISING)[1:])
    assert alone.by_zeros is None


def test_a_noisy_dense_form_gains_nothing_by_the_zeros_that_it_has_not():
    """Its own interval, five percent wide, was read as a break-even at 0 %."""
    rows = series((0.5, 0.5, 0.5, 0.4, 0.1))
    noisy = dataclasses.replace(rows[0], speedup_low=1.7, speedup_high=2.3)
    (found,) = break_evens([noisy, *rows[1:]])
    assert found.by_zeros == Crossing(0.0, 0.7, (0.3, 0.5))


def test_an_engine_that_never_breaks_even_has_no_crossing():
    (found,) = break_evens(series((9.0, 8.0, 6.0, 5.0, 4.0)))
    assert found.over_dense == Crossing(0.9, None)


@pytest.mark.parametrize("other", [{"threads": 2}, {"precision": "int8"}, {"engine": "their-csr"}, {"model": "m"}])
def test_cells_that_were_run_in_another_way_are_a_series_of_their_own(other):
    slow, fast = series((9.0, 8.0, 6.0, 5.0, 4.0)), series(RISING, **other)
    first, second = break_evens([*slow, *fast])
    assert first.over_dense.reached is None
    assert second == break_evens(fast)[0]


def test_two_sparsities_are_too_few():
    assert break_evens(series(RISING)[:2]) == []


def test_channels_below_a_mask_are_no_zeros():
    assert break_evens(series(RISING, method="channels+magnitude")) == []
    assert break_evens(series(RISING, method="channels")) == []


def test_controls_and_the_reference_engine_have_no_break_even():
    found = break_evens(study_run().measured())
    assert {f.method for f in found} == {"magnitude"}
    assert {f.engine for f in found} == {"torch", "ncnn", "torch-csr", "scipy-csr", "direct-csr"}


def test_zeros_must_gain_more_than_a_mask_without_any():
    rows = series((0.5, 0.5, 0.5, 0.4, 0.1))
    ones = dataclasses.replace(rows[0], name="ones", method="all-ones")
    assert break_evens([*rows, ones]) == break_evens(rows), "it changed nothing"
    off = dataclasses.replace(ones, speedup=2.5, speedup_low=2.4, speedup_high=2.6)
    (found,) = break_evens([*rows, off])
    assert found.by_zeros == Crossing(0.5, 0.9, (0.7,))
    assert found.without_zeros.high > 1.25
    elsewhere = dataclasses.replace(off, engine="their-csr")
    assert break_evens([*rows, elsewhere]) == break_evens(rows)
