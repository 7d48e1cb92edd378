"""Sweep on real workers with faked hosts, whose cells are stubs: hosts, resumption, deaths, what is refused."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from bench.sweep_stubs import StubPipeline, study
from sparsemark.errors import UserError
from sparsemark.records.journal import Journal
from sparsemark.records.measurement import MEASURED
from sparsemark.study.host_classes import HostTable
from sparsemark.study.launches import measure_in_launches
from sparsemark.study.prepare import Places
from sparsemark.study.sampling import Sampling
from sparsemark.study.sweep import executor as module
from sparsemark.study.sweep.opening import opened
from tests.study.stub_cluster import stub_cluster
from tests.toy_study.place import journal_keys

CELLS = 6
PLACES = Places(None, Path("work"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with stub_cluster(tmp_path_factory.mktemp("cluster"), ("a", "b"), SPARSEMARK_STUB_SECONDS="0.05") as found:
        yield found


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stub.toml").touch()
    return tmp_path


def everything(items, what, kinds=None):
    yield from items


def sweep(cluster, here, watch=everything, tables=(), cells=CELLS):
    from dataclasses import replace

    asked = replace(study(cells), hosts=tuple(tables))
    with opened(cluster.scheduler_address, asked, here / "stub.toml", PLACES, None) as executor:
        return measure_in_launches(
            StubPipeline(), asked.cells, Journal(here / "j.jsonl"), watch, Sampling(1), executor=executor
        )


def intervals(found):
    by_host = defaultdict(list)
    for row in found:
        by_host[row.host].append((row.held_from_s, row.held_until_s))
    return {host: sorted(held) for host, held in by_host.items()}


def test_cells_of_one_host_never_overlap_and_those_of_two_do(cluster, here):
    found = sweep(cluster, here)
    assert [row.status for row in found] == [MEASURED] * CELLS
    held = intervals(found)
    assert set(held) == {"a", "b"}
    for one in held.values():
        assert all(before[1] <= after[0] for before, after in pairwise(one))
    assert any(one[0] < other[1] and other[0] < one[1] for one in held["a"] for other in held["b"])
    assert all(row.boot_id and row.processor and row.lock_wait_s is not None for row in found)


def test_short_checks_and_launches_go_several_to_a_task(cluster, here, monkeypatch):
    submitted = []
    plain = module.Sweep._submit

    def submit(self, function, *arguments, **options):
        submitted.append(function.__name__.strip("_"))
        return plain(self, function, *arguments, **options)

    monkeypatch.setattr(module.Sweep, "_submit", submit)
    found = sweep(cluster, here, cells=40)
    assert [row.status for row in found] == [MEASURED] * 40
    assert submitted.count("check") < 20
    assert submitted.count("measure") < 30
    assert submitted.count("found") == 1


def killing(cluster, host, often=1):
    """Return a watch that kills the worker of a host when its first launches are at work."""
    left = [often]

    def watch(items, what, kinds=None):
        for item in items:
            yield item
            if what == "launches" and left[0]:
                left[0] -= 1
                process = cluster.workers[host].process
                if process is not None and process.pid:
                    os.kill(process.pid, signal.SIGKILL)

    return watch


def test_a_worker_that_dies_costs_no_cell(cluster, here):
    found = sweep(cluster, here, killing(cluster, "a"))
    assert [row.status for row in found] == [MEASURED] * CELLS
    keys = journal_keys(here / "j.jsonl")
    assert len(set(keys)) == len(keys) == CELLS


def test_a_finished_sweep_is_taken_from_the_journal(cluster, here, monkeypatch):
    first = sweep(cluster, here)
    keys = journal_keys(here / "j.jsonl")
    monkeypatch.setattr(module.Sweep, "_submit", lambda *_, **__: pytest.fail("nothing is left to do"))
    assert sweep(cluster, here) == first
    assert journal_keys(here / "j.jsonl") == keys
    assert len(set(keys)) == len(keys) == CELLS


def test_a_client_that_is_interrupted_is_followed_by_one_that_goes_on(cluster, here):
    def interrupted(items, what, kinds=None):
        for number, item in enumerate(items):
            if what == "launches" and number == 3:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        sweep(cluster, here, interrupted)
    assert len(journal_keys(here / "j.jsonl")) == 3
    assert [row.status for row in sweep(cluster, here)] == [MEASURED] * CELLS
    keys = journal_keys(here / "j.jsonl")
    assert len(set(keys)) == len(keys) == CELLS


def test_a_host_class_that_nobody_has_is_refused(cluster, here):
    with pytest.raises(UserError, match=r"host\[0\]: no worker has the name 'c' \(there are: \S+: "):
        sweep(cluster, here, tables=[HostTable("c", host="c")])


def test_a_worker_with_another_version_is_refused(cluster, here, monkeypatch):
    from sparsemark.study.sweep import cluster as clusters

    plain = clusters.versions
    monkeypatch.setattr(clusters, "versions", lambda engines: plain(engines) | {"torch": "1.0"})
    with pytest.raises(UserError, match=r"worker tcp://\S+: torch is \S+ there and 1\.0 here; install the same"):
        sweep(cluster, here)


def test_a_study_that_changes_while_it_runs_ends_it_and_keeps_what_was_measured(cluster, here):
    def changing(items, what, kinds=None):
        for number, item in enumerate(items):
            if what == "launches" and number == 2:
                (here / "stub.toml").write_text("name = 'another'")
            yield item

    with pytest.raises(UserError, match=r"stub\.toml: changed while it ran"):
        sweep(cluster, here, changing)
    assert len(journal_keys(here / "j.jsonl")) >= 2
    assert [row.status for row in sweep(cluster, here)] == [MEASURED] * CELLS


def test_no_scheduler_is_one_line(here, monkeypatch):
    from sparsemark.study.sweep import cluster as clusters

    monkeypatch.setattr(clusters, "_PATIENCE", 0.3)
    asked = study(1)
    with (
        pytest.raises(UserError, match=r"--scheduler tcp://127\.0\.0\.1:1: no scheduler answers within"),
        opened("tcp://127.0.0.1:1", asked, here / "stub.toml", PLACES, None),
    ):
        pass


def test_a_host_class_runs_its_cells_on_its_hosts(cluster, here):
    cluster.wait_for_workers(2)  # one was killed above
    tables = HostTable("left", host="a"), HostTable("right", ("stub-magnitude[1-3]*",), host="b")
    found = sweep(cluster, here, tables=tables, cells=3)
    assert [(row.host_class, row.host) for row in found] == [("left", "a")] * 3 + [("right", "b")] * 2
