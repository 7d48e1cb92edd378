"""Two arms launched in turn: what alarms, what must agree, and how often it is wrong."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from sparsemark.analysis.comparison import Comparison
from sparsemark.analysis.paired_launches import Batch, PairedChange, agrees, alarms_of, fewest_launches, judge_pairs
from sparsemark.analysis.significance import signed_rank_interval
from sparsemark.analysis.verdicts import LATENCY, SPEEDUP, Outcome, Tolerances

DENSE, PRUNED = "net-dense-seed0-onnxruntime", "net-magnitude90-seed0-direct-csr"
OWN = {DENSE: DENSE, PRUNED: DENSE}


def change(slower, spread=0.01, launches=10, ms=5.0, seed=0):
    """A change of so much, with the spread of processes around it; its estimate is exact."""
    noise = np.random.default_rng(seed).normal(0, spread, launches)
    return PairedChange(tuple(math.log1p(slower) + noise - signed_rank_interval(noise).estimate), ms * slower)


def batch(dense, pruned, **options):
    return Batch.of({DENSE: change(dense, **options), PRUNED: change(pruned, **options)}, OWN)


def verdicts(first, second=None, tolerances=None):
    tolerances = tolerances or Tolerances()
    alarms = alarms_of(first, tolerances)
    return {
        (name, verdict.quantity): verdict
        for name in first.latency
        for verdict in judge_pairs(Comparison(name, None, None), first, second, alarms, tolerances)
    }


def outcomes(*arguments, **options):
    return {key: verdict.outcome for key, verdict in verdicts(*arguments, **options).items()}


def test_equal_arms_are_ok():
    assert set(outcomes(batch(0, 0, spread=0.005)).values()) == {Outcome.OK}


def test_what_slows_both_is_a_regression_of_time_and_none_of_the_speedup():
    found = outcomes(batch(2.9, 2.9), batch(2.9, 2.9, seed=1))
    assert found == {
        (DENSE, LATENCY): Outcome.REGRESSION,
        (PRUNED, LATENCY): Outcome.REGRESSION,
        (PRUNED, SPEEDUP): Outcome.OK,
    }


def test_a_slower_engine_loses_its_speedup_too():
    found = outcomes(batch(0, 0.1), batch(0, 0.1, seed=1))
    assert found[PRUNED, LATENCY] is found[PRUNED, SPEEDUP] is Outcome.REGRESSION
    assert found[DENSE, LATENCY] is Outcome.OK


def test_a_faster_engine_is_an_improvement():
    found = outcomes(batch(0, -0.1), batch(0, -0.1, seed=1))
    assert found[PRUNED, LATENCY] is found[PRUNED, SPEEDUP] is Outcome.IMPROVEMENT


@pytest.mark.parametrize("second", [0.0, 0.015, -0.1])
def test_a_second_batch_that_does_not_agree_takes_the_alarm_back(second):
    found = verdicts(batch(0, 0.1), batch(0, second, seed=1))[PRUNED, LATENCY]
    assert found.outcome is Outcome.INCONCLUSIVE
    assert f"the second shows {100 * second:+.1f} %" in found.reason


def test_without_a_second_batch_nothing_alarms():
    found = verdicts(batch(0, 0.1))[PRUNED, LATENCY]
    assert (found.outcome, "the second was not measured" in found.reason) == (Outcome.INCONCLUSIVE, True)


def test_a_change_within_the_tolerance_or_the_floor_is_ok():
    assert outcomes(batch(0, 0.01, spread=0.003))[PRUNED, LATENCY] is Outcome.OK
    small = batch(0, 0.5, ms=0.08), batch(0, 0.5, ms=0.08, seed=1)
    assert outcomes(*small)[PRUNED, LATENCY] is Outcome.OK
    cells = Tolerances(cells={"*-direct-csr": 0.2})
    found = outcomes(batch(0, 0.1), batch(0, 0.1, seed=1), tolerances=cells)
    assert found[PRUNED, LATENCY] is Outcome.OK


def test_launches_that_scatter_are_inconclusive_and_say_what_they_could_have_seen():
    found = verdicts(batch(0, 0, spread=0.1))[PRUNED, LATENCY]
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.detectable > 0.05
    assert f"could have seen +{100 * found.detectable:.1f} %" in found.reason


@pytest.mark.parametrize(("cells", "launches"), [(1, 7), (2, 8), (6, 10), (36, 12)])
def test_a_verdict_on_more_cells_takes_more_launches(cells, launches):
    assert fewest_launches(cells, 0.01) == launches


def test_too_few_launches_are_no_verdict_however_large_the_change():
    few = batch(1.0, 1.0, launches=7)
    assert outcomes(few, few)[DENSE, LATENCY] is Outcome.INCONCLUSIVE
    assert "expected 8" in verdicts(few, few)[DENSE, LATENCY].reason
    enough = batch(1.0, 1.0, launches=8)
    assert outcomes(enough, enough)[DENSE, LATENCY] is Outcome.REGRESSION


def test_a_cell_that_only_one_arm_could_launch_is_incomparable():
    first = Batch.of({DENSE: change(0)}, OWN)
    (found,) = judge_pairs(Comparison(PRUNED, None, None), first, None, alarms_of(first, Tolerances()), Tolerances())
    assert (found.quantity, found.outcome) == (LATENCY, Outcome.INCOMPARABLE)


def test_agreement_is_one_sided():
    assert agrees(change(0.05), 1, 0.02)
    assert not agrees(change(0.05), -1, 0.02)
    assert not agrees(change(0.05, spread=0.2), 1, 0.02), "an interval across 0 says nothing"


def test_false_alarms_are_rare_and_five_percent_is_found():
    """Processes differ by 1 %: 300 decisions on equal arms and on slowed ones."""
    rng = np.random.default_rng(0)

    def draw(slower):
        noise = rng.normal(0, 0.01 * math.sqrt(2), (2, 10))
        changes = [PairedChange(tuple(one), 5 * math.expm1(one.mean())) for one in math.log1p(slower) + noise]
        return Batch.of(dict(zip((DENSE, PRUNED), changes, strict=True)), OWN)

    def rate(slower, wanted):
        counts = Counter()
        for _ in range(150):
            first = draw(slower)
            alarms = alarms_of(first, Tolerances())
            second = draw(slower) if any(alarms.values()) else None
            for name in (DENSE, PRUNED):
                for one in judge_pairs(Comparison(name, None, None), first, second, alarms, Tolerances()):
                    counts[one.outcome] += one.quantity == LATENCY
        return counts[wanted] / counts.total()

    assert rate(0.0, Outcome.REGRESSION) == 0
    assert rate(0.05, Outcome.REGRESSION) > 0.9
