"""Limits and throttling of the control group, in both versions, wherever the group lies."""

from __future__ import annotations

import pytest

from sparsemark.machine.control_group import Limits, limits, memory_limit, throttled_periods
from sparsemark.machine.memory import available_bytes

NONE = Limits(None, None, None)
ROOT = "/sys/fs/cgroup"


def test_a_machine_that_shows_nothing_has_no_limits(files):
    assert limits() == NONE
    with throttled_periods() as throttled:
        assert throttled() is None


def test_limits_of_version_2(files):
    files |= {
        "/proc/self/cgroup": "0::/a.slice/b.scope\n",
        f"{ROOT}/a.slice/b.scope/cpu.max": "150000 100000\n",
        f"{ROOT}/a.slice/b.scope/cpuset.cpus.effective": "2-3\n",
        f"{ROOT}/a.slice/b.scope/memory.max": "4096\n",
        f"{ROOT}/cpuset.cpus.effective": "0-7\n",
    }
    assert limits() == Limits(1.5, "2-3", 4096)


def test_limits_of_version_1(files):
    files |= {
        "/proc/self/cgroup": "9:name=systemd:/x\n4:memory:/m\n3:cpuset:/s\n2:cpu,cpuacct:/c\n0::/\n",
        f"{ROOT}/cpu,cpuacct/c/cpu.cfs_quota_us": "50000\n",
        f"{ROOT}/cpu,cpuacct/c/cpu.cfs_period_us": "25000\n",
        f"{ROOT}/cpuset/s/cpuset.effective_cpus": "0,2\n",
        f"{ROOT}/memory/m/memory.limit_in_bytes": "8192\n",
        f"{ROOT}/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert limits() == Limits(2.0, "0,2", 8192)


@pytest.mark.parametrize(
    "shown",
    [
        {f"{ROOT}/cpu.max": "max 100000\n", f"{ROOT}/memory.max": "max\n"},
        {
            f"{ROOT}/cpu/cpu.cfs_quota_us": "-1\n",
            f"{ROOT}/cpu/cpu.cfs_period_us": "100000\n",
            f"{ROOT}/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_no_limit_is_none_and_not_a_large_number(shown, files):
    files |= shown
    assert limits() == NONE


def test_the_tightest_of_a_group_and_those_above_it_counts(files):
    files |= {
        "/proc/self/cgroup": "0::/a/b\n",
        f"{ROOT}/a/b/cpu.max": "300000 100000\n",
        f"{ROOT}/a/cpu.max": "50000 100000\n",
        f"{ROOT}/cpu.max": "max 100000\n",
        f"{ROOT}/a/b/memory.max": "max\n",
        f"{ROOT}/a/memory.max": "100\n",
        f"{ROOT}/memory.max": "1000\n",
    }
    assert limits() == Limits(0.5, None, 100)


@pytest.mark.parametrize("group", ["2:cpu:/docker/abc\n", "0::/../../elsewhere\n", ""])
def test_a_container_finds_its_own_group_at_the_root(group, files):
    """It is given the host's path, or one outside of what it is shown."""
    files |= {"/proc/self/cgroup": group, f"{ROOT}/cpu.max": "200000 100000\n"}
    assert limits().cpus == 2.0
    del files[f"{ROOT}/cpu.max"]
    files |= {f"{ROOT}/cpu/cpu.cfs_quota_us": "10\n", f"{ROOT}/cpu/cpu.cfs_period_us": "40\n"}
    assert limits().cpus == 0.25


def test_nothing_outside_the_tree_is_read(files):
    files |= {"/proc/self/cgroup": "0::/../x\n", f"{ROOT}/../x/cpu.max": "1 100\n"}
    assert limits().cpus is None


@pytest.mark.parametrize("text", ["", "max", "0.5 1", "100000 0", "-1 100000", "nonsense\n"])
def test_a_quota_of_another_form_is_none(text, files):
    files[f"{ROOT}/cpu.max"] = text
    assert limits().cpus is None


def test_memory_limit_bounds_what_is_available_in_a_nested_group(files):
    files |= {"/proc/self/cgroup": "0::/a\n", "/proc/meminfo": "MemAvailable: 2000 kB\n"}
    assert memory_limit() is None
    assert available_bytes() == 2000 * 1024
    files[f"{ROOT}/a/memory.max"] = "4096\n"
    assert available_bytes() == memory_limit() == 4096


def test_throttled_periods_are_those_since_entry(files):
    path = f"{ROOT}/cpu.stat"
    files[path] = "usage_usec 5\nnr_periods 9\nnr_throttled 2\nthrottled_usec 7\n"
    with throttled_periods() as throttled:
        assert throttled() == 0
        files[path] = "usage_usec 5\nnr_periods 19\nnr_throttled 5\nthrottled_usec 7\n"
        assert throttled() == 3
        files[path] = ""
        assert throttled() is None


def test_throttling_of_version_1_is_found_beside_an_empty_version_2(files):
    """Where both are mounted, a group of version 2 counts time and no throttling."""
    files |= {
        "/proc/self/cgroup": "2:cpu:/\n0::/x\n",
        f"{ROOT}/x/cpu.stat": "usage_usec 5\n",
        f"{ROOT}/cpu/cpu.stat": "nr_periods 4\nnr_throttled 1\nthrottled_time 3\n",
    }
    with throttled_periods() as throttled:
        files[f"{ROOT}/cpu/cpu.stat"] = "nr_periods 9\nnr_throttled 3\nthrottled_time 3\n"
        assert throttled() == 2


def test_throttling_by_a_group_above_counts_too(files):
    files |= {
        "/proc/self/cgroup": "0::/a\n",
        f"{ROOT}/a/cpu.stat": "nr_throttled 1\n",
        f"{ROOT}/cpu.stat": "nr_throttled 10\n",
    }
    with throttled_periods() as throttled:
        files |= {f"{ROOT}/a/cpu.stat": "nr_throttled 2\n", f"{ROOT}/cpu.stat": "nr_throttled 14\n"}
        assert throttled() == 5
