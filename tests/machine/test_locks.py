"""One process at a time works in a folder; a killed one leaves nothing that stops the next."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sparsemark
from sparsemark.errors import UserError
from sparsemark.machine import locks
from sparsemark.machine.locks import only_process

SOURCE = Path(sparsemark.__file__).parents[1]
HOLDER = """
import sys, time
from pathlib import Path
from sparsemark.machine.locks import only_process
with only_process(Path(sys.argv[1]), "sparsemark run other.toml"):
    print("held", flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no flock there")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock, and the lock file."""
    path = tmp_path / "work" / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process, path
    process.kill()
    process.wait()


def test_second_process_is_told_who_holds_it(holder):
    process, path = holder
    with pytest.raises(UserError) as caught, only_process(path, "the second"):
        pass
    assert str(caught.value) == (
        f"{path}: held by process {process.pid}: sparsemark run other.toml; wait for it to end, or stop it"
    )
    assert path.exists(), "the holder's file is left alone"


def test_killed_holder_leaves_no_lock(holder):
    process, path = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    with only_process(path, "the second"):
        assert path.read_text() == f"process {os.getpid()}: the second\n"
    assert not path.exists()


def test_lock_is_freed_and_its_file_removed_after_an_error(tmp_path):
    path = tmp_path / "lock"
    for _ in range(2):
        with pytest.raises(RuntimeError), only_process(path, "x"):
            raise RuntimeError
        assert not path.exists()


def test_a_file_that_its_holder_removed_meanwhile_is_opened_anew(tmp_path, monkeypatch):
    """Between opening and locking, the holder may have removed the file: its lock then protects nothing."""
    path, plain, removed = tmp_path / "lock", locks.lock, []

    def remove_first(descriptor):
        if not removed:
            removed.append(path.unlink())
        return plain(descriptor)

    monkeypatch.setattr(locks, "lock", remove_first)
    with only_process(path, "x"):
        monkeypatch.undo()
        with pytest.raises(UserError, match=re.escape(f"process {os.getpid()}: x")), only_process(path, "y"):
            pass


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"), only_process(tmp_path / "file" / "lock", "x"):
        pass
