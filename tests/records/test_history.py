"""History: nothing that was added is lost, whoever writes at the same time and wherever a write was torn."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsemark.errors import UserError
from sparsemark.records.history import Point, add_to_history, points_of, read_history
from sparsemark.records.journal import Journal
from sparsemark.records.run import Run
from tests.synthetic import MACHINE, accuracy, cell

SOURCE = Path(__file__).parents[2] / "src"
FIRST = Point(
    cell="net-dense", machine="amd-2cpu", machine_key="0f", when="2026-01-02T03:04:05+00:00", speedup=1.25,
    speedup_low=1.2, speedup_high=1.3, reference="net-reference", time_over_reference=0.8, commit="abc", metric="f1",
    score=0.9, artifact_bytes=1000, reference_drift=0.01, steal=0.0, waited=0.02,
)  # fmt: skip
SECOND = Point(cell="net-pruned", machine="amd-2cpu", machine_key="0f", when="2026-01-02T03:05:05", speedup=2.0)
THIRD = dataclasses.replace(SECOND, when="2026-01-03T03:05:05+01:00")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "history.jsonl"
    assert add_to_history(path, [FIRST, SECOND]) == 2
    return path


def run_of(*measurements, when="2026-01-02T03:04:05+00:00"):
    return Run(tuple(measurements), MACHINE, {"id": "abc", "dirty": False}, when)


def test_points_are_read_as_they_were_added_one_line_each(path):
    assert read_history(path) == [FIRST, SECOND]
    assert len(path.read_text().splitlines()) == 2


def test_what_is_there_is_not_added_again_and_the_rest_is(path):
    before = path.read_bytes()
    assert add_to_history(path, [SECOND, FIRST]) == 0
    assert path.read_bytes() == before
    assert add_to_history(path, [FIRST, THIRD, THIRD]) == 1
    assert read_history(path) == [FIRST, SECOND, THIRD]


def test_the_same_line_twice_counts_once(path):
    """As after a merge of two branches."""
    path.write_bytes(2 * path.read_bytes())
    assert read_history(path) == [FIRST, SECOND]


def test_a_point_is_made_of_ratios_and_no_milliseconds():
    m = cell(3, 5.0, "a", scores=accuracy(0.9), artifact_bytes=12, steal=0.1, reference_engine="onnxruntime")
    (point,) = points_of(run_of(m), "amd", "0f")
    assert (point.cell, point.machine, point.machine_key, point.commit) == ("a", "amd", "0f", "abc")
    assert (point.speedup, point.speedup_low, point.speedup_high) == (m.speedup, m.speedup_low, m.speedup_high)
    assert point.time_over_reference == m.p50_ms / m.reference_p50_ms
    assert (point.metric, point.score, point.artifact_bytes, point.steal) == ("accuracy", 0.9, 12, 0.1)
    assert point.reference == m.speedup_reference
    assert not any(name.endswith("_ms") for name in vars(point))


def test_rows_without_a_speedup_are_no_points():
    failed = dataclasses.replace(cell(name="b"), status="parity_failed", reason="far off")
    untimed = dataclasses.replace(cell(name="c"), speedup=None)
    assert [point.cell for point in points_of(run_of(cell(name="a"), failed, untimed), "amd", "0f")] == ["a"]


def test_a_resumed_run_adds_the_cells_that_are_new(tmp_path):
    """Its file has a new date, its finished cells have their own."""
    path = tmp_path / "history.jsonl"
    old = cell(1, name="a", measured_at="2026-01-01T00:00:00+00:00", measured_commit="old")
    new = cell(2, name="b", measured_at="2026-01-05T00:00:00+00:00", measured_commit="new")
    assert add_to_history(path, points_of(run_of(old), "amd", "0f")) == 1
    assert add_to_history(path, points_of(run_of(old, new, when="2026-01-05T00:00:01+00:00"), "amd", "0f")) == 1
    assert [(point.commit, point.when[:10]) for point in read_history(path)] == [
        ("old", "2026-01-01"),
        ("new", "2026-01-05"),
    ]


@pytest.mark.parametrize(
    ("fields", "when", "named"),
    [({"measured_at": "soon"}, "2026-01-01", "a: measured_at is 'soon'"), ({}, "", "datetime is ''")],
)
def test_a_date_that_is_none_is_named(fields, when, named):
    with pytest.raises(ValueError, match="expected a date and time in ISO 8601") as error:
        points_of(run_of(cell(name="a", **fields), when=when), "amd", "0f")
    assert named in str(error.value)


# --- several processes

ADD = """
import fcntl, os, sys
from pathlib import Path
def no_locks(*_):
    raise OSError("no locks here")
if os.environ.get("NO_LOCKS"):
    fcntl.flock = no_locks
from sparsemark.records.history import Point, add_to_history
path, begin, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
print("ready", flush=True)
while not begin.exists():
    pass
for name in names:
    rows = [Point(f"{name}-{row}", "amd", "0f", "2026-01-01", 1.0, reference="x" * 3000) for row in range(20)]
    add_to_history(path, rows)
"""


def add_at_once(path, *names):
    """Have a process for each list of runs add them, all from the same moment."""
    begin = path.with_name("begin")
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(path), str(begin), *own], stdout=subprocess.PIPE, env=environment
        )
        for own in names
    ]
    for process in processes:
        process.stdout.readline()
    begin.touch()
    for process in processes:
        process.communicate()
        assert process.returncode == 0


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "a file system without locks"])
def test_processes_that_add_at_once_lose_nothing(locks, tmp_path, monkeypatch, caplog):
    if not locks:
        monkeypatch.setenv("NO_LOCKS", "1")
    path = tmp_path / "history.jsonl"
    runs = [[f"process{number}run{run}" for run in range(10)] for number in range(3)]
    add_at_once(path, *runs)
    assert {point.cell for point in read_history(path)} == {
        f"{name}-{row}" for own in runs for name in own for row in range(20)
    }
    assert not caplog.records


def test_processes_that_add_the_same_runs_at_once_add_each_once(tmp_path):
    path = tmp_path / "history.jsonl"
    names = [f"run{run}" for run in range(10)]
    add_at_once(path, names, names, names)
    assert len(path.read_bytes().splitlines()) == 10 * 20


LIMITED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
from sparsemark.errors import UserError
from sparsemark.records.history import Point, add_to_history
try:
    add_to_history(Path(sys.argv[1]), [Point("late", "amd", "0f", "2026-01-01", 1.0)])
except UserError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("room", [0, 50])
def test_a_full_disk_is_one_line_costs_nothing_and_the_next_one_mends_it(room, path):
    size = path.stat().st_size + room
    command = [sys.executable, "-c", LIMITED, str(path), str(size)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout in (f"{path}: cannot be written: {why}\n" for why in ("File too large", os.strerror(28)))
    assert path.stat().st_size == size
    assert read_history(path) == [FIRST, SECOND]
    assert add_to_history(path, [THIRD]) == 1
    assert read_history(path) == [FIRST, SECOND, THIRD]


# --- damage


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_torn_line_is_passed_over_and_adding_again_mends_it(path, data):
    whole = path.read_bytes()
    torn = whole[: data.draw(st.integers(0, len(whole) - 1))]
    file = path.with_name("torn.jsonl")
    file.write_bytes(torn)
    kept = [FIRST, SECOND][: torn.count(b"\n")]
    assert read_history(file)[: len(kept)] == kept
    assert add_to_history(file, [THIRD]) == 1
    assert THIRD in read_history(file)
    add_to_history(file, [FIRST, SECOND])
    assert sorted(read_history(file), key=str) == sorted([FIRST, SECOND, THIRD], key=str)


def test_a_changed_line_is_passed_over_and_said(path, caplog):
    path.write_bytes(path.read_bytes().replace(b"1.25", b"9.25"))
    assert read_history(path) == [SECOND]
    assert caplog.messages == [f"{path}: 1 line is damaged and passed over; adding the same run again restores it"]
    assert add_to_history(path, [FIRST, SECOND]) == 1
    assert read_history(path) == [SECOND, FIRST]


def save_run(path):
    run_of(cell(name="a")).save(path)


def save_journal(path):
    Journal(path).append("key", cell(name="a"))


@pytest.mark.parametrize(
    "write",
    [
        save_run,
        save_journal,
        lambda path: path.write_text("a text\nof two lines\n"),
        lambda path: path.write_text('{"key": "1"}\n'),
        lambda path: path.write_bytes(b"\x00\xff" * 100),
        lambda path: path.write_text("x"),
    ],
)
def test_a_file_that_is_no_history_is_refused_and_stays_as_it_is(write, tmp_path):
    path = tmp_path / "other.jsonl"
    write(path)
    before = path.read_bytes()
    for refused in (lambda: read_history(path), lambda: add_to_history(path, [FIRST])):
        with pytest.raises(UserError, match=r"other\.jsonl: expected lines of `sparsemark history add`, found none"):
            refused()
    assert path.read_bytes() == before


def line_with(**fields):
    point = {"schema": 1, **dataclasses.asdict(FIRST), **fields}
    return json.dumps({"key": "0", "point": point}).encode() + b"\n"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (line_with(schema=2), "point.schema is 2, this sparsemark reads 1"),
        (line_with(schema=True), "point.schema is True"),
        (line_with(speedup=0), "point.speedup is 0, expected a ratio above 0"),
        (line_with(speedup=None), "point.speedup is None, expected a number"),
        (line_with(speedup="1"), "point.speedup is '1', expected a number"),
        (line_with(cell=None), "point.cell is None, expected text"),
        (line_with(when="soon"), "point.when is 'soon', expected a date and time in ISO 8601"),
        (line_with(speedup_low=2.0), "point.speedup_high is 1.3, expected at least point.speedup_low, which is 2.0"),
        (b'{"key": "0", "point": []}\n', "point is [], expected an object"),
    ],
)
def test_a_whole_line_that_holds_what_no_point_can_be_names_the_field(line, named, path):
    path.write_bytes(path.read_bytes() + line)
    before = path.read_bytes()
    for refused in (lambda: read_history(path), lambda: add_to_history(path, [THIRD])):
        with pytest.raises(UserError) as error:
            refused()
        assert f"{path}: line 3: {named}" in str(error.value)
    assert path.read_bytes() == before


# --- places


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    path = tmp_path / "nowhere" / "history.jsonl"
    with pytest.raises(UserError, match="there is no folder"):
        add_to_history(path, [FIRST])
    with pytest.raises(UserError, match=r"no history there; `sparsemark history add RUN.json` begins one"):
        read_history(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
def test_a_folder_or_a_pipe_is_no_history(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        for refused in (lambda path=path: read_history(path), lambda path=path: add_to_history(path, [FIRST])):
            with pytest.raises(UserError, match=r"expected a file|Is a directory"):
                refused()


def test_a_link_is_followed(path):
    link = path.with_name("link.jsonl")
    link.symlink_to(path)
    assert add_to_history(link, [THIRD]) == 1
    assert link.is_symlink()
    assert read_history(path) == [FIRST, SECOND, THIRD]
