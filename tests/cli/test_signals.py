"""A signal ends a command in one line, leaves neither child nor folder, and loses nothing that was measured."""

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

from sparsemark import paths
from sparsemark.cli import exits, main
from sparsemark.machine.fingerprint import machine_name
from sparsemark.machine.temporary import PREFIX
from tests.cli.small_bench import BENCH, NETWORKS, SOURCE
from tests.toy_study.place import journal_keys, place

RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from sparsemark.cli import arguments, main
arguments.LAUNCHES = 0
sys.exit(main(sys.argv[1:]))
"""
TASK = """
import os, subprocess, time
from pathlib import Path
import numpy as np
def images(part): return np.zeros((4, 3, 8, 8), np.float32)
def score(outputs, part):
    if Path("wait").exists():
        Path("child").write_text(str(subprocess.Popen(["sleep", "300"]).pid))
        time.sleep(300)
    return 1.0
"""


def start(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted"), (signal.SIGHUP, 129, "terminated")],
)
def test_a_signal_leaves_neither_child_nor_folder_and_the_command_goes_on(number, code, word, tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "wait").touch()
    command = (*BENCH, "--task", "task.py", "--rounds", "16")
    process = start(tmp_path, *command)
    child = int(wait_for(tmp_path / "child", process))
    assert runs(child)
    assert list((tmp_path / "tmp").glob(f"{PREFIX}*"))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (
        code, "", f"sparsemark bench: {word}; the same command goes on from here\n",
    )  # fmt: skip
    assert not runs(child)
    assert not list((tmp_path / "tmp").glob(f"{PREFIX}*"))
    assert not (tmp_path / "out.json.lock").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_terminated_run_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    folder = place(tmp_path)
    journal = folder / paths.journal(paths.study_work("toy"))
    process = start(folder, "run", "toy.toml")
    deadline = time.monotonic() + 120
    while len(journal_keys(journal)) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == exits.TERMINATED == 143
    assert err.splitlines()[-1] == "sparsemark run: terminated; the same command goes on from here"
    done = journal_keys(journal)
    monkeypatch.chdir(folder)
    assert main(["run", "toy.toml"]) == 0
    out = capsys.readouterr().out
    where = re.escape(str(paths.journal(paths.study_work("toy"))))
    assert re.search(rf"^{len(done)} of 6 cells taken from {where}, measured \d", out, re.MULTILINE)
    assert journal_keys(journal)[: len(done)] == done
    result = json.loads((folder / paths.run(machine_name(), "toy")).read_bytes())
    assert len(result["benchmarks"]) == 6


@pytest.mark.parametrize("swallow", [ImportError("half imported"), SystemExit(1)])
def test_an_interrupt_that_a_library_made_another_error_of_is_an_interrupt(swallow, monkeypatch, capsys, interruptible):
    def execute(options):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise swallow from None

    monkeypatch.setattr("sparsemark.cli.doctor.execute", execute)
    assert main(["doctor"]) == 143
    assert capsys.readouterr().err == "sparsemark doctor: terminated; the same command goes on from here\n"
