"""Break-even in words."""

from __future__ import annotations

import re

from sparsemark.records.run import Run
from sparsemark.report.break_even import break_evens
from tests.synthetic import REFERENCE_MS, cell
from tests.synthetic import study_run as synthetic_run

GRID = (0.0, 0.3, 0.5, 0.7, 0.9)


def lines_of(times, engine="direct-csr"):
    rows = [
        cell(
            i, ms, f"n-{share}", model="n", method="magnitude" if share else "none", engine=engine, format="csr",
            sparsity=share, sparsity_target=share, seed=0, speedup_reference="elsewhere",
        )
        for i, (share, ms) in enumerate(zip(GRID, times, strict=True))
    ]  # fmt: skip
    return break_evens(Run(tuple(rows)))


def test_an_engine_that_breaks_even_says_where_with_an_interval():
    (line,) = lines_of([factor * REFERENCE_MS for factor in (2.0, 1.6, 1.25, 0.8, 0.3)])
    assert line.startswith("n, magnitude on direct CSR: breaks even at 60 % [")


def test_an_engine_that_never_does_says_how_far_was_looked():
    (line,) = lines_of([factor * REFERENCE_MS for factor in (9.0, 8.0, 6.0, 5.0, 4.0)])
    assert "slower than dense at every sparsity up to 90 %;" in line


def test_an_engine_that_is_fast_without_zeros_says_from_where_on_they_help():
    (line,) = lines_of([factor * REFERENCE_MS for factor in (0.5, 0.5, 0.5, 0.4, 0.1)])
    assert "at least as fast as dense from 0 % on" in line
    found = re.search(r"its own dense form from (\d+) % \[(\d+) %, (\d+) %\] on\.$", line)
    share, early, late = map(int, found.groups())
    assert 50 < share < 60
    assert early <= share <= late


def test_zeros_that_change_nothing_are_said_to():
    (line,) = lines_of([factor * REFERENCE_MS for factor in (0.5, 0.51, 0.5, 0.49, 0.5)])
    assert "zeros up to 90 % do not make it 5 % faster than its own dense form" in line


def test_the_reference_engine_has_no_break_even():
    assert not [line for line in break_evens(synthetic_run()) if line.partition(":")[0].endswith("ONNX Runtime")]


def test_a_dense_network_with_a_zero_of_its_own_is_still_the_dense_one():
    times = [factor * REFERENCE_MS for factor in (0.5, 0.5, 0.5, 0.4, 0.1)]
    rows = [
        cell(
            i, ms, f"n-{share}", model="n", method="magnitude" if share > 0.1 else "none", engine="direct-csr",
            format="csr", sparsity=share, sparsity_target=share, seed=0, speedup_reference="elsewhere",
        )
        for i, (share, ms) in enumerate(zip((0.001, *GRID[1:]), times, strict=True))
    ]  # fmt: skip
    (line,) = break_evens(Run(tuple(rows)))
    assert "faster than its own dense form from" in line
