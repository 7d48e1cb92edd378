"""A result file that cannot be read, or a report that cannot be written, is one line that names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from tests.synthetic import cell


def info(document):
    return document["benchmarks"][0]["extra_info"]


def foreign(change) -> bytes:
    document = json.loads(Path("run.json").read_bytes())
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (lambda: b"", "expected a result file of sparsemark (JSON"),
        (lambda: Path("run.json").read_bytes()[:1000], "expected a result file of sparsemark (JSON"),
        (lambda: b"\xff\xfe\x00", "as --json OUT writes it): its bytes are no text"),
        (lambda: b"[" * 100_000, "expected a result file of sparsemark (JSON"),
        (lambda: b"<html></html>", "expected a result file of sparsemark (JSON"),
        (lambda: b"[1, 2]", "benchmarks: expected the list"),
        (lambda: b'{"benchmarks": {}}', "benchmarks: expected the list"),
        (lambda: b'{"benchmarks": [1, null]}', "no entry has extra_info.schema"),
        (lambda: foreign(lambda d: info(d).clear()), "no entry has extra_info.schema"),
        (lambda: foreign(lambda d: info(d).update(schema=99)), "extra_info.schema is 99"),
        (lambda: foreign(lambda d: info(d).update(status="fine")), "extra_info.status is 'fine'"),
        (lambda: foreign(lambda d: info(d).update(accuracy="high")), "extra_info.accuracy is 'high'"),
        (lambda: foreign(lambda d: d["benchmarks"][0]["stats"].update(data="fast")), "stats.data"),
        (lambda: foreign(lambda d: d["benchmarks"][0]["stats"].update(data=[-1.0])), "stats.data holds -1.0"),
        (lambda: foreign(lambda d: d.update(machine_info="mine")), "machine_info is str"),
        (lambda: foreign(lambda d: d["sparsemark"].update(origin={"inputs": "x"})), "sparsemark.origin.reference is"),
        (lambda: foreign(lambda d: d["sparsemark"].update(origin={"reference": "x", "inputs": 1})), "inputs is 1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["report", "compare", "gate"])
def test_a_result_file_cannot_be_used(command, content, named, run_file, refused):
    Path("bad.json").write_bytes(content())
    before = {"report": (), "compare": (run_file,), "gate": ("--baseline", run_file)}[command]
    line = refused(command, *before, "bad.json")
    assert "bad.json: " in line
    assert named in line


@pytest.mark.parametrize("command", [("report",), ("compare", "run.json"), ("gate", "--baseline", "run.json")])
def test_a_result_file_is_missing(command, run_file, refused):
    assert "nowhere.json: cannot be read: No such file" in refused(*command, "nowhere.json")
    assert ": cannot be read: Is a directory" in refused(*command, ".")


def test_a_journal_without_a_whole_line_is_refused(here, refused):
    Path("torn.jsonl").write_bytes(b'{"key": "a", "bench')
    assert "torn.jsonl: expected lines of sparsemark's journal" in refused("report", "torn.jsonl")


def test_a_report_format_is_unknown(run_file, refused):
    assert "--format 'pdf': expected one of table, markdown, csv, html" in refused(
        "report", run_file, "--format", "pdf"
    )


def test_a_report_cannot_be_written(run_file, refused):
    Path("file").touch()
    assert "file/report.md: cannot be written" in refused("report", run_file, "--output", "file/report.md")


def test_a_row_without_status_is_named_by_its_place(here, refused):
    Run((cell(), Measurement("broken", "error", "no reason"))).save(Path("run.json"))
    document = json.loads(Path("run.json").read_bytes())
    (broken,) = document["sparsemark"]["unmeasured"]
    del broken["name"], broken["extra_info"]["cell"]
    Path("run.json").write_text(json.dumps(document))
    assert "run.json: sparsemark.unmeasured[0]: 'name' is missing" in refused("report", "run.json")
