"""Reports of several folds: one point a pruning in the answer, the front and the charts; each fold in the table."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from sparsemark.analysis.front import Bar, standings, with_folds_as_one
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote
from sparsemark.report import headlines, render
from sparsemark.report.advice import advice
from sparsemark.report.conditions import conditions
from sparsemark.report.deployment import Deployment
from sparsemark.report.document import content_of
from sparsemark.report.figures.series import drawn_speedup, points_of
from sparsemark.report.figures.titles import speed_title
from sparsemark.report.findings import findings
from sparsemark.report.page import library
from sparsemark.report.page.cells import cell_records, course
from sparsemark.report.scores import Scoring
from tests.synthetic import MACHINE, accuracy, cell

FOLDS = 5


def row(fold, ms, value, method="none", engine="onnxruntime", **fields):
    pruning = "none" if method == "none" else f"{method}:0.9"
    return cell(
        10 * fold + len(method), ms, f"net-{pruning}-seed0-fold{fold}-{engine}", model="net", method=method,
        pruning=pruning, engine=engine, precision="fp32", format="onnx", seed=0, fold=fold, launches=3,
        sparsity=0.9 if method != "none" else 0.0, reference_engine="onnxruntime",
        scores=accuracy(value, low=value - 0.02, high=value + 0.02, loss_low=-0.01, loss_high=0.02),
        data=DataNote(f"split, fold {fold} of 0 to 4; {100 + fold} images", key=str(fold)),
        parity_data=DataNote(f"all {100 + fold} inputs (split, fold {fold})"), **fields,
    )  # fmt: skip


def study(count=FOLDS):
    rows = [row(fold, 15.0, 0.90 + 0.01 * fold) for fold in range(count)]
    rows += [row(fold, 5.0, 0.895 + 0.01 * fold, "channels") for fold in range(count)]
    rows += [row(fold, 3.0, 0.80 + 0.02 * fold, "magnitude", "direct-csr") for fold in range(count)]
    return Run(tuple(rows), MACHINE)


def test_the_answer_is_of_all_folds_and_says_so():
    (line,) = headlines(study())
    found = r"channels 90 % on ONNX Runtime is 3\.\d\dx \[.*\] as fast as dense ONNX Runtime, accuracy 92\.0 -> 91\.5\."
    assert re.fullmatch(rf"Prune: yes.*, {found}", line)
    first, second, *_ = advice(study())
    assert first.startswith("fastest within one point of accuracy, over five folds: channels 90 % on ONNX Runtime, 5.")
    assert first.endswith(" ms")
    assert second.startswith("over five folds: speedup and time are geometric means")
    (line,) = (line for line in advice(study()) if line.startswith("deploy"))
    assert line.startswith("deploy (fold 0, the first of five folds): ")
    assert line.endswith("--output net-channels:0.9-seed0-fold0.onnx")
    (line,) = (
        line for line in advice(study(), deployment=Deployment(folder=Path("kept"))) if line.startswith("deploy")
    )
    assert line == "deploy (fold 0, the first of five folds): kept/net-channels:0.9-seed0-fold0.onnx"
    assert "folds" not in "".join([*headlines(study(1)), *advice(study(1))])


def test_folds_without_a_latency_and_disturbed_ones_are_counted():
    rows = list(study().measurements)
    rows[FOLDS] = dataclasses.replace(rows[FOLDS], status="error", reason="why", speedup=None)
    rows[FOLDS + 1] = dataclasses.replace(rows[FOLDS + 1], steal=0.071)
    run = Run(tuple(rows), MACHINE)
    assert any(", over four of five folds: " in line for line in advice(run))
    assert "(!) in 1 of 4 folds: other tenants took 7.1 % of the processor" in advice(run)


def test_a_fold_that_stands_alone_says_of_how_many():
    rows = list(study().measurements)
    rows[FOLDS + 1 : 2 * FOLDS] = [
        dataclasses.replace(m, status="error", reason="why", speedup=None) for m in rows[FOLDS + 1 : 2 * FOLDS]
    ]
    run = Run(tuple(rows), MACHINE)
    assert ", over one of five folds: channels 90 %" in advice(run)[0]
    assert advice(run)[1] == "over one of five folds: the others have no time"


def test_a_choice_that_the_report_contradicts_says_where_it_holds():
    rows = [
        dataclasses.replace(m, scores=accuracy(m.scores["accuracy"].value - lost, select=0.9))
        for m in study().measurements
        for lost in (0.03 if m.method == "channels" else 0.0,)
    ]
    run = Run(tuple(rows), MACHINE)
    assert headlines(run)[0].startswith("Prune: not certain, ")
    first, line, *_ = advice(run)
    assert first == "not certain: the loss is allowed on the select inputs alone"
    assert "fastest within one point of accuracy on the select inputs, though not on those reported, over five" in line
    title = speed_title(rows, {})
    assert title.endswith("within one point of accuracy on the select inputs, though not on those reported")


def test_findings_hold_each_fold_against_its_own_dense_one():
    """Folds of which one lacks its masked network: the dense one of that fold, which is far slower, says nothing."""
    rows = [row(fold, 30.0 if fold else 300.0, 0.9, engine="ncnn") for fold in range(3)]
    rows += [row(fold, 10.0, 0.9, "magnitude", "ncnn") for fold in (1, 2)]
    (line,) = (line for line in findings(Run(tuple(rows), MACHINE)) if line.startswith("zero masks"))
    estimate = float(re.search(r" is (\d+\.\d+)x", line)[1])
    assert estimate == pytest.approx(3.0, rel=0.05)


def test_the_page_and_the_figures_have_one_reading_of_folds():
    found = with_folds_as_one(standings(study().measurements, Bar()))
    (page,) = (one.speedup for one in found if one.measurement.method == "channels")
    (figure,) = (drawn_speedup(m) for m in points_of(study().measurements) if m.method == "channels")
    assert figure == page
    assert page.low == min(m.speedup_low for m in study().measurements if m.method == "channels")


def mixes(cut, zeros):
    rows = [row(0, 15.0, 0.9, engine="direct-csr")]
    for channels in cut:
        for share in zeros:
            m = row(0, 2.0, 0.9, "channels", "direct-csr")
            rows.append(dataclasses.replace(
                m, name=f"{channels}-{share}", method="channels+magnitude", sparsity_target=share,
                pruning=f"channels:{channels}+magnitude:{share}", sparsity=1 - (1 - channels) * (1 - share),
            ))  # fmt: skip
    return rows


def test_lines_of_the_page_join_what_differs_in_the_last_share_alone():
    found = standings(mixes((0.8, 0.9), (0.5, 0.7, 0.9)), Bar())
    points = course(cell_records(found, Scoring.of(one.measurement for one in found), {}, {}), found)
    lines = {}
    for point in points:
        lines.setdefault(point["line"], []).append(found[point["cell"]].measurement.pruning)
        assert point["lined"]
        assert point["panel"] == "both: channels+magnitude"
    assert lines == {
        f"direct CSR, channels {100 * cut:.0f} %": [f"channels:{cut}+magnitude:{share}" for share in (0.5, 0.7, 0.9)]
        for cut in (0.8, 0.9)
    }
    found = standings(mixes((0.8, 0.9), (0.7,)), Bar())
    points = course(cell_records(found, Scoring.of(one.measurement for one in found), {}, {}), found)
    assert not any(point["lined"] for point in points)


def test_the_front_has_a_row_a_pruning_and_the_table_a_row_a_fold():
    content = content_of(study())
    assert "speedup [lowest, highest end]" in content.front.columns
    assert {one[content.front.columns.index("over")] for one in content.front.rows} == {"five folds"}
    assert len(content.rows) == 3 * FOLDS
    place = content.columns.index("front")
    channels = {one.texts[place] for one in content.rows if "channels 90 %" in one.texts}
    assert len(channels) == 1, "all folds of a pruning have its place"
    assert "over: " in content.front.legend
    assert "over: " not in content_of(study(1)).front.legend
    assert "over" not in content_of(study(1)).front.columns


def test_a_page_draws_a_point_a_pruning_and_lists_every_fold(monkeypatch):
    monkeypatch.setattr(library, "is_installed", lambda: True)
    monkeypatch.setattr(library, "vega_bundle", lambda: "window.sparsemarkVega = null;")
    page = render(study(), "html")
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)[1])
    assert len(data["cells"]) == page.count("<tr data-name=") == 3 * FOLDS
    assert [one["over"] for one in data["drawn"]] == ["five folds"] * 3
    (chosen,) = (one for one in data["drawn"] if one["chosen"])
    assert chosen["score"][0] == pytest.approx(91.5)
    assert [term for term, _ in chosen["facts"] if term.startswith("fold ")] == [f"fold {n}" for n in range(FOLDS)]
    assert {one["fold"] for one in data["cells"]} == {f"fold {n}" for n in range(FOLDS)}
    assert data["frames"]["net"]["dense"] == pytest.approx(92.0)
    assert "A point is the mean of five folds" in page
    assert "Deploy, fold 0, the first of five folds:" in page
    alone = json.loads(re.search(r'id="page-data">(.*?)</script>', render(study(1), "html"), re.DOTALL)[1])
    assert alone["drawn"] == [0, 1, 2]


def test_data_whose_names_differ_in_a_number_are_no_range():
    rows = [
        dataclasses.replace(
            m, model=f"net{classes}", name=f"{m.name}-{classes}", data=DataNote(f"CIFAR {classes}, test"),
            parity_data=DataNote(f"all 32 inputs (CIFAR {classes})"),
        )
        for classes in (10, 100) for m in study(1).measurements
    ]  # fmt: skip
    found = conditions(Run(tuple(rows), MACHINE), rows)
    assert {"accuracy on CIFAR 10, test", "accuracy on CIFAR 100, test"} <= set(found)
    assert not any("10 to 100" in line for line in found)


def test_conditions_that_differ_in_counts_are_one_line():
    found = conditions(study(), study().measurements)
    assert "accuracy on split, fold 0 to 4 of 0 to 4; 100 to 104 images" in found
    parity = [line for line in found if line.startswith("parity, and agreement")]
    assert len(parity) == 1
    assert parity[0].endswith(" on all 100 to 104 inputs (split, fold 0 to 4)")
    parts = [f"{count} of 32 inputs (noise)" for count in (8, 12)] + ["all 32 inputs (noise)"]
    rows = [dataclasses.replace(m, parity_data=DataNote(words)) for m, words in zip(study().measurements, parts)]  # noqa: B905
    (line,) = (one for one in conditions(study(), rows) if one.startswith("parity"))
    assert line.endswith(" on 8 to 32 of 32 inputs (noise)")
