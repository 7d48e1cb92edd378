"""Other programs read a result file: pytest-benchmark's own comparison, and github-action-benchmark."""

from __future__ import annotations

import functools
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.records.benchmark_json import to_benchmark
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from tests.synthetic import MACHINE, cell, study_run

UNMEASURED = (
    Measurement("wrong", "parity_failed", "max |d| is 2.1e-03", model="m", engine="openvino"),
    Measurement("verified only", "measured", model="m"),
)
SUITE = "def test_sum(benchmark):\n    benchmark.pedantic(sum, args=([1, 2],), rounds=3)\n"


@pytest.fixture
def folder(tmp_path):
    """A result file with rows that have no latency, and a suite of somebody else."""
    Run((UNMEASURED[0], cell(1, name="fast", model="m"), *UNMEASURED[1:]), MACHINE).save(tmp_path / "run.json")
    (tmp_path / "test_sum.py").write_text(SUITE)
    return tmp_path


def process(folder, *arguments):
    """A program of pytest-benchmark, with none of its settings from outside."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GITHUB_"))}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2] / "src")
    return subprocess.run(
        [sys.executable, "-m", *arguments], check=False, cwd=folder, env=environment, capture_output=True, text=True
    )


def compare(folder, *more):
    return process(folder, "pytest_benchmark", "compare", "run.json", *more)


def test_pytest_benchmark_compares_a_file_that_has_rows_without_a_latency(folder):
    done = compare(folder, "--csv=out.csv", "--columns=min,max,mean,stddev,median,iqr,outliers,ops,rounds,iterations")
    assert done.returncode == 0, done.stderr
    assert "fast" in done.stdout
    titles, *rows = (folder / "out.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["fast"]
    assert "median" in titles
    assert not {"wrong", "verified only"} & set((done.stdout + done.stderr).split())


def test_pytest_benchmark_runs_a_suite_against_such_a_file(folder):
    options = ("-p", "no:cacheprovider", "-p", "no:xdist", "--benchmark-compare=run.json", "test_sum.py")
    done = process(folder, "pytest", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "test_sum" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_rows_without_a_latency_among_the_benchmarks_would_break_it(folder):
    """Why they stand apart, and that the tests above would notice: its tables sort by numbers."""
    document = json.loads((folder / "run.json").read_text())
    document["benchmarks"] += document["sparsemark"].pop("unmeasured")
    (folder / "run.json").write_text(json.dumps(document))
    assert compare(folder).returncode != 0
    assert {m.name for m in Run.load(folder / "run.json").measurements} == {"fast", "wrong", "verified only"}


def test_rows_are_read_in_both_forms_in_the_order_of_the_run(folder):
    """Among the benchmarks, as older files have them, and apart."""
    run = Run.load(folder / "run.json")
    assert [m.name for m in run.measurements] == ["wrong", "fast", "verified only"]
    document = json.loads((folder / "run.json").read_text())
    document["benchmarks"] = list(map(to_benchmark, run.measurements))
    document["sparsemark"]["unmeasured"] = []
    (folder / "old.json").write_text(json.dumps(document))
    assert Run.load(folder / "old.json").measurements == run.measurements


READ = {"name": ("fullname",), **{name: ("stats", name) for name in ("ops", "stddev", "mean", "rounds")}}
"""What `extractPytestResult` of github-action-benchmark (src/extract.ts) reads of every entry of `benchmarks`.

A null is no error to it: it would be a point of its chart, and `ops` is the value that its alerts go by.
"""


def extracted(document):
    return [
        {name: functools.reduce(lambda found, key: found[key], path, bench) for name, path in READ.items()}
        for bench in document["benchmarks"]
    ]


def test_github_action_benchmark_finds_what_it_reads_in_every_entry(tmp_path):
    run = study_run()
    run.save(tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    results = extracted(document)
    assert [result["name"] for result in results] == [m.name for m in run.measured()]
    assert len({result["name"] for result in results}) == len(results), "names are the keys of its history"
    for result, m in zip(results, run.measured(), strict=True):
        assert all(type(result[name]) is float and math.isfinite(result[name]) for name in ("ops", "mean", "stddev"))
        assert result["ops"] == pytest.approx(len(m.samples_s) / sum(m.samples_s)), "calls a second"
        assert result["mean"] == pytest.approx(sum(m.samples_s) / len(m.samples_s)), "seconds"
        assert result["stddev"] == pytest.approx(statistics.stdev(m.samples_s)), "seconds"
        assert (type(result["rounds"]), result["rounds"]) == (int, len(m.samples_s))
    # It finds commit and date in the event of the job; the machine it passes over.
    assert isinstance(document["machine_info"], dict)
    assert isinstance(document["datetime"], str)
    assert isinstance(document["version"], str)


def test_one_sample_has_a_spread_of_zero_and_not_of_nothing(tmp_path):
    (bench,) = extracted({"benchmarks": [to_benchmark(Measurement("one", "measured", samples_s=(0.01,)))]})
    assert bench["stddev"] == 0
    assert bench["ops"] == pytest.approx(100.0)
