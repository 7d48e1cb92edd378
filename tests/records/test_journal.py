"""Journal: finished cells are found again, whatever happened while the next one was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsemark.errors import UserError
from sparsemark.records.benchmark_json import to_benchmark
from sparsemark.records.journal import Journal
from sparsemark.records.measurement import Measurement

FIRST = Measurement("first", "measured", p50_ms=1.25, samples_s=(0.1, 0.2), reference_s=(0.3, 0.4))
SECOND = Measurement("second", "unsupported", reason="Det at node")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "work" / "journal.jsonl"
    journal = Journal(path)
    journal.append("1", FIRST)
    journal.append("2", SECOND)
    return path


def test_finished_cells_are_found_again_in_their_order(path):
    journal = Journal(path)
    assert journal.measurements() == (FIRST, SECOND)
    assert journal.get("1") == FIRST
    assert journal.get("3") is None


def test_no_file_is_an_empty_journal_and_stays_no_file(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.measurements() == ()
    journal.discard()
    assert list(tmp_path.iterdir()) == []


def test_entry_is_on_disk_when_append_returns(path):
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["1", "2"]


def test_last_word_on_a_cell_counts(path):
    Journal(path).append("1", SECOND)
    assert Journal(path).get("1") == SECOND


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_torn_last_line_loses_its_own_cell_only_and_the_next_is_kept(path, data):
    whole = path.read_bytes()
    torn = whole[: data.draw(st.integers(0, len(whole) - 1))]
    path.with_name("torn").write_bytes(torn)
    journal = Journal(path.with_name("torn"))
    kept = (FIRST, SECOND)[: torn.count(b"\n")]
    assert journal.measurements()[: len(kept)] == kept  # a line that lacks nothing but its end is whole
    journal.append("3", SECOND)
    again = Journal(path.with_name("torn"))
    assert again.get("3") == SECOND
    assert again.measurements()[: len(kept)] == kept


def entry(data=(), **info):
    document = to_benchmark(SECOND)
    document["extra_info"] |= info
    document["stats"]["data"] = list(data)
    return json.dumps({"key": "2", "benchmark": document})


@pytest.mark.parametrize(
    "line",
    [
        "", "{}", "[]", "null", "3", '"text"', "{", "\x00\xff", '{"key": [], "benchmark": {}}', "[" * 100_000,
        '{"key": "2"}', '{"key": "2", "benchmark": []}', '{"key": "2", "benchmark": {"extra_info": []}}',
        entry(schema=0), entry(data=[10**400]), entry(schema=999), entry(status="done"), entry(p50_ms="1"),
        entry(p50_ms=float("nan")),
    ],
)  # fmt: skip
def test_line_that_is_none_of_ours_is_passed_over(path, line):
    with path.open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    journal = Journal(path)
    assert journal.measurements() == (FIRST, SECOND)
    journal.append("3", FIRST)
    assert Journal(path).get("3") == FIRST


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_full_disk_is_one_line_and_earlier_entries_are_kept(path):
    journal = Journal(path)
    journal.path = Path("/dev/full")
    with pytest.raises(UserError, match=r"^/dev/full: cannot be written: No space left on device$"):
        journal.append("3", FIRST)
    assert journal.get("3") is None
    journal.path = path
    journal.append("4", FIRST)
    again = Journal(path)
    assert again.measurements() == (FIRST, SECOND, FIRST)
    assert again.get("4") == FIRST


def test_folder_in_place_of_the_journal_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read: Is a directory$"):
        Journal(tmp_path)


def test_number_that_json_cannot_hold_is_refused_before_anything_is_written(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        Journal(path).append("3", Measurement("third", "measured", p50_ms=float("nan")))
    assert path.read_bytes() == before


def test_discarded_journal_is_gone(path):
    Journal(path).discard()
    assert not path.exists()


# --- checksums


def changed(path, number, old, new):
    """Replace text in one line."""
    lines = path.read_bytes().splitlines(keepends=True)
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new, 1)
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    ("old", "new"), [(b"1.25", b"1.35"), (b'"key": "1"', b'"key": "7"'), (b'"first"', b'"fjrst"'), (b"0.2", b"0.9")]
)
def test_line_that_was_changed_is_passed_over_and_counted(old, new, path, caplog):
    changed(path, 0, old, new)
    journal = Journal(path)
    assert journal.measurements() == (SECOND,)
    assert journal.get("1") is None
    assert journal.get("7") is None
    assert journal.damaged == 1
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"{path}: 1 line is damaged and passed over; what stood there is measured again"


def test_every_flipped_bit_of_a_line_costs_that_line_or_nothing(path):
    content = path.read_bytes()
    first = content.index(b"\n")
    for index in range(0, first, 7):
        path.write_bytes(content[:index] + bytes([content[index] ^ 4]) + content[index + 1 :])
        found = Journal(path)
        assert found.get("1") in (None, FIRST)
        assert found.get("2") == SECOND


def test_damaged_lines_are_counted_together_and_blank_ones_are_none(path, caplog):
    with path.open("ab") as file:
        file.write(b"\n\n{\n  \nnull\n")
    assert Journal(path).damaged == 2
    assert "2 lines are damaged" in caplog.text


def test_whole_journal_says_nothing(path, caplog):
    assert Journal(path).damaged == 0
    assert not caplog.records


def test_lines_of_older_versions_have_no_checksum_and_are_read(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        assert line.pop("check")
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    journal = Journal(path)
    assert journal.measurements() == (FIRST, SECOND)
    assert journal.damaged == 0


def test_what_was_taken_is_known(path):
    journal = Journal(path)
    assert journal.taken == ()
    for key in ("2", "2", "3"):
        journal.get(key)
    assert journal.taken == (SECOND,)
