"""History as a table and as a figure: what it marks, and what it leaves alone."""

from __future__ import annotations

import dataclasses

import pytest

from sparsemark.analysis.change_points import Change, Series
from sparsemark.errors import UserError
from sparsemark.records.history import Point
from sparsemark.report.figures.history import MOST_PANELS, check_figure_name, draw_history, history_figure
from sparsemark.report.renderers.history import as_history, as_runs, sparkline
from tests.report.test_harmless import NASTY


def point(day, speedup, **fields):
    common = {"machine": "amd-2cpu", "machine_key": "0f12", "commit": f"{day:02}" * 20, "reference": "net-reference"}
    common |= {"speedup_low": speedup * 0.99, "speedup_high": speedup * 1.01}
    common |= {"when": f"2026-01-{day:02}T00:00:00+00:00"}
    return Point(**{"cell": "net-csr", "speedup": speedup, **common, **fields})


def series(speedups, changes=(), **fields):
    points = tuple(point(day, speedup, **fields) for day, speedup in enumerate(speedups, start=1))
    first = points[0]
    return Series(first.cell, first.machine, first.machine_key, first.reference, points, changes)


STEPPED = series([2.0, 2.0, 2.0, 1.5, 1.5, 1.5], (Change(3, 0.75),))
FLAT = series([1.0, 1.01, 1.0], cell="net-dense")


def row(text, cell):
    (line,) = [line for line in text.splitlines() if f" {cell} " in line]
    return line


def test_a_row_has_the_course_the_last_value_and_the_changes_against_first_and_previous():
    text = as_history([STEPPED, FLAT], width=200)
    line = row(text, "net-csr")
    assert "███|▁▁▁" in line
    assert "1.50x [1.48, 1.52]" in line
    against_first, against_previous, change = line.partition("1.52]")[2].split(" %")[:3]
    assert (against_first.strip(), against_previous.strip()) == ("-25.0", "+0.0")
    assert change.split() == ["04" * 4, "-25.0"]
    assert "|" not in row(text, "net-dense")
    assert " 6 " in line
    assert "ruptures" not in text


def test_a_single_run_has_nothing_before_it():
    text = as_history([series([2.0])], width=200)
    assert row(text, "net-csr").split()[-2:] == ["-", "-"]
    assert "changed at" not in text


def test_noise_makes_no_mountains_and_a_doubling_does():
    assert set(sparkline([1.0, 1.004, 0.997])) <= set("▄▅")
    assert sparkline([1.0, 2.0]) == "▁█"
    assert sparkline([1.0]) == sparkline([7.0])


def test_a_long_series_is_cut_and_its_marks_stay_where_they_belong():
    text = sparkline([1.0] * 30 + [2.0] * 5, [30])
    assert text == "…" + "▁" * 11 + "|" + "█" * 5
    assert "|" not in sparkline([1.0] * 5 + [2.0] * 30, [5])


def test_machines_and_references_are_told_apart_only_where_there_are_several():
    other = series([2.0], machine_key="9a9a")
    both = as_history([STEPPED, other], width=200)
    assert "amd-2cpu (0f12)" in both
    assert "amd-2cpu (9a9a)" in both
    assert "machine" not in as_history([STEPPED], width=200).splitlines()[0]
    over = as_history([STEPPED, series([2.0], reference="another")], width=200)
    assert "another" in over
    assert "net-reference" not in as_history([STEPPED, FLAT], width=200)


def test_a_contaminated_run_is_marked():
    text = as_history([series([1.0, 1.0], steal=0.2)], width=200)
    assert "1.000x [0.990, 1.010] (!)" in text
    runs = as_runs([series([1.0, 1.0], steal=0.2)], width=300)
    assert "(!) other tenants took 20.0 % of the processor" in runs


def test_where_nobody_looked_for_changes_it_says_why():
    text = as_history([dataclasses.replace(STEPPED, changes=None)], width=200)
    assert "ruptures is not installed: pip install 'sparsemark[history]'" in text
    assert "|" not in text


def test_every_run_of_a_cell_has_its_row():
    scored = series([2.0, 1.0], (Change(1, 0.5),), metric="f1", score=0.91, artifact_bytes=1234567)
    lines = as_runs([scored], width=200).splitlines()
    assert lines[0] == "net-csr on amd-2cpu, over net-reference"
    first, second = (line for line in lines if "2026-01-" in line)
    assert "01010101" in first
    assert "f1 0.9100" in first
    assert "1,234,567" in first
    assert "-50.0 %" in second
    assert "| new level, -50.0 %" in second
    assert "new level" not in first


def test_nothing_of_a_history_steers_the_terminal():
    texts = ("cell", "machine", "machine_key", "reference", "commit", "metric")
    evil = series([2.0, 1.0], (Change(1, 0.5),), score=0.5, **dict.fromkeys(texts, NASTY))
    other = dataclasses.replace(evil, machine_key="x")
    for text in (as_history([evil, other]), as_runs([evil, other])):
        assert all(character.isprintable() or character == "\n" for character in text)


# --- the figure

FIGURES = ("history.svg", "history.png", "UPPER.SVG")


@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_is_what_its_name_says(name, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "new" / name
    draw_history([STEPPED, FLAT], path)
    content = path.read_bytes()
    assert content.startswith(b"<?xml" if name.lower().endswith("svg") else b"\x89PNG")
    draw_history([STEPPED, FLAT], path)
    assert path.read_bytes() == content, "the same numbers are the same file"


@pytest.mark.parametrize("name", ["history.pdf", "history", "svg"])
def test_another_name_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"expected a name that ends in \.svg or \.png"):
        check_figure_name(tmp_path / name)


def test_a_panel_has_points_levels_and_changes():
    pytest.importorskip("matplotlib")
    (axes,) = history_figure([STEPPED]).axes
    assert axes.get_title() == "net-csr"
    container = axes.containers[0]
    assert list(container.lines[0].get_data()[1]) == [2.0, 2.0, 2.0, 1.5, 1.5, 1.5]
    levels = [list(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 2]
    assert [2.0, 2.0] in [pytest.approx(level) for level in levels]
    assert [1.5, 1.5] in [pytest.approx(level) for level in levels]
    changes = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [list(line.get_xdata()) for line in changes] == [[2.5, 2.5]]
    low, high = axes.get_ylim()
    assert low < 1.5
    assert high > 2


def test_noise_fills_no_panel():
    pytest.importorskip("matplotlib")
    (axes,) = history_figure([FLAT]).axes
    low, high = axes.get_ylim()
    assert high / low > 1.09


def test_too_many_series_leave_out_those_that_changed_least(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr("sparsemark.report.figures.history.history_figure", drawn.append)
    monkeypatch.setattr("sparsemark.report.figures.history.caption", lambda figure, line: drawn.append(line))
    monkeypatch.setattr("sparsemark.report.figures.history.save", lambda figure, path: None)
    many = [series([1.0, 1.0 + i / 100], cell=f"c{i}") for i in range(MOST_PANELS + 3)]
    draw_history(many[::-1], tmp_path / "x.svg")
    shown, line = drawn
    assert [one.cell for one in shown] == [f"c{i}" for i in range(MOST_PANELS + 2, 2, -1)]
    assert "3 series that changed less are left out" in line


@pytest.mark.parametrize("name", [r"$\frac{$", "a$b$c", NASTY, "<script>&", "x" * 500])
def test_a_name_is_no_formula_and_no_markup(name, tmp_path):
    pytest.importorskip("matplotlib")
    evil = series([2.0, 1.0], (Change(1, 0.5),), cell=name, machine=name, commit=name, machine_key=name)
    draw_history([evil, dataclasses.replace(evil, machine_key="x")], tmp_path / "x.svg")
    assert "<script" not in (tmp_path / "x.svg").read_text()
