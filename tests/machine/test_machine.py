"""Fingerprint of the machine, and settings held for a measurement that are restored after it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy
import torch
from threadpoolctl import threadpool_info

from sparsemark.machine import doctor, noise, placement, proc
from sparsemark.machine.doctor import examine
from sparsemark.machine.fingerprint import _packages as packages
from sparsemark.machine.fingerprint import commit, fingerprint, machine_key, machine_name, package_versions
from sparsemark.machine.noise import stolen_fraction, waiting_fraction
from sparsemark.machine.placement import allowed_cpus, library_threads, pinned

linux = pytest.mark.skipif(sys.platform != "linux", reason="pinning is there on Linux only")


def test_the_fingerprint_is_plain_json_and_the_same_every_time():
    first = fingerprint()
    assert json.loads(json.dumps(first)) == first
    assert fingerprint() == first
    assert first["versions"]["torch"] == torch.__version__
    assert first["cpu_count"] >= first["cpus_allowed"] >= 1


def test_the_fingerprint_holds_the_versions_of_what_is_measured_and_of_no_other():
    """Engines are named by whoever measures on them: the machine knows none."""
    base = {"sparsemark", "numpy", "torch", "onnx", "pytest-benchmark"}
    assert set(fingerprint()["versions"]) == base
    versions = fingerprint(("scipy", "torch_pruning", "torch", "no_such_module"))["versions"]
    assert set(versions) == base | {"scipy", "torch-pruning", "no-such-module"}
    assert versions["scipy"] == scipy.__version__
    assert versions["torch-pruning"] == importlib.metadata.version("torch-pruning")
    assert versions["no-such-module"] is None


def test_a_modules_version_is_that_of_its_package_whatever_that_is_called(tmp_path, monkeypatch):
    """As `onnxruntime` may come from a package for another processor."""
    (tmp_path / "module_of_theirs").mkdir()
    (tmp_path / "module_of_theirs" / "__init__.py").touch()
    info = tmp_path / "another_name-7.8.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: another-name\nVersion: 7.8\n")
    (info / "top_level.txt").write_text("module_of_theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    packages.cache_clear()
    modules = ("module_of_theirs", "module_of_theirs.inner", "sys", "no_such_module", "torch_pruning")
    versions = package_versions(modules)
    assert versions == {
        "module_of_theirs": "7.8",
        "module_of_theirs.inner": "7.8",
        "sys": None,
        "no_such_module": None,
        "torch_pruning": importlib.metadata.version("torch-pruning"),
    }
    assert fingerprint(("module_of_theirs",))["versions"]["another-name"] == "7.8"
    packages.cache_clear()


def test_versions_of_packages_named_like_their_modules_are_found_without_reading_all(monkeypatch):
    monkeypatch.setattr("importlib.metadata.packages_distributions", pytest.fail)
    packages.cache_clear()
    assert all(package_versions(("numpy", "torch_pruning", "pytest_benchmark")).values())
    assert package_versions(("no_such_module",)) == {"no_such_module": None}


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
    assert bare["hypervisor"] is None
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


def test_the_machine_of_a_result_file_is_named_and_keyed_as_this_one():
    here = fingerprint()
    assert machine_name(here) == machine_name()
    assert machine_key(here) == machine_key(here | {"kernel": "another", "python": "3.99", "versions": {}})
    for field in ("cpu_model", "cpu_flags", "cpu_count"):
        assert machine_key(here) != machine_key(here | {field: "another"})
    assert machine_name({"cpu_model": ["odd"], "cpu_count": "two\n", "cpu_flags": 3}) == "odd"
    assert machine_name({}) == "unnamed"


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


def test_threads_sleep_where_they_wait_but_not_in_what_is_measured(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("SPARSEMARK_WAITS", raising=False)
    before = dict(os.environ)
    monkeypatch.setattr(os, "environ", dict(before))
    placement.wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    placement.wait_passively()
    assert placement.measured_environment() == before


def test_how_a_user_has_threads_wait_is_left_and_is_measured(monkeypatch):
    before = dict(os.environ) | {"OMP_WAIT_POLICY": "ACTIVE"}
    before.pop("SPARSEMARK_WAITS", None)
    monkeypatch.setattr(os, "environ", dict(before))
    placement.wait_passively()
    assert os.environ == placement.measured_environment() == before


def test_torchs_threads_are_set_for_the_block_and_as_before_after_it():
    before = torch.get_num_threads()
    with library_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError), library_threads(before + 1):
        raise RuntimeError
    assert torch.get_num_threads() == before


def pools():
    """Threads of every BLAS and OpenMP library in this process, by its file."""
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


def test_every_librarys_threads_are_set_for_the_block_and_as_before_after_it():
    np.ones((2, 2)) @ np.ones((2, 2))
    before = pools()
    assert any("openblas" in path or "mkl" in path for path in before), "numpy's"
    for threads in (1, 3):
        with library_threads(threads):
            assert set(pools().values()) == {threads}
        assert pools() == before
    with pytest.raises(RuntimeError), library_threads(1):
        raise RuntimeError
    assert pools() == before


def test_threads_set_within_another_block_are_as_in_it_afterwards():
    with library_threads(3):
        outer = pools()
        with library_threads(1):
            assert set(pools().values()) == {1}
            assert torch.get_num_threads() == 1
        assert pools() == outer
        assert torch.get_num_threads() == 3


def test_threads_are_set_without_importing_torch():
    code = (
        "import sys, numpy\nfrom threadpoolctl import threadpool_info\n"
        "from sparsemark.machine.placement import library_threads\n"
        "with library_threads(1):\n    assert {pool['num_threads'] for pool in threadpool_info()} == {1}\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_computes_with_the_threads_of_the_block():
    """Its OpenMP workers are counted by the threads of the process that it starts."""
    code = (
        "import os, torch\nfrom sparsemark.machine.placement import library_threads\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "x = torch.ones(512, 512)\nwith library_threads(1):\n    before = count()\n    (x.exp() @ x).sum()\n"
        "    assert count() == before, 'one thread'\n"
        "with library_threads(3):\n    (x.exp() @ x).sum()\n    assert count() >= before + 2\n"
    )
    if not Path("/proc/self/task").exists():
        pytest.skip("threads are not shown here")
    subprocess.run([sys.executable, "-c", code], check=True)


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


@pytest.mark.parametrize(("after", "share"), [(90, 0.0), (130, 1.0)])
def test_a_counter_that_went_back_or_ahead_of_the_clock_is_a_share_all_the_same(after, share, monkeypatch):
    """A result file with another share is refused, and what was measured would be lost."""
    texts = iter(["cpu0 100 0 0 100 0 0 0 100\n", f"cpu0 {120 if share == 0 else 90} 0 0 100 0 0 0 {after}\n"])
    monkeypatch.setattr(proc, "read", lambda path: next(texts))
    monkeypatch.setattr(noise, "allowed_cpus", lambda: [0])
    with stolen_fraction() as stolen:
        assert stolen() == share
    waits = iter(["0 1000000000 7\n", f"0 {1_000_000_000 + (after - 100) * 100_000_000} 9\n"])
    monkeypatch.setattr(proc, "read", lambda path: next(waits))
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(noise.time, "perf_counter", lambda: next(clock))
    with waiting_fraction() as waited:
        assert waited() == share


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
