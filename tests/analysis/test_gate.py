"""The gate's truth table, and how often it is wrong on runs whose truth is known."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest

from sparsemark.analysis.comparison import compare, environment_differences, same_machine
from sparsemark.analysis.gate import gate, load_runs
from sparsemark.analysis.launches import merged, with_intervals
from sparsemark.analysis.verdicts import (
    EXIT_INCONCLUSIVE,
    EXIT_NO_BASELINE,
    EXIT_OK,
    EXIT_PARITY,
    EXIT_REGRESSION,
    EXIT_USAGE,
    NoBaselineError,
    Outcome,
    Tolerances,
    Verdict,
    exit_code,
)
from sparsemark.errors import UserError
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote, Score
from tests.synthetic import BLOCK, MACHINE, accuracy, cell, samples, study_run, timed

NAME = cell().name


def run_of(*measurements, **machine):
    return Run(measurements, MACHINE | machine)


def slowed(measurement, factor):
    """The raw samples alone are changed: what was derived from them stays as it was."""
    return dataclasses.replace(measurement, samples_s=tuple(factor * s for s in measurement.samples_s))


def verdict_on(baseline, candidate, quantity="latency", tolerances=None):
    verdicts = {v.quantity: v for v in gate(run_of(baseline), run_of(candidate), tolerances)}
    return verdicts[quantity]


def shaky(factors, seed=0):
    """A cell whose block i takes `factors[i]` times as long as the reference's."""
    reference = list(0.015 * np.exp(np.random.default_rng(seed).normal(0, 1e-4, BLOCK * len(factors))))
    candidate = [s * f for s, f in zip(reference, np.repeat(factors, BLOCK), strict=True)]
    return timed(NAME, candidate, reference)


def test_a_run_against_itself_is_ok_in_every_cell():
    run = study_run()
    verdicts = gate(run, run)
    assert {v.outcome for v in verdicts} == {Outcome.OK}
    assert {v.cell for v in verdicts} == {m.name for m in run.measurements}
    assert exit_code(verdicts, strict=True) == EXIT_OK


@pytest.mark.parametrize(
    "measurement",
    [
        cell(1, pairs=2),
        dataclasses.replace(cell(1), samples_s=(), reference_s=()),
        dataclasses.replace(cell(1), samples_s=(), reference_s=(), speedup=None),
        dataclasses.replace(cell(1), steal=0.5),
    ],
    ids=["few blocks", "no raw samples", "no speedup", "contaminated"],
)
def test_the_same_measurement_is_ok_however_little_it_holds(measurement):
    assert verdict_on(measurement, measurement).outcome is Outcome.OK


def test_cells_that_were_verified_and_not_timed_get_no_verdict_on_latency():
    untimed = Measurement(NAME, "measured", scores=accuracy(0.9))
    worse = dataclasses.replace(untimed, scores=accuracy(0.8))
    assert [v.quantity for v in gate(run_of(untimed), run_of(worse))] == ["accuracy"]
    assert verdict_on(cell(1), untimed).outcome is Outcome.INCOMPARABLE


def test_a_slowdown_of_a_fifth_in_the_raw_samples_alone_is_a_regression_of_that_cell_alone():
    run = study_run()
    index = next(i for i, m in enumerate(run.measurements) if m.name == "cnn9-magnitude90-seed0-torch")
    changed = list(run.measurements)
    changed[index] = slowed(changed[index], 1.2)
    verdicts = gate(run, dataclasses.replace(run, measurements=tuple(changed)))
    worse = [v for v in verdicts if v.outcome is not Outcome.OK]
    assert [(v.cell, v.quantity, v.outcome) for v in worse] == [(changed[index].name, "latency", Outcome.REGRESSION)]
    assert worse[0].change.estimate == pytest.approx(0.2, abs=1e-9)
    assert exit_code(verdicts) == EXIT_REGRESSION


def test_a_speedup_is_an_improvement_and_passes():
    verdict = verdict_on(cell(1), slowed(cell(2), 0.8))
    assert verdict.outcome is Outcome.IMPROVEMENT
    assert exit_code([verdict], strict=True) == EXIT_OK


def test_swapping_the_runs_swaps_regression_and_improvement():
    before, after = cell(1), slowed(cell(2), 1.2)
    there, back = verdict_on(before, after), verdict_on(after, before)
    assert (there.outcome, back.outcome) == (Outcome.REGRESSION, Outcome.IMPROVEMENT)
    assert (1 + there.change.estimate) * (1 + back.change.estimate) == pytest.approx(1)


def test_another_machines_milliseconds_are_not_compared():
    before = cell(1)
    twice_as_slow = dataclasses.replace(
        before, samples_s=tuple(2 * s for s in before.samples_s), reference_s=tuple(2 * s for s in before.reference_s)
    )
    verdict = verdict_on(before, twice_as_slow)
    assert verdict.outcome is Outcome.OK
    assert verdict.change.estimate == pytest.approx(0)


def test_a_change_below_the_floor_in_milliseconds_is_ok():
    before, after = cell(1, ms=0.1), slowed(cell(2, ms=0.1), 1.2)
    assert verdict_on(before, after).outcome is Outcome.OK
    assert "within the floor of 0.05 ms" in verdict_on(before, after).reason
    assert verdict_on(before, after, tolerances=Tolerances(floor_ms=0)).outcome is Outcome.REGRESSION


def test_a_slowdown_that_only_one_half_of_the_blocks_shows_is_inconclusive():
    noise = np.random.default_rng(5).normal(1, 1e-3, 40)
    verdict = verdict_on(shaky(noise), shaky(noise * np.repeat([1.0, 1.3], [12, 28])))  # paired, so drift is no excuse
    assert verdict.change.low > 0.2
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "halves of the blocks do not agree" in verdict.reason


def test_an_interval_across_the_tolerance_is_inconclusive_and_says_what_it_could_have_seen():
    rng = np.random.default_rng(6)
    verdict = verdict_on(shaky(rng.normal(1, 0.03, 60)), shaky(rng.normal(1.12, 0.03, 60), seed=1))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.detectable > 0.12
    assert f"could have seen +{100 * verdict.detectable:.1f} %" in verdict.reason
    assert exit_code([verdict]) == EXIT_OK
    assert exit_code([verdict], strict=True) == EXIT_INCONCLUSIVE


def test_what_is_called_detectable_is_detected():
    rng = np.random.default_rng(7)
    before, after = shaky(rng.normal(1, 0.01, 20)), shaky(rng.normal(1, 0.01, 20), seed=1)
    verdict = verdict_on(before, after)
    beyond = (1 + verdict.detectable) / (1 + verdict.change.estimate) * 1.001
    assert verdict_on(before, slowed(after, beyond)).change.low > 1.02 * 1.1 - 1


def test_too_few_blocks_are_inconclusive_however_large_the_change():
    verdict = verdict_on(cell(1, pairs=5), slowed(cell(2, pairs=5), 2))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "5 pairs of blocks, an interval needs 6" in verdict.reason


def test_holm_asks_more_of_a_cell_that_stands_among_many():
    def runs(cells):
        before = [cell(c, pairs=6, name=f"c{c}") for c in range(cells)]
        after = [cell(100 + c, pairs=6, name=f"c{c}") for c in range(cells)]
        return run_of(*before), run_of(slowed(after[0], 1.3), *after[1:])

    assert gate(*runs(1))[0].outcome is Outcome.REGRESSION
    among_many = gate(*runs(40))[0]
    assert among_many.outcome is Outcome.INCONCLUSIVE
    assert "Holm" in among_many.reason


def test_arms_timed_beside_the_same_calls_of_the_reference_are_compared_pair_by_pair():
    """Both arms felt what happened, so neither noise that dwarfs the change nor drift hides it."""
    rng = np.random.default_rng(8)
    before = shaky(rng.normal(1, 0.3, 20).clip(0.5))
    assert verdict_on(before, slowed(before, 1.1)).outcome is Outcome.REGRESSION
    assert verdict_on(before, slowed(before, 1.01)).outcome is not Outcome.REGRESSION
    assert verdict_on(before, slowed(before, 0.9)).outcome is Outcome.IMPROVEMENT
    assert verdict_on(before, slowed(shaky(rng.normal(1, 0.3, 20).clip(0.5), seed=1), 1.1)).outcome in (
        Outcome.INCONCLUSIVE,
        Outcome.CONTAMINATED,
    )


def test_a_ratio_that_wanders_within_a_run_is_not_trusted_between_runs():
    rng = np.random.default_rng(9)
    quiet, wandering = rng.normal(1, 1e-3, 20), rng.normal(1, 1e-3, 20) * np.repeat([1.0, 1.06], [8, 12])
    verdict = verdict_on(shaky(quiet), shaky(wandering, seed=1))
    assert verdict.outcome is Outcome.CONTAMINATED
    assert "candidate: the ratio to the reference moved 6." in verdict.reason


def drifting(measurement, by):
    rise = np.repeat(np.linspace(1, 1 + by, len(measurement.samples_s) // BLOCK), BLOCK)
    return dataclasses.replace(
        measurement,
        samples_s=tuple(s * r for s, r in zip(measurement.samples_s, rise, strict=True)),
        reference_s=tuple(s * r for s, r in zip(measurement.reference_s, rise, strict=True)),
    )


def test_a_moving_reference_or_stolen_time_contaminates():
    for doubtful in (drifting(cell(2), 0.15), cell(2, steal=0.1), cell(2, waited=0.1)):
        verdict = verdict_on(cell(1), doubtful)
        assert verdict.outcome is Outcome.CONTAMINATED
        assert verdict.reason.startswith("candidate: ")
        assert exit_code([verdict]) == EXIT_OK
        assert exit_code([verdict], strict=True) == EXIT_INCONCLUSIVE


def test_a_slowdown_beyond_the_whole_drift_is_a_regression_all_the_same():
    assert verdict_on(cell(1), slowed(drifting(cell(2), 0.15), 1.05)).outcome is Outcome.CONTAMINATED
    assert verdict_on(cell(1), slowed(drifting(cell(2), 0.15), 1.4)).outcome is Outcome.REGRESSION


def without_samples(measurement, **fields):
    return dataclasses.replace(measurement, samples_s=(), reference_s=(), **fields)


def test_without_raw_samples_the_intervals_of_the_speedups_decide():
    before = without_samples(cell(1))
    same, slow = without_samples(cell(2)), without_samples(cell(2, ms=18.0))
    assert verdict_on(before, same).outcome is Outcome.OK
    verdict = verdict_on(before, slow)
    assert verdict.outcome is Outcome.REGRESSION
    assert verdict.change.estimate == pytest.approx(0.2, abs=0.02)
    assert verdict_on(slow, before).outcome is Outcome.IMPROVEMENT


@pytest.mark.parametrize("missing", [{"speedup": None}, {"speedup_low": None}, {"speedup_low": 0.0}])
def test_without_samples_and_intervals_nothing_can_be_compared(missing):
    verdict = verdict_on(cell(1), without_samples(cell(2), **missing))
    assert verdict.outcome is Outcome.INCOMPARABLE
    assert exit_code([verdict], strict=True) == EXIT_INCONCLUSIVE


@pytest.mark.parametrize("field", ["threads", "batch", "speedup_reference"])
def test_another_job_is_incomparable(field):
    other = dataclasses.replace(cell(2), **{field: "numpy" if field == "speedup_reference" else 4})
    verdict = verdict_on(cell(1), other)
    assert verdict.outcome is Outcome.INCOMPARABLE
    assert field in verdict.reason


def test_beside_another_file_of_the_reference_only_the_speedup_is_compared():
    before, after = (cell(i, name="pruned", reference_sha256=sha) for i, sha in ((1, "a"), (2, "b")))
    verdict = verdict_on(before, after)
    assert verdict.outcome is Outcome.INCOMPARABLE
    assert "the reference changed" in verdict.reason
    assert "--against" in verdict.reason
    assert verdict_on(before, after, "speedup").outcome is Outcome.OK
    assert exit_code(gate(run_of(before), run_of(after))) == EXIT_INCONCLUSIVE, "of own time nothing is known"
    same = dataclasses.replace(after, reference_sha256="a")
    unknown = dataclasses.replace(after, reference_sha256=None)  # a run from before the field was there
    assert verdict_on(before, same).outcome is verdict_on(before, unknown).outcome is Outcome.OK


def test_a_reference_that_shared_its_processor_in_one_run_is_no_regression():
    """A short call fits between a neighbour's turns, a long one does not: pairs do not cancel that."""
    quiet = cell(1, 1.3, "short")
    shared = timed("short", cell(2, 1.3).samples_s, [2 * s for s in cell(2, 1.3).reference_s])
    for before, after in ((quiet, shared), (shared, quiet)):
        verdict = verdict_on(before, after)
        assert verdict.outcome is Outcome.CONTAMINATED
        assert "2.0 times as long" in verdict.reason
    waited = dataclasses.replace(cell(2, 1.3 * 1.3, "short"), waited=0.5)
    assert verdict_on(quiet, waited).outcome is Outcome.CONTAMINATED


EXACT = [
    ("accuracy", "scores", accuracy(0.91), accuracy(0.90), Outcome.OK),
    ("accuracy", "scores", accuracy(0.91), accuracy(0.8999), Outcome.REGRESSION),
    ("accuracy", "scores", accuracy(0.91), accuracy(0.93), Outcome.IMPROVEMENT),
    ("accuracy", "scores", accuracy(0.91), {}, Outcome.INCOMPARABLE),
    ("accuracy", "scores", {}, accuracy(0.91), Outcome.INCOMPARABLE),
    ("agreement", "engine_agreement", 1.0, 0.996, Outcome.OK),
    ("agreement", "engine_agreement", 1.0, 0.99, Outcome.REGRESSION),
    ("agreement", "engine_agreement", 1.0, None, Outcome.INCOMPARABLE),
    ("size", "artifact_bytes", 1000, 1010, Outcome.OK),
    ("size", "artifact_bytes", 1000, 1011, Outcome.REGRESSION),
    ("size", "artifact_bytes", 1000, 900, Outcome.IMPROVEMENT),
]


@pytest.mark.parametrize(("quantity", "field", "before", "after", "outcome"), EXACT)
def test_accuracy_agreement_and_bytes_are_compared_exactly(quantity, field, before, after, outcome):
    assert verdict_on(cell(1, **{field: before}), cell(1, **{field: after}), quantity).outcome is outcome


def test_a_quantity_that_neither_run_has_gets_no_verdict():
    assert [v.quantity for v in gate(run_of(cell(1)), run_of(cell(2)))] == ["latency"]


def test_accuracies_on_other_images_are_incomparable():
    before, after = (
        cell(1, scores=accuracy(value), data=DataNote(words)) for value, words in ((0.9, "LGG"), (0.5, "PHANTOM"))
    )
    verdict = verdict_on(before, after, "accuracy")
    assert verdict.outcome is Outcome.INCOMPARABLE
    assert "was on LGG, is on PHANTOM" in verdict.reason


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (DataNote("LGG", key="a"), DataNote("LGG, reworded", key="a"), Outcome.OK),
        (DataNote("LGG", key="a"), DataNote("LGG", key="b"), Outcome.INCOMPARABLE),
        (DataNote("LGG"), DataNote("LGG", key="b"), Outcome.OK),  # a run from before the key was there
        (None, DataNote("LGG"), Outcome.INCOMPARABLE),
        (None, None, Outcome.OK),
    ],
)
def test_keys_tell_data_apart_where_both_runs_have_one_else_words_do(before, after, outcome):
    runs = [
        cell(1, scores=accuracy(0.9), data=note, engine_agreement=1.0, parity_data=note) for note in (before, after)
    ]
    for quantity in ("accuracy", "agreement"):
        verdict = verdict_on(*runs, quantity)
        assert verdict.outcome is outcome
        if before and outcome is Outcome.INCOMPARABLE:
            assert "(keys a, b)" in verdict.reason, "the words alone do not tell them apart"


def losses(error, tolerance=0.1, **more):
    return {"error": Score(error, higher_is_better=False, tolerance=tolerance, **more)}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (2.0, Outcome.OK),
        (2.1, Outcome.OK),
        (1.9, Outcome.OK),
        (2.11, Outcome.REGRESSION),
        (1.89, Outcome.IMPROVEMENT),
    ],
)
def test_a_metric_where_lower_is_better_is_judged_in_its_own_direction_and_unit(error, outcome):
    verdict = verdict_on(cell(1, scores=losses(2.0)), cell(1, scores=losses(error)), "error")
    assert verdict.outcome is outcome
    assert verdict.reason == f"2 -> {error:g}, tolerance 0.1"


def test_every_metric_with_a_tolerance_is_judged_under_its_name_and_no_other():
    before = {"dice": Score(0.8, tolerance=0.02), "loss": Score(1.0, higher_is_better=False), **losses(2.0)}
    after = {"dice": Score(0.7, tolerance=0.02), "loss": Score(9.0, higher_is_better=False), **losses(1.0)}
    runs = run_of(cell(1, scores=before)), run_of(cell(1, scores=after))
    outcomes = {v.quantity: v.outcome for v in gate(*runs) if v.quantity != "latency"}
    assert outcomes == {"dice": Outcome.REGRESSION, "error": Outcome.IMPROVEMENT}
    outcomes = {v.quantity: v.outcome for v in gate(*runs, Tolerances(scores={"loss": 1.0, "dice": 0.2}))}
    assert outcomes["loss"] is Outcome.REGRESSION
    assert outcomes["dice"] is Outcome.OK


def test_a_candidate_does_not_loosen_the_tolerance_it_is_judged_by():
    before, loosened = cell(1, scores=accuracy(0.9)), cell(1, scores=accuracy(0.8, tolerance=0.5))
    assert verdict_on(before, loosened, "accuracy").outcome is Outcome.REGRESSION
    silent = cell(1, scores=accuracy(0.9, tolerance=None))
    assert verdict_on(silent, loosened, "accuracy").outcome is Outcome.OK


def test_a_metric_that_changed_its_direction_is_incomparable():
    verdict = verdict_on(cell(1, scores=losses(2.0)), cell(1, scores={"error": Score(2.0, tolerance=0.1)}), "error")
    assert verdict.outcome is Outcome.INCOMPARABLE
    assert verdict.reason == "lower was better, higher is better"


MEASURED = {"status": "measured"}
STATUSES = [
    ("measured", "unsupported", Outcome.REGRESSION, EXIT_REGRESSION),
    ("measured", "error", Outcome.REGRESSION, EXIT_REGRESSION),
    ("measured", "parity_failed", Outcome.PARITY_FAILURE, EXIT_PARITY),
    ("measured", None, Outcome.REGRESSION, EXIT_REGRESSION),
    ("unsupported", "parity_failed", Outcome.PARITY_FAILURE, EXIT_PARITY),
    ("unsupported", "error", Outcome.INCOMPARABLE, EXIT_OK),
    ("error", "measured", Outcome.INCOMPARABLE, EXIT_OK),
    ("parity_failed", "parity_failed", Outcome.OK, EXIT_OK),
    ("unsupported", None, Outcome.INCOMPARABLE, EXIT_OK),
    (None, "measured", Outcome.INCOMPARABLE, EXIT_OK),
    (None, "parity_failed", Outcome.PARITY_FAILURE, EXIT_PARITY),
]


@pytest.mark.parametrize(("was", "now", "outcome", "code"), STATUSES)
def test_a_cell_that_stops_running_never_passes_in_silence(was, now, outcome, code):
    def run(status):
        changed = [dataclasses.replace(cell(3), name="changed", status=status, reason="because")] if status else []
        return run_of(cell(1), *changed)

    verdicts = gate(run(was), run(now))
    verdict = next(v for v in verdicts if v.cell == "changed")
    assert verdict.outcome is outcome
    assert verdict.quantity == "status"
    assert verdict.reason
    assert exit_code(verdicts) == code


def test_runs_without_a_common_cell_have_no_baseline():
    with pytest.raises(NoBaselineError, match="no cell in common"):
        gate(run_of(cell(1, name="a")), run_of(cell(1, name="b")))


def test_a_name_that_is_there_twice_is_refused():
    with pytest.raises(UserError, match=r"candidate: .*there twice"):
        compare(run_of(cell(1)), run_of(cell(1), cell(2)))


def test_an_unreadable_candidate_comes_before_a_missing_baseline(tmp_path):
    good, torn, missing = tmp_path / "good.json", tmp_path / "torn.json", tmp_path / "missing.json"
    run_of(cell(1)).save(good)
    torn.write_text("{")
    with pytest.raises(NoBaselineError, match=r"missing\.json"):
        load_runs(missing, good)
    for baseline, candidate in ((missing, torn), (torn, good)):
        with pytest.raises(UserError, match=r"torn\.json") as error:
            load_runs(baseline, candidate)
        assert not isinstance(error.value, NoBaselineError)
    assert [m.name for run in load_runs(good, good) for m in run.measurements] == [NAME, NAME]


@pytest.mark.parametrize(
    ("outcomes", "plain", "strict"),
    [
        ([Outcome.OK, Outcome.IMPROVEMENT], EXIT_OK, EXIT_OK),
        ([Outcome.OK, Outcome.INCONCLUSIVE], EXIT_OK, EXIT_INCONCLUSIVE),
        ([Outcome.OK, Outcome.CONTAMINATED], EXIT_OK, EXIT_INCONCLUSIVE),
        ([Outcome.OK, Outcome.INCOMPARABLE], EXIT_OK, EXIT_INCONCLUSIVE),
        ([Outcome.INCONCLUSIVE, Outcome.REGRESSION], EXIT_REGRESSION, EXIT_REGRESSION),
        ([Outcome.REGRESSION, Outcome.PARITY_FAILURE], EXIT_PARITY, EXIT_PARITY),
    ],
)
def test_exit_codes_and_their_precedence(outcomes, plain, strict):
    verdicts = [Verdict("cell", "latency", outcome, "because") for outcome in outcomes]
    assert (exit_code(verdicts), exit_code(verdicts, strict=True)) == (plain, strict)


def test_exit_codes_are_the_published_ones():
    codes = (EXIT_OK, EXIT_REGRESSION, EXIT_USAGE, EXIT_INCONCLUSIVE, EXIT_NO_BASELINE, EXIT_PARITY)
    assert codes == (0, 1, 2, 3, 4, 5)
    new_cell = Verdict("cell", "status", Outcome.INCOMPARABLE, "absent in the baseline, measured now")
    assert exit_code([new_cell], strict=True) == EXIT_OK


@pytest.mark.parametrize("wrong", [{"latency": -0.1}, {"agreement": math.nan}, {"floor_ms": math.inf}, {"level": 0.0}])
def test_a_tolerance_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Tolerances(**wrong)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_tolerance_of_a_metric_that_makes_no_sense_is_refused(value):
    with pytest.raises(UserError, match=r"tolerance dice .*expected a number from 0"):
        Tolerances(scores={"dice": value})


def test_differences_of_environment_are_listed_and_readings_are_not():
    clock = {"cpu": {"brand_raw": "x", "hz_actual": [1, 0]}, "readings": {"load_1min": 0.1}}
    other_clock = {"cpu": {"brand_raw": "x", "hz_actual": [2, 0]}, "readings": {"load_1min": 2.5}}
    before = Run((cell(),), MACHINE | clock, {"id": "a"})
    after = Run((cell(),), MACHINE | other_clock | {"versions": {"torch": "2.14.0"}}, {"id": "b"})
    listed = {(d.field, d.baseline, d.candidate) for d in environment_differences(before, after)}
    assert listed == {
        ("commit.id", "a", "b"),
        ("versions.torch", "2.13.0", "2.14.0"),
        ("versions.onnxruntime", "1.22.0", "absent"),
    }
    assert same_machine(before, after)
    assert not same_machine(before, run_of(cell(), cpu_model="Other CPU"))


OTHER_MACHINES = [
    {"cpu_model": "Other CPU"},
    {"cpu_family": "25"},
    {"cpu_model_number": "17"},
    {"cpu_flags": "avx2 avx512f"},
    {"cpu_count": 64},
    {"cpu": {"brand_raw": "Other", "count": 2}},
]
HERE = {"cpu_family": "6", "cpu_model_number": "85", "cpu": {"brand_raw": "Imaginary", "count": 2}}


@pytest.mark.parametrize("other", OTHER_MACHINES, ids=lambda other: next(iter(other)))
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_on_another_machine_no_latency_is_a_regression_or_an_improvement_or_ok(other, factor):
    before = run_of(cell(1, name="a"), cell(2, name="b"), **HERE)
    after = run_of(slowed(before.measurements[0], factor), slowed(cell(3, name="b"), factor), **HERE | other)
    verdicts = gate(before, after)
    assert [(v.cell, v.quantity, v.outcome) for v in verdicts] == [
        (name, "latency", Outcome.INCOMPARABLE) for name in ("a", "b")
    ]
    assert all(v.reason.startswith(f"another machine: {next(iter(other))}") for v in verdicts)
    assert exit_code(verdicts) == exit_code(verdicts, strict=True) == EXIT_INCONCLUSIVE
    if "cpu_model" in other:
        assert verdicts[0].reason == "another machine: cpu_model was Imaginary CPU, is Other CPU"


@pytest.mark.parametrize("unknown", [{"cpu_model": None}, {"cpu_model": ""}, {"python": "3.12.1"}, {"kernel": "7.0"}])
def test_a_machine_that_does_not_say_its_name_is_no_other_one(unknown):
    for machines in ((MACHINE, unknown), (unknown, MACHINE), ({}, unknown)):
        runs = [run_of(one, **machine) for one, machine in zip((cell(1), slowed(cell(2), 1.2)), machines, strict=True)]
        assert same_machine(*runs)
        assert exit_code(gate(*runs)) == EXIT_REGRESSION


def test_on_another_machine_what_does_not_depend_on_it_is_judged_as_ever():
    def elsewhere(after):
        before = cell(1, scores=accuracy(0.9), engine_agreement=1.0, artifact_bytes=1000)
        verdicts = gate(run_of(before), run_of(after, cpu_model="Other CPU"))
        return {v.quantity: v.outcome for v in verdicts}, exit_code(verdicts)

    same = cell(2, scores=accuracy(0.9), engine_agreement=1.0, artifact_bytes=1000)
    kept = {"accuracy": Outcome.OK, "agreement": Outcome.OK, "size": Outcome.OK, "latency": Outcome.INCOMPARABLE}
    assert elsewhere(same) == (kept, EXIT_INCONCLUSIVE)
    worse = dataclasses.replace(same, scores=accuracy(0.8))
    assert elsewhere(worse) == (kept | {"accuracy": Outcome.REGRESSION}, EXIT_REGRESSION)
    larger = dataclasses.replace(same, artifact_bytes=1200)
    assert elsewhere(larger) == (kept | {"size": Outcome.REGRESSION}, EXIT_REGRESSION)
    for status, quantity, outcome, code in (
        ("unsupported", "latency", Outcome.INCOMPARABLE, EXIT_INCONCLUSIVE),
        ("error", "status", Outcome.REGRESSION, EXIT_REGRESSION),
        ("parity_failed", "status", Outcome.PARITY_FAILURE, EXIT_PARITY),
    ):
        assert elsewhere(Measurement(NAME, status, "why")) == ({quantity: outcome}, code)


def test_a_cell_that_another_machine_does_not_have_is_incomparable():
    before = run_of(cell(1), cell(1, name="gone"))
    verdicts = gate(before, run_of(cell(2), cpu_model="Other CPU"))
    assert {v.cell: v.outcome for v in verdicts} == dict.fromkeys((NAME, "gone"), Outcome.INCOMPARABLE)
    assert exit_code(verdicts) == EXIT_INCONCLUSIVE
    assert exit_code(gate(before, run_of(cell(2)))) == EXIT_REGRESSION, "here it had a time"


def test_a_gate_that_compared_no_latency_is_inconclusive_and_one_is_enough():
    few = gate(run_of(cell(1, pairs=2)), run_of(cell(2, pairs=2)))
    assert [v.outcome for v in few] == [Outcome.INCONCLUSIVE]
    assert exit_code(few) == EXIT_INCONCLUSIVE
    more = gate(run_of(cell(1), cell(1, name="few", pairs=2)), run_of(cell(2), cell(2, name="few", pairs=2)))
    assert exit_code(more) == EXIT_OK
    assert exit_code(more, strict=True) == EXIT_INCONCLUSIVE
    untimed = run_of(Measurement(NAME, "measured", scores=accuracy(0.9)))
    assert exit_code(gate(untimed, untimed)) == EXIT_OK, "there is no latency"


def decide(gates, cells, slowdown, process):
    """Outcomes of the latencies of `gates` pairs of fresh runs."""
    outcomes = Counter()
    for number in range(gates):
        runs = []
        for arm, factor in enumerate((1.0, slowdown)):
            rngs = [np.random.default_rng([number, c, arm]) for c in range(cells)]
            runs.append(
                run_of(*(timed(f"c{c}", *samples(rng, 15 * factor, process=process)) for c, rng in enumerate(rngs)))
            )
        outcomes.update(v.outcome for v in gate(*runs) if v.quantity == "latency")
    return outcomes


def test_no_false_alarm_in_300_decisions_between_identical_models():
    """Noise wanders (AR 1) and processes differ by 0.5 %; a difference of 1 % between processes would give alarms."""
    outcomes = decide(gates=25, cells=12, slowdown=1.0, process=0.005)
    assert outcomes.total() == 300
    assert outcomes[Outcome.REGRESSION] == 0
    assert outcomes[Outcome.IMPROVEMENT] == 0
    assert outcomes[Outcome.OK] >= 270


def test_a_slowdown_of_a_fifth_is_found_by_one_process_a_side_and_one_of_five_percent_by_several():
    outcomes = decide(gates=8, cells=12, slowdown=1.2, process=0.005)
    trusted = outcomes.total() - outcomes[Outcome.CONTAMINATED]
    assert trusted >= 90
    assert outcomes[Outcome.REGRESSION] >= 0.97 * trusted
    assert outcomes[Outcome.OK] == 0


def in_launches(name, ms, seed, launches=10, process=0.003, **fields):
    """A cell of several launches, with its interval."""
    rows = [
        timed(
            name,
            *samples(np.random.default_rng([seed, number]), ms, pairs=6, process=process),
            launch_pairs=(6,),
            engine="e",
            **fields,
        )
        for number in range(launches)
    ]
    return with_intervals([merged(rows, launches)])[0]


def test_launches_tell_five_percent_from_none():
    before = in_launches(NAME, 15.0, 1)
    assert verdict_on(before, in_launches(NAME, 15.0, 2)).outcome is Outcome.OK
    assert verdict_on(before, in_launches(NAME, 15.0 * 1.08, 3)).outcome is Outcome.REGRESSION
    assert verdict_on(before, in_launches(NAME, 15.0 / 1.08, 3)).outcome is Outcome.IMPROVEMENT


# --- own time, where the reference changed too


def strided(factor, **fields):
    """Both arms of a change that slows cell and reference alike; the workload beside them is the same."""
    beside = {"yardstick_ms": 1.0, "yardstick_spread": 0.01} | fields
    before = cell(1, name="pruned", reference_sha256="a", yardstick_ms=1.0, yardstick_spread=0.01)
    times = {"samples_s": before.samples_s, "reference_s": before.reference_s, "p50_ms": before.p50_ms}
    slower = {field: tuple(factor * s for s in times[field]) for field in ("samples_s", "reference_s")}
    slower |= {"p50_ms": factor * before.p50_ms, "reference_sha256": "b"}
    return before, dataclasses.replace(before, **slower, **beside)


@pytest.mark.parametrize(
    ("factor", "fields", "outcome"),
    [
        (3.9, {}, Outcome.REGRESSION),
        (1.3, {}, Outcome.REGRESSION),
        (1 / 3.9, {}, Outcome.IMPROVEMENT),
        (1.15, {}, Outcome.INCONCLUSIVE),
        (1.01, {}, Outcome.OK),
        (3.9, {"yardstick_ms": 3.9}, Outcome.OK),  # the machine was slower, not the network
        (1.3, {"yardstick_spread": 0.5}, Outcome.INCONCLUSIVE),  # the workload itself moved by half
    ],
)
def test_what_slows_the_reference_as_well_is_seen_beside_a_fixed_workload(factor, fields, outcome):
    before, after = strided(factor, **fields)
    verdict = verdict_on(before, after)
    assert verdict.outcome is outcome
    assert verdict_on(before, after, "speedup").outcome is Outcome.OK
    if outcome is Outcome.REGRESSION:
        assert exit_code(gate(run_of(before), run_of(after))) == EXIT_REGRESSION


def test_on_another_machine_neither_own_time_nor_memory_is_judged():
    """There the fixed workload ran on another processor, so it says nothing of the network."""
    before, after = strided(3.9)
    before = dataclasses.replace(before, peak_rss_bytes=100_000, agreement_with_dense=0.9)
    after = dataclasses.replace(after, peak_rss_bytes=200_000, agreement_with_dense=0.8)

    def outcomes(**machine):
        return {v.quantity: v.outcome for v in gate(run_of(before), run_of(after, **machine))}

    regressions = dict.fromkeys(("latency", "memory", "agreement with dense"), Outcome.REGRESSION)
    assert outcomes() == regressions | {"speedup": Outcome.OK}
    assert outcomes(cpu_model="Other CPU") == {
        "latency": Outcome.INCOMPARABLE,
        "agreement with dense": Outcome.REGRESSION,
    }


def test_another_version_of_the_references_engine_is_another_reference():
    before, after = (cell(i, reference_sha256="a", reference_engine="onnxruntime") for i in (1, 2))
    newer = {"versions": {"onnxruntime": "9.9"}}
    verdicts = {v.quantity for v in gate(run_of(before), Run((after,), MACHINE | newer))}
    assert {"latency", "speedup"} <= verdicts
    assert "speedup" not in {v.quantity for v in gate(run_of(before), run_of(after))}


@pytest.mark.parametrize(
    ("field", "quantity", "was", "now", "outcome"),
    [
        ("peak_rss_bytes", "memory", 100_000, 112_000, Outcome.REGRESSION),
        ("peak_rss_bytes", "memory", 100_000, 108_000, Outcome.OK),
        ("agreement_with_dense", "agreement with dense", 1.0, 0.1, Outcome.REGRESSION),
        ("agreement_with_dense", "agreement with dense", 0.9, 0.95, Outcome.IMPROVEMENT),
    ],
)
def test_memory_and_agreement_with_the_dense_network_are_gated(field, quantity, was, now, outcome):
    before, after = cell(1, **{field: was}), cell(1, **{field: now})
    assert verdict_on(before, after, quantity).outcome is outcome


def test_a_cell_has_its_own_tolerance_where_its_name_fits():
    before, after = in_launches(NAME, 15.0, 1), in_launches(NAME, 15.0 * 1.08, 3)
    for tolerances, outcome in (
        (Tolerances(cells={"cnn9-*": 0.2}), Outcome.OK),
        (Tolerances(cells={"other-*": 0.2}), Outcome.REGRESSION),
        (Tolerances(latency=0.2), Outcome.OK),
    ):
        assert verdict_on(before, after, tolerances=tolerances).outcome is outcome
