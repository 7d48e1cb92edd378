"""Page of a report without a browser: what it says, what it holds, and what is absent."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sparsemark.analysis.comparison import speedup_of
from sparsemark.measurement.parity import TOLERANCE
from sparsemark.records.run import Run
from sparsemark.report import render, trust, wording
from sparsemark.report.advice import advice
from sparsemark.report.deployment import Deployment
from sparsemark.report.findings import findings_of
from sparsemark.report.page import colours, files, library, summary, vega
from sparsemark.report.page import render as page_render
from sparsemark.report.page.cells import kind_of
from sparsemark.report.page.charts import panel_frames
from sparsemark.report.scores import Scoring
from tests.report.pages import HOSTILE, LONG, many, named
from tests.report.runs import FAILED, RUNS, of, replace, rescored, without_scripts
from tests.synthetic import cell

BUNDLE = "window.sparsemarkVega = null;"
"""Stands for Vega where no browser runs it."""


@pytest.fixture(autouse=True)
def _charts(monkeypatch):
    """Charts as if vl-convert were there, without the seconds that its bundle takes."""
    monkeypatch.setattr(library, "is_installed", lambda: True)
    monkeypatch.setattr(library, "vega_bundle", lambda: BUNDLE)


def data_of(page):
    text = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page, re.DOTALL)[1]
    return json.loads(text)


def test_the_records_are_the_measured_cells():
    run = RUNS["study"]
    records = {record["name"]: record for record in data_of(render(run, "html"))["cells"]}
    timed = [m for m in run.measured() if m.control is None or m.control == "aa"]
    assert set(records) == {m.name for m in timed}
    for m in timed:
        speedup, record = speedup_of(m), records[m.name]
        assert record["speedup"] == [speedup.estimate, speedup.low, speedup.high]
        assert record["score"][0] == pytest.approx(100 * m.scores["accuracy"].value)
        assert len(record["blocks"]) == len(m.samples_s) // m.block


def test_the_chosen_cell_is_that_of_the_headline():
    page = render(RUNS["study"], "html")
    (chosen,) = (record for record in data_of(page)["cells"] if record["chosen"])
    assert chosen["name"] == "cnn9-channels70-seed0-ncnn"
    assert "<b>channels 70\u00a0%</b>" in page
    assert chosen["onFront"]


def test_a_dominated_cell_names_what_dominates_it():
    records = {record["name"]: record for record in data_of(render(RUNS["study"], "html"))["cells"]}
    assert "channels 70 % on ncnn is as fast and as good" in records["cnn9-channels70-seed0-torch"]["below"]
    assert records["cnn9-channels70-seed0-ncnn"]["below"] == ""


def test_lines_have_three_points_or_none():
    few = dataclasses.replace(
        RUNS["study"], measurements=tuple(m for m in RUNS["study"].measurements if m.sparsity_target in (0, 0.5, 0.9))
    )
    points = data_of(render(few, "html"))["course"]
    by_line = {}
    for point in points:
        by_line.setdefault((point["panel"], point["line"]), []).append(point)
    assert by_line["weights zeroed", "ncnn"]
    for line, found in by_line.items():
        assert {point["lined"] for point in found} == {len({point["x"] for point in found}) > 2}, line


def test_a_name_of_a_stranger_is_text_everywhere():
    for name in (HOSTILE, LONG):
        page = render(named(name), "html")
        assert "49" not in re.findall(r"<title>(.*?)</title>", page)[0]
        assert "<img" not in without_scripts(page)
        assert page.count("<script") == 3
        assert name in [record["model"] for record in data_of(page)["cells"]]


@pytest.mark.parametrize("name", RUNS)
def test_every_run_has_a_page_that_says_what_is_there(name):
    page = render(RUNS[name], "html")
    if not RUNS[name].measured():
        assert "Nothing was measured" in page
        assert "page-data" not in page
    else:
        assert len(data_of(page)["cells"]) == len(RUNS[name].measured())
    for m in RUNS[name].measurements:
        assert m.reason is None or m.reason in page


def test_an_empty_run_has_a_page():
    assert "Nothing was measured: no cells." in render(Run(()), "html")


def test_charts_without_numbers_are_left_out():
    bare = data_of(render(RUNS["one bare row"], "html"))
    assert bare["charts"] == {}
    unscored = data_of(render(replace(RUNS["study"], lambda m: True, scores={}), "html"))
    assert "front" not in unscored["charts"]
    assert {"course-0", "course-1", "strip"} <= set(unscored["charts"])


def test_many_cells_are_all_there():
    page = render(many(400), "html")
    assert len(data_of(page)["cells"]) == 400
    assert page.count("<tr data-name=") == 400


def test_without_the_library_there_are_figures_or_tables(monkeypatch):
    monkeypatch.setattr(library, "is_installed", lambda: False)
    page = render(RUNS["study"], "html")
    assert "<script" not in page
    assert "pip install &#39;sparsemark[page]&#39;" in page
    assert ("data:image/svg+xml" in page) == (importlib.util.find_spec("matplotlib") is not None)
    monkeypatch.setattr(page_render, "static_figures", lambda run: [])
    assert page.count("<tr data-name=") == render(RUNS["study"], "html").count("<tr data-name=")


def test_what_did_not_run_stands_above_the_charts():
    page = render(Run((*RUNS["study"].measurements, *FAILED)), "html")
    assert page.index(FAILED[0].reason) < page.index('id="filters"')


def test_the_policy_of_the_page_allows_its_own_scripts_alone():
    page = render(RUNS["study"], "html")
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]
    assert "default-src &#39;none&#39;" in policy or "default-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert [files.digest(script) in policy for script in scripts] == [True, True]
    assert "unsafe-inline" not in policy.partition("script-src")[2]


@pytest.mark.parametrize(
    ("fields", "grade"),
    [
        ({"speedup": 2.0, "speedup_low": 1.97, "speedup_high": 2.03, "launches": 3}, "A"),
        ({"speedup": 2.0, "speedup_low": 1.9, "speedup_high": 2.1, "launches": 3}, "B"),
        ({"speedup": 2.0, "speedup_low": 1.97, "speedup_high": 2.03, "launches": 1}, "B"),
        ({"speedup": 2.0, "speedup_low": 1.97, "speedup_high": 2.03, "launches": 1, "steal": 0.5}, "C"),
        ({"speedup": 2.0, "speedup_low": 1.5, "speedup_high": 2.1, "launches": 3}, "C"),
        ({"speedup": 2.0, "speedup_low": 1.0, "speedup_high": 3.0, "launches": 1, "steal": 0.5}, "D"),
        ({"speedup": None, "launches": 3}, "D"),
    ],
)
def test_trust_falls_with_width_disturbance_and_few_processes(fields, grade):
    m = dataclasses.replace(cell(), reference_drift=0.0, steal=fields.get("steal", 0.0))
    m = dataclasses.replace(m, **fields)
    assert trust.grade(m) == grade
    assert bool(trust.reasons(m)) == (grade != "A")


def test_colours_can_be_told_from_both_grounds():
    found = colours.engine_colours(["direct-csr", "onnxruntime", "unheard-of"], {})
    for colour in found.values():
        light, dark = (colours._luminance(colours._channels(text)) for text in (colour.light, colour.dark))
        assert (1.05 / (light + 0.05)) >= 3
        assert (dark + 0.05) / (colours._luminance(colours._channels("#16191d")) + 0.05) >= 3


def test_the_axis_of_ratios_holds_all_and_has_ticks():
    for values in ([], [0.05, 9.0], [0.98, 1.03], [1.2, 1.9]):
        (low, high), ticks = vega.ratio_axis(values)
        assert low < min([1.0, *values]) <= max([1.0, *values]) < high
        assert len(ticks) >= 2
        assert all(low <= tick <= high for tick in ticks)


def test_the_limit_of_parity_is_that_of_the_measurement():
    assert page_render.PARITY_LIMIT == TOLERANCE


def test_the_page_says_that_all_cells_shown_pass_parity():
    run = replace(RUNS["study"], lambda m: m.engine == "torch", parity_max_rel=1e-6)
    assert "timed cells pass: " in render(run, "html")
    assert "one step of the quantised output" not in render(run, "html")
    mixed = replace(run, lambda m: m.engine == "ncnn", precision="int8", parity_max_rel=1e-3)
    assert "one step of the quantised output" in render(mixed, "html")
    (limited,) = (one for one in data_of(render(mixed, "html"))["charts"]["parity"]["data"] if one["name"] == "limited")
    assert limited["transform"][0]["expr"] == "datum.precision === 'fp32'"


def test_controls_are_their_own_kind():
    kinds = {m.name: kind_of(m) for m in RUNS["study"].measured()}
    assert kinds["cnn9-dense-seed0-onnxruntime-aa"] == kinds["cnn9-random90-seed0-onnxruntime"] == "control"
    assert kinds["cnn9-channels70-seed0-ncnn"] == "channels removed"


def test_the_tile_of_the_machine_goes_by_disturbance_and_by_the_control():
    quiet = replace(RUNS["study"], of(control="aa"), speedup=1.0, speedup_low=0.995, speedup_high=1.005)
    assert summary.machine_tile(quiet).tone == "fit"
    wrong = replace(RUNS["study"], of(control="aa"), speedup=0.95, speedup_low=0.94, speedup_high=0.96)
    assert summary.machine_tile(wrong).tone == "unfit"
    assert summary.machine_tile(wrong).more == (
        "dense against itself 0.950x [0.940, 0.960]: differences below 6 % cannot be trusted here"
    )
    alone = Run(tuple(m for m in quiet.measurements if m.control is None))
    row = next(filter(of("none", "onnxruntime"), alone.measurements))
    assert summary.machine_tile(alone).more.startswith(f"dense against itself {wording.ratio(speedup_of(row))}: ")
    assert summary.machine_tile(replace(quiet, of("channels"), steal=0.3)).tone == "noisy"
    assert summary.machine_tile(replace(quiet, lambda m: True, steal=0.3)).tone == "unfit"


def test_the_dense_time_of_the_tile_is_that_of_the_table():
    """The tile showed the median of the reference's blocks beside the chosen cell, which no table has."""
    run = replace(RUNS["study"], of("none", "onnxruntime"), p50_ms=14.5)
    (found,) = summary.summaries(run, None, Scoring.of(run.measurements), Deployment())
    assert found.tiles[2].words == "a call, median; dense 14.5"
    row = next(m for m in run.measurements if m.name == found.cells[0])
    bare = replace(run, of("none", "onnxruntime"), p50_ms=None)
    (found,) = summary.summaries(bare, None, Scoring.of(bare.measurements), Deployment())
    assert found.tiles[2].words == f"a call, median; dense {wording.milliseconds(row.reference_p50_ms)}"


def test_a_choice_that_is_not_certain_is_a_candidate_with_what_to_do_first():
    """The command to deploy stood under "not certain", and what to do about it in a bullet below."""
    page = without_scripts(render(RUNS["study"], "html"))
    assert "Deploy:" in page
    assert "If it holds" not in page
    noisy = replace(RUNS["study"], lambda m: m.status == "measured", steal=0.3)
    page = without_scripts(render(noisy, "html"))
    (box,) = re.findall(r'<div class="deploy">(.*?)</div>', page, re.DOTALL)
    assert box.startswith("<p>Not certain: sparsemark doctor shows what disturbs this machine; measure again")
    assert "If it holds, deploy:" in box
    assert "candidate, on ncnn" in page
    assert "to deploy, on" not in page
    assert page.count("sparsemark doctor shows") == 1
    unscored = replace(noisy, lambda m: True, scores={})
    assert "next: sparsemark doctor shows" in without_scripts(render(unscored, "html")), "there is no box"


def test_each_network_has_a_tile_of_the_machine_by_its_own_cells():
    """The page showed the control of the last network beside the speedup of the first."""
    calm = {"speedup": 1.0, "speedup_low": 0.995, "speedup_high": 1.005}
    off = {"speedup": 0.95, "speedup_low": 0.94, "speedup_high": 0.96}
    run = replace(RUNS["two networks"], of(control="aa"), **calm)
    run = replace(run, lambda m: m.control == "aa" and m.model == "unet", **off)
    run = replace(run, lambda m: m.model == "unet" and m.engine == "ncnn", steal=0.3)
    found = summary.summaries(run, None, Scoring.of(run.measurements), Deployment())
    tiles = {one.model: one.tiles[-1] for one in found}
    assert (tiles["cnn9"].tone, tiles["unet"].tone) == ("fit", "unfit")
    cells = sum(m.model == "unet" for m in run.measured())
    assert (tiles["cnn9"].words, tiles["unet"].words) == (
        f"0 of {cells} timed cells disturbed",
        f"9 of {cells} timed cells disturbed",
    )
    assert tiles["cnn9"].more.startswith("dense against itself 1.000x")
    assert tiles["unet"].more.startswith("dense against itself 0.950x")
    assert summary.machine_tile(run).number == "the clock disagrees: unet"
    page = without_scripts(render(run, "html"))
    assert page.count(" timed cells disturbed<") == 2
    assert "<li>unet: the clock disagrees: dense against itself 0.950x" in page


def test_one_engine_is_enough_for_charts():
    rows = tuple(m for m in RUNS["study"].measurements if m.engine == "onnxruntime")
    data = data_of(render(dataclasses.replace(RUNS["study"], measurements=rows), "html"))
    assert {"front", "course-0", "course-1", "strip", "tails"} <= set(data["charts"])


ROWS = [m for m in RUNS["study"].measured() if m.control is None]
BAD = {
    "one cell": Run(tuple(ROWS[:1])),
    "only failures": Run(FAILED),
    "one engine": Run(tuple(m for m in ROWS if m.engine == "ncnn")),
    "no accuracy": replace(RUNS["study"], lambda m: True, scores={}),
    "two thousand cells": many(2000),
}
SCRIPTS = {"Arabic": "\u0634\u0628", "Devanagari": "\u0928\u093e", "emoji": "\U0001f9e0\U0001f4c8", "Latin": "ab"}
BAD |= {f"names of 200 in {script}": named(word * 100) for script, word in SCRIPTS.items()}


@pytest.mark.parametrize("name", BAD)
def test_bad_and_odd_runs_have_a_page_that_says_what_is_there(name):
    run = BAD[name]
    page = render(run, "html")
    assert page.count("<h1>") >= 1
    assert page.count("<tr data-name=") == len([m for m in run.measured() if m.control is None])
    if run.measured():
        assert {record["name"] for record in data_of(page)["cells"]} == {m.name for m in run.measured()}
    for m in run.measurements:
        assert m.reason is None or m.reason in page


def test_the_answer_says_the_same_counts_as_the_tile():
    noisy = replace(RUNS["study"], lambda m: m.engine in ("onnxruntime", "torch", "torch-csr"), steal=0.3)
    (line,) = (line for line in advice(noisy) if line.startswith("not certain: "))
    assert summary.machine_tile(noisy).words == line.removeprefix("not certain: ")


def test_a_page_is_written_without_torch_and_is_small():
    script = (
        "import sys; from pathlib import Path; from sparsemark.records.run import Run; "
        "from sparsemark.report import render; run = Run.load(Path(sys.argv[1])); page = render(run, 'html'); "
        "assert 'torch' not in sys.modules; print(len(page.encode()))"
    )
    committed = Path(__file__).parents[2] / "results/amd-epyc-2cpu-avx2/cnn9.json"
    done = subprocess.run(
        [sys.executable, "-c", script, str(committed)], check=True, capture_output=True, text=True, env=os.environ
    )
    assert int(done.stdout) < 1_000_000


def test_the_green_of_the_front_says_what_it_keeps_and_which_way_is_better():
    page = render(RUNS["study"], "html")
    (frame,) = data_of(page)["frames"].values()
    assert frame["up"]
    assert frame["keeps"] == "keeps the score: within one point of accuracy"
    assert "Up is better, right is faster." in page
    page = render(rescored(RUNS["study"], "mae", higher_is_better=False), "html")
    (frame,) = data_of(page)["frames"].values()
    assert not frame["up"]
    assert frame["score"].endswith("(lower is better)")
    assert "Down is better, right is faster." in page


def test_the_table_answers_first_and_leaves_out_what_is_empty():
    titles = re.findall(r'data-title="(.*?)"', render(RUNS["study"], "html"))
    assert titles[:2] == ["pruned", "engine"]
    place = titles.index("speedup [95 %]")
    assert titles[place + 1].startswith("accuracy %")
    assert titles[place + 2] == "trust"
    unscored = render(replace(RUNS["study"], lambda m: True, scores={}, agreement_with_dense=None), "html")
    without = re.findall(r'data-title="(.*?)"', unscored)
    assert {"pruned", "engine", "speedup [95 %]", "trust"} <= set(without)
    assert not [title for title in without if title.startswith("accuracy")]


def test_marks_of_the_table_are_explained_where_there_are_any():
    page = render(RUNS["study"], "html")
    assert "green is faster than the reference" in page
    assert "beaten by that row" in page
    assert "(x16): channels" not in page
    rounded = replace(RUNS["study"], of("channels"), round_to=16, pruning=None)
    assert "(x16): channels in multiples of 16" in render(rounded, "html")
    assert "green is faster" not in render(RUNS["one row"], "html")


def test_the_words_on_tails_name_the_percentiles_that_are_drawn():
    page = render(RUNS["study"], "html")
    assert "90 of 100 calls end by the dot." in page
    assert "99 by the square" in render(replace(RUNS["study"], lambda m: True, p99_ms=30.0), "html")
    (reference,) = (record for record in data_of(page)["cells"] if record["reference"])
    assert reference["name"] == "cnn9-dense-seed0-onnxruntime"


def test_the_tile_of_the_score_says_on_how_many_inputs_and_which_loss_is_possible():
    sure = rescored(RUNS["study"], "accuracy", input_count=400, loss_low=-0.002, loss_high=0.021)
    assert ": accuracy, 400 inputs; a loss of up to 2.1 points is possible (95 %)<" in render(sure, "html")
    assert "accuracy; dense 88.0, change -0.6 [-2.1, +0.2] points<" in render(sure, "html")
    better = rescored(RUNS["study"], "accuracy", input_count=400, loss_low=-0.02, loss_high=-0.001)
    assert ": accuracy, 400 inputs; a loss is excluded (95 %)<" in render(better, "html")
    with_ends = rescored(RUNS["study"], "accuracy", low=lambda s: s.value - 0.03, high=lambda s: s.value + 0.02)
    assert re.search(r"accuracy \[\d\d\.\d, \d\d\.\d\]; dense 88\.0", render(with_ends, "html"))


def test_the_title_says_threads_and_batch_and_breaks_no_arrow():
    page = render(RUNS["study"], "html")
    assert ", threads 1, batch 1</div>" in page
    (title,) = re.findall(r"<h1>(.*?)</h1>", page)
    assert title.endswith("88.0 \u2192 87.4.")


def test_what_the_run_says_stands_before_the_table():
    page = render(RUNS["study"], "html")
    assert page.index("What it says") < page.index('id="all-title"')
    assert page.count("What it says") == 1
    (table,) = re.findall(r'<table id="says"[^>]*>(.*?)</table>', page, re.DOTALL)
    titles = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)
    assert titles == [
        "what", "verdict", "over dense ONNX Runtime", "over the same without it", "score change"
    ]  # fmt: skip
    found = findings_of(RUNS["study"])
    assert table.count("<tr>") == len(found) + 1
    assert all(f"<td>{one.verdict}<small>over {one.over}</small></td>" in table for one in found)
    assert table.count('"number decides"') == len(found)
    assert all(one.sentence not in page for one in found)
    assert "is within 3 % of 1x" in page


def test_the_capitals_of_the_command_are_explained():
    page = render(RUNS["study"], "html")
    assert "REF: the network as the run was given it, such as file.py:factory or model.onnx" in page
    assert "sparsemark.load(PATH)" not in page, "the cell to deploy is none of direct CSR"
    known = Deployment("net.py:build", folder=Path("kept"))
    assert "REF: " not in render(RUNS["study"], "html", deployment=known)


def test_scores_that_are_all_one_are_known():
    data = data_of(render(RUNS["study"], "html"))
    assert [frame["flat"] for frame in data["frames"].values()] == [False]
    assert "pace" not in data["charts"]
    data = data_of(render(rescored(RUNS["study"], "accuracy", value=0.9), "html"))
    assert [frame["flat"] for frame in data["frames"].values()] == [True]
    assert "pace" in data["charts"]


def test_the_environment_names_every_package_with_its_version():
    committed = Path(__file__).parents[2] / "results/amd-epyc-2cpu-avx512f/cnn9.json"
    for run in (RUNS["study"], Run.load(committed)):
        page = render(run, "html")
        (section,) = re.findall(r'<section id="environment">(.*?)</section>', page, re.DOTALL)
        shown = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", section))
        recorded = {name: version for name, version in run.machine_info["versions"].items() if version}
        assert shown == {"Python": run.machine_info["python"]} | recorded
        assert run.machine_info["cpu_model"].split("(")[0].strip() in section
    assert {"sparsemark", "torch", "onnxruntime", "openvino", "numba", "numpy"} <= set(shown)
    bare = dataclasses.replace(RUNS["study"], machine_info={})
    assert "Versions of packages: not recorded in this result." in render(bare, "html")
    stranger = dataclasses.replace(RUNS["study"], machine_info={"versions": {"<b>": "<i>", "gone": None}})
    assert "<dt>&lt;b&gt;</dt><dd>&lt;i&gt;</dd></dl>" in render(stranger, "html")


def test_colour_judges_no_speed_where_there_is_no_score():
    """Dense rows of fast engines were green on a page that knew no score."""
    run = replace(RUNS["study"], lambda m: True, scores={})
    page = render(run, "html")
    classes = re.findall(r'<tr data-name="[^"]*" class="(.*?)"', page)
    assert len(classes) == page.count("<tr data-name=")
    assert all(set(one.split()) <= {"reference", "unscored"} and "unscored" in one for one in classes)
    assert "green is faster" not in page
    assert "speed only: no row has a score to keep" in page
    assert "Speed only: no score says whether what is fast is still good." in page
    scored_page = render(RUNS["study"], "html")
    assert "unscored" not in " ".join(re.findall(r'<tr data-name="[^"]*" class="(.*?)"', scored_page))
    assert 'class="faster"' in scored_page
    assert "peed only" not in without_scripts(scored_page)
    other = replace(RUNS["two networks"], lambda m: m.model == "unet", scores={})
    marked = re.findall(r'<tr data-name="(.*?)" class="(.*?)"', render(other, "html"))
    assert {name.startswith("unet") for name, one in marked if "unscored" in one} == {True}
    assert {name.startswith("cnn9") for name, one in marked if "faster" in one} == {True}


def test_a_cell_that_equals_its_network_exactly_has_a_parity():
    run = replace(RUNS["study"], lambda m: True, parity_max_rel=1e-7)
    run = replace(run, of("none", "torch"), parity_max_rel=0.0)
    page = render(run, "html")
    exact = [record["name"] for record in data_of(page)["cells"] if record["parity"] == 0]
    assert exact == ["cnn9-dense-seed0-torch"]
    assert "All timed cells pass" in page
    assert '<td>cnn9-dense-seed0-torch</td><td>PyTorch</td><td class="number">0.0e+00</td>' in page


def test_the_axes_of_a_panel_fit_its_own_points():
    (frame,) = data_of(render(RUNS["study"], "html"))["frames"].values()
    zeros, channels = frame["panels"]["course-0"], frame["panels"]["course-1"]
    assert zeros["ratios"] != channels["ratios"]
    assert zeros["from"] == channels["from"] == 0
    late = Run(tuple(m for m in RUNS["study"].measurements if m.method != "none" and (m.sparsity_target or 0) > 0.4))
    frames = data_of(render(late, "html"))["frames"].values()
    assert all(panel["from"] < 50 for frame in frames for panel in frame["panels"].values())
    high = panel_frames(
        [{"model": "m", "speedup": [4.0, 3.0, 5.0]}],
        [{"cell": 0, "panel": "both", "x": x} for x in (84, 94)],
        {"c": "both"},
    )
    assert high["m"]["c"]["from"] == 80
    assert high["m"]["c"]["ratios"][1] < 6


def test_ratios_of_the_page_name_what_they_are_over():
    page = render(RUNS["study"], "html")
    assert all(frame["over"] == "times as fast as dense ONNX Runtime" for frame in data_of(page)["frames"].values())
    unscored = render(replace(RUNS["study"], lambda m: True, scores={}), "html")
    assert "over dense ONNX Runtime [7.18, 7.27], speed only" in unscored


def test_findings_stand_by_network():
    named = [one.model for one in findings_of(RUNS["two networks"])]
    assert named == sorted(named)
    assert set(named) == {"cnn9", "unet"}
    page = render(RUNS["two networks"], "html")
    (table,) = re.findall(r'<table id="says"[^>]*>(.*?)</table>', page, re.DOTALL)
    assert re.findall(r'<tr data-model="(.*?)">', table) == named
