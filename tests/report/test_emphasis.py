"""Emphasis in charts: of many series the best three are in colour, by the rule that chooses a configuration."""

from __future__ import annotations

import json
import re

import pytest

from sparsemark.analysis.front import answers
from sparsemark.cli.pages import comparison_page
from sparsemark.engines import ENGINES
from sparsemark.records.engine_note import EngineNote
from sparsemark.report import render, wording
from sparsemark.report.emphasis import IN_COLOUR, MANY, best_first, coloured, in_colour, keeping
from sparsemark.report.figures.score_sparsity import score_against_sparsity
from sparsemark.report.figures.score_speedup import score_against_speedup
from sparsemark.report.figures.speedup_sparsity import speedup_against_sparsity
from sparsemark.report.page import library
from sparsemark.report.page.colours import engine_colours
from sparsemark.report.page.orders import OUTLINES
from sparsemark.report.page.vega import REST as REST_OF_PAGES
from sparsemark.report.style import REST, engine_looks
from tests.report.pages import more_engines
from tests.report.runs import RUNS, dense_of, drawn, masked, of, replace, scored

FEW, SEVERAL = RUNS["study"], more_engines(4)


@pytest.fixture(autouse=True)
def _charts(monkeypatch):
    monkeypatch.setattr(library, "is_installed", lambda: True)
    monkeypatch.setattr(library, "vega_bundle", lambda: "window.sparsemarkVega = null;")


def data_of(page):
    return json.loads(re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)[1])


def test_what_keeps_the_score_comes_first_and_then_what_is_fast_by_its_lower_end():
    series = {"lossy": [(9.0, False)], "slow": [(0.5, True)], "fast": [(1.0, True), (3.0, False), (2.0, True)]}
    assert best_first(series) == ["fast", "slow", "lossy"]
    unscored = {name: [(low, False) for low, _ in members] for name, members in series.items()}
    assert best_first(unscored) == ["lossy", "fast", "slow"]
    assert best_first({}) == []


@pytest.mark.parametrize("count", [0, 1, MANY, MANY + 1, 40])
def test_few_series_are_all_in_colour(count):
    names = [f"{n}" for n in range(count)]
    assert in_colour(names) == set(names if count <= MANY else names[:IN_COLOUR])
    assert bool(coloured({name: [(1.0, True)] for name in names})) == (in_colour(names) != set(names))


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (0, "of 7 the 3 fastest"), (1, "of 7 the 1 that keeps the score, then the fastest"),
        (2, "of 7 the 2 that keep the score, then the fastest"),
        (3, "of 7 the 3 fastest\nthat keep the score"), (7, "of 7 the 3 fastest\nthat keep the score"),
    ],
)  # fmt: skip
def test_best_are_called_no_more_series_than_keep_the_score(kept, said):
    series = {n: [(1.0, n < kept), (2.0, False)] for n in range(MANY + 1)}
    assert coloured(series) == f"\nin colour: {said}"
    assert coloured(series, "most removed") == f"\nin colour: {said.replace('fastest', 'most removed')}"
    assert keeping(series) == list(range(kept))


@pytest.mark.parametrize("run", [FEW, SEVERAL], ids=["few", "several"])
def test_the_first_series_of_a_page_is_that_of_the_answer(run):
    (answer,) = answers(run.measurements)
    runner = wording.runner(answer.best.measurement, {})
    (frame,) = data_of(render(run, "html"))["frames"].values()
    order = frame["order"]
    assert order["front"][0] == runner
    assert {"front", "course-0", "course-1"} == set(order)
    assert all(len(set(names)) == len(names) for names in order.values())


def test_without_a_score_speed_alone_ranks():
    run = replace(SEVERAL, lambda m: True, scores={})
    (frame,) = data_of(render(run, "html"))["frames"].values()
    fastest = max((m for m in run.measured() if m.method == "magnitude"), key=lambda m: m.speedup_low)
    assert frame["order"]["course-0"][0] == wording.runner(fastest, {})
    assert "front" not in frame["order"]


def test_symbols_of_a_page_are_of_several_outlines():
    emphasis = data_of(render(FEW, "html"))["emphasis"]
    assert emphasis["markers"] == [list(one) for one in OUTLINES.items()]
    assert (emphasis["many"], emphasis["inColour"]) == (MANY, IN_COLOUR)
    assert len(set(OUTLINES.values())) == len(OUTLINES) > MANY


def inks_of(axes):
    return {name: handle.lines[0].get_color() for name, handle in drawn(axes).items()}


def test_figures_of_speed_draw_three_lines_in_colour_and_the_others_with_markers_of_their_own():
    pytest.importorskip("matplotlib")
    for axes in speedup_against_sparsity(FEW.measurements, {}).axes:
        assert REST not in inks_of(axes).values()
        assert "in colour" not in axes.get_title()
    masks, channels = speedup_against_sparsity(SEVERAL.measurements, {}).axes
    inks = inks_of(masks)
    assert len(inks) == 10
    assert {name for name, ink in inks.items() if ink != REST} == {"direct CSR", "ncnn", "ONNX Runtime"}
    assert masks.get_title().endswith("\nin colour: of 10 the 3 fastest\nthat keep the score")
    markers = [handle.lines[0].get_marker() for handle in drawn(masks).values()]
    assert len(set(markers)) == len(markers)
    names = {text.get_text().partition(",")[0]: text.get_color() for text in masks.texts}
    assert names["engine3"] == REST, "it is named all the same"
    thick = {name: handle.lines[0].get_linewidth() for name, handle in drawn(masks).items()}
    assert thick["engine3"] < thick["ncnn"]
    assert len([ink for ink in inks_of(channels).values() if ink != REST]) == 3


def test_a_fast_line_that_loses_the_score_is_not_among_the_best():
    pytest.importorskip("matplotlib")
    lossy = replace(SEVERAL, of("magnitude", "direct-csr"), **scored(0.5))
    masks, _ = speedup_against_sparsity(lossy.measurements, {}).axes
    assert inks_of(masks)["direct CSR"] == REST
    assert inks_of(speedup_against_sparsity(SEVERAL.measurements, {}).axes[0])["direct CSR"] != REST


def test_figures_of_scores_draw_three_engines_and_three_kinds_in_colour():
    matplotlib = pytest.importorskip("matplotlib.colors")
    (axes,) = score_against_speedup(SEVERAL.measurements, {}).axes
    handles, labels = axes.get_legend_handles_labels()
    assert "in colour: of 10 the 3 fastest\nthat keep the score" in labels
    engines = {wording.engine_name(m.engine, {}) for m in SEVERAL.measured()}
    rest = matplotlib.to_rgba(REST)
    inks = {
        label: tuple(one.get_facecolor()[0]) for one, label in zip(handles, labels, strict=True) if label in engines
    }
    assert len(inks) == 10
    assert {label for label, ink in inks.items() if ink != rest} == {"ncnn", "direct CSR", "ONNX Runtime"}
    (few,) = score_against_speedup(FEW.measurements, {}).axes
    assert not any("in colour" in label for label in few.get_legend_handles_labels()[1])
    methods = ("magnitude", "lamp", "block4", "nm24", "threshold", "filters", "magnitude-layerwise")
    kept = {"lamp": 0.9, "block4": 0.892, "magnitude": 0.893}
    rows = [masked(method, share, kept.get(method, 0.5)) for method in methods for share in (0.5, 0.7, 0.9)]
    figure = score_against_sparsity([dense_of(0, 0.9), *rows])
    inks = inks_of(figure.axes[0])
    assert {name for name, ink in inks.items() if ink != REST} == set(kept)
    assert figure.axes[0].get_title().endswith("in colour: of 7 the 3 most removed\nthat keep the score")


def test_two_runs_over_each_other_have_three_engines_in_colour():
    page = comparison_page(SEVERAL, SEVERAL)
    charts = data_of(page)["charts"]
    for name in ("both-front-0", "both-course-0"):
        (colour,) = (scale for scale in charts[name]["scales"] if scale["name"] == "colour")
        assert len(colour["domain"]) == 10
        assert len([ink for ink in colour["range"] if ink != REST_OF_PAGES]) == IN_COLOUR
        (shape,) = (scale for scale in charts[name]["scales"] if scale["name"] == "shape")
        assert shape["domain"] == colour["domain"]
    assert "grey: all but the best three of a chart" in page
    assert "grey: all but" not in comparison_page(FEW, FEW)


def test_a_figure_without_a_score_speaks_of_the_fastest():
    pytest.importorskip("matplotlib")
    unscored = replace(SEVERAL, lambda m: True, scores={})
    masks, _ = speedup_against_sparsity(unscored.measurements, {}).axes
    assert masks.get_title().endswith("\nin colour: of 10 the 3 fastest")


def test_no_engine_is_as_grey_as_what_is_not_among_the_best():
    """DeepSparse was, and a run remembers the look that an engine had when it was made."""
    notes = {name: EngineNote(name, "#7F7F7F", "*", "--") for name in ENGINES}
    for found in ({}, notes):
        for look in engine_looks(ENGINES, found).values():
            channels = [int(look.colour[place : place + 2], 16) for place in (1, 3, 5)]
            assert max(channels) - min(channels) > 40 or max(channels) == 0
        assert {colour.light for colour in engine_colours(ENGINES, found).values()}.isdisjoint({"#7f7f7f"})
