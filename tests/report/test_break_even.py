"""Break-even in words."""

from __future__ import annotations

import dataclasses

from sparsemark.records.run import Run
from sparsemark.report.break_even import break_even_table, break_evens
from tests.synthetic import REFERENCE_MS, cell
from tests.synthetic import study_run as synthetic_run

GRID = (0.0, 0.3, 0.5, 0.7, 0.9)


def run_of(times, engine="direct-csr", at=-1, **fields):
    """A series; `fields` replace those of the row `at`."""
    rows = [
        cell(
            i, ms, f"n-{share}", model="n", method="magnitude" if share else "none", engine=engine, format="csr",
            sparsity=share, sparsity_target=share, seed=0, speedup_reference="elsewhere",
        )
        for i, (share, ms) in enumerate(zip(GRID, times, strict=True))
    ]  # fmt: skip
    rows[at] = dataclasses.replace(rows[at], **fields)
    return Run(tuple(rows))


def lines_of(times, **fields):
    return break_evens(run_of(times, **fields))


def test_an_engine_that_breaks_even_names_the_measured_sparsities_around_it():
    """Nobody looked between them: 61 % would be a guess."""
    (line,) = lines_of([factor * REFERENCE_MS for factor in (2.0, 1.6, 1.25, 0.8, 0.3)])
    assert line == (
        "n, magnitude on direct CSR: as fast from between 50 % and 70 % on; zeros pay from between 0 % and 30 % on."
    )


def test_an_engine_whose_interval_holds_one_is_not_settled_there():
    (line,) = lines_of([factor * REFERENCE_MS for factor in (2.0, 1.6, 1.0, 0.8, 0.3)])
    assert ": as fast from between 30 % and 70 % on;" in line
    vague = {"speedup": 1.0, "speedup_low": 0.97, "speedup_high": 1.03}
    (line,) = lines_of([factor * REFERENCE_MS for factor in (2.0, 1.6, 1.4, 1.2, 1.0)], **vague)
    assert ": slower up to 70 %, then not settled;" in line
    (line,) = lines_of([factor * REFERENCE_MS for factor in (1.0, 0.9, 0.8, 0.7, 0.3)], at=0, **vague)
    assert ": as fast from 30 % on, or earlier;" in line


def test_an_engine_that_never_does_says_how_far_was_looked():
    (line,) = lines_of([factor * REFERENCE_MS for factor in (9.0, 8.0, 6.0, 5.0, 4.0)])
    assert ": slower up to 90 %;" in line


def test_an_engine_that_is_fast_without_zeros_says_from_where_on_they_help():
    (line,) = lines_of([factor * REFERENCE_MS for factor in (0.5, 0.5, 0.5, 0.4, 0.1)])
    assert line.endswith(": as fast from 0 % on; zeros pay from between 50 % and 70 % on.")


def test_zeros_that_change_nothing_are_said_to():
    (line,) = lines_of([factor * REFERENCE_MS for factor in (0.5, 0.51, 0.5, 0.49, 0.5)])
    assert line.endswith("; zeros do not pay up to 90 %.")


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
    assert "; zeros pay from between" in line


def test_the_table_says_the_same_and_never_where_none_was_reached():
    def row(*factors, **fields):
        titles, (found,) = break_even_table(run_of([factor * REFERENCE_MS for factor in factors], **fields))
        assert titles[:2] == ("zeros by", "engine")
        assert titles[2].startswith("as fast as dense ")
        assert titles[3] == "5 % faster than its own dense form from"
        assert found[:2] == ("magnitude", "direct CSR")
        return found[2:]

    assert row(2.0, 1.6, 1.25, 0.8, 0.3) == ("between 50 % and 70 %", "between 0 % and 30 %")
    assert row(9.0, 9.0, 9.0, 9.0, 9.0) == ("never (up to 90 %)", "never (up to 90 %)")
    assert row(0.5, 0.5, 0.5, 0.4, 0.1) == ("0 %", "between 50 % and 70 %")
    vague = {"speedup": 1.0, "speedup_low": 0.97, "speedup_high": 1.03}
    assert row(2.0, 1.6, 1.4, 1.2, 1.0, **vague)[0] == "not settled above 70 %"
    assert row(1.0, 0.9, 0.8, 0.7, 0.3, at=0, **vague)[0] == "30 %, or less"
    assert break_even_table(Run(()))[1] == []


def test_a_gain_that_a_mask_without_a_zero_gave_as_well_is_none_of_the_zeros():
    """Zeros were said to pay on PyTorch from 70 % on, by 1.15x; a mask that removes nothing had come out at 1.12x."""
    common = {"model": "n", "engine": "torch", "format": "dense", "seed": 0, "speedup_reference": "elsewhere"}
    named = [("none", 0.0, 1.0), ("magnitude", 0.5, 1.1), ("magnitude", 0.9, 1.12), ("all-ones", 0.0, 1.09)]
    rows = [
        cell(i, 2 * REFERENCE_MS / gain, f"n-{i}", method=method, sparsity=share, sparsity_target=share, **common)
        for i, (method, share, gain) in enumerate(named)
    ]
    ones = dataclasses.replace(rows[-1], speedup=0.56, speedup_low=0.5, speedup_high=0.6)
    (line,) = break_evens(Run((*rows[:-1], ones)))
    assert "; whether zeros pay is not settled, a mask without a zero gave 1.1" in line
    ((*_, own),) = break_even_table(Run((*rows[:-1], ones)))[1]
    assert own.startswith("not settled above 0 %: a mask without a zero gave 1.1")
    (line,) = break_evens(Run(tuple(rows[:-1])))
    assert "; zeros pay from between 0 % and 50 % on" in line
