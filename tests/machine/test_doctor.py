"""Judgement of each reading, and advice that a person can act on."""

from __future__ import annotations

import os

import pytest

from sparsemark.machine import doctor, frequency, noise
from sparsemark.machine.doctor import examine
from sparsemark.machine.placement import POOL_VARIABLES

CPU = "/sys/devices/system/cpu"
CGROUP = "/sys/fs/cgroup"
QUIET = {
    "/proc/cpuinfo": "flags\t\t: fpu avx2\n",
    "/proc/meminfo": "MemAvailable: 8000000 kB\n",
    f"{CPU}/cpu3/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpu3/cpufreq/scaling_min_freq": "2000000\n",
    f"{CPU}/cpu3/cpufreq/scaling_max_freq": "3000000\n",
    f"{CPU}/cpu3/cpufreq/scaling_cur_freq": "2800000\n",
    frequency.NO_TURBO: "1\n",
    f"{CPU}/cpu2/topology/thread_siblings_list": "2\n",
    f"{CPU}/cpu3/topology/thread_siblings_list": "3\n",
    "/sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
    f"{CGROUP}/cpu.max": "max 100000\n",
    f"{CGROUP}/cpu.stat": "nr_throttled 4\n",
}


@pytest.fixture
def checks(files, monkeypatch):
    """Checks of a machine of four processors with a tree of /proc and /sys, by name."""
    for holder in ("doctor", "noise", "placement"):
        monkeypatch.setattr(f"sparsemark.machine.{holder}.allowed_cpus", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cpus: None, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.0, 0.0), raising=False)
    monkeypatch.setattr(doctor, "_jitter", lambda seconds: 0.001)
    for name in POOL_VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def found(tree=QUIET, threads=1, meanwhile=None, **changes):
        files.clear()
        files.update(tree | changes)

        def jitter(seconds):
            files.update(meanwhile or {})
            return 0.001

        monkeypatch.setattr(doctor, "_jitter", jitter)
        return {check.what: check for check in examine(0.0, threads)}

    return found


def disturbing(checks):
    return {name for name, check in checks.items() if not check.fit} - {"timer", "pinning"}


def test_a_quiet_machine_of_ones_own_disturbs_nothing(checks):
    quiet = checks()
    assert disturbing(quiet) == set()
    assert quiet["frequency governor"].found == "performance, 2.0 to 3.0 GHz, 2.8 GHz now"
    assert quiet["sibling threads"].found == "none"
    assert quiet["memory available"].found == "8.2 GB"


def test_a_machine_that_shows_nothing_is_not_called_disturbed(checks):
    """The A/A measurement feels what is hidden."""
    hidden = checks({})
    assert disturbing(hidden) == set()
    shown = {name: check.found for name, check in hidden.items()}
    assert {shown[name] for name in ("frequency governor", "turbo", "transparent huge pages", "virtual machine")} == {
        "not shown"
    }
    assert shown["sibling threads"] == shown["memory available"] == "not shown"
    assert shown["limit on their time"] == "none shown"
    assert shown["stopped by the limit"] == "not counted here"


@pytest.mark.parametrize(
    ("path", "text", "disturbed", "said"),
    [
        (f"{CPU}/cpu3/cpufreq/scaling_governor", "powersave\n", "frequency governor", ("powersave, ", "cpupower")),
        (frequency.NO_TURBO, "0\n", "turbo", ("on", f"tee {frequency.NO_TURBO}")),
        ("/proc/cpuinfo", "flags\t: hypervisor\n", "virtual machine", ("yes", "within one job")),
        ("/proc/meminfo", "MemAvailable: 900000 kB\n", "memory available", ("0.9 GB", "stop other programs")),
        (f"{CGROUP}/memory.max", "500000000\n", "memory available", ("0.5 GB", "container's limit")),
        (f"{CGROUP}/cpu.max", "90000 100000\n", "limit on their time", ("0.9 processors", "docker run --cpus")),
        (
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "[always] madvise never\n",
            "transparent huge pages",
            ("always", "echo madvise"),
        ),
    ],
)
def test_a_setting_that_disturbs_is_the_only_one_named(path, text, disturbed, said, checks):
    changed = checks(**{path: text})
    assert disturbing(changed) == {disturbed}
    found, advice = said
    assert changed[disturbed].found.startswith(found)
    assert advice in changed[disturbed].advice


@pytest.mark.parametrize(("quota", "threads", "fits"), [(2.0, 2, True), (1.9, 2, False), (1.0, 1, True)])
def test_the_time_of_the_processors_must_do_for_the_threads(quota, threads, fits, checks):
    limited = checks(threads=threads, **{f"{CGROUP}/cpu.max": f"{int(100_000 * quota)} 100000\n"})
    assert limited["limit on their time"].fit is fits


@pytest.mark.parametrize(("threads", "fits"), [(1, True), (3, True), (4, False), (5, False)])
def test_one_processor_is_left_for_whatever_else_runs(threads, fits, checks):
    check = checks(threads=threads)["processors"]
    assert check.fit is fits
    assert f"{threads} threads" in check.advice


def test_throttling_while_the_loop_ran_is_named(checks):
    throttled = checks(meanwhile={f"{CGROUP}/cpu.stat": "nr_throttled 6\n"})
    assert disturbing(throttled) == {"stopped by the limit"}
    assert throttled["stopped by the limit"].found == "2 times"


@pytest.mark.parametrize(("busy", "fits"), [(4, True), (6, False)])
def test_a_busy_sibling_is_named_with_how_to_turn_it_off(busy, fits, checks):
    siblings = {
        f"{CPU}/cpu3/topology/thread_siblings_list": "1,3\n",
        "/proc/stat": "cpu1 0 0 0 0 0 0 0 0\n",
    }
    after = {"/proc/stat": f"cpu1 {busy} 0 0 {100 - busy} 0 0 0 0\n"}
    # The loop runs on processor 3 alone.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "allowed_cpus", lambda: [3])
        check = checks(meanwhile=after, **siblings)["sibling threads"]
    assert check.found == f"processor 1, {busy}% busy"
    assert check.fit is fits
    assert f"{CPU}/cpu1/online" in check.advice


@pytest.mark.parametrize(
    ("text", "fits"), [("1", True), ("4", True), ("5", False), ("5,2", False), ("2,64", True), ("dynamic", True)]
)
def test_pools_with_more_threads_than_processors_are_named(text, fits, checks, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    check = checks()["thread pools"]
    assert check.found == f"OMP_NUM_THREADS={text}"
    assert check.fit is fits
    if not fits:
        assert "OMP_NUM_THREADS" in check.advice
