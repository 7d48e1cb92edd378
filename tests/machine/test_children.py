"""Processes that a command started end with it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparsemark.machine.children import children, end, now

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

STUBBORN = "trap '' TERM; while :; do sleep 0.05; done"


def gone(process, seconds=5.0):
    """Whether a process, not a zombie, is gone within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def started():
    running = []

    def start(*command):
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_only_what_began_since_a_moment_counts(started):
    before = started("sleep", "60")
    time.sleep(0.1)
    moment = now()
    after = started("sleep", "60")
    assert {before.pid, after.pid} <= children()
    assert after.pid in children(since=moment)
    assert before.pid not in children(since=moment)


def test_grandchildren_and_those_that_ignore_a_request_end_too(started):
    process = started("sh", "-c", f"sleep 61 & echo $!; {STUBBORN}")
    grandchild = int(process.stdout.readline())
    assert not gone(grandchild, 0.1)
    end([process.pid])
    assert gone(process.pid)
    assert gone(grandchild)
    assert process.wait() == -9


def test_what_has_ended_already_is_passed_over(started):
    process = started("true")
    process.wait()
    end([process.pid])
