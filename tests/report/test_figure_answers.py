"""Answers that figures give: changes with their intervals, rows of dot plots, titles, captions."""

from __future__ import annotations

import dataclasses
import re

import pytest

from sparsemark.analysis.cells import MAJORITY
from sparsemark.report.figures import draw_figures
from sparsemark.report.figures.changes import changes_of, drawn_from
from sparsemark.report.figures.prunings import score_of_prunings, speedup_of_prunings
from sparsemark.report.figures.score_sparsity import score_against_sparsity
from sparsemark.report.figures.score_speedup import score_against_speedup
from sparsemark.report.figures.speedup_sparsity import speedup_against_sparsity
from sparsemark.report.scores import Scale
from sparsemark.report.style import new_figure
from tests.report.runs import RUNS, dense_of, masked, on_fold, scored


def titles_of_sweeps(*rows):
    return score_against_sparsity([dense_of(0, 0.9), *rows]).get_suptitle().replace("\n", " ")


def test_a_score_is_kept_surely_only_where_the_interval_excludes_more():
    pytest.importorskip("matplotlib")
    sure, likely = masked("magnitude", 0.5, 0.905, -0.012, 0.002), masked("magnitude", 0.7, 0.896, -0.01, 0.02)
    lost = masked("magnitude", 0.9, 0.8, 0.05, 0.15)
    assert titles_of_sweeps(sure, likely, lost) == (
        "m: magnitude 50 % (+0.5 points [-0.2, +1.2]) is within one point of accuracy, "
        "magnitude 70 % (-0.4 points [-2.0, +1.0]) by the estimate"
    )
    assert titles_of_sweeps(likely, lost) == (
        "m: magnitude 70 % (-0.4 points [-2.0, +1.0]) is within one point of accuracy by the estimate; "
        "no interval excludes a larger loss"
    )
    assert titles_of_sweeps(lost) == "m: nothing pruned is within one point of accuracy"


def test_the_interval_of_a_change_is_paired_by_group_over_seeds():
    """Two seeds whose patients all lose the same: no doubt is left, though patients and seeds differ widely."""
    patients = {f"p{n}": n / 20 for n in range(10)}

    def row(make, seed, loss):
        groups = {name: (value - loss * (1 + n % 2), 1.0) for n, (name, value) in enumerate(patients.items())}
        value = sum(score for score, _ in groups.values()) / len(groups)
        fields = scored(value + seed / 2, groups={name: (score + seed / 2, 1.0) for name, (score, _) in groups.items()})
        return dataclasses.replace(make(seed), **fields)

    dense = [row(lambda seed: dense_of(seed, 0.9), seed, 0.0) for seed in (0, 1)]
    pruned = [row(lambda seed: masked("magnitude", 0.5, 0.8, seed=seed), seed, 0.02) for seed in (0, 1)]
    (change,) = changes_of([*dense, *pruned], Scale("accuracy"))
    assert change.value.estimate == pytest.approx(-3)
    assert -4 <= change.value.low < -3 < change.value.high <= -2
    assert change.surely_loses


def test_each_method_is_a_row_by_score_beside_its_random_control():
    pytest.importorskip("matplotlib")
    rows = [
        masked("magnitude", 0.9, 0.89, -0.01, 0.03),
        masked("lamp", 0.9, 0.895, -0.01, 0.02),
        masked("block4", 0.9, 0.7, 0.1, 0.3),
        masked("random", 0.9, 0.6, 0.2, 0.4),
        masked("random-block4", 0.9, 0.65, 0.2, 0.3),
        masked("all-ones", 0.0, 0.91, -0.02, 0.0),
    ]
    chance = dataclasses.replace(dense_of(0, 0.5), model=MAJORITY, method=None)
    figure = score_of_prunings([dense_of(0, 0.9), *rows], [chance])
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "lamp 90 % (1 seed)", "magnitude 90 % (1 seed)", "block4 90 % (1 seed)"
    ]  # fmt: skip
    assert figure.get_suptitle().replace("\n", " ") == (
        "m: 1 of 3 prunings loses accuracy, for the others no loss is certain; "
        "the worst estimate: block4 90 % (-20.0 points [-30.0, -10.0])"
    )
    dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.get_lines() if line.get_marker() in "osX"]
    assert dots == [pytest.approx(at) for at in ((-0.5, 0), (-1, 1), (-30, 1.3), (-20, 2), (-25, 2.3))]
    names = [text.get_text() for text in axes.texts]
    assert {"dense, 90.0 %", "dense, fine-tuned as long", "most frequent class"} <= set(names)
    assert any(line.get_xdata()[0] == pytest.approx(-40) for line in axes.get_lines()), "the chance level"
    (axes,) = score_of_prunings([dense_of(0, 0.9), *rows[:2]], [chance]).axes
    assert axes.get_xlim()[0] > -8, "a level that is far away would empty the axis"
    assert "\u2190 most frequent class: -40.0" in [text.get_text() for text in axes.texts]


def test_prunings_without_an_interval_are_counted_apart():
    pytest.importorskip("matplotlib")
    rows = [masked("lamp", 0.9, 0.7, 0.1, 0.3), masked("magnitude", 0.9, 0.89, -0.01, 0.03)]
    blind = dataclasses.replace(masked("block4", 0.9, 0.85), **scored(0.85))
    title = score_of_prunings([dense_of(0, 0.9), *rows, blind]).get_suptitle().replace("\n", " ")
    assert title.startswith("m: 1 of 3 prunings loses accuracy, for 1 other no loss is certain, 1 without an interval;")


def test_networks_that_nobody_pruned_are_compared_in_speed_alone():
    """All have one score: a chart of it would be empty."""
    pytest.importorskip("matplotlib")
    engines = {"onnxruntime": 1.0, "torch": 0.5, "ncnn": 1.5}
    cells = [
        dataclasses.replace(dense_of(0, 0.9), name=engine, engine=engine, speedup=ratio, speedup_low=ratio - 0.1,
                            speedup_high=ratio + 0.1)
        for engine, ratio in engines.items()
    ]  # fmt: skip
    assert score_against_speedup(cells, {}) is None
    (axes,) = speedup_of_prunings(cells, {}).axes
    assert next(label.get_text() for label in axes.get_yticklabels()) == "dense, ncnn"
    title = axes.figure.get_suptitle().replace("\n", " ")
    assert title.endswith("within one point of accuracy"), "it is the dense network: no estimate"
    quantised = dataclasses.replace(cells[2], name="int8", precision="int8", **scored(0.8))
    assert score_against_speedup([*cells, quantised], {}) is not None, "that one loses score"
    assert speedup_of_prunings(cells[:1], {}) is None


def test_speedups_of_mixes_are_rows_over_their_folds():
    pytest.importorskip("matplotlib")
    fields = {"method": "channels+magnitude", "pruning": "channels:0.5+magnitude:0.8"}
    mixes = [
        dataclasses.replace(
            masked("magnitude", 0.8, 0.895), name=f"mix{fold}", fold=fold, sparsity=0.9,
            speedup=ratio, speedup_low=ratio - 0.5, speedup_high=ratio + 0.5, **fields,
        )
        for fold, ratio in ((0, 4.0), (1, 9.0))
    ]  # fmt: skip
    slow = dataclasses.replace(masked("magnitude", 0.5, 0.9), speedup=2.0, speedup_low=1.9, speedup_high=2.1)
    dense = [dense_of(0, 0.9), *(on_fold(dense_of(0, 0.9), fold) for fold in (0, 1))]
    figure = speedup_of_prunings([*dense, slow, *mixes], {})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "channels 50 % + magnitude 80 %, ONNX Runtime", "magnitude 50 %, ONNX Runtime"
    ]  # fmt: skip
    words = [text.get_text() for text in axes.texts]
    assert words[:2] == ["6.00x [3.50, 9.50]", "2.00x [1.90, 2.10]"]
    rings = [line.get_xdata()[0] for line in axes.get_lines() if line.get_markerfacecolor() == "none"]
    assert rings == pytest.approx([10, 2])
    assert "channels 50 % + magnitude 80 % in ONNX Runtime is 6.00x [3.50, 9.50] as fast" in figure.get_suptitle()
    (spots,) = score_against_speedup([*dense, slow, *mixes], {}).axes
    assert "F1  channels 50 % + magnitude 80 %, ONNX Runtime: 6.00x [3.50, 9.50]" in spots.get_title(loc="left")


def test_a_title_ranks_no_finer_than_the_intervals():
    pytest.importorskip("matplotlib")
    ratio = {"speedup": 2.0, "speedup_low": 1.8, "speedup_high": 2.2}
    rows = [dataclasses.replace(masked(method, 0.5, 0.9), **ratio) for method in ("magnitude", "lamp")]
    title = speedup_of_prunings([dense_of(0, 0.9), *rows], {}).get_suptitle().replace("\n", " ")
    assert title.endswith("; lamp 50 % in ONNX Runtime not told apart from it")


def test_ends_at_other_sparsities_say_where():
    pytest.importorskip("matplotlib")
    rows = [masked("magnitude", share, 0.9) for share in (0.5, 0.7, 0.9, 0.95)]
    short = [dataclasses.replace(m, name=f"{m.name}t", engine="torch") for m in rows[:3]]
    for cells, at in (([*rows, *short], {" at 5 % left", " at 10 % left"}), ([*rows[:3], *short], {""})):
        (axes,) = speedup_against_sparsity([dense_of(0, None), *cells], {}).axes
        named = [text.get_text() for text in axes.texts if re.match(r"(ONNX Runtime|PyTorch),", text.get_text())]
        assert {re.sub(r".*x", "", name) for name in named} == at


def test_machines_of_one_name_are_told_apart_and_captions_are_short(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    written = []
    monkeypatch.setattr("sparsemark.report.figures.save", lambda figure, path: written.append(figure))
    for flags, words in (("sse4_2 avx2 fma", "AVX2"), ("avx2 avx512f avx512_vnni", "AVX-512")):
        run = dataclasses.replace(RUNS["study"], machine_info=RUNS["study"].machine_info | {"cpu_flags": flags})
        for file in draw_figures(run, tmp_path):
            if file.suffix == ".txt":
                assert f"Imaginary CPU with {words}, 2 processors" in file.read_text()
        for figure in written:
            note = figure.texts[-1].get_text()
            assert f"Imaginary CPU with {words}, " in note
            assert note.startswith("bars: 95 % ")
            assert len(note.splitlines()) <= 2
        written.clear()


def test_where_most_prunings_are_tested_on_folds_the_others_are_left_out_and_counted():
    pytest.importorskip("matplotlib")
    dense = [dense_of(0, 0.9), *(on_fold(dense_of(0, 0.9), fold) for fold in (0, 1))]
    folded = [on_fold(masked("magnitude", share, 0.89), fold) for share in (0.5, 0.7) for fold in (0, 1)]
    alone = masked("magnitude", 0.9, 0.5)
    left = [one.left for one in changes_of([*dense, *folded, alone], Scale("accuracy"))]
    assert left == pytest.approx([50, 30])
    assert drawn_from([*dense, *folded, alone]).endswith("1 pruning that was not tested on all folds is left out")
    left = [one.left for one in changes_of([*dense, *folded[:2], alone], Scale("accuracy"))]
    assert left == pytest.approx([50, 10]), "half of them is not most"


def test_a_dot_plot_stands_in_place_of_curves_without_a_sweep(tmp_path):
    pytest.importorskip("matplotlib")
    run = RUNS["study"]
    few = dataclasses.replace(run, measurements=tuple(m for m in run.measurements if m.sparsity_target in (0.0, 0.9)))
    names = [file.stem for file in draw_figures(few, tmp_path) if file.suffix == ".png"]
    assert names == ["speedup-prunings-cnn9", "accuracy-speedup-cnn9", "accuracy-prunings-cnn9"]


def test_a_line_leads_from_each_last_point_to_its_name():
    patches = pytest.importorskip("matplotlib.patches")
    figure = speedup_against_sparsity(RUNS["study"].measurements, {})
    figure.draw_without_rendering()
    for axes in figure.axes:
        leads = [artist for artist in axes.get_children() if isinstance(artist, patches.ConnectionPatch)]
        names = {text.get_text(): text for text in axes.texts if re.search(r", \d+\.\d+x", text.get_text())}
        assert len(leads) >= len(names) > 2
        for text in names.values():
            box = text.get_window_extent()
            ends = [lead.get_path().transformed(lead.get_transform()).vertices[-1] for lead in leads]
            assert any(abs(y - (box.y0 + box.y1) / 2) < box.height / 2 for _, y in ends)


def test_no_line_of_a_title_begins_with_a_unit():
    pytest.importorskip("matplotlib")
    for width in range(2, 12):
        title = new_figure(width, 2.0, "keeps its accuracy with channels 80 % + magnitude 90 %").get_suptitle()
        assert not any(line.startswith("%") for line in title.splitlines())
