"""Inputs larger than the memory are refused before any of it is taken."""

from __future__ import annotations

import re

import pytest

from sparsemark.errors import UserError
from sparsemark.machine import placement
from sparsemark.machine.memory import available_bytes, check_inputs_fit
from sparsemark.machine.placement import check_threads
from sparsemark.specs import InputSpec


def test_available_is_the_least_of_free_memory_and_the_groups_limit(files):
    assert available_bytes() is None
    check_inputs_fit((InputSpec((10**9, 10**9)),), "--input")  # where nothing is known, nothing is refused
    files["/proc/meminfo"] = "MemTotal: 9 kB\nMemAvailable:     2000 kB\n"
    assert available_bytes() == 2000 * 1024
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert available_bytes() == 2000 * 1024
    files["/sys/fs/cgroup/memory.max"] = "4096\n"
    assert available_bytes() == 4096


@pytest.mark.parametrize(("count", "fits"), [(1, True), (2, True), (3, False)])
def test_as_many_inputs_as_are_held_at_a_time_must_fit(count, fits, files):
    files["/proc/meminfo"] = "MemAvailable: 2 kB\n"  # room for 512 numbers
    if fits:
        check_inputs_fit((InputSpec((1, 256)),), "--input", count)
        return
    with pytest.raises(UserError, match=re.escape("--input: 3 inputs of 1,256 take ")):
        check_inputs_fit((InputSpec((1, 256)),), "--input", count)


@pytest.mark.parametrize("size", [10**8, 10**30, 10**400])
def test_sizes_of_any_length_are_one_short_line(size, files):
    files["/proc/meminfo"] = "MemAvailable: 2 kB\n"
    with pytest.raises(UserError, match="expected smaller sizes") as caught:
        check_inputs_fit((InputSpec((1, 3, size, size)),), "--input")
    assert len(str(caught.value)) < 300


def test_threads_above_the_processors_of_this_process_are_refused(monkeypatch):
    monkeypatch.setattr(placement, "allowed_cpus", lambda: [4, 7])
    check_threads(2, "--threads")
    with pytest.raises(UserError, match=r"^--threads 3: this process may use 2 processors; expected at most 2$"):
        check_threads(3, "--threads")
