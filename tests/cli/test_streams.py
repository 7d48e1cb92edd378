"""A command in a process of its own, as a user starts it: no traceback, no error for a closed pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.cli import main
from tests.cli.small_bench import SOURCE, needs_full_disk
from tests.toy_study.place import benchmarks


def process(*arguments, stdout=subprocess.PIPE):
    """The command in a process of its own, as a user starts it."""
    command, environment = (
        [sys.executable, "-m", "sparsemark.cli", *arguments],
        os.environ | {"PYTHONPATH": str(SOURCE)},
    )
    return subprocess.run(command, check=False, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment)


@needs_full_disk
def test_the_disk_is_full_where_stdout_goes(run_file):
    with Path("/dev/full").open("wb") as full:
        done = process("report", "run.json", stdout=full)
    assert (done.returncode, done.stderr) == (2, "sparsemark report: No space left on device\n")


def test_a_closed_pipe_is_no_error(run_file):
    read, write = os.pipe()
    os.close(read)
    done = process("report", "run.json", "--format", "csv", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_a_result_may_go_to_an_open_file_and_nothing_is_left_beside_it(here, quick):
    with Path("out.json").open("wb") as file:
        name = f"/dev/fd/{file.fileno()}"
        assert main(["bench", "networks.py:build", "--input", "1,3,8,8", "--engine", "torch", "--json", name]) == 0
    assert [row["name"] for row in benchmarks(Path("out.json"))] == ["build-dense-seed0-torch"]
    assert not Path(f"{name}.unfinished.jsonl").exists()


@pytest.mark.parametrize("arguments", [("run", "nowhere.toml"), ("bench", "nowhere.py:build", "--json", "out.json")])
def test_no_traceback_reaches_the_terminal(arguments, here):
    done = process(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert arguments[1].partition(":")[0] in done.stderr
