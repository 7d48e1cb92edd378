"""`sparsemark gate` as CI calls it: exit codes, what is written, and what to type next."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sparsemark.cli import main
from sparsemark.records.run import Run
from tests.synthetic import MACHINE, cell


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_of(*measurements):
    return Run(tuple(measurements), MACHINE)


def slower(measurement, factor):
    return dataclasses.replace(measurement, samples_s=tuple(factor * sample for sample in measurement.samples_s))


QUIET = cell(0, pairs=40, process=0.0)
SHAKY = cell(0, pairs=6, call=0.5)
FAILED = dataclasses.replace(QUIET, status="parity_failed", reason="max |d|", samples_s=(), reference_s=())


@pytest.mark.parametrize(
    ("runs", "options", "code"),
    [
        ((run_of(QUIET), run_of(QUIET)), (), 0),
        ((run_of(QUIET), run_of(QUIET)), ("--strict",), 0),
        ((run_of(QUIET), run_of(slower(QUIET, 1.2))), (), 1),
        ((run_of(slower(QUIET, 1.2)), run_of(QUIET)), (), 0),
        ((run_of(SHAKY), run_of(cell(5, pairs=6, call=0.5))), ("--strict",), 3),
        ((run_of(SHAKY), run_of(cell(5, pairs=6, call=0.5))), (), 0),
        ((None, run_of(QUIET)), (), 4),
        ((run_of(QUIET), run_of(cell(name="another"))), (), 4),
        ((run_of(QUIET), run_of(FAILED)), (), 5),
        ((run_of(QUIET, cell(1, name="b")), run_of(FAILED, slower(cell(1, name="b"), 1.2))), (), 5),
    ],
)
def test_the_gates_exit_code(runs, options, code, folder, capsys):
    for name, run in zip(("baseline.json", "candidate.json"), runs, strict=True):
        Path(name).unlink(missing_ok=True)
        if run is not None:
            run.save(Path(name))
    assert main(["gate", "--baseline", "baseline.json", "candidate.json", *options]) == code
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == (1 if code == 4 else 0)
    assert bool(captured.out) != (code == 4)


def test_the_gates_candidate_cannot_be_read(folder, capsys):
    run_of(QUIET).save(Path("baseline.json"))
    Path("candidate.json").write_text("{}")
    assert main(["gate", "--baseline", "baseline.json", "candidate.json"]) == 2
    assert "candidate.json" in capsys.readouterr().err


def test_a_slowdown_in_the_json_alone_is_found(folder):
    """Whoever edits a result file by hand, or measures elsewhere, is judged by the raw samples."""
    run_of(QUIET).save(Path("baseline.json"))
    document = json.loads(Path("baseline.json").read_bytes())
    stats = document["benchmarks"][0]["stats"]
    stats["data"] = [1.2 * sample for sample in stats["data"]]
    Path("candidate.json").write_text(json.dumps(document))
    assert main(["gate", "--baseline", "baseline.json", "candidate.json"]) == 1


def test_the_gate_says_incomparable_of_another_machines_baseline(folder, capsys):
    run_of(QUIET).save(Path("baseline.json"))
    document = json.loads(Path("baseline.json").read_bytes())
    stats = document["benchmarks"][0]["stats"]
    stats["data"] = [1.5 * sample for sample in stats["data"]]
    document["machine_info"]["cpu_model"] = "Another CPU"
    Path("candidate.json").write_text(json.dumps(document))
    for order in (("baseline.json", "candidate.json"), ("candidate.json", "baseline.json")):
        assert main(["gate", "--baseline", *order]) == 3
        shown = capsys.readouterr().out
        assert "incomparable" in shown
        assert "regression" not in shown
        assert "another machine: cpu_model was" in " ".join(shown.split())


def test_github_gets_annotations_and_a_summary(folder, monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    run_of(QUIET).save(Path("baseline.json"))
    run_of(slower(QUIET, 1.2)).save(Path("candidate.json"))
    assert main(["gate", "--baseline", "baseline.json", "candidate.json"]) == 1
    assert "::error title=regression" in capsys.readouterr().out
    assert "regression" in Path("summary.md").read_text()


def gated(*options, factor=1.2):
    """Gate a run that is `factor` times as slow, and return the exit code."""
    run_of(QUIET).save(Path("baseline.json"))
    run_of(slower(QUIET, factor)).save(Path("candidate.json"))
    return main(["gate", "--baseline", "baseline.json", "candidate.json", *options])


def test_the_gate_writes_a_comment_and_junit_xml_where_it_fails_too(folder, capsys):
    assert gated("--comment", "alerts/comment.md", "--junit", "alerts/gate.xml") == 1
    assert f"regression: {QUIET.name}, latency" in Path("alerts/comment.md").read_text()
    assert len(ElementTree.parse("alerts/gate.xml").findall(".//failure")) == 1
    assert gated("--comment", "alerts/comment.md", "--junit", "alerts/gate.xml", factor=1) == 0
    assert "Nothing moved" in Path("alerts/comment.md").read_text()
    assert not ElementTree.parse("alerts/gate.xml").findall(".//failure")
    assert {path.name for path in Path("alerts").iterdir()} == {"comment.md", "gate.xml"}, "nothing unfinished is left"


@pytest.mark.parametrize("option", ["--comment", "--junit"])
def test_a_file_that_the_gate_cannot_write_is_said_before_it_judges(option, folder, capsys):
    assert gated(option, ".") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "sparsemark gate: .: cannot be written: it is a folder, expected the name of a file\n"


def test_a_gate_that_fails_says_what_to_type_next_and_one_that_passes_does_not(folder, capsys):
    assert gated("--comment", "comment.md") == 1
    command = "sparsemark compare baseline.json candidate.json"
    assert f"next: {command}  (" in capsys.readouterr().out
    assert command in Path("comment.md").read_text()
    assert main(command.split()[1:]) == 0
    capsys.readouterr()
    assert gated("--comment", "comment.md", factor=1 / 1.2) == 0
    assert "next: " not in capsys.readouterr().out
    assert "sparsemark compare" not in Path("comment.md").read_text()
