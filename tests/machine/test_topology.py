"""Processors that share a core, and the load on them."""

from __future__ import annotations

import pytest

from sparsemark.machine import noise
from sparsemark.machine.noise import sibling_load
from sparsemark.machine.topology import siblings, smt

CPU = "/sys/devices/system/cpu"


def cores(files, **lists):
    files |= {f"{CPU}/{cpu}/topology/thread_siblings_list": f"{text}\n" for cpu, text in lists.items()}


def test_a_machine_that_shows_nothing_has_no_known_siblings(files):
    assert smt() is None
    assert siblings([0]) is None


@pytest.mark.parametrize(("text", "active"), [("1\n", True), ("0\n", False), ("", None)])
def test_whether_cores_run_several_threads(text, active, files):
    files[f"{CPU}/smt/active"] = text
    assert smt() is active


@pytest.mark.parametrize(
    ("measured", "others"),
    [([1], [5]), ([1, 5], []), ([1, 2], [5, 6, 9, 10, 11, 12]), ([3], []), ([1, 3], [5]), ([1, 4], None)],
)
def test_siblings_are_the_other_threads_of_the_same_cores(measured, others, files):
    cores(files, cpu1="1,5", cpu5="1,5", cpu2="2,6,9-12", cpu3="3")
    assert siblings(measured) == others


def test_a_list_without_the_processor_itself_is_not_believed(files):
    cores(files, cpu1="0-0")
    assert siblings([1]) is None


def test_sibling_load_is_the_busy_share_of_the_siblings_alone(files, monkeypatch):
    """Fields of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice.

    Whatever is not idle is busy, the time too that a hypervisor took from a sibling that had work.
    """
    monkeypatch.setattr(noise, "allowed_cpus", lambda: [1])
    cores(files, cpu1="1,3", cpu3="1,3")
    files["/proc/stat"] = "cpu1 0 0 0 0 0 0 0 0 0 0\ncpu3 10 0 0 100 50 0 0 0 0 0\n"
    with sibling_load() as load:
        assert load() is None, "no time has passed"
        files["/proc/stat"] = "cpu1 999 0 0 0 0 0 0 0 0 0\ncpu3 30 1 2 150 70 1 1 5 20 0\n"
        # 20 + 1 + 2 + 1 + 1 + 5 of 100
        assert load() == pytest.approx(0.30)


@pytest.mark.parametrize("lists", [{}, {"cpu1": "1"}], ids=["not shown", "no sibling"])
def test_without_siblings_there_is_no_load(lists, files, monkeypatch):
    monkeypatch.setattr(noise, "allowed_cpus", lambda: [1])
    cores(files, **lists)
    files["/proc/stat"] = "cpu1 5 0 0 1 0 0 0 0\n"
    with sibling_load() as load:
        files["/proc/stat"] = "cpu1 99 0 0 1 0 0 0 0\n"
        assert load() is None
