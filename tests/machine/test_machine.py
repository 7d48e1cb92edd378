"""What a machine is said to be, and that what is held still for a measurement is let go again."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sparsemark.machine import doctor, noise, proc
from sparsemark.machine.doctor import examine
from sparsemark.machine.fingerprint import commit, fingerprint, machine_name
from sparsemark.machine.noise import stolen_fraction, waiting_fraction
from sparsemark.machine.placement import allowed_cpus, library_threads, pinned

linux = pytest.mark.skipif(sys.platform != "linux", reason="pinning is there on Linux only")


def test_the_fingerprint_is_plain_json_and_the_same_every_time():
    first = fingerprint()
    assert json.loads(json.dumps(first)) == first
    assert fingerprint() == first
    assert first["versions"]["torch"] == torch.__version__
    assert first["cpu_count"] >= first["cpus_allowed"] >= 1


def test_the_fingerprint_names_no_host_no_person_and_no_path(monkeypatch):
    text = json.dumps(fingerprint())
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    if len(socket.gethostname()) > 3:
        assert socket.gethostname() not in text


def test_the_fingerprint_holds_the_pools_that_were_set(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    pools = fingerprint()["pools"]
    assert (pools["OMP_NUM_THREADS"], pools["MKL_NUM_THREADS"]) == ("3", None)


def test_a_fingerprint_can_be_taken_where_nothing_is_shown(monkeypatch):
    """Containers hide /proc, other systems have none: absent is null."""
    monkeypatch.setattr(proc, "read", lambda path: "")
    bare = fingerprint()
    assert bare["memory_bytes"] is None
    assert bare["governor"] is None
    assert bare["cpu_flags"] == ""
    assert bare["hypervisor"] is False
    with stolen_fraction() as stolen:
        assert stolen() is None
    assert machine_name()


@pytest.mark.parametrize(
    ("model", "flags", "name"),
    [
        ("AMD EPYC 7763 64-Core Processor", "avx2 fma", "amd-epyc-7763-2cpu-avx2"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "avx2 avx512f", "intel-xeon-2cpu-avx512f"),
        ("Apple M2", "", "apple-m2-2cpu"),
        ("aarch64", "asimd", "aarch64-2cpu-asimd"),
    ],
)
def test_a_machines_name_is_fit_for_a_folder(model, flags, name, monkeypatch):
    monkeypatch.setattr("sparsemark.machine.fingerprint._cpu_field", {"model name": model, "flags": flags}.get)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert machine_name() == name
    assert re.fullmatch(r"[a-z0-9-]+", name)


def test_a_commit_outside_a_repository_is_empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() == {}


def test_a_commit_without_git_is_empty(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit() == {}


def test_a_commit_says_whether_there_are_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    Path("file").write_text("1")
    for command in (("init", "-q"), ("add", "file"), (*who, "commit", "-qm", "one")):
        subprocess.run(["git", *command], check=True)
    assert commit()["dirty"] is False
    assert re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit()["id"])
    Path("file").write_text("2")
    assert commit()["dirty"] is True


@linux
def test_pinning_holds_the_last_processors_and_lets_them_go():
    before = os.sched_getaffinity(0)
    with pinned(1):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(RuntimeError), pinned(1):
        raise RuntimeError
    assert os.sched_getaffinity(0) == before


@linux
def test_more_threads_than_processors_are_not_pinned():
    before = os.sched_getaffinity(0)
    with pinned(len(before) + 1):
        assert os.sched_getaffinity(0) == before


def test_pinning_does_nothing_elsewhere(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pinned(1):
        assert allowed_cpus() == list(range(os.cpu_count() or 1))


def test_torchs_threads_are_set_for_the_block_and_as_before_after_it():
    before = torch.get_num_threads()
    with library_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError), library_threads(before + 1):
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_stolen_time_is_the_share_of_what_passed(monkeypatch):
    """Fields of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice.

    Other processors' time does not count, nor does a guest's, which is in `user` already.
    """
    other = "cpu 9 9 9 9 9 9 9 9 9 9\ncpu0 5 5 5 5 5 5 5 5 5 5\n"
    texts = iter(
        [f"{other}cpu1 100 0 0 100 0 0 0 10 50 0\nintr 1\n", f"{other}cpu1 150 0 0 140 0 0 0 20 99 0\nintr 2\n"]
    )
    monkeypatch.setattr(proc, "read", lambda path: next(texts))
    monkeypatch.setattr(noise, "allowed_cpus", lambda: [1])
    with stolen_fraction() as stolen:
        assert stolen() == pytest.approx(10 / 100)


@pytest.mark.parametrize("line", ["cpu0 1 2 3 4\n", "", "cpu0 100 0 0 100 0 0 0 10\n"])
def test_stolen_time_is_none_where_it_is_not_counted_or_no_time_passed(line, monkeypatch):
    monkeypatch.setattr(proc, "read", lambda path: line)
    monkeypatch.setattr(noise, "allowed_cpus", lambda: [0])
    with stolen_fraction() as stolen:
        assert stolen() is None


def test_waiting_is_the_share_of_the_time_that_other_threads_ran(monkeypatch):
    """Fields of /proc/thread-self/schedstat: time on the processor, time waiting for it (both ns), turns taken."""
    texts = iter(["5 1000000000 7\n", "9 1500000000 9\n"])
    monkeypatch.setattr(proc, "read", lambda path: next(texts))
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(noise.time, "perf_counter", lambda: next(clock))
    with waiting_fraction() as waited:
        assert waited() == pytest.approx(0.25)


def test_waiting_is_none_where_it_is_not_counted(monkeypatch):
    monkeypatch.setattr(proc, "read", lambda path: "")
    with waiting_fraction() as waited:
        assert waited() is None


def test_the_examination_ends_where_there_is_hardly_any_time():
    """On a machine so busy that one sample takes all of it, doctor is needed most."""
    assert len(examine(0.0)) == len(examine(0.01))


def test_the_examination_says_what_to_do_about_what_it_finds(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    monkeypatch.setattr(doctor, "allowed_cpus", lambda: [0])
    checks = {check.what: check for check in examine(0.05)}
    assert not checks["processors"].fit
    assert not checks["load, last minute"].fit
    assert all(check.advice for check in checks.values() if not check.fit)
    assert checks["timer"].fit == (time.get_clock_info("perf_counter").resolution <= 1e-6)
