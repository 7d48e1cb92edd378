"""The A/A measurement: honest work, fresh processes, about as long as asked for."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from sparsemark.errors import UserError
from sparsemark.measurement import aa, yardstick
from sparsemark.measurement.aa import LEAST_LAUNCHES, Launch, launch, launches
from sparsemark.measurement.parity import TOLERANCE, ParityError
from sparsemark.specs import Protocol

SHORT = Protocol(pairs=2, block=2, warmup_calls=1, warmup_seconds=0.0)
LAUNCH = Launch((2.0,) * 4, (1.0,) * 4, 2, 0.0, 0.0, None)


def all_of(items, what):
    yield from items


def test_the_work_is_checked_against_float64():
    batches = yardstick.inputs()
    verified = yardstick.yardstick(batches)
    assert verified.parity.max_rel <= TOLERANCE
    assert verified.parity.images == len(batches) == 32
    (x,) = batches[3]
    weights = yardstick._weights().astype(np.float64)
    (answer,) = verified.predict(x)
    expected = np.maximum(x.astype(np.float64) @ weights, 0) @ weights
    assert np.abs(answer - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert (expected != 0).all(), "weights and inputs are dense"


def test_work_that_computes_something_else_is_not_timed(monkeypatch):
    layers = yardstick._layers
    wrong = 1e-3
    monkeypatch.setattr(yardstick, "_layers", lambda x, weights: layers(x, weights) + wrong * (x.dtype == np.float32))
    with pytest.raises(ParityError, match="allowed 1e-05"):
        launch(1, SHORT)


def test_the_two_sides_share_no_memory(monkeypatch):
    """Where a process puts its arrays is part of what two programs differ by."""
    made = []
    weights = yardstick._weights
    monkeypatch.setattr(yardstick, "_weights", lambda: made.append(weights()) or made[-1])
    launch(1, SHORT)
    assert len(made) == 2
    assert not np.shares_memory(*made)
    assert np.array_equal(*made)


def test_a_launch_holds_raw_samples_in_pairs_of_blocks():
    made = launch(1, SHORT)
    assert (len(made.samples_s), len(made.reference_s), made.block) == (4, 4, 2)
    assert all(seconds > 0 for seconds in (*made.samples_s, *made.reference_s))
    assert made.throttled is None or made.throttled >= 0


def test_the_protocol_is_that_of_a_cell():
    """Blocks of eight calls in pairs, as `run` and `bench` time."""
    cell = Protocol()
    assert replace(aa._PROTOCOL, warmup_seconds=cell.warmup_seconds) == cell


def test_every_launch_is_a_fresh_process(monkeypatch):
    commands = []
    run = aa.subprocess.run

    def recorded(command, **options):
        commands.append(command)
        return run([*command[:-3], "-c", PROCESS], **options)

    monkeypatch.setattr(aa.subprocess, "run", recorded)
    made = list(launches(0.001, 2, all_of))
    assert len(made) == LEAST_LAUNCHES
    processes = {one.samples_s[0] for one in made}
    assert len(processes) == LEAST_LAUNCHES
    assert float(os.getpid()) not in processes
    assert all(command[-3:] == ["-m", "sparsemark.measurement.aa", "2"] for command in commands)


PROCESS = """
import json, os
from dataclasses import asdict
from sparsemark.measurement.aa import Launch
print("a library's greeting")
print(json.dumps(asdict(Launch((float(os.getpid()),), (1.0,), 1, None, None, None))))
"""


def test_a_real_launch_in_a_fresh_process():
    first = next(launches(60, 1, all_of))
    assert len(first.samples_s) == len(first.reference_s) == Protocol().rounds
    assert first.block == Protocol().block
    assert len(set(first.samples_s)) > Protocol().block, "measured, not made up"


@pytest.mark.parametrize(("each", "count"), [(0.5, 20), (2, 5), (3, 4), (100, LEAST_LAUNCHES)])
def test_no_process_is_started_after_the_time_is_over(each, count, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(aa.time, "monotonic", lambda: clock[0])

    def run(threads):
        clock[0] += each
        return LAUNCH

    monkeypatch.setattr(aa, "_in_fresh_process", run)
    begun = {}

    def watch(items, what):
        for item in items:
            begun[item] = clock[0] - 1000
            yield item

    assert len(list(launches(10, 1, watch))) == count
    # Progress keeps up with the time, whatever a process takes.
    assert len(begun) == 12
    assert all(begun[item] >= 10 * step / 12 for step, item in enumerate(begun) if each < 100)
    assert max(begun.values()) <= 10 + each


@pytest.mark.parametrize(
    ("program", "said"),
    [("raise ValueError('no such work')", "ValueError: no such work"), ("raise SystemExit(7)", "exit code 7")],
)
def test_a_process_that_fails_is_one_line(program, said, monkeypatch):
    start = aa.subprocess.Popen
    monkeypatch.setattr(
        aa.subprocess, "Popen", lambda command, **options: start([command[0], "-c", program], **options)
    )
    with pytest.raises(UserError, match=rf"^A/A: the process that measures failed: {said}$"):
        list(launches(1, 1, all_of))


def test_a_process_that_cannot_be_started_is_one_line(monkeypatch):
    monkeypatch.setattr(aa.sys, "executable", "/no/such/python")
    with pytest.raises(UserError, match=r"^A/A: no process can be started: No such file or directory$"):
        list(launches(1, 1, all_of))
