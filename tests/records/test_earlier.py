"""A measured cell is never lost to a run that could not measure it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparsemark.errors import UserError
from sparsemark.records.earlier import check_replaceable, keep_earlier
from sparsemark.records.measurement import ERROR, PARITY_FAILED, UNSUPPORTED
from sparsemark.records.run import Run
from tests.synthetic import cell

A, B = cell(0, name="a"), cell(1, name="b")


def lost(measurement, status=ERROR):
    return replace(measurement, status=status, reason="no kernel", samples_s=(), reference_s=())


def write(path, *measurements):
    """What a command does."""
    lost = keep_earlier(path, measurements)
    Run(measurements).save(path)
    return lost and lost.line


@pytest.mark.parametrize("status", [ERROR, UNSUPPORTED, PARITY_FAILED])
def test_the_earlier_file_is_kept_where_a_measured_cell_is_none_now(status, tmp_path):
    path = tmp_path / "out.json"
    assert write(path, A, B) is None
    before = path.read_bytes()
    assert keep_earlier(path, [lost(A, status), B]).broke is (status != UNSUPPORTED)
    (tmp_path / "out.previous.json").unlink()
    line = write(path, lost(A, status), B)
    kept = tmp_path / "out.previous.json"
    assert kept.read_bytes() == before
    assert line == (
        f"{path}: 1 cell was measured earlier and not now: a ({status}: no kernel; its result is kept in {kept})"
    )
    assert Run.load(path).measurements[1].status == status or Run.load(path).measurements[0].status == status


def test_nothing_is_kept_where_nothing_is_lost(tmp_path):
    path = tmp_path / "out.json"
    assert write(path, lost(A), B) is None, "there was no file"
    assert write(path, lost(A), B) is None, "it was an error before"
    assert write(path, A, B) is None
    assert write(path, A) is None, "b was not asked for"
    assert [one.name for one in tmp_path.iterdir()] == ["out.json"]


def test_the_loss_is_reported_until_the_cells_are_measured_again(tmp_path):
    path, kept = tmp_path / "out.json", tmp_path / "out.previous.json"
    write(path, A, B)
    before = path.read_bytes()
    for _ in range(3):
        assert "a (error" in write(path, lost(A), B)
    assert kept.read_bytes() == before
    assert write(path, A, B) is None


def test_a_second_loss_does_not_replace_what_was_kept_of_the_first(tmp_path):
    path = tmp_path / "out.json"
    write(path, A, B)
    write(path, lost(A), B)
    assert "2 cells were measured earlier and not now: a (error" in write(path, lost(A), lost(B))
    kept = [Run.load(tmp_path / f"out.previous{number}.json").measured() for number in ("", "2")]
    assert [[m.name for m in one] for one in kept] == [["a", "b"], ["b"]]


def test_a_file_that_is_no_result_is_replaced_as_ever(tmp_path):
    path = tmp_path / "out.json"
    for content in (b"", b"{}", b"\xff"):
        path.write_bytes(content)
        assert keep_earlier(path, [lost(A)]) is None


def test_a_copy_that_cannot_be_written_stops_the_replacement(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    write(path, A)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sparsemark.records.earlier.copyfile", full)
    with pytest.raises(UserError, match=r"out.previous.json: cannot be written: No space left on device"):
        keep_earlier(path, [lost(A)])
    assert [one.name for one in tmp_path.iterdir()] == ["out.json"]


def test_only_a_result_file_may_be_replaced(tmp_path):
    path = tmp_path / "out.json"
    check_replaceable(path)
    path.touch()
    check_replaceable(path)
    write(path, A)
    check_replaceable(path)
    for content in ('{"schema": 1, "layers": []}', "[]", "a,b\n1,2\n", '{"benchmarks": []}'):
        path.write_text(content)
        with pytest.raises(UserError, match=f"--json {path}: .*; it would be replaced, expected an earlier result"):
            check_replaceable(path)
        assert path.read_text() == content
