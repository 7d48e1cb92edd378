"""Resuming a study: finished work is never repeated, whenever the process dies (kill -9, Ctrl-C).

`SPARSEMARK_KILLS` sets how many times it is killed (default 3).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparsemark import paths
from sparsemark.cli import main
from sparsemark.machine.fingerprint import machine_name
from sparsemark.records.run import Run
from tests.toy_study.place import journal_keys, place, trained

CELLS = 6
KILLS = int(os.environ.get("SPARSEMARK_KILLS", "3"))
SOURCE = Path(__file__).parents[2] / "src"
JOURNAL = paths.journal(paths.study_work("toy"))
PATIENCE = 600
"""Seconds after which a process is taken for dead."""

EXIT_INTERRUPTED = 130


# A shell's background jobs ignore SIGINT, and so would a process that they start. Launches have tests of their own.
RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from sparsemark.cli import arguments, main
arguments.LAUNCHES = 0
sys.exit(main(["run", "toy.toml"]))
"""


def start(folder):
    """`sparsemark run` on the toy study, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "TOY_SECONDS": "0.2"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def progress(folder):
    """How much there is: trainings begun, checkpoints, artifacts, finished cells."""
    files = len(list(folder.rglob("*.safetensors"))) + len(list(folder.rglob("*.onnx")))
    return len(trained(folder)) + files + len(journal_keys(folder / JOURNAL))


def wait_for(process, folder, steps):
    """Let the process get `steps` further, or end."""
    target, end = progress(folder) + steps, time.monotonic() + PATIENCE
    while process.poll() is None and progress(folder) < target and time.monotonic() < end:
        time.sleep(0.01)


def finished(folder):
    """Names of checkpoints and keys of cells that are done."""
    return {path.stem for path in (folder / "models/weights").glob("*.safetensors")}, journal_keys(folder / JOURNAL)


@pytest.fixture
def complete(monkeypatch, capsys):
    """Run a study to its end, in this process: a new one takes seconds to load what this one has."""

    def run(folder):
        monkeypatch.chdir(folder)
        assert main(["run", "toy.toml"]) == 0
        assert "wrote " in capsys.readouterr().out
        is_complete(folder)

    return run


def is_complete(folder):
    run = Run.load(folder / paths.run(machine_name(), "toy"))
    names = [m.name for m in run.measurements]
    assert len(names) == len(set(names)) == CELLS
    keys = journal_keys(folder / JOURNAL)
    assert len(keys) == len(set(keys)) == CELLS, "no cell was measured twice"


def test_a_killed_study_goes_on_where_it_was_and_does_nothing_twice(tmp_path, complete):
    folder, random_moments = place(tmp_path), random.Random(0)
    done: tuple[set[str], list[str]] = (set(), [])
    for _ in range(KILLS):
        begun = len(trained(folder))
        process = start(folder)
        wait_for(process, folder, random_moments.randrange(1, 10))
        time.sleep(random_moments.random() / 2)
        process.kill()
        process.communicate()
        # Only a training that no checkpoint witnesses may begin again.
        assert not done[0] & {line.split()[1] for line in trained(folder)[begun:]}
        assert journal_keys(folder / JOURNAL)[: len(done[1])] == done[1]
        done = finished(folder)
    begun = len(trained(folder))
    complete(folder)
    assert not done[0] & {line.split()[1] for line in trained(folder)[begun:]}
    assert journal_keys(folder / JOURNAL)[: len(done[1])] == done[1]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send there")
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(tmp_path, complete):
    folder = place(tmp_path)
    process = start(folder)
    wait_for(process, folder, 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == EXIT_INTERRUPTED
    lines = [line for line in err.splitlines() if line.strip()]
    assert lines == ["sparsemark run: interrupted; the same command goes on from here"]
    done = finished(folder)
    assert done[0], "something was finished by then"
    begun = len(trained(folder))
    complete(folder)
    assert not done[0] & {line.split()[1] for line in trained(folder)[begun:]}


def test_a_torn_line_costs_one_cell(tmp_path):
    """A crash of the machine can leave half a line; the next line must not be glued to it."""
    from sparsemark.records.journal import Journal
    from tests.synthetic import cell

    path = tmp_path / "work" / "journal.jsonl"
    journal = Journal(path)
    for key in ("a", "b"):
        journal.append(key, cell(name=key))
    path.write_bytes(path.read_bytes()[:-100])
    torn = Journal(path)
    assert torn.get("a") == cell(name="a")
    assert torn.get("b") is None
    torn.append("c", cell(name="c"))
    whole = Journal(path)
    assert [m.name for m in whole.measurements()] == ["a", "c"]
    assert [m.name for m in Run.load(path).measurements] == ["a", "c"]
