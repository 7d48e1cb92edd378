"""The `latency` fixture under pytest-benchmark: this repository's suite over the toy study, and others' projects."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sparsemark import paths
from sparsemark.cli import main
from sparsemark.engines import ENGINES
from sparsemark.errors import UnsupportedError
from sparsemark.machine.locks import only_process
from sparsemark.measurement.parity import check
from sparsemark.records.measurement import MEASURED, UNSUPPORTED, Measurement
from sparsemark.records.run import Run
from tests.toy_study.place import benchmarks, journal_keys

REPOSITORY = Path(__file__).parents[2]
SUITE = REPOSITORY / "bench" / "test_latency.py"
INSTALLED = any(entry.value == "sparsemark.study.pytest_plugin" for entry in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "sparsemark.study.pytest_plugin")
"""An installed sparsemark loads its plugin by itself, and a plugin must not be loaded twice."""

JOURNAL = paths.pytest_journal(paths.study_work("toy"))
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:xdist", "--benchmark-storage", "saved")
TOY = (str(SUITE), "--study", "toy.toml")

UNSUPPORTED_NAME = "toy-channels50r64-seed0-torch"
UNSUPPORTED_CELL = """
[[prune]]
method = "channels"
sparsity = [0.5]
round_to = 64 # more channels than any layer has
engines = ["torch"]
"""

CONTRACT = """
    schema model method scope schedule sparsity_target sparsity mac_density parameters nonzeros format engine threads
    batch seed precision parity_max_abs parity_max_rel engine_agreement agreement_with_dense
    artifact_bytes peak_rss_bytes p50_ms p90_ms p99_ms samples launches speedup speedup_low speedup_high
    speedup_reference pruning fold control status reason
"""
"""What other programs read in `extra_info`."""


@pytest.fixture(scope="module")
def first(finished_study, tmp_path_factory):
    """`pytest bench` over the toy study, in a process of its own; one of its cells can never run.

    What the study trains and exports is there.
    """
    path = shutil.copytree(finished_study, tmp_path_factory.mktemp("plugin") / "toy")
    study = path / "toy.toml"
    study.write_text(study.read_text() + UNSUPPORTED_CELL)
    wanted = ("--benchmark-json=first.json", "--benchmark-save=first", "--benchmark-save-data", "-rs")
    done = process("-m", "pytest", *PLUGIN, *OPTIONS, *TOY, *wanted, cwd=path)
    assert done.returncode == 0, done.stdout + done.stderr
    return path, done.stdout


@pytest.fixture
def folder(first, monkeypatch):
    """Where it ran; everything is trained and exported there."""
    monkeypatch.chdir(first[0])
    return first[0]


class Outcomes:
    """What became of the tests of a nested run, and all that it printed."""

    def __init__(self):
        self.code, self.shown, self.counts = None, "", Counter()

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1

    def pytest_deselected(self, items):
        self.counts["deselected"] += len(items)


@pytest.fixture
def nested(capsys):
    """Run pytest in this process; `pytester` would unload libraries that cannot be loaded twice."""

    def call(*arguments):
        outcomes = Outcomes()
        outcomes.code = pytest.main([*PLUGIN, *OPTIONS, *arguments], plugins=[outcomes])
        outcomes.shown = "".join(capsys.readouterr())
        return outcomes

    return call


@pytest.fixture
def bench(folder, nested):
    """Call `pytest bench` again, in this process."""
    return lambda *arguments: nested(*TOY, *arguments)


def process(*arguments, cwd):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(cwd)))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=False, cwd=cwd, env=environment, capture_output=True, text=True)


def row(name, path):
    return next(row for row in benchmarks(Path(path)) if row["name"] == f"test_latency[{name}]")


# --- what a run leaves


def test_the_json_holds_every_field_of_the_contract_as_plain_values(folder):
    for entry in benchmarks(Path("first.json")):
        info = entry["extra_info"]
        metrics = {"accuracy", "f1", "recall", "roc_auc"} if info["status"] == MEASURED else set()
        assert set(CONTRACT.split()) | metrics <= set(info)
        assert all(value is None or type(value) in (str, int, float) for value in info.values()), info
    entry = row("toy-magnitude90-seed0-torch", "first.json")
    info = entry["extra_info"]
    assert (info["schema"], info["status"], info["method"]) == (2, MEASURED, "magnitude")
    assert (info["engine"], info["format"], info["threads"], info["batch"], info["seed"]) == ("torch", "dense", 1, 1, 0)
    assert info["samples"] == len(entry["stats"]["data"]) == len(entry["sparsemark"]["reference_data"]) == 12
    assert info["p50_ms"] == pytest.approx(1e3 * entry["stats"]["median"])
    assert info["p90_ms"] is None, "12 calls support no 90th percentile"
    assert info["speedup_low"] <= info["speedup"] <= info["speedup_high"]


def test_the_json_holds_the_environment_but_not_the_hosts_name(folder):
    info = json.loads(Path("first.json").read_bytes())["machine_info"]
    assert info["versions"]["torch"]
    assert info["cpu_count"] == os.cpu_count()
    assert {"cpu_model", "cpu_flags", "governor", "kernel", "pools", "cpus_allowed"} <= set(info)
    assert info["node"] == ""


def test_the_json_is_a_run_that_can_be_reported_compared_and_gated(folder, capsys):
    run = Run.load(Path("first.json"))
    assert [m.status for m in run.measurements].count(MEASURED) == 6
    assert main(["report", "first.json"]) == 0
    assert main(["compare", "first.json", "first.json"]) == 0
    assert main(["gate", "--baseline", "first.json", "first.json"]) == 0


def test_an_unsupported_cell_is_a_skipped_test_and_a_row_that_says_why(first, folder):
    assert "6 passed, 1 skipped" in first[1]
    assert any(line.startswith("SKIPPED") and "torch-pruning" in line for line in first[1].splitlines())
    entry = row(UNSUPPORTED_NAME, "first.json")
    assert entry["extra_info"]["status"] == UNSUPPORTED
    assert "torch-pruning" in entry["extra_info"]["reason"]
    assert entry["fullname"].endswith(f"test_latency.py::test_latency[{UNSUPPORTED_NAME}]")
    assert entry["stats"]["median"] is None
    assert entry["extra_info"]["p50_ms"] is None


def test_what_is_saved_is_what_is_in_the_json(folder):
    """pytest-benchmark then asks twice for what is to be written."""
    (saved,) = Path().glob("saved/*/0001_first.json")
    written, kept = (json.loads(path.read_bytes()) for path in (Path("first.json"), saved))
    assert written | {"datetime": ""} == kept | {"datetime": ""}
    names = [entry["fullname"] for entry in (*kept["benchmarks"], *kept["sparsemark"]["unmeasured"])]
    assert len(names) == len(set(names)) == 7


def test_a_saved_run_without_raw_samples_can_be_reported(folder, bench, capsys):
    assert bench("--benchmark-save=bare", "-k", "magnitude90").counts == {"passed": 1, "deselected": 6}
    (saved,) = Path().glob("saved/*/*_bare.json")
    capsys.readouterr()
    assert main(["report", str(saved)]) == 0
    assert "magnitude 90 %" in capsys.readouterr().out


def test_every_finished_cell_is_in_the_journal(first, bench, capsys):
    bench("-k", "magnitude90 or r64")
    assert len(journal_keys(JOURNAL)) == 2
    capsys.readouterr()
    assert main(["report", str(JOURNAL)]) == 0
    assert "torch-pruning" in capsys.readouterr().out


# --- pytest's and pytest-benchmark's own options


def test_a_run_can_be_compared_with_a_saved_one(bench):
    result = bench("--benchmark-compare=0001", "-k", "magnitude90")
    assert result.counts == {"passed": 1, "deselected": 6}
    assert "Comparing against benchmarks from: " in result.shown
    assert "(NOW)" in result.shown


def test_the_machine_of_a_saved_run_is_recognised(bench, folder, monkeypatch, recwarn):
    """Whatever jitters (pytest-benchmark #255), sparsemark must not be what makes one machine two."""
    monkeypatch.setattr("pytest_benchmark.plugin.get_cpu_info", dict)
    bench("--benchmark-save=here", "-k", "magnitude90")
    (saved,) = Path().glob("saved/*/*_here.json")
    result = bench(f"--benchmark-compare={saved.name[:4]}", "-k", "magnitude90")
    assert "Comparing against benchmarks from: " in result.shown
    assert not [warning for warning in recwarn if "machine_info is different" in str(warning.message)]


def test_the_rows_are_written_where_no_cell_has_a_latency(bench):
    assert bench("--benchmark-json=none.json", "-k", "r64").counts == {"skipped": 1, "deselected": 6}
    (measurement,) = Run.load(Path("none.json")).measurements
    assert measurement.status == UNSUPPORTED
    assert measurement.name == UNSUPPORTED_NAME


def test_a_session_that_loses_a_measured_cell_keeps_the_earlier_file_and_says_so(bench, monkeypatch):
    arguments = ("--benchmark-json=lost.json", "--benchmark-save=lost", "-k", "magnitude")
    assert bench(*arguments).code == 0
    before = Path("lost.json").read_bytes()
    engine = ENGINES["torch"]

    def load(path, threads):
        if "magnitude90" in path.name:
            raise UnsupportedError("no such operator")
        return engine.load(path, threads)

    monkeypatch.setitem(ENGINES, "torch", dataclasses.replace(engine, load=load))
    for _ in range(2):
        result = bench(*arguments)
        assert result.counts == {"passed": 1, "skipped": 1, "deselected": 5}
        assert result.code == 0
        assert (
            "lost.json: 1 cell was measured earlier and not now: toy-magnitude90-seed0-torch (unsupported: no such "
            "operator; its result is kept in lost.previous.json)"
        ) in result.shown
    assert Path("lost.previous.json").read_bytes() == before
    assert not Path("lost.previous2.json").exists()


def test_a_second_session_of_the_same_study_is_refused(bench):
    lock = paths.lock(paths.study_work("toy"))
    with only_process(lock, "sparsemark run toy.toml"):
        result = bench("-k", "magnitude90")
    assert result.code == pytest.ExitCode.USAGE_ERROR
    assert f"{lock}: held by process {os.getpid()}: sparsemark run toy.toml" in result.shown


def test_a_cell_that_fails_parity_is_a_failed_test_and_a_row(bench, monkeypatch):
    monkeypatch.setattr("sparsemark.measurement.parity.TOLERANCE", 0.0)
    result = bench("--benchmark-json=run.json", "-k", "magnitude90 or r64")
    assert result.counts == {"failed": 1, "skipped": 1, "deselected": 5}
    assert "parity_failed: max |d|" in result.shown
    assert row("toy-magnitude90-seed0-torch", "run.json")["extra_info"]["status"] == "parity_failed"


def test_an_engine_that_breaks_while_it_is_timed_is_a_failed_test_and_one_row(bench, monkeypatch):
    def breaks(*arguments, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("sparsemark.measurement.timing._Pairing.next_call", breaks)
    assert bench("--benchmark-json=run.json", "-k", "magnitude90").counts == {"failed": 1, "deselected": 6}
    (entry,) = benchmarks(Path("run.json"))
    assert entry["extra_info"]["status"] == "error"
    assert entry["extra_info"]["reason"] == "RuntimeError: out of memory"


def test_disabled_verifies_but_does_not_time(bench, monkeypatch):
    monkeypatch.setattr("sparsemark.study.pipeline.measure", pytest.fail)
    verified = []

    def counting(*arguments, **more):
        verified.append(arguments)
        return check(*arguments, **more)

    monkeypatch.setattr("sparsemark.study.pipeline.check", counting)
    Path("run.json").unlink(missing_ok=True)
    result = bench("--benchmark-disable", "--benchmark-json=run.json", "-k", "magnitude", "-W", "error::Warning")
    assert result.counts == {"passed": 2, "deselected": 5}
    assert len(verified) >= 2
    assert not Path("run.json").exists()


def test_disabled_finds_a_parity_failure(bench, monkeypatch):
    monkeypatch.setattr("sparsemark.measurement.parity.TOLERANCE", 0.0)
    assert bench("--benchmark-disable", "-k", "magnitude90").counts == {"failed": 1, "deselected": 6}


def test_skip_skips_every_cell_and_only_none(bench):
    assert bench("--benchmark-skip").counts == {"skipped": 7}
    assert bench("--benchmark-only", "-k", "magnitude90").counts == {"passed": 1, "deselected": 6}


KILLER = """
import os
done = []
def pytest_runtest_logfinish(nodeid):
    done.append(nodeid)
    if len(done) == 2:
        os._exit(9)
"""


def test_a_crash_leaves_what_was_finished(folder):
    """pytest-benchmark's own file is written at the end only, so it is not there."""
    (folder / "killer.py").write_text(KILLER)
    command = ["-m", "pytest", *PLUGIN, "-p", "killer", *OPTIONS, *TOY]
    done = process(*command, "--benchmark-json=crashed.json", cwd=folder)
    assert done.returncode == 9, done.stderr
    assert not (folder / "crashed.json").exists()
    run = Run.load(folder / JOURNAL)
    assert [m.name for m in run.measurements] == ["toy-dense-seed0-torch", "toy-dense-seed0-onnxruntime"]


# --- bad input


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--study", "nowhere.toml"), "nowhere.toml: cannot be read: No such file"),
        (("--study", "bad.toml"), "bad.toml: prune[0].method: unknown pruner 'magnitud'; did you mean 'magnitude'?"),
        (("--study", "unhooked.toml"), "nowhere.py: no such file"),
    ],
)
def test_a_study_that_cannot_be_used_is_one_line(change, named, bench, monkeypatch):
    monkeypatch.delenv("CI", raising=False)  # there pytest prints the chain of exceptions whole
    monkeypatch.delenv("BUILD_NUMBER", raising=False)
    text = Path("toy.toml").read_text()
    Path("bad.toml").write_text(text.replace('method = "none"', 'method = "magnitud"', 1))
    Path("unhooked.toml").write_text(text.replace("hooks.py:", "nowhere.py:"))
    result = bench(*change)
    assert result.code != 0
    assert named in result.shown
    assert "Traceback" not in result.shown
    assert sum(named in line for line in result.shown.splitlines()) <= 2, "once where it is found, once in the summary"


# --- in projects that do not know sparsemark


STRANGER = """
import sys

def test_nothing_heavy_is_loaded():
    assert not {"torch", "numpy", "scipy", "onnx", "rich", "matplotlib"} & set(sys.modules)
"""


def test_a_project_that_does_not_use_it_pays_nothing(tmp_path):
    (tmp_path / "test_stranger.py").write_text(STRANGER)
    done = process("-m", "pytest", "-p", "no:hypothesispytest", *PLUGIN, "-q", "test_stranger.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_benchmarks_of_other_suites_are_left_as_they_are(nested, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite = tmp_path / "test_sum.py"
    suite.write_text("def test_sum(benchmark):\n    benchmark.pedantic(sum, args=([1, 2],), rounds=3)\n")
    assert nested(str(suite), "--benchmark-json=other.json").counts == {"passed": 1}
    document = json.loads(Path("other.json").read_bytes())
    (entry,) = document["benchmarks"]
    assert entry["extra_info"] == {}
    assert "sparsemark" not in entry
    assert "versions" not in document["machine_info"]


def test_the_hook_may_be_called_twice_on_one_document(pytestconfig):
    """Called by hand, since no option makes pytest-benchmark hand over the same entries again."""
    from sparsemark.study import pytest_plugin

    class Config:
        stash = pytest.Stash()

    Config.stash[pytest_plugin._MEASURED] = {"a.py::test_a": Measurement("cell", UNSUPPORTED, "no such operator")}
    document = {"benchmarks": []}
    for _ in range(2):
        pytest_plugin.pytest_benchmark_update_json(Config, document)
    assert document["benchmarks"] == []
    assert [entry["fullname"] for entry in document["sparsemark"]["unmeasured"]] == ["a.py::test_a"]
