"""Progress where stderr is no terminal: a line now and then, none for what is quick."""

from __future__ import annotations

import io
import re
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from sparsemark.cli import exits
from sparsemark.machine import pace
from sparsemark.machine.at_work import at_work
from sparsemark.report import progress

ITEMS = [SimpleNamespace(name=name) for name in ("one", "two", "three")]


@pytest.fixture
def quickly(monkeypatch):
    """A line every 50 ms."""
    monkeypatch.setattr(pace, "EVERY", 0.05)
    pace.begin()
    yield
    pace.begin()


def test_lines_come_at_least_every_ten_seconds():
    assert pace.EVERY < 10


def test_a_long_cell_is_shown_while_it_runs(quickly, capsys):
    for item in progress.watch(ITEMS, "cells"):
        time.sleep(0.03)  # not found, but worked for
        if item.name == "two":
            time.sleep(0.3)
            lines = capsys.readouterr().err.splitlines()
            assert len(lines) >= 3
            assert re.fullmatch(r"cells: 2 of 3: two, 0:00:00 elapsed, about 0:00:0\d left", lines[0])


def test_the_step_at_work_is_shown_while_it_lasts(quickly, capsys):
    with progress.waiting("loading"), at_work("building the network"):
        time.sleep(0.12)
    assert "loading: building the network, 0:00:00 elapsed" in capsys.readouterr().err.splitlines()
    for item in progress.watch(ITEMS, "checks"):
        if item.name == "two":
            with at_work("fine-tuning, epoch 3 of 6"):
                time.sleep(0.12)
            lines = capsys.readouterr().err.splitlines()
            assert lines[-1].startswith("checks: 2 of 3: two: fine-tuning, epoch 3 of 6, 0:00:00 elapsed, ")
            time.sleep(0.12)
    assert "checks: 2 of 3: two, 0:00:00 elapsed" in capsys.readouterr().err


def test_a_spinner_names_the_step_that_is_at_work_when_it_is_drawn():
    console = Console(file=io.StringIO(), width=80)
    spinner = progress._Waiting("loading [x]")
    with at_work("scoring"):
        console.print(spinner)
    console.print(spinner)
    assert console.file.getvalue() == "loading [x]: scoring ...\nloading [x] ...\n"


def test_a_bound_of_nothing_is_not_shown(clock):
    """What is done took no time, and what is left of another kind nobody knows."""
    left = progress._Left(["dense", "dense", "pruned"])
    clock.seconds = 0.1
    left.advance()
    assert left.words() == "time left not known yet"


def test_the_time_left_is_not_made_up(quickly, capsys):
    for item in progress.watch(ITEMS, "cells"):
        time.sleep(0.12 if item.name == "one" else 0)
    assert "cells: 1 of 3: one, 0:00:00 elapsed, time left not known yet" in capsys.readouterr().err


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def test_the_time_left_is_a_lower_bound_until_an_item_of_each_kind_is_done(clock):
    """Dense networks are there at once, pruned ones are fine-tuned: one second said nothing about them."""
    left = progress._Left(["dense", "dense", "pruned", "pruned", "dense"])
    assert left.words() == "time left not known yet"
    clock.seconds = 1
    left.advance()
    assert left.words() == "at least 0:00:02 left"
    clock.seconds = 2
    left.advance()
    assert left.words() == "at least 0:00:01 left", "of the last one only"
    clock.seconds = 50
    assert left.words() == "at least 0:00:01 left", "it does not rise while one is fine-tuned"
    clock.seconds = 62
    left.advance()
    assert left.words() == "about 0:01:01 left"


@pytest.mark.parametrize("kinds", [["a"] * 4, ["a", "b", "a", "b"]])
def test_the_time_left_never_rises_while_an_item_is_at_work(clock, kinds):
    left = progress._Left(kinds)
    for duration in (10, 20, 400):
        shown = []
        for _ in range(duration):
            clock.seconds += 1
            shown.append(left.words().removeprefix("at least ").removeprefix("about "))
        if len(set(shown)) > 1:
            assert shown == sorted(shown, reverse=True)
        left.advance()
    assert left.words() == ("about 0:02:23 left" if kinds[1] == "a" else "about 0:00:20 left")


def test_all_done_leaves_nothing_to_say(clock):
    left = progress._Left(["a"])
    left.advance()
    assert left.words() == ""


def test_many_short_stages_are_not_silent(quickly, capsys):
    for number in range(10):
        with progress.waiting(f"stage {number}"):
            time.sleep(0.02)
    assert 2 <= len(capsys.readouterr().err.splitlines()) <= 6


def test_what_an_earlier_run_left_behind_does_not_shorten_the_time_left(clock):
    left = progress._Left(["a"] * 12)
    for _ in range(10):
        clock.seconds += 0.01  # found, not worked for
        left.advance()
    clock.seconds += 30
    assert left.words() == "time left not known yet"


def test_the_mean_is_of_what_was_worked_for():
    assert progress._mean([0.001, 0.002, 4.0, 6.0]) == 5.0
    assert progress._mean([0.001]) == 0.001
    assert progress._mean([2.0, 98.0]) == 50.0


def test_what_is_quick_shows_nothing(capsys):
    pace.begin()
    assert list(progress.watch(ITEMS, "cells")) == ITEMS
    with progress.waiting("loading"):
        pass
    assert capsys.readouterr() == ("", "")


def test_no_line_comes_after_the_end(quickly, capsys):
    with pytest.raises(KeyboardInterrupt), progress.waiting("loading"):
        raise KeyboardInterrupt
    capsys.readouterr()
    time.sleep(0.15)
    assert capsys.readouterr().err == ""


def test_a_closed_stderr_stops_no_command(quickly, monkeypatch):
    class Closed:
        def isatty(self):
            return False

        def write(self, text):
            raise ValueError("I/O operation on closed file")

        flush = write

    monkeypatch.setattr(progress.sys, "stderr", Closed())
    with progress.lines_in_a_pipe(lambda: "line"):
        time.sleep(0.12)


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05")])
def test_times_are_hours_minutes_seconds(seconds, shown):
    assert progress._clock(seconds) == shown


def test_a_command_does_not_inherit_the_line_that_an_earlier_one_owed(monkeypatch):
    monkeypatch.setattr(pace, "EVERY", 0.0)
    pace.written()
    monkeypatch.undo()
    assert pace.seconds() == 0
    assert exits.run("sparsemark second", lambda: int(pace.seconds() == 0)) == 0
