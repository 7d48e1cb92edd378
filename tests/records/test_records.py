"""A run is read back as it was written, and a file that is not one is refused in one line that names file and field."""

from __future__ import annotations

import functools
import json
import math
from typing import Annotated, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsemark.errors import UserError
from sparsemark.records import typed
from sparsemark.records.benchmark_json import SCHEMA, to_benchmark
from sparsemark.records.engine_note import EngineNote
from sparsemark.records.journal import Journal
from sparsemark.records.measurement import STATUSES, Measurement
from sparsemark.records.ranges import MEASUREMENT_ORDER, SCORE_ORDER, Seconds
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote, Score
from sparsemark.records.typed import hints_of
from tests.synthetic import accuracy, cell, study_run

SECONDS = st.lists(st.floats(1e-15, 1e9), max_size=20).map(tuple)
TEXTS = st.text(max_size=20)
VALUES = {
    str: TEXTS,
    DataNote: st.builds(DataNote, TEXTS, st.none() | TEXTS, st.none() | TEXTS),
}


def within(kind):
    """Values of a type, its whole range with both ends; the ends are where arithmetic would overflow."""
    plain, *ranges = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    if plain not in (int, float):
        return VALUES[plain]
    (declared,) = ranges
    least, most = declared.ge, declared.le
    finite = {"allow_nan": False, "allow_infinity": False}
    numbers = st.integers(least, most) if plain is int else st.floats(least, most, **finite)
    ends = [plain(end) for end in (least, most) if end is not None]
    return numbers | st.sampled_from(ends)


def optional(hint):
    return st.none() | within(get_args(hint)[0])


def ordered(fields, orders):
    """The same fields, with those numbers sorted that a file must have in order."""
    for names in orders:
        known = [name for name in names if fields[name] is not None]
        fields |= dict(zip(known, sorted(fields[name] for name in known), strict=True))
    return fields


# Names that are fields, ends of other names, or both: each metric is to keep its own numbers.
METRICS = TEXTS | st.sampled_from(
    ["accuracy", "accuracy_low", "precision", "score_precision", "score", "cell", "p50_ms"]
)
OF_A_SCORE = hints_of(Score)
NUMBERS_OF_A_SCORE = ("low", "high", "raw", "recalibrated", "select", "loss_low", "loss_high", "tolerance")
SCORES = st.fixed_dictionaries(
    {
        "value": within(OF_A_SCORE["value"]),
        "higher_is_better": st.booleans(),
        **{name: optional(hint) for name, hint in OF_A_SCORE.items() if name in NUMBERS_OF_A_SCORE},
    }
).map(lambda fields: Score(**ordered(fields, SCORE_ORDER)))
NOTES = st.builds(EngineNote, TEXTS, st.none() | TEXTS, st.none() | TEXTS, st.none() | TEXTS, TEXTS)

OF_LAUNCHES = ("samples_s", "reference_s", "aside_samples_s", "aside_reference_s", "launch_pairs", "block")
FIELDS = {
    name: optional(hint)
    for name, hint in hints_of(Measurement).items()
    if name not in ("name", "status", "scores", *OF_LAUNCHES)
}
PARTED = st.one_of(
    st.fixed_dictionaries({"samples_s": SECONDS, "block": st.none() | st.integers(1, 9)}),
    st.tuples(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 4)).flatmap(
        lambda of: st.fixed_dictionaries(
            {
                "samples_s": st.lists(within(Seconds), min_size=sum(of[0]) * of[1], max_size=sum(of[0]) * of[1]).map(
                    tuple
                ),
                "block": st.just(of[1]),
                "launch_pairs": st.just(tuple(of[0])),
            }
        )
    ),
)
"""Samples, with or without the launches that they come from."""

MEASUREMENTS = st.fixed_dictionaries(
    {
        "name": st.text(min_size=1, max_size=20),
        "status": st.sampled_from(STATUSES),
        "scores": st.dictionaries(METRICS, SCORES, max_size=4),
        "reference_s": SECONDS,
        "aside_samples_s": SECONDS,
        "aside_reference_s": SECONDS,
        **FIELDS,
    }
).flatmap(lambda fields: PARTED.map(lambda parted: Measurement(**ordered(fields, MEASUREMENT_ORDER), **parted)))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(measurements=st.lists(MEASUREMENTS, min_size=1, max_size=4), notes=st.dictionaries(TEXTS, NOTES, max_size=2))
def test_a_run_is_read_as_it_was_written(tmp_path, measurements, notes):
    run = Run(tuple(measurements), {"cpu_model": "x", "versions": {"torch": None}}, {"id": "abc"}, "2026-01-01", notes)
    path = tmp_path / "run.json"
    run.save(path)
    again = Run.load(path)
    assert again == run
    for before, after in zip(run.measurements, again.measurements, strict=True):
        assert list(after.scores) == list(before.scores), "the first is the headline"


def test_the_file_is_pytest_benchmarks_own(tmp_path):
    run = study_run()
    run.save(tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    entry = document["benchmarks"][0]
    assert {"machine_info", "commit_info", "benchmarks", "datetime", "version"} <= set(document)
    assert entry["stats"]["median"] == pytest.approx(1e-3 * run.measurements[0].p50_ms)
    assert entry["stats"]["rounds"] == len(entry["stats"]["data"]) == 160
    assert entry["extra_info"]["schema"] == SCHEMA
    assert all(value is None or isinstance(value, int | float | str) for value in entry["extra_info"].values())


def test_benchmarks_of_other_suites_are_passed_over(tmp_path):
    path = tmp_path / "run.json"
    Run((cell(),)).save(path)
    document = json.loads(path.read_text())
    document["benchmarks"] += [{"name": "theirs", "extra_info": {}}, {"name": "theirs"}, 7, {"extra_info": 5}]
    path.write_text(json.dumps(document))
    assert [m.name for m in Run.load(path).measurements] == [cell().name]


def test_a_number_that_json_cannot_hold_is_not_written(tmp_path):
    path = tmp_path / "run.json"
    Run((cell(),)).save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        Run((cell(p50_ms=math.nan),)).save(path)
    with pytest.raises(ValueError, match="JSON compliant"):
        Run((cell(scores=accuracy(0.9, tolerance=math.nan)),)).save(path)
    assert path.read_bytes() == before


def _entry(document):
    return document["benchmarks"][0]


DAMAGES = {
    "schema": (lambda d: _entry(d)["extra_info"].update(schema=99), "benchmarks[0]: extra_info.schema is 99"),
    "status": (lambda d: _entry(d)["extra_info"].update(status="fine"), "benchmarks[0]: extra_info.status is 'fine'"),
    "text": (
        lambda d: _entry(d)["extra_info"].update(accuracy="high"),
        "extra_info.accuracy is 'high', expected a number",
    ),
    "bool": (lambda d: _entry(d)["extra_info"].update(accuracy=True), "extra_info.accuracy is True"),
    "low": (
        lambda d: _entry(d)["extra_info"].update(accuracy_low="low"),
        "extra_info.accuracy_low is 'low', expected a number or null",
    ),
    "nan score": (
        lambda d: _entry(d)["extra_info"].update(accuracy=math.nan),
        "extra_info.accuracy is nan, expected a finite number or null",
    ),
    "direction": (
        lambda d: _entry(d)["sparsemark"]["scores"]["accuracy"].update(higher_is_better=1),
        "sparsemark.scores.accuracy.higher_is_better is 1, expected true or false",
    ),
    "tolerance": (
        lambda d: _entry(d)["sparsemark"]["scores"]["accuracy"].update(tolerance="a point"),
        "sparsemark.scores.accuracy.tolerance is 'a point', expected a number or null",
    ),
    "score": (
        lambda d: _entry(d)["sparsemark"]["scores"].update(accuracy=0.9),
        "sparsemark.scores.accuracy is float, expected an object",
    ),
    "scores": (
        lambda d: _entry(d)["sparsemark"].update(scores=[0.9]),
        "sparsemark.scores is list, expected an object",
    ),
    "data": (
        lambda d: _entry(d)["extra_info"].update(score_data=3),
        "benchmarks[0]: extra_info.score_data is 3, expected text",
    ),
    "caveat": (
        lambda d: _entry(d)["extra_info"].update(score_data="LGG", score_caveat=3),
        "extra_info.score_caveat is 3, expected text or null",
    ),
    "fraction": (lambda d: _entry(d)["extra_info"].update(samples=1.5), "extra_info.samples is 1.5"),
    "nan": (
        lambda d: _entry(d)["extra_info"].update(p50_ms=math.nan),
        "extra_info.p50_ms is nan, expected a finite number",
    ),
    "infinite": (lambda d: _entry(d)["extra_info"].update(speedup=math.inf), "extra_info.speedup is inf"),
    "nan sample": (lambda d: _entry(d)["stats"]["data"].append(math.nan), "stats.data holds nan"),
    "negative sample": (lambda d: _entry(d)["stats"]["data"].append(-1), "stats.data holds -1"),
    "huge sample": (lambda d: _entry(d)["stats"]["data"].append(10**400), "benchmarks[0]: stats.data holds 1000"),
    "boolean sample": (lambda d: _entry(d)["stats"]["data"].append(True), "stats.data holds True"),
    "samples": (lambda d: _entry(d)["stats"].update(data="fast"), "stats.data is 'fast', expected a list"),
    "stats": (lambda d: _entry(d).update(stats=[1]), "stats is list, expected an object"),
    "reference": (lambda d: _entry(d)["sparsemark"].update(reference_data=3), "sparsemark.reference_data is 3"),
    "nameless": (lambda d: (_entry(d).pop("name"), _entry(d)["extra_info"].pop("cell")), "'name' is missing"),
    "schema of another kind": (
        lambda d: _entry(d)["extra_info"].update(schema=True),
        "extra_info.schema is True, this sparsemark reads 1 and 2",
    ),
    "older schema": (lambda d: _entry(d)["extra_info"].update(schema=0), "benchmarks[0]: extra_info.schema is 0"),
    "engine": (
        lambda d: d["sparsemark"].update(engines={"theirs": {"label": 3}}),
        "sparsemark.engines.theirs.label is 3, expected text",
    ),
    "engine's note": (
        lambda d: d["sparsemark"].update(engines={"theirs": "Theirs"}),
        "sparsemark.engines.theirs is str, expected an object",
    ),
    "engines": (lambda d: d["sparsemark"].update(engines=[1]), "sparsemark.engines is list, expected an object"),
    "notes": (lambda d: d.update(sparsemark=[1]), "sparsemark is list, expected an object"),
    "unmeasured": (lambda d: d["sparsemark"].update(unmeasured={"a": 1}), "sparsemark.unmeasured is dict, expected"),
    "unmeasured row": (
        lambda d: d["sparsemark"].update(unmeasured=[7]),
        "sparsemark.unmeasured[0]: 7, expected an object",
    ),
    "unmeasured schema": (
        lambda d: d["sparsemark"].update(unmeasured=[{"extra_info": {}}]),
        "sparsemark.unmeasured[0]: extra_info.schema is None",
    ),
    "position": (
        lambda d: d["sparsemark"].update(unmeasured=[_entry(d) | {"sparsemark": {"position": "first"}}]),
        "sparsemark.unmeasured[0].sparsemark.position is 'first', expected a whole number",
    ),
    "name": (lambda d: _entry(d)["extra_info"].update(cell=3), "cell is 3, expected text"),
    "position before the first": (
        lambda d: d["sparsemark"].update(unmeasured=[_entry(d) | {"sparsemark": {"position": -1}}]),
        "sparsemark.unmeasured[0].sparsemark.position is -1, expected a whole number from 0",
    ),
    "deep machine": (
        lambda d: d.update(machine_info=functools.reduce(lambda inner, _: {"cpu": inner}, range(400), {})),
        "machine_info is nested more than 20 levels deep",
    ),
    "date": (lambda d: d.update(datetime=[1]), "datetime is [1], expected text or null"),
    "speedup out of order": (
        lambda d: _entry(d)["extra_info"].update(speedup_low=2.0, speedup_high=1.5),
        "extra_info.speedup_high is 1.5, expected at least extra_info.speedup_low, which is 2.0",
    ),
    "percentiles out of order": (
        lambda d: _entry(d)["extra_info"].update(p50_ms=9.0, p90_ms=None, p95_ms=8.5, p99_ms=9.5),
        "extra_info.p95_ms is 8.5, expected at least extra_info.p50_ms, which is 9.0",
    ),
    "score out of order": (
        lambda d: _entry(d)["extra_info"].update(accuracy_low=0.9, accuracy_high=0.8),
        "extra_info.accuracy_high is 0.8, expected at least extra_info.accuracy_low, which is 0.9",
    ),
    "stored score": (
        lambda d: _entry(d)["sparsemark"]["scores"]["accuracy"].update(raw=1e308),
        "sparsemark.scores.accuracy.raw is 1e+308, expected a number from -1e100 to 1e100",
    ),
    "stored tolerance": (
        lambda d: _entry(d)["sparsemark"]["scores"]["accuracy"].update(tolerance=-0.01),
        "sparsemark.scores.accuracy.tolerance is -0.01, expected a number from 0",
    ),
    "long sample": (lambda d: _entry(d)["stats"]["data"].append(1e308), "stats.data holds 1e+308, expected seconds"),
    "sample of nothing": (
        lambda d: _entry(d)["stats"]["data"].append(0),
        "stats.data holds 0, expected seconds above 0",
    ),
    "reference of nothing": (
        lambda d: _entry(d)["sparsemark"]["reference_data"].append(0.0),
        "sparsemark.reference_data holds 0.0, expected seconds above 0",
    ),
    "machine": (lambda d: d.update(machine_info=[1]), "machine_info is list"),
    "foreign": (lambda d: _entry(d)["extra_info"].clear(), "none was made by sparsemark"),
    "empty": (lambda d: d.update(benchmarks=[]), "none was made by sparsemark"),
    "no list": (lambda d: d.pop("benchmarks"), "benchmarks: expected the list"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_in_one_line_that_names_file_and_field(tmp_path, damage):
    path = tmp_path / "run.json"
    Run((cell(scores=accuracy(0.9)),)).save(path)
    document = json.loads(path.read_text())
    change, said = DAMAGES[damage]
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(UserError) as error:
        Run.load(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "\n" not in message


NUMBERS = {
    name: hint for name, hint in hints_of(Measurement).items() if "Meta" in str(hint) and "tuple" not in str(hint)
}
NEVER = (10**400, -(10**400), math.nan, math.inf, -1e308, True)
"""No number of a measurement has these values."""


def test_every_number_of_a_record_has_a_range():
    """A new field without one would let a file end the gate in a traceback."""
    for kind in (Measurement, Score):
        for name, hint in hints_of(kind).items():
            bare = {int, float} & {part for arg in (get_args(hint) or (hint,)) for part in (arg, *get_args(arg))}
            declared = get_origin(hint) is Annotated or any(get_origin(arg) is Annotated for arg in get_args(hint))
            assert declared or not bare, name
    assert len(NUMBERS) > 30


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_outside_its_range_is_refused_and_both_ends_are_read(tmp_path, name):
    path = tmp_path / "run.json"
    Run((cell(),)).save(path)
    (annotated, _) = get_args(NUMBERS[name])
    plain, declared = get_args(annotated)
    beyond = [] if declared.le is None else [2 * declared.le, 10.0**300 if plain is float else 10**30]
    below = [declared.ge - 1] if plain is int or not declared.ge else [0, declared.ge / 2, -1]
    for value in (*NEVER, *beyond, *below):
        document = json.loads(path.read_text())
        _entry(document)["extra_info"][name] = value
        with pytest.raises(UserError) as error:
            Run.load(_written(tmp_path, document))
        assert f"benchmarks[0]: extra_info.{name} is {typed.shown(value)}, expected " in str(error.value)
        assert len(str(error.value)) < 300
    for value in (declared.ge, declared.le):
        document = json.loads(path.read_text())
        _entry(document)["extra_info"] |= dict.fromkeys(("p90_ms", "p95_ms", "p99_ms", "speedup_low", "speedup_high"))
        _entry(document)["extra_info"]["p50_ms"] = None
        _entry(document)["extra_info"][name] = value
        assert getattr(Run.load(_written(tmp_path, document)).measurements[0], name) == value


def _written(folder, document):
    path = folder / "changed.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ({"accuracy": 10**400}, "extra_info.accuracy is 1000"),
        ({"accuracy": -1e308}, "extra_info.accuracy is -1e+308, expected a number from -1e100"),
        ({"sparsity_target": -0.5}, "extra_info.sparsity_target is -0.5, expected a fraction"),
        ({"block": 0}, "extra_info.block is 0, expected a whole number from 1"),
        ({"agreement": 1.5}, "extra_info.agreement is 1.5, expected a fraction"),
        ({"precision": 10**400}, "extra_info.precision is 1000"),
    ],
)
def test_a_number_of_schema_1_has_the_same_range(tmp_path, info, named):
    entry = to_benchmark(cell())
    entry["extra_info"] |= {"schema": 1, **dict.fromkeys(("precision", "agreement")), "accuracy": 0.9, **info}
    del entry["sparsemark"]["scores"]
    with pytest.raises(UserError, match="benchmarks") as error:
        Run.load(_written(tmp_path, {"benchmarks": [entry]}))
    assert named in str(error.value)


def test_a_number_of_a_whole_line_of_a_journal_is_named_and_a_torn_line_is_not(tmp_path):
    path = tmp_path / "run.jsonl"
    Journal(path).append("1", cell())
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:100])
    assert Run.load(path).measurements == (cell(),)
    entry = json.loads(whole)
    entry["benchmark"]["extra_info"]["block"] = -1
    del entry["check"]  # as in journals of older versions
    path.write_bytes(whole + json.dumps(entry).encode())
    with pytest.raises(UserError, match=r"run.jsonl: line 2: extra_info.block is -1, expected a whole number from 1"):
        Run.load(path)
    assert Journal(path).get("1") == cell(), "a run that goes on measures it again"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"benchmarks": [{"na', b"\xff\xfe\x00", b"[" * 100_000, b"[]", b'"text"', b"null"],
    ids=["empty", "torn", "torn later", "binary", "deep", "list", "text", "null"],
)
def test_what_is_not_a_run_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        Run.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            Run.load(path)
