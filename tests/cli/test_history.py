"""`sparsemark history` as a user calls it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.cli import main
from sparsemark.records.run import Run
from tests.synthetic import MACHINE, cell, study_run

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def history(*arguments):
    return main(["history", *map(str, arguments)])


def save(name, *measurements, machine=MACHINE, day=1):
    run = Run(tuple(measurements), machine, {"id": f"{day:02}" * 20}, f"2026-01-{day:02}T00:00:00+00:00")
    run.save(Path(name))
    return name


def twelve_days(slower_from=7):
    """A history in which one cell becomes slower, and the other does not."""
    for day in range(1, 13):
        ms = 10.0 if day < slower_from else 13.0
        run = save("run.json", cell(day, ms, "net-csr"), cell(100 + day, 10.0, "net-onnx"), day=day)
        assert history("add", run) == 0


def test_a_slowdown_shows_at_its_commit_and_the_steady_cell_has_none(capsys):
    pytest.importorskip("ruptures")
    twelve_days()
    capsys.readouterr()
    assert history() == 0
    shown = capsys.readouterr().out
    lines = {name: next(line for line in shown.splitlines() if f" {name} " in line) for name in ("net-csr", "net-onnx")}
    assert "|" in lines["net-csr"]
    assert "07070707" in lines["net-csr"]
    assert "|" not in lines["net-onnx"]
    assert history("--cell", "net-csr") == 0
    shown = capsys.readouterr().out
    assert "net-onnx" not in shown
    (changed,) = [line for line in shown.splitlines() if "new level" in line]
    assert "2026-01-07" in changed
    assert "07070707" in changed


def test_adding_says_what_was_added_there_already_or_left_out(capsys):
    run = save("run.json", cell(1, name="a"), cell(2, name="b"), dataclasses.replace(cell(name="c"), status="error"))
    assert history("add", run) == 0
    assert capsys.readouterr().out == "added 2 cells of run.json to history.jsonl, 1 have no speedup\n"
    before = Path("history.jsonl").read_bytes()
    assert history("add", run) == 0
    assert capsys.readouterr().out == (
        "added 0 cells of run.json to history.jsonl, 2 were there already, 1 have no speedup\n"
    )
    assert Path("history.jsonl").read_bytes() == before


def test_another_file_may_be_named_before_and_behind_add(capsys):
    run = save("run.json", cell(name="a"))
    assert history("--file", "one.jsonl", "add", run) == 0
    assert history("add", run, "--file", "two.jsonl") == 0
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()
    assert not Path("history.jsonl").exists()
    assert history("--file", "two.jsonl") == 0
    assert " a " in capsys.readouterr().out


def test_another_machine_is_another_series(capsys):
    for number, model in enumerate(("Imaginary CPU", "Another CPU")):
        assert history("add", save("run.json", cell(number, name="a"), machine=MACHINE | {"cpu_model": model})) == 0
    capsys.readouterr()
    assert history() == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if " a " in line]
    assert [("imaginary-2cpu" in row, "another-2cpu" in row) for row in rows] == [(True, False), (False, True)]


def test_a_whole_study_can_be_added_and_drawn(capsys):
    pytest.importorskip("matplotlib")
    study_run().save(Path("run.json"))
    assert history("add", "run.json") == 0
    assert history("--figure", "figures/history.svg") == 0
    assert "wrote figures/history.svg" in capsys.readouterr().out
    assert Path("figures/history.svg").read_text().startswith("<?xml")


def test_without_ruptures_the_table_is_there_and_says_what_is_missing(capsys, monkeypatch):
    twelve_days()
    capsys.readouterr()
    found = "sparsemark.registry.importlib.util.find_spec"
    monkeypatch.setattr(found, lambda name: None)
    monkeypatch.setitem(sys.modules, "ruptures", None)
    assert history() == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "net-csr" in shown
    assert "ruptures is not installed: pip install 'sparsemark[history]'" in shown


# --- mistakes


@pytest.fixture
def refused(capsys):
    def call(*arguments):
        capsys.readouterr()
        assert history(*arguments) == 2
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert captured.out == ""
        return line.removeprefix("sparsemark history: ")

    return call


def test_a_mistake_is_one_line(refused):
    run = save("run.json", cell(name="net-csr"))
    assert history("add", run) == 0
    Path("text.jsonl").write_text("a\n")
    Path("empty.jsonl").touch()
    before = Path("history.jsonl").read_bytes()
    assert refused("--file", "text.jsonl") == (
        "text.jsonl: expected lines of `sparsemark history add`, found none that is whole"
    )
    assert refused("add", run, "--file", "text.jsonl").startswith("text.jsonl: expected lines")
    assert refused("add", run, "--file", run).startswith("run.json: expected lines")
    assert refused("--file", "none.jsonl").startswith("none.jsonl: no history there")
    assert refused("--file", "empty.jsonl").startswith("empty.jsonl: no runs in it")
    assert refused("add", run, "--file", "no/history.jsonl").endswith("there is no folder no")
    assert refused("--cell", "net-crs").startswith("history.jsonl: unknown cell 'net-crs'; did you mean 'net-csr'?")
    assert refused("--figure", "x.gif") == "--figure x.gif: expected a name that ends in .svg or .png"
    assert refused("add", "none.json").startswith("none.json: cannot be read")
    assert refused("--cell", "net-csr", "add", run).startswith("--cell: ")
    assert Path("history.jsonl").read_bytes() == before
    assert Path("text.jsonl").read_text() == "a\n"


def test_a_run_with_nothing_to_add_is_one_line(refused):
    failed = dataclasses.replace(cell(name="a"), status="error")
    assert refused("add", save("failed.json", failed)) == (
        "failed.json: no measured cell with a speedup, nothing to add"
    )
    assert refused("add", save("nowhere.json", cell(name="a"), machine={})).startswith("nowhere.json: machine_info")
    undated = Run((cell(name="a"),), MACHINE, when="soon")
    undated.save(Path("undated.json"))
    assert refused("add", "undated.json").startswith("undated.json: datetime is 'soon', expected a date")
    assert not Path("history.jsonl").exists()


def test_two_commands_at_once_lose_nothing(capsys):
    days = range(1, 7)
    for day in days:
        save(f"run{day}.json", cell(day, name="a"), day=day)
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "sparsemark.cli", "history", "add"]
    processes = [subprocess.Popen([*command, f"run{day}.json"], env=environment) for day in days]
    assert [process.wait() for process in processes] == [0] * len(days)
    assert history("--cell", "a") == 0
    shown = capsys.readouterr().out
    assert all(f"2026-01-{day:02}" in shown for day in days)
