"""The commands as a user calls them, from a folder that knows nothing of the repository."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from sparsemark.analysis.comparison import ONE_PROCESS
from sparsemark.analysis.latency import YARDSTICK_DOUBT
from sparsemark.analysis.verdicts import Tolerances
from sparsemark.cli import main
from sparsemark.formats import FORMATS
from sparsemark.records.benchmark_json import to_benchmark
from sparsemark.records.measurement import MEASURED, UNSUPPORTED, Measurement
from sparsemark.records.run import Run
from sparsemark.specs import Metric, Protocol
from tests.synthetic import MACHINE, accuracy, cell, study_run
from tests.toy_study.place import benchmarks

# Odd channel counts, two outputs, a skip connection; and a depth multiplier, which torch-pruning cannot take apart.
NETWORKS = """
import torch
from torch import nn

class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 13, 3, padding=1)
        self.inner = nn.Sequential(nn.Conv2d(13, 13, 3, padding=1, bias=False), nn.BatchNorm2d(13), nn.ReLU())
        self.mask = nn.Conv2d(13, 1, 1)
        self.head = nn.Linear(13, 3)
    def forward(self, image):
        x = torch.relu(self.stem(image))
        x = x + self.inner(x)
        return {"mask": torch.sigmoid(self.mask(x)), "classes": self.head(x.mean(dim=(2, 3)))}

class DepthMultiplier(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 9, 3, padding=1)
        self.depthwise = nn.Conv2d(9, 18, 3, padding=1, groups=9)
        self.head = nn.Linear(18, 2)
    def forward(self, image):
        return self.head(torch.relu(self.depthwise(torch.relu(self.stem(image)))).mean(dim=(2, 3)))

def two_outputs(): return TwoOutputs()
def depth_multiplier(): return DepthMultiplier()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder outside the repository, with a file of networks in it."""
    path = tmp_path_factory.mktemp("elsewhere")
    (path / "networks.py").write_text(NETWORKS)
    return path


@pytest.fixture(autouse=True)
def few_calls(monkeypatch, folder):
    """These tests are not about time; and the working directory is the user's."""
    few = Protocol(pairs=6, block=2, warmup_calls=1, warmup_seconds=0.0, images=4)
    monkeypatch.setattr(Protocol, "of_rounds", lambda rounds, threads: dataclasses.replace(few, threads=threads))
    monkeypatch.chdir(folder)


@pytest.fixture
def without_onnx(monkeypatch):
    """Have PyTorch be the reference: an export takes seconds, and says nothing in these tests."""
    absent = dataclasses.replace(FORMATS["onnx"], requires=("a_package_nobody_has",))
    monkeypatch.setitem(FORMATS, "onnx", absent)


def bench(*arguments):
    return main(["bench", *arguments])


def states(path="out.json"):
    """Status of each row by its name."""
    return {row["name"]: row["extra_info"]["status"] for row in benchmarks(Path(path))}


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


# --- bench


def test_engines_run_a_network_with_two_outputs_and_odd_channels(folder, capsys):
    prunes = ("--prune", "magnitude:0.9", "--prune", "channels:0.5")
    engines = ("torch", "torch-csr", "scipy-csr", "direct-csr", "onnxruntime")
    chosen = [argument for engine in engines for argument in ("--engine", engine)]
    assert bench("networks.py:two_outputs", "--input", "1,3,16,12", *prunes, *chosen, "--json", "all.json") == 0
    labels = ("dense", "magnitude90", "channels50")
    rows = states("all.json")
    assert set(rows) >= {f"two_outputs-{label}-seed0-{engine}" for label in labels for engine in engines}
    assert set(rows.values()) == {MEASURED}, {
        row["name"]: row["extra_info"]["reason"] for row in benchmarks(Path("all.json"))
    }
    assert not Path("all.json.unfinished.jsonl").exists()
    assert "wrote all.json" in capsys.readouterr().out

    run = Run.load(Path("all.json"))
    by_name = {m.name: m for m in run.measurements}
    assert 0.85 < by_name["two_outputs-magnitude90-seed0-torch-csr"].sparsity <= 0.95
    dense, smaller = (by_name[f"two_outputs-{label}-seed0-torch"] for label in ("dense", "channels50"))
    assert smaller.parameters < 0.7 * dense.parameters
    assert smaller.artifact_bytes < dense.artifact_bytes
    for m in run.measurements:
        assert m.parity_max_rel < 1e-5
        assert m.scores == {}, "nobody knows how well it predicts"
        assert len(m.samples_s) == len(m.reference_s) == m.samples == 12
        assert m.speedup_low <= m.speedup <= m.speedup_high
        assert m.speedup_reference == "two_outputs-dense-seed0-onnxruntime"
    assert run.machine_info["versions"]["torch"] == torch.__version__


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


def test_what_a_pruner_cannot_handle_is_a_row_that_says_why(folder, without_onnx, capsys):
    arguments = ("--input", "1,3,8,8", "--prune", "channels:0.5", "--engine", "torch", "--json", "depth.json")
    assert bench("networks.py:depth_multiplier", *arguments) == 0
    assert states("depth.json") == {
        "depth_multiplier-dense-seed0-torch": MEASURED,
        "depth_multiplier-channels50-seed0-torch": UNSUPPORTED,
    }
    row = benchmarks(Path("depth.json"))[1]
    assert "torch-pruning" in row["extra_info"]["reason"]
    assert row["stats"]["data"] == []
    assert row["stats"]["median"] is None
    assert "torch-pruning" in capsys.readouterr().out


def test_the_dense_network_is_there_once_however_often_it_is_asked_for(folder, without_onnx):
    arguments = ("--prune", "none", "--prune", "magnitude:0.5", "--prune", "magnitude:0.50", "--engine", "torch")
    again = ("--engine", "torch", "--input", "1,3,8,8", "--json", "dense.json")
    assert bench("networks.py:two_outputs", *arguments, *again) == 0
    assert list(states("dense.json")) == ["two_outputs-dense-seed0-torch", "two_outputs-magnitude50-seed0-torch"]


def test_artifacts_are_kept_where_the_user_says(folder, capsys):
    arguments = (
        "--input",
        "1,3,16,12",
        "--prune",
        "magnitude:0.9",
        "--engine",
        "direct-csr",
        "--engine",
        "onnxruntime",
    )
    assert bench("networks.py:two_outputs", *arguments, "--json", "kept.json", "--artifacts", "kept/files") == 0
    names = {f"two_outputs-{label}-seed0.{form}" for label in ("dense", "magnitude90") for form in ("csr", "onnx")}
    assert {path.name for path in Path("kept/files").iterdir()} == names
    assert {f"wrote kept/files/{name}" for name in names} <= set(capsys.readouterr().out.splitlines())
    assert main(["explain", "kept/files/two_outputs-magnitude90-seed0.csr"]) == 0


def test_two_sparsities_that_are_close_are_two_networks(folder, without_onnx):
    arguments = (
        "--prune",
        "magnitude:0.5",
        "--prune",
        "magnitude:0.5000001",
        "--engine",
        "torch",
        "--input",
        "1,3,8,8",
    )
    assert bench("networks.py:two_outputs", *arguments, "--json", "close.json") == 0
    assert len(states("close.json")) == 3


def test_a_factory_in_a_package_is_looked_for_from_the_working_directory(folder, without_onnx):
    (folder / "own_package").mkdir()
    (folder / "own_package" / "__init__.py").touch()
    (folder / "own_package" / "network.py").write_text(NETWORKS)
    arguments = ("--input", "1,3,8,8", "--engine", "torch", "--json", "package.json")
    assert bench("own_package.network:two_outputs", *arguments) == 0
    assert states("package.json") == {"two_outputs-dense-seed0-torch": MEASURED}


@pytest.fixture(scope="module")
def onnx_file(folder):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(180, 2)
    )
    path = folder / "model.onnx"
    torch.onnx.export(
        network.eval(), (torch.zeros(1, 3, 8, 8),), str(path), dynamo=True, external_data=False, verbose=False
    )
    return path


def test_an_onnx_file_is_measured_and_what_needs_a_module_says_so(onnx_file, capsys):
    engines = ("--engine", "onnxruntime", "--engine", "scipy-csr", "--engine", "torch")
    assert bench("model.onnx", *engines, "--prune", "magnitude:0.5", "--json", "onnx.json") == 0
    assert states("onnx.json") == {
        "model-dense-seed0-onnxruntime": MEASURED,
        "model-dense-seed0-scipy-csr": MEASURED,
        "model-dense-seed0-torch": UNSUPPORTED,
        "model-magnitude50-seed0-onnxruntime": UNSUPPORTED,
        "model-magnitude50-seed0-scipy-csr": UNSUPPORTED,
        "model-magnitude50-seed0-torch": UNSUPPORTED,
    }
    assert onnx_file.exists()


def test_where_nothing_could_be_measured_bench_exits_2_and_keeps_the_rows(onnx_file, capsys):
    assert bench("model.onnx", "--engine", "torch", "--json", "nothing.json") == 2
    assert states("nothing.json") == {"model-dense-seed0-torch": UNSUPPORTED}
    line = capsys.readouterr().err.splitlines()[-1]
    assert "nothing was measured: model-dense-seed0-torch: the source is an ONNX file" in line


def test_an_onnx_file_says_what_shape_it_expects(onnx_file, capsys):
    assert bench("model.onnx", "--input", "1,3,9,9", "--json", "shape.json") == 2
    line = capsys.readouterr().err
    assert "model.onnx: input 1,3,9,9" in line
    assert "1,3,8,8" in line


def test_another_number_of_threads_is_another_cell(folder, without_onnx):
    arguments = ("--input", "1,3,8,8", "--engine", "torch", "--threads", "2", "--json", "threads.json")
    assert bench("networks.py:two_outputs", *arguments) == 0
    assert states("threads.json") == {"two_outputs-dense-seed0-torch-2t": MEASURED}
    assert benchmarks(Path("threads.json"))[0]["extra_info"]["threads"] == 2


# --- report, compare


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


# --- gate


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


# --- list, help


def test_list_names_every_pruner_format_and_engine(folder, capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("magnitude-layerwise", "channels", "csr", "scipy-csr", "onnxruntime"))


@pytest.mark.parametrize(
    "command", ["", "run", "bench", "report", "compare", "gate", "history", "history add", "doctor", "explain", "list"]
)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*command.split(), "--help"])
    assert exit_.value.code == 0
    assert "usage: sparsemark" in capsys.readouterr().out


def test_an_interrupted_command_says_that_it_goes_on(folder, without_onnx, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsemark.study.pipeline.measure", interrupt)
    arguments = ("--input", "1,3,8,8", "--engine", "torch", "--json", "interrupted.json")
    assert bench("networks.py:two_outputs", *arguments) == 130
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert lines == ["sparsemark bench: interrupted; the same command goes on from here"]
