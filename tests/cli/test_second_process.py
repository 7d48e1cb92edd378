"""A second process for the same result or study is refused, with the first one's number and command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sparsemark import paths
from sparsemark.cli import main
from sparsemark.machine.locks import only_process
from tests.cli.small_bench import BENCH
from tests.toy_study.place import place


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_a_second_bench_for_the_same_file_is_refused(here, quick, refused):
    lock = paths.bench_lock(Path("out.json"))
    with only_process(lock, "sparsemark bench other.py:build --json out.json"):
        line = refused(*BENCH)
    assert line == (
        f"sparsemark bench: out.json.lock: held by process {os.getpid()}: sparsemark bench other.py:build --json "
        "out.json; wait for it to end, or stop it"
    )
    assert not Path("out.json").exists()
    assert main(BENCH) == 0
    assert not lock.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_a_second_run_of_the_same_study_is_refused(tmp_path, monkeypatch, refused):
    monkeypatch.chdir(place(tmp_path))
    with only_process(paths.lock(paths.study_work("toy")), "sparsemark run toy.toml"):
        assert f"held by process {os.getpid()}: sparsemark run toy.toml" in refused("run", "toy.toml")
    assert not Path("toy.log").exists()
