"""The `latency` fixture under pytest-benchmark: this repository's suite over the toy study, and others' projects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sparsemark import paths
from sparsemark.cli import main
from sparsemark.parity import check
from sparsemark.records import MEASURED, UNSUPPORTED, Measurement, Run
from tests.toy_study.place import benchmarks, journal_keys, place

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).parents[1]
SUITE = REPOSITORY / "bench" / "test_latency.py"
INSTALLED = any(entry.value == "sparsemark.pytest_plugin" for entry in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "sparsemark.pytest_plugin")
"""An installed sparsemark loads its plugin by itself, and a plugin must not be loaded twice."""

JOURNAL = paths.pytest_journal(paths.study_work("toy"))
CONTRACT = """
    schema model method scope schedule sparsity_target sparsity mac_density parameters nonzeros format engine threads
    batch seed accuracy f1 recall precision roc_auc parity_max_abs parity_max_rel agreement artifact_bytes
    peak_rss_bytes p50_ms p90_ms p99_ms samples speedup speedup_low speedup_high speedup_reference status reason
"""
"""What other programs read in `extra_info`."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The toy study, trained and exported; one cell can never run, for want of an operator."""
    path = place(tmp_path_factory.mktemp("plugin"))
    study = path / "toy.toml"
    study.write_text(study.read_text() + '\n[[prune]]\nmethod = "channels"\nsparsity = [0.001]\nengines = ["torch"]\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert main(["run", "toy.toml"]) == 0
    return path


@pytest.fixture
def bench(folder, pytester, monkeypatch):
    """Call `pytest bench` in this process, from the study's folder."""
    monkeypatch.chdir(folder)

    def call(*arguments, suite=SUITE):
        options = ("-p", "no:cacheprovider", "-p", "no:xdist", "--benchmark-storage", "saved", "--study", "toy.toml")
        return pytester.runpytest_inprocess(*PLUGIN, *options, str(suite), *map(str, arguments))

    return call


def row(name, path="run.json"):
    return next(row for row in benchmarks(Path(path)) if row["name"] == f"test_latency[{name}]")


def test_the_json_holds_every_field_of_the_contract_as_plain_values(bench):
    bench("--benchmark-json=run.json").assert_outcomes(passed=6, skipped=1)
    for entry in benchmarks(Path("run.json")):
        info = entry["extra_info"]
        assert set(CONTRACT.split()) <= set(info)
        assert all(value is None or type(value) in (str, int, float) for value in info.values()), info
    entry = row("toy-magnitude90-seed0-torch")
    info = entry["extra_info"]
    assert (info["schema"], info["status"], info["method"]) == (1, MEASURED, "magnitude")
    assert (info["engine"], info["format"], info["threads"], info["batch"], info["seed"]) == ("torch", "dense", 1, 1, 0)
    assert info["samples"] == len(entry["stats"]["data"]) == len(entry["sparsemark"]["reference_data"]) == 12
    assert info["p50_ms"] == pytest.approx(1e3 * entry["stats"]["median"])
    assert info["p90_ms"] is None, "12 calls support no 90th percentile"
    assert info["speedup_low"] <= info["speedup"] <= info["speedup_high"]


def test_the_json_holds_the_environment_but_not_the_hosts_name(bench):
    bench("--benchmark-json=run.json", "-k", "dense and torch")
    info = json.loads(Path("run.json").read_bytes())["machine_info"]
    assert info["versions"]["torch"]
    assert info["cpu_count"] == os.cpu_count()
    assert {"cpu_model", "cpu_flags", "governor", "kernel", "pools", "cpus_allowed"} <= set(info)
    assert info["node"] == ""


def test_the_json_is_a_run_that_can_be_reported_compared_and_gated(bench, capsys):
    bench("--benchmark-json=run.json")
    run = Run.load(Path("run.json"))
    assert [m.status for m in run.measurements].count(MEASURED) == 6
    assert main(["report", "run.json"]) == 0
    assert main(["compare", "run.json", "run.json"]) == 0
    assert main(["gate", "--baseline", "run.json", "run.json"]) == 0


def test_an_unsupported_cell_is_a_skipped_test_and_a_row_that_says_why(bench):
    result = bench("--benchmark-json=run.json", "-rs")
    result.assert_outcomes(passed=6, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*torch-pruning found no channel*"])
    entry = row("toy-channels0.1-seed0-torch")
    assert entry["extra_info"]["status"] == UNSUPPORTED
    assert "torch-pruning found no channel" in entry["extra_info"]["reason"]
    assert entry["fullname"].endswith("test_latency.py::test_latency[toy-channels0.1-seed0-torch]")
    assert entry["stats"]["median"] is None
    assert entry["extra_info"]["p50_ms"] is None


def test_the_rows_are_written_where_no_cell_has_a_latency(bench):
    Path("run.json").unlink(missing_ok=True)
    bench("--benchmark-json=run.json", "-k", "channels0.1").assert_outcomes(skipped=1, deselected=6)
    (measurement,) = Run.load(Path("run.json")).measurements
    assert measurement.status == UNSUPPORTED
    assert measurement.name == "test_latency[toy-channels0.1-seed0-torch]"


def test_a_cell_that_fails_parity_is_a_failed_test_and_a_row(bench, monkeypatch):
    monkeypatch.setattr("sparsemark.parity.TOLERANCE", 0.0)
    result = bench("--benchmark-json=run.json", "-k", "magnitude90 or channels0.1")
    result.assert_outcomes(failed=1, skipped=1, deselected=5)
    result.stdout.fnmatch_lines(["parity_failed: max |d|*"])
    assert row("toy-magnitude90-seed0-torch")["extra_info"]["status"] == "parity_failed"


def test_an_engine_that_breaks_while_it_is_timed_is_a_failed_test_and_one_row(bench, monkeypatch):
    def breaks(*arguments, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("sparsemark.timing._Pairing.next_call", breaks)
    bench("--benchmark-json=run.json", "-k", "magnitude90").assert_outcomes(failed=1, deselected=6)
    (entry,) = benchmarks(Path("run.json"))
    assert entry["extra_info"]["status"] == "error"
    assert entry["extra_info"]["reason"] == "RuntimeError: out of memory"


def test_save_and_compare_work_beside_json_and_agree_with_it(bench):
    """pytest-benchmark then asks twice for what is to be written."""
    for path in Path().glob("saved/*/*.json"):
        path.unlink()
    chosen = ("-k", "seed0-torch")
    bench("--benchmark-json=run.json", "--benchmark-save=first", "--benchmark-save-data", *chosen)
    (saved,) = Path().glob("saved/*/0001_first.json")
    strip = ("datetime",)
    written, kept = (json.loads(path.read_bytes()) for path in (Path("run.json"), saved))
    assert {k: v for k, v in written.items() if k not in strip} == {k: v for k, v in kept.items() if k not in strip}
    names = [entry["fullname"] for entry in kept["benchmarks"]]
    assert len(names) == len(set(names)) == 5
    result = bench("--benchmark-compare=0001", *chosen)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*Comparing against benchmarks from: *0001_first.json"])
    assert "(NOW)" in result.stdout.str()


def test_disabled_verifies_but_does_not_time(bench, monkeypatch):
    monkeypatch.setattr("sparsemark.pipeline.measure", pytest.fail)
    verified = []

    def counting(*arguments):
        verified.append(arguments)
        return check(*arguments)

    monkeypatch.setattr("sparsemark.pipeline.check", counting)
    Path("run.json").unlink(missing_ok=True)
    result = bench("--benchmark-disable", "--benchmark-json=run.json", "-k", "magnitude", "-W", "error::Warning")
    result.assert_outcomes(passed=2, deselected=5)
    assert len(verified) >= 2
    assert not Path("run.json").exists()


def test_disabled_finds_a_parity_failure(bench, monkeypatch):
    monkeypatch.setattr("sparsemark.parity.TOLERANCE", 0.0)
    bench("--benchmark-disable", "-k", "magnitude90").assert_outcomes(failed=1, deselected=6)


def test_skip_skips_every_cell_and_only_none(bench):
    bench("--benchmark-skip").assert_outcomes(skipped=7)
    bench("--benchmark-only", "-k", "magnitude90").assert_outcomes(passed=1, deselected=6)


def test_every_finished_cell_is_in_the_journal(bench, capsys):
    bench()
    assert len(journal_keys(JOURNAL)) == 7
    assert main(["report", str(JOURNAL)]) == 0
    assert "torch-pruning found no channel" in capsys.readouterr().out


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
    command = ["-m", "pytest", *PLUGIN, "-p", "killer", "-p", "no:cacheprovider", "--study", "toy.toml", str(SUITE)]
    done = process(*command, "--benchmark-json=crashed.json", cwd=folder)
    assert done.returncode == 9, done.stderr
    assert not (folder / "crashed.json").exists()
    run = Run.load(folder / JOURNAL)
    assert [m.name for m in run.measurements] == ["toy-dense-seed0-torch", "toy-dense-seed0-onnxruntime"]


def process(*arguments, cwd):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(cwd)))}
    return subprocess.run(
        [sys.executable, *arguments], check=False, cwd=cwd, env=environment, capture_output=True, text=True
    )


# --- bad input


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--study", "nowhere.toml"), "nowhere.toml: cannot be read: No such file"),
        (("--study", "bad.toml"), "bad.toml: prune[0].method: unknown pruner 'magnitud'; did you mean 'magnitude'?"),
        (("--study", "unhooked.toml"), "nowhere.py: no such file"),
    ],
)
def test_a_study_that_cannot_be_used_is_one_line(change, named, bench):
    text = Path("toy.toml").read_text()
    Path("bad.toml").write_text(text.replace('method = "none"', 'method = "magnitud"', 1))
    Path("unhooked.toml").write_text(text.replace("hooks.py:", "nowhere.py:"))
    result = bench(*change)
    assert result.ret != 0
    shown = result.stdout.str() + result.stderr.str()
    assert named in shown
    assert "Traceback" not in shown
    assert sum(named in line for line in shown.splitlines()) <= 2, "once where it is found, once in the summary"


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


def test_benchmarks_of_other_suites_are_left_as_they_are(pytester):
    pytester.makepyfile("def test_sum(benchmark):\n    benchmark.pedantic(sum, args=([1, 2],), rounds=3)\n")
    pytester.runpytest_inprocess(*PLUGIN, "-p", "no:cacheprovider", "--benchmark-json=other.json").assert_outcomes(
        passed=1
    )
    document = json.loads((pytester.path / "other.json").read_bytes())
    (entry,) = document["benchmarks"]
    assert entry["extra_info"] == {}
    assert "sparsemark" not in entry
    assert "versions" not in document["machine_info"]


def test_the_hook_may_be_called_twice_on_one_document(pytestconfig):
    """Called by hand, since no option makes pytest-benchmark hand over the same entries again."""
    from sparsemark import pytest_plugin

    class Config:
        stash = pytest.Stash()

    Config.stash[pytest_plugin._MEASURED] = {"a.py::test_a": Measurement("cell", UNSUPPORTED, "no such operator")}
    document = {"benchmarks": []}
    for _ in range(2):
        pytest_plugin.pytest_benchmark_update_json(Config, document)
    assert [entry["fullname"] for entry in document["benchmarks"]] == ["a.py::test_a"]
