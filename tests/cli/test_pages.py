"""Pages that commands write: of a run, of two runs, of several studies with their index."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from sparsemark.cli import main
from sparsemark.records.run import Run
from sparsemark.report.page import library
from tests.report.pages import HOSTILE
from tests.report.runs import without_scripts
from tests.synthetic import MACHINE, cell, study_run


@pytest.fixture(autouse=True)
def _charts(monkeypatch):
    """Charts without the seconds that the bundle takes."""
    monkeypatch.setattr(library, "is_installed", lambda: True)
    monkeypatch.setattr(library, "vega_bundle", lambda: "window.sparsemarkVega = null;")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def slower(m, factor):
    return dataclasses.replace(m, samples_s=tuple(factor * sample for sample in m.samples_s))


QUIET, OTHER = cell(0, name="quiet", pairs=40, process=0.0), cell(1, name="other", pairs=40, process=0.0)


def saved(*runs):
    for number, rows in enumerate(runs):
        Run(rows, MACHINE).save(Path(f"{number}.json"))


def test_two_runs_are_compared_on_a_page(folder, capsys):
    saved((QUIET, OTHER), (slower(QUIET, 1.5), OTHER))
    assert main(["compare", "0.json", "1.json", "--format", "html"]) == 0
    page = capsys.readouterr().out
    assert "1 slower, 1 not told apart; the largest slowdown: quiet, +50.0 %" in page
    assert main(["compare", "0.json", "1.json", "--format", "html", "--output", "new/two.html"]) == 0
    assert Path("new/two.html").read_text() == page
    assert '"run": "old"' in page
    assert '"run": "new"' in page
    assert page.index('data-name="quiet"') < page.index('data-name="other"')


def test_the_gate_writes_its_verdicts_as_a_page(folder, capsys):
    saved((QUIET,), (slower(QUIET, 1.5),))
    assert main(["gate", "--baseline", "0.json", "1.json", "--html", "gate.html"]) == 1
    page = without_scripts(Path("gate.html").read_text())
    assert "Gate: regression: 1" in page
    assert "<td>regression</td><td>quiet</td>" in page


def test_a_table_of_two_runs_goes_to_a_file_without_colour(folder, capsys):
    saved((QUIET,), (slower(QUIET, 1.5),))
    assert main(["compare", "0.json", "1.json", "--output", "two.txt"]) == 0
    assert "+50.0 %" in Path("two.txt").read_text()
    assert "\x1b" not in Path("two.txt").read_text()
    assert capsys.readouterr().out == ""


def test_names_on_a_page_of_two_runs_are_text(folder):
    evil = dataclasses.replace(QUIET, name=HOSTILE)
    saved((evil,), (slower(evil, 1.5),))
    assert main(["compare", "0.json", "1.json", "--format", "html", "--output", "two.html"]) == 0
    page = Path("two.html").read_text()
    assert "<img" not in page.replace("window.hit", "")
    assert page.count("<script") == 3


def test_runs_with_nothing_in_common_have_a_page(folder, capsys):
    saved((QUIET,), (OTHER,))
    assert main(["compare", "0.json", "1.json", "--format", "html"]) == 0
    page = capsys.readouterr().out
    assert "2 not compared." in page
    assert "not measured in both runs" in page


def test_an_index_links_the_page_of_every_file(folder, capsys):
    for study in ("cnn9", "unet"):
        (folder / "machine").mkdir(exist_ok=True)
        study_run(model=study).save(Path(f"machine/{study}.json"))
    files = ["machine/cnn9.json", "machine/unet.json"]
    assert main(["report", *files, "--index", "pages/index.html"]) == 0
    index = Path("pages/index.html").read_text()
    for study in ("cnn9", "unet"):
        assert f'href="{study}-machine.html"' in index
        assert study in Path(f"pages/{study}-machine.html").read_text()
    assert index.count("Prune: ") == 2


def test_two_files_with_one_page_are_refused(folder, capsys):
    study_run().save(Path("cnn9.json"))
    assert main(["report", "cnn9.json", "cnn9.json", "--index", "index.html"]) == 2
    assert "expected files of other names" in capsys.readouterr().err
    assert not Path("index.html").exists()


def test_a_path_that_cannot_be_written_is_refused_before_anything_is_measured(folder, capsys):
    Path("file").touch()
    assert main(["bench", "absent.py:build", "--html", "file/page.html"]) == 2
    assert "file/page.html" in capsys.readouterr().err


def charts_of(page):
    text = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page, re.DOTALL)[1]
    return json.loads(text)


def test_old_and_new_lie_over_each_other_in_front_and_course(folder, capsys):
    old = study_run()
    halved = [
        m if m.engine != "ncnn" or m.speedup is None
        else dataclasses.replace(
            m, speedup=m.speedup / 2, speedup_low=m.speedup_low / 2, speedup_high=m.speedup_high / 2, samples_s=()
        )
        for m in old.measurements
    ]  # fmt: skip
    old.save(Path("old.json"))
    dataclasses.replace(old, measurements=tuple(halved)).save(Path("new.json"))
    assert main(["compare", "old.json", "new.json", "--format", "html", "--output", "two.html"]) == 0
    assert main(["gate", "--baseline", "old.json", "new.json", "--html", "gate.html"]) in (0, 1, 3)
    for file in ("two.html", "gate.html"):
        values = charts_of(Path(file).read_text())["values"]
        assert {"both-front-0", "both-course-0", "both-course-1"} <= set(values)
        front = {(point["cell"], point["run"]): point for point in values["both-front-0"]}
        before, after = (front["cnn9-channels70-seed0-ncnn", run] for run in ("old", "new"))
        assert after["x"] == pytest.approx(before["x"] / 2)
        assert after["was"] == {"x": before["x"], "y": before["y"]}
        assert before["was"] is None
        assert {point["run"] for point in values["both-course-0"]} == {"old", "new"}
        page = Path(file).read_text()
        assert all(f'id="{name}"' in page for name in ("both-front-0", "both-course-1", "both-front-record"))


def test_only_cells_that_both_runs_measured_are_drawn_over_each_other(folder, capsys):
    """What stands in one run alone has no counterpart, and would read as one that vanished or appeared."""
    old = study_run()
    alone, failed = "cnn9-channels70-seed0-ncnn", "cnn9-channels50-seed0-ncnn"
    rows = [
        dataclasses.replace(m, status="error", reason="why", p50_ms=None, speedup=None) if m.name == failed else m
        for m in old.measurements
        if m.name != alone
    ]
    old.save(Path("old.json"))
    dataclasses.replace(old, measurements=tuple(rows)).save(Path("new.json"))
    assert main(["compare", "old.json", "new.json", "--format", "html", "--output", "two.html"]) == 0
    values = charts_of(Path("two.html").read_text())["values"]
    for name in ("both-front-0", "both-course-0", "both-course-1"):
        cells = {run: {point["cell"] for point in values[name] if point["run"] == run} for run in ("old", "new")}
        assert cells["old"] == cells["new"]
        assert not {alone, failed} & cells["old"]


def test_two_runs_without_scores_have_no_front(folder, capsys):
    saved((QUIET, OTHER), (slower(QUIET, 1.5), OTHER))
    assert main(["compare", "0.json", "1.json", "--format", "html"]) == 0
    assert "both-" not in json.dumps(charts_of(capsys.readouterr().out)["charts"])
