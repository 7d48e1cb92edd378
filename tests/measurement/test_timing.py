"""The order of calls, what of them is timed, and that the process is left as it was; never how long anything takes."""

from __future__ import annotations

import gc
import itertools
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.machine.placement import allowed_cpus
from sparsemark.measurement import timing
from sparsemark.measurement.parity import check
from sparsemark.measurement.timing import measure, time_rounds
from sparsemark.networks.reference import Reference
from sparsemark.specs import Protocol

BATCHES = [(np.full((1, 1), value, np.float32),) for value in range(3)]
COST = {"R": 3.0, "C": 2.0}
"""Seconds of one call on the fake clock."""


class Bench:
    """Two engines that note who was called on what, and a clock that only they move."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.calls = []
        self.candidate, self.reference = (self._verified(name) for name in "CR")
        self.calls.clear()
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(timing.gc, "collect", lambda: 0)  # half a second where a session has much in memory

    def _verified(self, name):
        def predict(image):
            self.calls.append((name, int(image[0, 0])))
            self.now += COST[name]
            return (image,)

        outputs = (np.concatenate([image for (image,) in BATCHES]).astype(np.float64),)
        return check(predict, BATCHES, Reference(outputs, (0, 1, 2)))

    def run(self, rounds=time_rounds, **options):
        protocol = Protocol(**({"warmup_calls": 0, "warmup_seconds": 0.0, "rewarm": 0} | options))
        return measure(self.candidate, self.reference, BATCHES, protocol, rounds)

    @property
    def order(self):
        return "".join(name for name, _ in self.calls)


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def blocks(order):
    return [(name, len(list(run))) for name, run in itertools.groupby(order)]


@pytest.mark.parametrize(
    ("pairs", "order"), [(1, "RC"), (2, "RCCR"), (3, "RCCRRC"), (4, "RCCRRCCR"), (7, "RCCRRCCRRCCRRC")]
)
def test_blocks_alternate_in_abba_order(bench, pairs, order):
    bench.run(pairs=pairs, block=5)
    assert bench.order == "".join(name * 5 for name in order)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_both_sides_have_a_sample_for_every_call_of_every_pair(pairs, block, rewarm):
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(patch)
        found = bench.run(pairs=pairs, block=block, rewarm=rewarm)
        assert found.samples_s == (COST["C"],) * (pairs * block)
        assert found.reference_s == (COST["R"],) * (pairs * block)
        assert found.block == block
        assert len(bench.calls) == 2 * pairs * (block + rewarm)


def test_paired_blocks_are_neighbours_in_time(bench):
    """Block i of the one runs directly before or after block i of the other."""
    bench.run(pairs=6, block=1)
    positions = {name: [i for i, (who, _) in enumerate(bench.calls) if who == name] for name in "CR"}
    assert all(abs(c - r) == 1 for c, r in zip(positions["C"], positions["R"], strict=True))


def test_calls_that_rewarm_come_first_in_each_block_and_are_not_timed(bench):
    timed = []

    def rounds(function, setup, count):
        samples = []
        for _ in range(count):
            args, kwargs = setup()
            timed.append(len(bench.calls))
            samples.append(bench.now)
            function(*args, **kwargs)
        return samples

    bench.run(rounds, pairs=2, block=3, rewarm=2)
    assert bench.order == "RRRRR" + "CCCCC" * 2 + "RRRRR"
    assert timed == [7, 8, 9, 12, 13, 14]


def test_warm_up_takes_at_least_the_calls_and_at_least_the_seconds_of_each(bench):
    bench.run(pairs=1, block=1, warmup_calls=4, warmup_seconds=10.0)
    # Ten seconds are four calls of three seconds, and five of two.
    assert bench.order == "RRRR" + "CCCCC" + "RC"


def test_images_rotate_through_all_calls(bench):
    bench.run(pairs=3, block=4, rewarm=1)
    shown = [image for _, image in bench.calls]
    assert all(later == (earlier + 1) % len(BATCHES) for earlier, later in itertools.pairwise(shown))


def test_answer_of_the_timed_call_is_the_only_thing_between_the_clocks(monkeypatch):
    events = []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: events.append("clock") or 0.0)
    time_rounds(events.append, lambda: events.append("setup") or (("call",), {}), 2)
    assert events == ["setup", "clock", "call", "clock"] * 2


def state():
    return torch.get_num_threads(), gc.isenabled(), allowed_cpus()


@pytest.mark.parametrize("collecting", [True, False])
@pytest.mark.parametrize("failing", [True, False])
def test_process_is_left_as_it_was_even_after_an_error(bench, monkeypatch, collecting, failing):
    inside = []

    def rounds(function, setup, count):
        inside.append(state())
        if failing:
            raise RuntimeError("on purpose")
        return time_rounds(function, setup, count)

    enabled, threads = gc.isenabled(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        (gc.enable if collecting else gc.disable)()
        before = state()
        if failing:
            with pytest.raises(RuntimeError, match="on purpose"):
                bench.run(rounds, pairs=1)
        else:
            bench.run(rounds, pairs=1)
        assert state() == before
        assert inside[0][:2] == (1, False)
        assert inside[0][2] == (before[2][-1:] if hasattr(os, "sched_setaffinity") else before[2])
    finally:
        torch.set_num_threads(threads)
        (gc.enable if enabled else gc.disable)()


def test_more_threads_than_processors_are_not_pinned(bench):
    seen = []
    bench.run(lambda f, s, n: seen.append(allowed_cpus()) or time_rounds(f, s, n), pairs=1, threads=10_000)
    assert seen == [allowed_cpus()]


def test_share_taken_by_other_guests_is_a_fraction_or_unknown(bench):
    steal = bench.run(pairs=1).steal
    assert steal is None or 0 <= steal <= 1
