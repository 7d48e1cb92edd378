"""Commands that only read, as a user calls them: help, version, list, report and compare."""

from __future__ import annotations

import importlib.metadata
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.analysis.comparison import ONE_PROCESS
from sparsemark.analysis.latency import YARDSTICK_DOUBT
from sparsemark.analysis.verdicts import Tolerances
from sparsemark.cli import main
from sparsemark.records.benchmark_json import to_benchmark
from sparsemark.records.measurement import UNSUPPORTED, Measurement
from sparsemark.records.run import Run
from sparsemark.specs import Metric
from tests.synthetic import MACHINE, accuracy, cell, study_run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_version_is_that_of_the_package(capsys, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", {"sparsemark": "1.2.3"}.__getitem__)
    assert shown(capsys, "--version") == "sparsemark 1.2.3"

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", absent)
    assert shown(capsys, "--version") == "sparsemark, not installed"


def test_python_runs_the_package_as_the_command(tmp_path):
    command = [sys.executable, "-m", "sparsemark", "list", "--nothing"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "usage: sparsemark list" in ended.stderr


def test_the_help_of_the_gate_names_the_tolerances_that_hold(capsys):
    t = Tolerances()
    alone = (1 + t.latency) * math.exp(ONE_PROCESS) - 1
    beside_another = (1 + t.latency) * (1 + YARDSTICK_DOUBT) - 1
    assert (
        f"tolerances: latency {100 * t.latency:g} % and {t.floor_ms:g} ms, scores as the task says (accuracy of the "
        f"study: {100 * Metric().tolerance:g} point), agreement of an engine with its own network and of a pruned "
        f"network with the dense one {100 * t.agreement:g} point, size {100 * t.size:g} %, memory {100 * t.memory:g} "
        f"%; in files one process a side alarms beyond {100 * alone:.0f} % only, and beside a changed reference beyond "
        f"{100 * beside_another:.0f} %"
    ) in shown(capsys, "gate", "--help")


@pytest.mark.parametrize("command", [("list",), ("compare",), ("compare", "--between=median,min")])
def test_pytest_benchmarks_own_tool_reads_the_result(command, folder):
    Run((cell(0, name="a"), cell(1, name="b"))).save(Path("one.json"))
    Run((cell(2, name="a"), cell(3, name="b"))).save(Path("two.json"))
    files = () if command == ("list",) else ("one.json", "two.json")
    done = pytest_benchmark(*command, *files)
    assert done.returncode == 0, done.stderr
    if files:
        assert all(name in done.stdout for name in ("a", "b", "one", "two"))


def test_rows_without_a_latency_do_not_keep_the_others_from_pytest_benchmarks_loader(folder):
    """Its tables cannot hold a null, so the user leaves those rows out by name, as its own `-k` does."""
    Run((cell(0, name="fast"), Measurement("refused", UNSUPPORTED, "no such operator"))).save(Path("mixed.json"))
    done = pytest_benchmark("compare", "mixed.json", "-k", "fast")
    assert done.returncode == 0, done.stderr
    assert "fast" in done.stdout


def pytest_benchmark(*arguments):
    command = [sys.executable, "-c", "from pytest_benchmark.cli import main; main()", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_a_report_is_shown_or_written_in_every_format(folder, capsys):
    study_run().save(Path("study.json"))
    for form in ("table", "markdown", "csv", "html"):
        assert main(["report", "study.json", "--format", form]) == 0
        shown = capsys.readouterr().out
        assert main(["report", "study.json", "--format", form, "--output", f"new/report.{form}"]) == 0
        assert Path(f"new/report.{form}").read_text() == shown
        assert "cnn9" in shown
        assert capsys.readouterr().out == ""


def test_a_report_of_a_journal_shows_what_was_finished(folder, capsys):
    """A command that was killed leaves lines; the last may be torn, and a cell that was measured again counts once."""
    older, newer = cell(0, name="cell", scores=accuracy(0.5)), cell(1, name="cell", scores=accuracy(0.9))
    other = Measurement("other", UNSUPPORTED, "no such operator", engine="torch")
    lines = [json.dumps({"key": str(i), "benchmark": to_benchmark(m)}) for i, m in enumerate((older, newer, other))]
    Path("killed.jsonl").write_text("\n".join([*lines, lines[0][:100]]))
    run = Run.load(Path("killed.jsonl"))
    assert run.measurements == (newer, other)
    assert main(["report", "killed.jsonl"]) == 0
    assert "no such operator" in capsys.readouterr().out


def test_two_runs_are_compared(folder, capsys):
    Run((cell(0, name="a"),), MACHINE).save(Path("before.json"))
    Run((cell(1, 30.0, name="a"),), MACHINE | {"kernel": "6.2"}).save(Path("after.json"))
    assert main(["compare", "before.json", "after.json"]) == 0
    shown = capsys.readouterr().out
    assert "kernel" in shown
    assert "a" in shown


def test_list_names_every_pruner_format_and_engine(folder, capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("magnitude-layerwise", "channels", "csr", "scipy-csr", "onnxruntime"))


@pytest.mark.parametrize(
    "command",
    ["", "run", "bench", "init", "report", "compare", "gate", "history", "history add", "doctor", "explain", "list"],
)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*command.split(), "--help"])
    assert exit_.value.code == 0
    assert "usage: sparsemark" in capsys.readouterr().out
