"""Resumption: reused rows are named, and damaged ones are measured again."""

from __future__ import annotations

from pathlib import Path

from sparsemark.cli import main
from sparsemark.records.measurement import MEASURED
from tests.cli.small_bench import MASKED, NAMES, statuses
from tests.toy_study.place import benchmarks


def test_what_was_taken_from_the_journal_is_said(here, quick, capsys, monkeypatch):
    from sparsemark.study.pipeline import Pipeline

    plain = Pipeline.measure

    def interrupted(self, cell, *more):
        if cell.name == NAMES[1]:
            raise KeyboardInterrupt
        return plain(self, cell, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "measure", interrupted)
        assert main(MASKED) == 130
    assert "taken from" not in capsys.readouterr().out
    assert main(MASKED) == 0
    day = benchmarks(Path("out.json"))[0]["extra_info"]["measured_at"][:10]
    assert f"1 of 2 cells taken from out.json.unfinished.jsonl, measured {day}" in capsys.readouterr().out.splitlines()


def test_a_damaged_line_of_the_journal_is_said_and_measured_again(here, quick, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sparsemark.study.deploy.keep_artifacts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([*MASKED, "--artifacts", "kept"]) == 130
    journal = Path("out.json.unfinished.jsonl")
    journal.write_bytes(journal.read_bytes().replace(b'"magnitude"', b'"magnitudo"', 1))
    capsys.readouterr()
    assert main(MASKED) == 0
    captured = capsys.readouterr()
    assert captured.err == f"{journal}: 1 line is damaged and passed over; what stood there is measured again\n"
    assert "1 of 2 cells taken from" in captured.out
    assert set(statuses().values()) == {MEASURED}
