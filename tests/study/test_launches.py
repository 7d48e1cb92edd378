"""Cells in launches: order, resumption, failures, and what is measured again."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from sparsemark import engines
from sparsemark.analysis.merging import load_run
from sparsemark.errors import UserError
from sparsemark.measurement.launch import Launch, LaunchError
from sparsemark.measurement.timing import Timing
from sparsemark.records.journal import Journal
from sparsemark.records.measurement import ERROR, MEASURED
from sparsemark.specs import Cell, ModelSpec, Protocol, Pruning, Variant
from sparsemark.study import launches as module
from sparsemark.study.launches import measure_in_launches, split
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from sparsemark.study.run import measure_cells
from sparsemark.study.sampling import Sampling
from tests.toy_study.place import HERE

PROTOCOL = Protocol(pairs=20, block=8, warmup_calls=1, warmup_seconds=0.0, images=4)


def everything(items, what, kinds=None):
    yield from items


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launches")
    shutil.copy(HERE / "network.py", folder)
    return folder


def make(work):
    return Pipeline(lambda variant: None, PROTOCOL, Places(work / "weights", work), 0)


@pytest.fixture
def cells(work):
    model = ModelSpec("toy", f"{work / 'network.py'}:build", (1, 1, 16, 16))
    prunings = (Pruning(), Pruning.of("magnitude", 0.5))
    return [
        Cell(Variant(model, pruning), engines.ENGINES[engine].formats[0], engine)
        for pruning in prunings
        for engine in ("onnxruntime", "torch")
    ]


class Launches:
    """Stands in for processes: seconds are made up, one launch after the other is noted."""

    def __init__(self):
        self.done = []
        self.spoil = {}
        self.spread = 0.001
        self.rng = np.random.default_rng(0)

    def __call__(self, job, patience, notice):
        name = job.candidate.outputs.removeprefix("toy-").removesuffix("-seed0"), job.candidate.engine
        self.done.append((*name, job.protocol.pairs))
        number = sum(one[:2] == name for one in self.done)
        steal = self.spoil.get((*name, number))
        if isinstance(steal, BaseException):
            raise steal
        count = job.protocol.pairs * job.protocol.block
        seconds = 0.001 * np.exp(self.rng.normal(0, self.spread) + np.zeros(count))
        return Launch(Timing(tuple(seconds), (0.002,) * count, job.protocol.block, steal, 0.0, 0.5), 1000 + number)


@pytest.fixture
def processes(monkeypatch):
    stand_in = Launches()
    monkeypatch.setattr(module, "launch", stand_in)
    return stand_in


@pytest.mark.parametrize(
    ("pairs", "launches", "expected"),
    [
        (20, 3, [7, 7, 6]),
        (20, 1, [20]),
        (4, 3, [4]),
        (6, 3, [3, 3]),
        (9, 3, [3, 3, 3]),
        (2, 3, [2]),
        (20, 100, [4, 4, 3, 3, 3, 3]),
    ],
)
def test_calls_are_spread_over_launches_of_24_and_more(pairs, launches, expected):
    assert [part.pairs for part in split(Protocol(pairs=pairs), launches)] == expected


def test_every_cell_has_its_launches_in_rounds_of_random_order(work, cells, processes, tmp_path):
    found = measure_in_launches(make(work), cells, Journal(tmp_path / "j.jsonl"), everything, Sampling(3))
    assert [(row.status, row.launches, row.samples, row.launch_pairs) for row in found] == [
        (MEASURED, 3, 160, (7, 7, 6))
    ] * 4
    rounds = [[one[:2] for one in processes.done[start : start + 4]] for start in (0, 4, 8)]
    assert all(len(set(one)) == 4 for one in rounds), "each cell once a round"
    assert len({tuple(one) for one in rounds}) > 1, "in another order each time"
    assert [row.peak_rss_bytes for row in found] == [1003] * 4
    assert [row.lock_wait_s for row in found] == [1.5] * 4
    for row in found:
        assert row.speedup_low < row.speedup < row.speedup_high
        assert row.speedup == pytest.approx(2.0, rel=0.01)


def test_the_order_is_the_same_at_every_run(work, cells, processes, tmp_path):
    for name in ("one", "two"):
        measure_in_launches(make(work), cells, Journal(tmp_path / name), everything, Sampling(3))
    assert processes.done[:12] == processes.done[12:]


def test_contaminated_launches_are_measured_again_and_kept_aside(work, cells, processes, tmp_path):
    processes.spoil = {("dense", "torch", 2): 0.5}
    found = measure_in_launches(make(work), cells, Journal(tmp_path / "j"), everything, Sampling(3))
    assert len(processes.done) == 13
    assert [row.launches for row in found] == [3] * 4
    (row,) = [row for row in found if row.aside_samples_s]
    assert (row.name, len(row.aside_samples_s), row.steal) == ("toy-dense-seed0-torch", 56, None)


def test_a_machine_that_never_is_quiet_ends_and_is_said_to_be_contaminated(work, cells, processes, tmp_path):
    processes.spoil = {("dense", "torch", number): 0.5 for number in range(1, 99)}
    found = measure_in_launches(make(work), cells[1:2], Journal(tmp_path / "j"), everything, Sampling(3))
    assert (len(processes.done), found[0].launches, found[0].steal) == (6, 6, 0.5)


@pytest.mark.parametrize(
    "error", [LaunchError("ended by SIGSEGV"), UserError("held by process 1"), MemoryError("no more")]
)
def test_a_launch_that_fails_is_its_cells_row_and_no_others(work, cells, processes, tmp_path, error):
    processes.spoil = {("dense", "torch", 2): error}
    found = measure_in_launches(make(work), cells, Journal(tmp_path / "j"), everything, Sampling(3))
    assert [row.status for row in found] == [MEASURED, ERROR, MEASURED, MEASURED]
    assert str(error) in found[1].reason
    assert found[1].samples_s == ()
    assert sum(one[:2] == ("dense", "torch") for one in processes.done) == 2, "not tried again and again"


def test_an_interrupted_run_goes_on_with_the_launch_it_stopped_at(work, cells, processes, tmp_path):
    processes.spoil = {("magnitude50", "torch", 2): KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        measure_in_launches(make(work), cells, Journal(tmp_path / "j"), everything, Sampling(3))
    stopped = len(processes.done) - 1
    processes.spoil = {}
    resumed = measure_cells(make(work), cells, Journal(tmp_path / "j"), everything, Sampling(3))
    assert len(processes.done) - 1 - stopped == 12 - stopped
    again = measure_cells(make(work), cells, Journal(tmp_path / "j"), everything, Sampling(3))
    assert len(processes.done) == 13, "nothing is measured twice"
    assert again.measurements == resumed.measurements


def test_an_unfinished_journal_is_a_run_with_the_launches_so_far(work, cells, processes, tmp_path):
    processes.spoil = {("magnitude50", "torch", 2): KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        measure_in_launches(make(work), cells, Journal(tmp_path / "j.jsonl"), everything, Sampling(3))
    rows = load_run(tmp_path / "j.jsonl").measurements
    assert len(rows) == 4
    assert sum(row.launches for row in rows) == len(processes.done) - 1


def test_other_launches_are_another_measurement(work, cells, processes, tmp_path):
    for count in (1, 3):
        measure_in_launches(make(work), cells[:1], Journal(tmp_path / "j"), everything, Sampling(count))
    assert [one[2] for one in processes.done] == [20, 7, 7, 6]


def test_launches_are_added_until_the_interval_is_narrow(work, cells, processes, tmp_path):
    processes.spread = 0.02
    (row,) = measure_in_launches(
        make(work), cells[:1], Journal(tmp_path / "j"), everything, Sampling(3, until=0.01, budget_s=60)
    )
    assert row.launches in (6, 12, 24, 48)
    assert (row.speedup_high - row.speedup_low) / (2 * row.speedup) <= 0.01 or row.launches == 48


def test_adding_ends_with_the_budget(work, cells, processes, tmp_path, monkeypatch):
    processes.spread = 0.5
    clock = iter(range(0, 10_000, 45))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    (row,) = measure_in_launches(
        make(work), cells[:1], Journal(tmp_path / "j"), everything, Sampling(3, until=0.01, budget_s=60)
    )
    assert row.launches == 6, "at 45 s one more look, at 90 s none"


def test_a_finished_cell_whose_interval_is_too_wide_is_taken_up_again(work, cells, processes, tmp_path):
    processes.spread = 0.05
    measure_in_launches(make(work), cells[:1], Journal(tmp_path / "j"), everything, Sampling(3))
    (row,) = measure_in_launches(
        make(work), cells[:1], Journal(tmp_path / "j"), everything, Sampling(3, until=0.001, budget_s=60)
    )
    assert row.launches == 48


@pytest.mark.parametrize(
    "asked", [{"launches": -1}, {"until": 0.0}, {"until": 1.5}, {"budget_s": 0.0}, {"budget_s": float("inf")}]
)
def test_samplings_that_make_no_sense_are_refused(asked):
    with pytest.raises(UserError):
        Sampling(**asked)


def test_real_processes_measure_what_one_process_does(work, cells, tmp_path):
    pipeline = make(work)
    pipeline.protocol = replace(PROTOCOL, pairs=6, block=2)
    found = [
        measure_cells(pipeline, [cell], Journal(tmp_path / "j"), everything, Sampling(launches)).measurements[-1]
        for cell, launches in zip(cells, (2, 1), strict=False)  # a second process that imports torch shows no more
    ]
    for row, launches in zip(found, (2, 1), strict=True):
        assert row.status == MEASURED
        assert launches <= row.launches <= 2 * launches, "more where the machine was busy"
        assert row.samples == row.launches * 12 // launches
        assert row.parity_max_rel is not None
        assert row.peak_rss_bytes > 0
    ours, torchs = found
    assert (ours.name, torchs.name) == (cells[0].name, cells[1].name)
    assert ours.peak_rss_bytes < torchs.peak_rss_bytes, "torch is not loaded where it is not timed"
