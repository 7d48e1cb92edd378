"""Sparsity from which on an engine is faster than dense, interpolated."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemark.analysis.break_even import GAIN, break_evens, crossing
from tests.synthetic import REFERENCE_MS, cell, study_run

GRID = (0.0, 0.3, 0.5, 0.7, 0.9)
RISING = (2.0, 1.6, 1.25, 0.8, 0.3)
"""Times relative to the reference, for each sparsity of the grid."""


def test_the_logarithm_of_the_speedup_is_a_line_between_two_points():
    assert crossing([(0.0, 0.5), (0.5, 1.0), (0.9, 4.0)]) == pytest.approx(0.5)
    assert crossing([(0.4, 0.5), (0.6, 2.0)]) == pytest.approx(0.5)


def test_always_faster_and_never_faster_are_not_interpolated():
    assert crossing([(0.1, 1.2), (0.9, 3.0)]) == 0.1
    assert crossing([(0.1, 1.2), (0.9, 0.9)]) is None


def test_it_is_the_last_crossing_that_counts():
    """From there on the engine stays faster; a lucky point before is none."""
    assert 0.7 < crossing([(0.0, 0.9), (0.3, 1.01), (0.5, 0.95), (0.7, 0.99), (0.9, 2.0)]) < 0.9


@given(st.floats(-3, -0.01), st.floats(0.01, 3))
def test_a_faster_engine_never_breaks_even_later(before, after):
    slow = [(0.5, math.exp(before)), (0.9, math.exp(after))]
    fast = [(share, 1.1 * speedup) for share, speedup in slow]
    assert crossing(fast) <= crossing(slow)


def series(factors, method="magnitude", **fields):
    common = {"model": "n", "engine": "direct-csr", "format": "csr", "speedup_reference": "elsewhere"} | fields
    rows = []
    for i, (share, factor) in enumerate(zip(GRID, factors, strict=True)):
        named = {"method": method if share else "none", "sparsity": share}
        rows.append(cell(i, factor * REFERENCE_MS, f"n-{share}-{fields}", **named, **common))
    return rows


def test_the_three_crossings_are_in_order_and_lie_where_the_times_cross():
    (found,) = break_evens(series(RISING))
    assert (found.model, found.method, found.engine) == ("n", "magnitude", "direct-csr")
    assert (found.least, found.most) == (0.0, 0.9)
    assert found.over_dense.found == pytest.approx(0.6, abs=0.02)
    assert found.over_dense.early <= found.over_dense.found <= found.over_dense.late


def test_zeros_are_held_against_the_engines_own_dense_form():
    (found,) = break_evens(series((0.5, 0.5, 0.5, 0.4, 0.1)))
    assert found.over_dense.found == 0.0
    assert found.by_zeros.found == pytest.approx(0.5 + 0.2 * math.log(GAIN) / math.log(0.5 / 0.4), abs=0.03)
    (alone,) = break_evens(series(RISING)[1:])
    assert alone.by_zeros is None


def test_an_engine_that_never_breaks_even_has_no_crossing():
    (found,) = break_evens(series((9.0, 8.0, 6.0, 5.0, 4.0)))
    assert found.over_dense == dataclasses.replace(found.over_dense, early=None, found=None, late=None)


@pytest.mark.parametrize("other", [{"threads": 2}, {"precision": "int8"}, {"engine": "their-csr"}, {"model": "m"}])
def test_cells_that_were_run_in_another_way_are_a_series_of_their_own(other):
    slow, fast = series((9.0, 8.0, 6.0, 5.0, 4.0)), series(RISING, **other)
    first, second = break_evens([*slow, *fast])
    assert first.over_dense.found is None
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
