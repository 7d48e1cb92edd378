"""Answer so far, above the bar of a terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from sparsemark.records.journal import Journal
from sparsemark.report import live, progress, render
from tests.report.runs import RUNS

ITEMS = [SimpleNamespace(name=name) for name in ("one", "two")]


@pytest.fixture
def journal(tmp_path):
    kept = Journal(tmp_path / "run.unfinished.jsonl")
    for m in RUNS["study"].measured():
        kept.append(m.name, m)
    return kept


def test_the_answer_so_far_is_the_headline_of_the_finished_cells(journal):
    (line,) = live.answers_so_far(journal.path)().splitlines()
    assert line.startswith("so far: Prune: yes")
    assert ", channels 70 % on ncnn is 4." in line


def test_there_is_no_answer_before_anything_is_finished(tmp_path):
    assert live.answers_so_far(tmp_path / "absent.jsonl")() == ""


def test_it_is_computed_once_in_a_while(journal, monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(live.time, "monotonic", lambda: now.seconds)
    answer = live.answers_so_far(journal.path)
    first = answer()
    journal.path.unlink()
    assert answer() == first
    now.seconds += live.EVERY_S
    assert answer() == ""


def test_it_stands_above_the_bar_of_a_terminal(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    said = iter(("so far: x is faster \x1b[2J", "so far: y is faster"))
    assert list(progress.watch(ITEMS, "cells", answer=lambda: next(said))) == ITEMS
    text = screen.getvalue()
    assert "\x1b[2J" not in text
    last = text[text.rindex("so far: y is faster") :]
    assert "cells" in last
    assert "2/2" in last


def test_a_terminal_names_what_it_leaves_out_and_a_pipe_has_it():
    short = render(RUNS["study"], width=120, whole=False)
    assert "--all adds: what it says, break-even, controls, conditions" in short
    assert "A/A (" not in short
    assert "grouped convolution has no CSR product" in short
    whole = render(RUNS["study"], width=120)
    assert "--all adds" not in whole
    assert "A/A (" in whole


def test_trust_is_a_letter_in_every_row_and_explained_once():
    lines = render(RUNS["study"], width=200).splitlines()
    assert sum("trust: A interval within 3 %" in line for line in lines) == 1
    rows = [line.split() for line in lines if line.lstrip().startswith("cnn9") and "x [" in line]
    assert len(rows) > 30
    assert all(set(row) & set("ABCD") for row in rows)
