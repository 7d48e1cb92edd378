"""One measurement at a time on a host: others wait, are told for whom, and are let in when the holder ends or dies."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import sparsemark
from sparsemark.cli import main, parser
from sparsemark.errors import UserError
from sparsemark.machine import host_lock
from sparsemark.machine.at_work import step
from sparsemark.machine.host_lock import only_measurement, short_name

HOLDER = """
import time
from sparsemark.machine.host_lock import only_measurement
with only_measurement():
    print("held", flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no flock there")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A lock of this test's own, seen by the processes that it starts."""
    path = tmp_path / "host"
    monkeypatch.setenv("SPARSEMARK_HOST_LOCK", str(path))
    return path


@pytest.fixture
def holder(place):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(sparsemark.__file__).parents[1])},
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_nobody_is_waited_for_where_nobody_measures(place):
    with only_measurement() as waited:
        assert waited < 1
    assert place.read_bytes() == b"", "the lock is the kernel's; nothing is written that could be left behind"


def test_waiting_is_bounded_and_names_the_holder(holder, place):
    said = rf"{place}: held by process {holder.pid} \(python[\d.]* -c\) for"
    with pytest.raises(UserError, match=said) as caught, only_measurement(patience=0.1):
        raise AssertionError("held by two")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/env/bin/python3.11 /env/bin/sparsemark bench secret/model.py:build --json out", "sparsemark bench"),
        ("python -u -m sparsemark run study.toml", "sparsemark run"),
        ("python -m pytest --quiet bench", "pytest"),
        ("/usr/bin/stress --cpu 2", "stress"),
        ("python -c print(1)", "python -c"),
        ("python", "python"),
        ("python -m", "-m"),
        ("", ""),
        ("./tool\x1b[31m a\nb", "tool [31m a b"),
        (f"{'x' * 70} run", "x" * 60),
    ],
)  # fmt: skip
def test_a_holder_is_named_by_its_program_and_never_by_its_command_line(command, name):
    assert short_name([*command.split(" "), ""]) == name


def test_whoever_waits_says_so_and_is_let_in_when_the_holder_is_killed(holder, place, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "sparsemark")
    steps = []
    monkeypatch.setattr(
        host_lock.time, "sleep", lambda seconds: steps.append(step()) or holder.send_signal(signal.SIGKILL)
    )
    before = time.monotonic()
    with only_measurement() as waited:
        assert set(steps) == {"waiting for another measurement"}
        assert step() == ""
        assert 0 < waited <= time.monotonic() - before
    assert [f"process {holder.pid}" in line for line in caplog.messages] == [True], "once, not at every try"


class _Kill(logging.Handler):
    """Ends whoever holds the host at the first notice of waiting."""

    def __init__(self, holder):
        super().__init__(logging.INFO)
        self._holder = holder

    def emit(self, record):
        if record.getMessage().startswith("waiting for"):
            self._holder.kill()


@pytest.fixture
def released_once_said(holder):
    """The holder's id; it lives until somebody says that they wait, for ever where nobody does."""
    handler = _Kill(holder)
    logging.getLogger("sparsemark").addHandler(handler)
    yield holder.pid
    logging.getLogger("sparsemark").removeHandler(handler)


def test_any_command_that_waits_for_the_host_says_for_whom(released_once_said, monkeypatch, capsys):
    def execute(options):
        with only_measurement(patience=5):
            return 0

    command = SimpleNamespace(add=lambda commands: commands.add_parser("waits").set_defaults(execute=execute))
    monkeypatch.setattr(parser, "_COMMANDS", (command,))
    assert main(["waits"]) == 0
    assert f"waiting for another measurement on this machine: process {released_once_said} " in capsys.readouterr().err


def test_doctor_says_for_whom_its_processes_wait(released_once_said, monkeypatch, capsys):
    monkeypatch.setattr("sparsemark.machine.doctor.examine", lambda seconds, threads: [])
    monkeypatch.setattr("sparsemark.measurement.aa.LEAST_LAUNCHES", 2)
    assert main(["doctor", "--seconds", "0.01"]) == 0
    said = f"waiting for another measurement on this machine: process {released_once_said} "
    assert capsys.readouterr().err.count(said) == 1


def test_a_file_of_another_user_that_can_only_be_read_is_locked_too(place):
    place.touch()
    place.chmod(0o444)
    with only_measurement(), pytest.raises(UserError), only_measurement(patience=0):
        pass


def test_what_is_no_file_of_ours_is_passed_over(place, tmp_path):
    place.symlink_to(tmp_path / "elsewhere")
    with only_measurement(), only_measurement(patience=0):
        pass
    assert not (tmp_path / "elsewhere").exists()
    place.unlink()
    place.mkdir()
    with only_measurement(), only_measurement(patience=0):
        pass


GREEDY = """
import sys, time
from sparsemark.machine.host_lock import only_measurement
while True:
    with only_measurement():
        print("held", file=open(sys.argv[1], "a"))
        time.sleep(0.3)
"""


def test_a_command_of_many_launches_lets_others_in_after_each(place, tmp_path):
    log = tmp_path / "held"
    process = subprocess.Popen(
        [sys.executable, "-c", GREEDY, str(log)],
        env=os.environ | {"PYTHONPATH": str(Path(sparsemark.__file__).parents[1])},
    )
    try:
        while not log.exists():
            time.sleep(0.01)
        for _ in range(3):
            before = log.read_text().count("held")
            with only_measurement(patience=20):
                assert log.read_text().count("held") <= before + 1
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
