"""Conditions that travel with a result: settings of the machine, and readings of the moment."""

from __future__ import annotations

import json
import sys

import pytest

from sparsemark.analysis.comparison import environment_differences, same_machine
from sparsemark.machine import fingerprint as module
from sparsemark.machine import frequency, placement
from sparsemark.machine.fingerprint import fingerprint, is_virtual, readings, transparent_hugepages
from sparsemark.machine.placement import thread_pools
from sparsemark.records.run import Run
from sparsemark.study.conditions import conditions

POLICY = "/sys/devices/system/cpu/cpu7/cpufreq"
TREE = {
    "/proc/cpuinfo": "processor\t: 0\nmicrocode\t: 0xa1\nflags\t\t: fpu avx2 hypervisor\n",
    f"{POLICY}/scaling_governor": "schedutil\n",
    f"{POLICY}/scaling_min_freq": "400000\n",
    f"{POLICY}/scaling_max_freq": "3400000\n",
    f"{POLICY}/scaling_cur_freq": "1200000\n",
    frequency.NO_TURBO: "0\n",
    "/sys/devices/system/cpu/smt/active": "1\n",
    "/sys/devices/system/cpu/cpu7/topology/thread_siblings_list": "3,7\n",
    "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "/sys/fs/cgroup/cpu.max": "250000 100000\n",
    "/sys/fs/cgroup/cpuset.cpus.effective": "3,7\n",
    "/sys/fs/cgroup/memory.max": "8192\n",
    "/proc/sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555\n",
}


@pytest.fixture(autouse=True)
def _on_the_last_of_two_processors(monkeypatch):
    for holder in (module, placement):
        monkeypatch.setattr(holder, "allowed_cpus", lambda: [3, 7])


def test_settings_are_those_of_the_processor_that_is_measured(files):
    files |= TREE
    settings = fingerprint()
    assert settings["microcode"] == "0xa1"
    assert settings["smt"] is settings["turbo"] is settings["hypervisor"] is True
    assert settings["governor"] == "schedutil"
    assert (settings["frequency_min_khz"], settings["frequency_max_khz"]) == (400_000, 3_400_000)
    assert settings["transparent_hugepages"] == "madvise"
    assert settings["control_group"] == {"cpus": 2.5, "cpuset": "3,7", "memory_bytes": 8192}


def test_readings_are_of_the_moment(files):
    files |= TREE
    now = readings()
    assert now["boot_id"] == "11111111-2222-3333-4444-555555555555"
    assert now["measured_cpu"] == (7 if sys.platform == "linux" else None)
    assert now["sibling_cpus"] == [3]
    assert now["frequency_khz"] == 1_200_000
    assert json.loads(json.dumps(now)) == now


def test_what_is_not_shown_is_none(files, monkeypatch):
    monkeypatch.delattr(module.os, "getloadavg", raising=False)
    settings, now = fingerprint(), readings()
    names = ("microcode", "smt", "governor", "turbo", "hypervisor", "transparent_hugepages", "memory_bytes")
    assert {settings[name] for name in (*names, "frequency_min_khz", "frequency_max_khz")} == {None}
    assert set(settings["control_group"].values()) == {None}
    assert {now[name] for name in ("boot_id", "sibling_cpus", "frequency_khz", "load_1min")} == {None}
    assert transparent_hugepages() is is_virtual() is None


def test_nothing_is_pinned_elsewhere_so_no_processor_is_named(files, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert readings()["measured_cpu"] is None


def test_flags_without_a_hypervisor_say_that_there_is_none(files):
    files["/proc/cpuinfo"] = "flags\t\t: fpu avx2\n"
    assert is_virtual() is False


def test_thread_pools_are_those_of_the_loaded_libraries_and_name_no_path():
    import numpy as np
    from threadpoolctl import threadpool_limits

    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(1):
        pools = thread_pools()
    assert pools
    assert {pool["threads"] for pool in pools} == {1}
    assert all(set(pool) == {"library", "version", "threads"} for pool in pools)
    assert "/" not in json.dumps(pools)


def test_two_moments_of_one_machine_are_no_difference_and_two_settings_are(files):
    files |= TREE
    before = Run((), conditions(()))
    files |= {
        f"{POLICY}/scaling_cur_freq": "3400000\n",
        "/proc/sys/kernel/random/boot_id": "another\n",
        "/sys/devices/system/cpu/cpu7/topology/thread_siblings_list": "7\n",
    }
    after = Run((), conditions(()))
    assert before.machine_info["readings"]["frequency_khz"] != after.machine_info["readings"]["frequency_khz"]
    assert environment_differences(before, after) == []
    files[f"{POLICY}/scaling_governor"] = "performance\n"
    governed = Run((), conditions(()))
    assert [difference.field for difference in environment_differences(before, governed)] == ["governor"]
    assert same_machine(before, governed)


def test_a_run_in_which_nothing_was_measured_has_no_readings():
    assert "readings" in conditions(())
    assert "readings" not in conditions((), measured_now=False)


def test_the_compiler_behind_an_engine_is_among_the_versions():
    assert "llvmlite" in conditions(("direct-csr",))["versions"]
    assert "llvmlite" not in conditions(("torch",))["versions"]
