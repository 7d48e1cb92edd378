"""`run --scheduler` of the toy study: the rows of a run without one, workers without the folder, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from sparsemark import paths
from sparsemark.cli import main
from sparsemark.machine.children import children
from sparsemark.machine.fingerprint import machine_name
from tests.study import no_folder
from tests.study.stub_cluster import stub_cluster
from tests.toy_study.place import benchmarks, journal_keys, place, trained

TIMED = re.compile(
    r"_ms$|_s$|^speedup|^reference_(drift|spread)|^yardstick|^waited|^steal|^images_per_second|^samples|^peak_rss_bytes"
    r"|^launch|^measured_|^host|^processor|^microcode|^boot_id|^cgroup_|^artifact_bytes"
)
"""What differs between two runs of a study; the bytes, since a checkpoint says how long it took to make."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Rows of a run without a scheduler."""
    folder = place(tmp_path_factory.mktemp("plain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", "toy.toml"]) == 0
    return untimed(folder)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """Address of workers on two hosts that do not see the folder of any command."""
    preload = Path(no_folder.__file__)
    with stub_cluster(tmp_path_factory.mktemp("strangers"), ("a", "b"), preload=preload) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(place(tmp_path))
    return tmp_path


def untimed(folder):
    """Rows of a result, in their order, without what was timed."""
    rows = benchmarks(folder / paths.run(machine_name(), "toy"))
    return [
        {name: value for name, value in row["extra_info"].items() if value is not None and not TIMED.search(name)}
        | {"name": row["name"]}
        for row in rows
    ]


def test_rows_are_those_of_a_run_without_a_scheduler_but_for_what_was_timed(here, plain):
    assert main(["run", "toy.toml", "--scheduler", "local:2"]) == 0
    assert untimed(here) == plain
    assert len(trained(here)) == len(set(trained(here))) > 0


@pytest.mark.parametrize("store", ["messages", "store"])
def test_workers_without_the_folder_prepare_check_and_time(store, strangers, here, plain, tmp_path_factory):
    files = () if store == "messages" else ("--files", f"file://{tmp_path_factory.mktemp('store')}")
    command = ("run", "toy.toml", "--scheduler", strangers, *files)
    assert main(command) == 0
    assert untimed(here) == plain
    assert trained(here) == [], "training ran in the folder of a worker"
    keys = journal_keys(paths.journal(paths.study_work("toy")))
    assert main(command) == 0
    assert journal_keys(paths.journal(paths.study_work("toy"))) == keys, "all was there"


def test_files_without_a_scheduler_are_refused(here, capsys):
    assert main(["run", "toy.toml", "--files", "memory://x"]) == 2
    assert capsys.readouterr().err.startswith("sparsemark run: --files memory://x: expected --scheduler with it")


def runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sigterm_ends_the_command_and_its_workers_and_the_same_command_goes_on(here):
    source = str(Path(__file__).parents[2] / "src")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    program = "import sys; from sparsemark.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "run", "toy.toml", "--launches", "1", "--scheduler", "local:2"]
    process = subprocess.Popen(command, cwd=here, env=environment, stderr=subprocess.PIPE, text=True)
    journal = paths.journal(paths.study_work("toy"))
    deadline = time.monotonic() + 120
    while len(journal_keys(journal)) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    workers = list(children(process.pid))
    assert workers
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.splitlines()[-1] == "sparsemark run: terminated; the same command goes on from here"
    assert not [worker for worker in workers if runs(worker)]
    done = journal_keys(journal)
    assert len(done) >= 2
    assert main(command[3:]) == 0
    keys = journal_keys(journal)
    assert keys[: len(done)] == done
    assert len(keys) == len(set(keys)) >= 6
    assert not (here / paths.sweep_token(paths.study_work("toy"))).exists()
    assert json.loads((here / paths.run(machine_name(), "toy")).read_bytes())["benchmarks"]
