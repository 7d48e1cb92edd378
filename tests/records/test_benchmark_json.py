"""One entry of a result file, and what pytest-benchmark's own tools make of the file."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.records.benchmark_json import extra_info, from_benchmark, to_benchmark
from sparsemark.records.engine_note import EngineNote
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote, Score, same_data
from tests.synthetic import accuracy, cell, study_run

ERRORS = {
    "error": Score(2.5, 2.1, 3.0, raw=9.0, recalibrated=4.0, higher_is_better=False, tolerance=0.25),
    "hausdorff_mm": Score(7.0, higher_is_better=False),
}


def as_json(measurement):
    return json.loads(json.dumps(to_benchmark(measurement)))


def test_metrics_where_lower_is_better_and_a_third_partys_engine_are_read_as_they_were_written(tmp_path):
    note = EngineNote("Their Runtime", "#123456", "h", ":", device="npu")
    row = cell(
        scores=ERRORS, data=DataNote("12 volumes", "PHANTOM", "k1"), parity_data=DataNote("all 3 inputs (noise)"),
        engine="theirs", precision="int8", fold=3, launches=3, pruning="channels:0.5:16+magnitude:0.8",
    )  # fmt: skip
    run = Run((row,), engines={"theirs": note, "plain": EngineNote()})
    run.save(tmp_path / "run.json")
    again = Run.load(tmp_path / "run.json")
    assert again == dataclasses.replace(run, when=again.when)
    assert list(again.measurements[0].scores) == ["error", "hausdorff_mm"]
    assert again.measurements[0].headline == ("error", ERRORS["error"])
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["sparsemark"]["engines"]["theirs"] == {
        "label": "Their Runtime", "colour": "#123456", "marker": "h", "dashes": ":", "device": "npu",
    }  # fmt: skip


def test_extra_info_has_every_score_and_note_as_plain_numbers_and_text():
    info = extra_info(cell(scores=ERRORS, data=DataNote("12 volumes", None, "k1"), precision="int8"))
    assert info | {
        "schema": 2, "cell": "cnn9-dense-seed0-onnxruntime", "precision": "int8", "score_data": "12 volumes",
        "score_caveat": None, "score_data_key": "k1", "parity_data": None, "error": 2.5, "error_low": 2.1,
        "error_high": 3.0, "error_raw": 9.0, "error_recalibrated": 4.0, "hausdorff_mm": 7.0,
    } == info  # fmt: skip
    assert not {"hausdorff_mm_low", "scores", "data", "samples_s", "reference_s", "contaminated"} & info.keys()
    assert all(value is None or isinstance(value, int | float | str) for value in info.values())


def test_a_metric_called_like_a_field_leaves_the_field_alone():
    row = cell(scores={"precision": Score(0.7), "p50_ms": Score(1.0)}, precision="fp32")
    info = extra_info(row)
    assert (info["precision"], info["score_precision"]) == ("fp32", 0.7)
    assert (info["p50_ms"], info["score_p50_ms"]) == (row.p50_ms, 1.0)
    assert from_benchmark(as_json(row)) == row


def test_a_number_changed_in_extra_info_counts_and_null_takes_the_score_away():
    entry = as_json(cell(scores=accuracy(0.9, low=0.8) | ERRORS))
    entry["extra_info"] |= {"accuracy": 0.5, "accuracy_high": 0.95, "error": None}
    scores = from_benchmark(entry).scores
    assert scores == accuracy(0.5, low=0.8, high=0.95) | {"hausdorff_mm": ERRORS["hausdorff_mm"]}


def test_extra_info_alone_is_enough_to_find_the_metrics():
    """Another program may write the published fields and no more."""
    entry = as_json(cell(scores=accuracy(0.9, low=0.8, tolerance=None) | {"dice": Score(0.7)}, precision="fp32"))
    del entry["sparsemark"]
    row = from_benchmark(entry)
    assert row.scores == {"accuracy": Score(0.9, low=0.8), "dice": Score(0.7)}
    assert row.reference_s == ()
    entry["sparsemark"] = {"scores": {}}
    assert from_benchmark(entry).scores == {}


def test_rows_without_a_latency_stand_apart_and_come_back_in_their_places(tmp_path):
    run = study_run()
    untimed = Measurement("verified only", "measured", scores=accuracy(0.9))
    rows = (run.measurements[-1], *run.measurements[:3], untimed, *run.measurements[3:])
    run = dataclasses.replace(run, measurements=rows)
    run.save(tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    apart = [entry["name"] for entry in document["sparsemark"]["unmeasured"]]
    assert apart == [m.name for m in rows if not m.samples_s]
    assert len(apart) == 4
    assert all(entry["stats"]["median"] is not None for entry in document["benchmarks"])
    assert {*document["benchmarks"][0]} == {*document["sparsemark"]["unmeasured"][0]}
    assert Run.load(tmp_path / "run.json") == run


def test_rows_without_statistics_or_without_a_position_are_read_all_the_same(tmp_path):
    """Schema 1 kept them among the benchmarks; pytest-benchmark's own run knows no position."""
    run = study_run()
    document = run.document()
    (first, second) = document["sparsemark"]["unmeasured"]
    del first["sparsemark"]["position"]
    document["benchmarks"].insert(0, second)
    document["sparsemark"]["unmeasured"] = [first]
    (tmp_path / "run.json").write_text(json.dumps(document))
    names = [m.name for m in Run.load(tmp_path / "run.json").measurements]
    assert names == [second["name"], *(m.name for m in run.measured()), first["name"]]


def test_a_run_in_which_nothing_has_a_latency_is_read(tmp_path):
    run = Run((Measurement("a", "unsupported", "no"), Measurement("b", "error", "broken")))
    run.save(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text())["benchmarks"] == []
    assert Run.load(tmp_path / "run.json").measurements == run.measurements


@pytest.mark.parametrize("options", [(), ("--group-by=group", "--sort=mean"), ("--csv=out.csv",)], ids=str)
def test_pytest_benchmarks_own_compare_reads_the_file(tmp_path, options):
    run = study_run()
    run.save(tmp_path / "run.json")
    command = Path(sys.executable).with_name("pytest-benchmark")
    done = subprocess.run(
        [command, "compare", *options, "run.json"], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert all(m.name in shown for m in run.measured())
    assert "Traceback" not in shown


def test_data_are_the_same_by_key_where_both_have_one_else_by_words():
    lgg = DataNote("LGG", key="a")
    assert same_data(lgg, DataNote("LGG, reworded", key="a"))
    assert not same_data(lgg, DataNote("LGG", key="b"))
    assert same_data(lgg, DataNote("LGG"))
    assert not same_data(lgg, DataNote("other"))
    assert same_data(None, None)
    assert not same_data(lgg, None)


@pytest.mark.parametrize(
    ("earlier", "today"),
    [
        ("32 x noise", "all 32 inputs (noise)"),
        ("8 of 32 x noise", "8 of 32 inputs (noise)"),
        ("8 x 5 x 5 blobs", "all 8 inputs (5 x 5 blobs)"),
    ],
)
def test_inputs_of_earlier_files_are_the_same_in_todays_words(earlier, today):
    """Else no agreement of an earlier file would be comparable."""
    assert same_data(DataNote(earlier), DataNote(today))
    assert not same_data(DataNote(f"1{earlier}"), DataNote(today))
    assert not same_data(DataNote(earlier), DataNote(today.replace("inputs", "other inputs")))
