"""Lines with checksums: on disk when they are appended, and told from damaged ones."""

from __future__ import annotations

import os

from sparsemark.records.checked_lines import Line, append, is_torn, read_lines, write_line


def test_lines_are_synced_before_append_returns(tmp_path, monkeypatch):
    path, synced = tmp_path / "lines", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.read_bytes()))
    with path.open("ab") as file:
        append(file.fileno(), b"a\n", torn=False)
        append(file.fileno(), b"b\n", torn=True)
    assert synced == [b"a\n", b"a\n\nb\n"]


def test_a_line_is_read_as_it_was_written_by_its_field_alone():
    text = write_line("k", "point", {"a": [1.5, None, "\u2028"]}) + b"\n" + write_line("k", "benchmark", 3)
    assert text.count(b"\n") == 3
    assert read_lines(text, "point") == ([Line(1, "k", {"a": [1.5, None, "\u2028"]})], 1)
    assert read_lines(text, "benchmark") == ([Line(3, "k", 3)], 1)


def test_a_text_is_torn_where_its_last_line_has_no_end():
    assert is_torn(b"a\nb")
    assert not is_torn(b"a\n")
    assert not is_torn(b"")
