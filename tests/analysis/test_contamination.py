"""Causes of contamination: what is over its limit, how large it is, and the words for it."""

from __future__ import annotations

import dataclasses

import pytest

from sparsemark.analysis.comparison import compare
from sparsemark.analysis.contamination import (
    DRIFT_LIMIT,
    Cause,
    Contamination,
    contamination,
    contamination_of,
    in_words,
)
from sparsemark.machine.noise import STEAL_LIMIT
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from tests.synthetic import cell


def test_contamination_names_what_is_over_its_limit():
    assert contamination(0.03, 0.02) == ()
    assert contamination(None, None) == ()
    assert contamination(0.04, None) == (Contamination(Cause.REFERENCE_MOVED, 0.04),)
    assert contamination(0.04, 0.05) == (
        Contamination(Cause.REFERENCE_MOVED, 0.04),
        Contamination(Cause.TENANTS, 0.05),
    )
    assert contamination(0.0, 0.0, 0.02) == ()
    assert contamination(0.0, 0.0, 0.5) == (Contamination(Cause.PROCESSES, 0.5),)


def test_words_are_those_that_schema_1_stored():
    assert in_words(contamination(0.108, 0.05, 0.026)) == (
        "the reference moved 10.8 % within the run; other tenants took 5.0 % of the processor; "
        "other processes had the processor for 2.6 % of the time"
    )
    assert in_words(()) == ""


def test_every_cause_has_words_and_causes_of_one_run_stand_behind_its_name():
    found = [Contamination(cause, 0.5, run) for run in ("baseline", "candidate") for cause in Cause]
    between = Contamination(Cause.REFERENCES_APART, 1.0)
    line = in_words([*found, between])
    assert line.count("baseline: ") == line.count("candidate: ") == 1
    assert line.endswith("; the reference took 2.0 times as long in one run as in the other")
    assert len(line.split("; ")) == 2 * len(Cause) + 1


@pytest.mark.parametrize(
    ("field", "limit"), [("reference_drift", DRIFT_LIMIT), ("steal", STEAL_LIMIT), ("waited", STEAL_LIMIT)]
)
def test_a_cell_is_contaminated_above_the_limit_and_not_at_it(field, limit):
    assert contamination_of(Measurement("c", "measured", **{field: limit})) == ()
    (found,) = contamination_of(Measurement("c", "measured", **{field: 1.01 * limit}))
    assert found.size == 1.01 * limit
    assert contamination_of(Measurement("c", "measured")) == ()


def test_a_comparison_says_which_run_was_contaminated_by_what():
    before, after = cell(1, reference_drift=0.0), cell(2, reference_drift=0.0, steal=0.1)
    (comparison,) = compare(Run((before,)), Run((after,)))
    assert comparison.latency.contaminated == (Contamination(Cause.TENANTS, 0.1, "candidate"),)
    (back,) = compare(Run((after,)), Run((before,)))
    assert back.latency.contaminated == (Contamination(Cause.TENANTS, 0.1, "baseline"),)


def test_what_the_record_lacks_is_derived_from_the_raw_samples():
    before = cell(1, reference_drift=0.0)
    moving = dataclasses.replace(
        before,
        reference_drift=None,
        reference_s=(*before.reference_s[:80], *(1.2 * s for s in before.reference_s[80:])),
    )
    (comparison,) = compare(Run((before,)), Run((moving,)))
    cause = comparison.latency.contaminated[0]
    assert (cause.cause, cause.run) == (Cause.REFERENCE_MOVED, "candidate")
    assert cause.size > 0.15
