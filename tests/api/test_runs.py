"""Public run: data frame, best cell, axes, table of a notebook."""

from __future__ import annotations

import re

import pytest

import sparsemark
from sparsemark.records.run import Run
from tests.report.runs import BARE, RUNS, of, replace, rescored, scored
from tests.synthetic import study_run


def run_of(run):
    return sparsemark.Run.of(run)


@pytest.fixture
def study():
    return run_of(study_run())


@pytest.mark.parametrize("name", RUNS)
def test_frame_has_a_row_for_each_cell_measured_or_not(name):
    run = run_of(RUNS[name])
    frame = run.to_frame()
    assert list(frame.index) == [m.name for m in run.measurements]
    assert list(frame["status"]) == [m.status for m in run.measurements]


def test_frame_has_the_numbers_unrounded(study):
    frame = study.to_frame()
    for m in study.measured():
        row = frame.loc[m.name]
        assert (row["p50_ms"], row["speedup"], row["accuracy"]) == (m.p50_ms, m.speedup, m.scores["accuracy"].value)


@pytest.mark.parametrize(
    ("keep", "pruning", "engine"),
    [(0.95, "channels:0.9", "ncnn"), (0.99, "channels:0.7", "ncnn"), (1.0, "channels:0.3", "ncnn")],
)
def test_best_is_the_fastest_that_keeps_so_much_of_the_dense_score(study, keep, pruning, engine):
    best = study.best(keep)
    assert (best.pruning, best.engine) == (pruning, engine)


def test_best_keeps_99_percent_unless_told_otherwise(study):
    assert study.best() is study.best(0.99)


def test_lower_may_be_better(study):
    errors = rescored(study_run(), "error", value=lambda s: 1 - s.value, low=None, high=None, higher_is_better=False)
    # 0.12 dense; 0.126 at 70 %, 0.121 at 50 %.
    assert run_of(errors).best(0.99).pruning == "channels:0.5"
    assert run_of(errors).best(0.94).pruning == "channels:0.7"


def test_pruned_network_without_a_score_is_never_the_best():
    unscored = replace(study_run(), lambda m: True, scores={})
    assert run_of(unscored).best().method == "none"


def test_where_the_dense_network_has_no_score_none_pruned_is_known_to_keep_it():
    unknown = replace(study_run(), lambda m: m.method == "none", scores={})
    assert run_of(unknown).best().method == "none"


def test_controls_are_not_chosen_and_where_nothing_is_faster_it_is_the_reference():
    kept = [m for m in study_run().measurements if m.engine == "onnxruntime" and "channels" not in m.method]
    best = run_of(Run(tuple(kept))).best()
    assert best.name == "cnn9-dense-seed0-onnxruntime"


def test_worthless_but_fast_is_passed_over(study):
    ruined = replace(study, of(engine="ncnn"), **scored(0.1))
    best = run_of(ruined).best()
    assert (best.pruning, best.engine) == ("magnitude:0.7", "direct-csr")


def test_nothing_measured_has_no_best():
    assert run_of(RUNS["nothing ran"]).best() is None


@pytest.mark.parametrize("keep", [0, 1.01, -1])
def test_share_is_checked(study, keep):
    with pytest.raises(sparsemark.UserError, match=r"^keep "):
        study.best(keep)


def test_network_of_several_has_to_be_named():
    run = run_of(RUNS["two networks"])
    for ask in (run.best, run.plot):
        with pytest.raises(sparsemark.UserError, match="expected one of cnn9, unet"):
            ask()
    assert run.best(model="unet").model == "unet"
    with pytest.raises(sparsemark.UserError, match="'vgg': expected one of cnn9, unet"):
        run.best(model="vgg")


def test_plot_is_of_the_score_where_there_is_one_else_of_sparsity(study):
    pytest.importorskip("matplotlib")
    assert "accuracy" in study.plot().get_ylabel()
    unscored = run_of(replace(study_run(), lambda m: True, scores={}))
    assert "times as fast" in unscored.plot().get_ylabel()
    with pytest.raises(sparsemark.UserError, match="nothing to draw"):
        run_of(Run((BARE,))).plot()


def test_notebook_shows_the_report_as_one_element(study):
    shown = study._repr_html_()
    assert re.match(r"<div>\n<p class=\"headline\">", shown)
    assert shown.endswith("</div>\n")
    assert shown.count("<tr class=") == len([m for m in study.measured() if m.control is None])
    for foreign in ("<html", "<body", "<style", "<script"):
        assert foreign not in shown


def test_file_is_loaded_as_what_programs_see(tmp_path, study):
    study.save(tmp_path / "run.json")
    loaded = sparsemark.Run.load(tmp_path / "run.json")
    assert isinstance(loaded, sparsemark.Run)
    assert loaded.best().name == study.best().name
