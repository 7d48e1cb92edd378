"""Figures of a study: which points, which series, which axes."""

from __future__ import annotations

import dataclasses
import itertools
import sys

import pytest

from sparsemark.analysis.cells import MAJORITY
from sparsemark.errors import UserError
from sparsemark.report.figures import draw_figures
from sparsemark.report.figures.score_latency import score_against_latency
from sparsemark.report.figures.score_sparsity import score_against_sparsity
from sparsemark.report.figures.speedup_sparsity import speedup_against_sparsity
from sparsemark.report.scores import Scale
from sparsemark.report.style import spread
from tests.report.runs import RUNS, replace, rescored, scored
from tests.synthetic import cell, study_run


def test_figures_are_drawn_for_what_there_is_and_stay_small(tmp_path):
    pytest.importorskip("matplotlib")
    run = RUNS["study"]
    seeds = [dataclasses.replace(m, seed=s) for m in run.measurements for s in (1, 2) if m.scores]
    files = draw_figures(run, tmp_path / "figures", seeds)
    named = ("speedup-sparsity-cnn9", "accuracy-sparsity-cnn9", "accuracy-latency-cnn9")
    assert [f.name for f in files] == [f"{name}{end}" for name in named for end in (".png", ".svg", ".txt")]
    for file in files:
        assert file.stat().st_size < 300_000
    for picture, drawing, conditions in zip(files[::3], files[1::3], files[2::3], strict=True):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in drawing.read_bytes()
        assert "calls a cell" in conditions.read_text()
    for empty in ("nothing ran", "one bare row", "one row"):
        assert draw_figures(RUNS[empty], tmp_path / "none") == []
    stripped = replace(run, lambda m: True, samples_s=(), parameters=None)
    stripped = rescored(stripped, "accuracy", low=None, high=None, raw=None)
    assert len(draw_figures(stripped, tmp_path / "stripped")) == 9


def drawn(axes):
    """The points of each series of a panel, by its name in the legend."""
    handles, labels = axes.get_legend_handles_labels()
    return {label: handle for handle, label in zip(handles, labels, strict=True)}


def points(container):
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(*container.lines[0].get_data(), strict=True)]


def channels_in_multiples(seed, round_to, sparsity, accuracy, achieved=None):
    return cell(
        seed, ms=10 - 5 * sparsity - round_to / 8, name=f"c{sparsity}r{round_to}s{seed}", model="m", method="channels",
        sparsity_target=sparsity, sparsity=achieved or sparsity, round_to=round_to, seed=seed, engine="onnxruntime",
        **scored(accuracy),
    )  # fmt: skip


def dense_of(seed, accuracy):
    common = {"model": "m", "method": "none", "sparsity_target": 0.0, "sparsity": 0.0, "engine": "onnxruntime"}
    scores = {} if accuracy is None else scored(accuracy)
    return cell(seed, name=f"dense{seed}", seed=seed, **scores, **common)


def test_channels_in_multiples_are_no_further_seeds_of_plain_ones():
    pytest.importorskip("matplotlib")
    plain = [channels_in_multiples(0, 1, sparsity, 0.9) for sparsity in (0.3, 0.5)]
    sixteens = [channels_in_multiples(0, 16, sparsity, 0.7) for sparsity in (0.3, 0.5)]
    cells = [dense_of(0, 0.92), *plain, *sixteens]
    first, second = [axes for axes in score_against_sparsity(cells).axes if axes.get_visible()]
    assert [axes.get_title() for axes in (first, second)] == ["channels, seed 0", "channels (x16), seed 0"]
    assert points(drawn(first)["fine-tuned"]) == [(30, 90), (50, 90)]
    assert points(drawn(second)["fine-tuned"]) == [(30, 70), (50, 70)]
    lines = drawn(speedup_against_sparsity(cells, {}).axes[0])
    for name, series in (("ONNX Runtime", plain), ("ONNX Runtime (x16)", sixteens)):
        assert [y for _, y in points(lines[name])] == pytest.approx([m.speedup for m in (cells[0], *series)])


def test_masks_of_two_kinds_are_not_drawn_as_one_curve():
    pytest.importorskip("matplotlib")
    common = {"model": "m", "engine": "onnxruntime", "seed": 0}
    methods = {"magnitude": (0.3, 0.5, 0.9), "magnitude-layerwise": (0.3, 0.5, 0.9), "filters": (0.9,)}
    masked = [
        cell(i, ms=10.0 + i, name=f"{method}{share}", method=method, sparsity_target=share, sparsity=share, **common)
        for i, (method, share) in enumerate((method, share) for method, shares in methods.items() for share in shares)
    ]
    panels = speedup_against_sparsity([dense_of(0, None), *masked], {}).axes
    assert [axes.get_title().rpartition(":\n")[2] for axes in panels] == list(methods)
    assert [len(points(drawn(axes)["ONNX Runtime"])) for axes in panels] == [4, 4, 2]
    (one,) = speedup_against_sparsity([dense_of(0, None), *masked[:3]], {}).axes
    assert one.get_title() == "Weights set to zero"


def test_points_and_the_dense_line_are_means_over_the_same_seeds():
    pytest.importorskip("matplotlib")
    dense = [dense_of(0, 0.9), dense_of(1, 0.7), dense_of(2, 0.7)]
    half = [channels_in_multiples(seed, 1, 0.5, 0.88 - seed / 10, 0.494 + seed / 100) for seed in (0, 1, 2)]
    most = channels_in_multiples(0, 1, 0.9, 0.8)
    (axes,) = score_against_sparsity([*dense, *half, most]).axes
    assert points(drawn(axes)["fine-tuned"]) == [(49.4, 88), (90, 80)]
    assert drawn(axes)["dense"].get_ydata()[0] == pytest.approx(90)
    (axes,) = score_against_sparsity([*dense, *half]).axes
    assert axes.get_title() == "channels, seeds 0 to 2"
    assert points(drawn(axes)["fine-tuned"]) == [(50.4, 78)]
    assert drawn(axes)["dense"].get_ydata()[0] == pytest.approx(230 / 3)
    (axes,) = score_against_sparsity([*dense, half[1], most]).axes
    assert axes.get_title() == "channels, seeds 0, 1", "no seed is everywhere"


def test_a_moment_of_the_machine_moves_no_point():
    """The figure shows ratios of pairs: a cell timed in a slow minute has slow milliseconds and the same speedup."""
    pytest.importorskip("matplotlib")
    cells = [dense_of(0, 0.92), *(channels_in_multiples(0, 1, share, 0.9) for share in (0.3, 0.5, 0.7))]
    slow = [cells[0], dataclasses.replace(cells[1], p50_ms=3 * cells[1].p50_ms), *cells[2:]]
    for draw in (speedup_against_sparsity, score_against_latency):
        (quiet,), (noisy,) = draw(cells, {}).axes, draw(slow, {}).axes
        assert quiet.dataLim.bounds == noisy.dataLim.bounds


def test_no_line_goes_through_two_points():
    pytest.importorskip("matplotlib")
    cells = [dense_of(0, None), channels_in_multiples(0, 1, 0.5, 0.9)]
    (axes,) = speedup_against_sparsity(cells, {}).axes
    assert drawn(axes)["ONNX Runtime"].lines[0].get_linestyle() == "None"
    (axes,) = speedup_against_sparsity([*cells, channels_in_multiples(0, 1, 0.7, 0.9)], {}).axes
    assert drawn(axes)["ONNX Runtime"].lines[0].get_linestyle() != "None"


@pytest.mark.parametrize(
    ("heights", "places"),
    [
        ([10.0, 50.0], [10.0, 50.0]),
        ([10.0, 10.0], [5.0, 15.0]),
        ([12.0, 10.0], [16.0, 6.0]),
        ([0.0, 10.0, 11.0], [-3.0, 7.0, 17.0]),  # the upper two meet, and then reach the lowest
        ([], []),
    ],
)
def test_names_keep_apart_and_in_order(heights, places):
    assert spread(heights, 10.0) == pytest.approx(places)


def test_names_of_series_do_not_cover_each_other():
    pytest.importorskip("matplotlib")
    figure = speedup_against_sparsity(RUNS["study"].measurements, {})
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = sorted(
            (text.get_window_extent() for text in axes.texts if text.get_text()[:2] != "1 "), key=lambda b: b.y0
        )
        assert len(boxes) > 3
        assert all(lower.y1 <= upper.y0 + 1 for lower, upper in itertools.pairwise(boxes))


def test_the_title_is_the_answer_and_no_more_than_was_measured():
    pytest.importorskip("matplotlib")
    run = RUNS["study"]
    bare = replace(run, lambda m: True, scores={})
    for draw in (speedup_against_sparsity, score_against_latency):
        assert draw(run.measurements, {}).get_suptitle().endswith("dense ONNX Runtime, within one point of accuracy")
    assert speedup_against_sparsity(bare.measurements, {}).get_suptitle().endswith("dense ONNX Runtime, speed only")
    assert " keeps its accuracy with " in score_against_sparsity(run.measurements).get_suptitle()


def test_close_points_of_the_front_are_not_ranked():
    pytest.importorskip("matplotlib")
    fields = {"model": "m", "engine": "onnxruntime", "seed": 0}
    near = (
        {"speedup": 2.0, "speedup_low": 1.8, "speedup_high": 2.2},
        {"speedup": 1.9, "speedup_low": 1.7, "speedup_high": 2.1},
    )
    cells = [
        dense_of(0, 0.9),
        *(
            cell(
                i,
                7.0,
                f"c{i}",
                method="magnitude",
                sparsity_target=0.5,
                sparsity=0.5,
                **fields,
                **ratio,
                **scored(score),
            )
            for i, (ratio, score) in enumerate(zip(near, (0.8, 0.85), strict=True))
        ),
    ]
    (axes,) = score_against_latency(cells, {}).axes
    first, second, third, *rest = axes.get_title(loc="left").splitlines()
    assert [line[:2] for line in (first, second, third)] == ["F1", "F2", "F3"]
    assert [line.endswith("(~)") for line in (first, second, third)] == [False, True, False]
    assert rest == ["(~) not told apart in speed from the one before"]


def test_random_controls_stand_beside_what_they_control_and_chance_is_a_line():
    pytest.importorskip("matplotlib")
    cells = RUNS["study"].measurements
    chance = dataclasses.replace(cells[0], name="majority-seed0", model=MAJORITY, method=None, **scored(0.5))
    titles = [axes.get_title() for axes in score_against_sparsity(cells, [chance]).axes if axes.get_visible()]
    assert not any(title.startswith("random") for title in titles)
    axes = next(a for a in score_against_sparsity(cells, [chance]).axes if a.get_title().startswith("magnitude"))
    assert "zeroed at random" in drawn(axes)
    assert drawn(axes)["most frequent class"].get_ydata()[0] == pytest.approx(50)


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"sparsemark\[plots\]"):
        draw_figures(RUNS["study"], tmp_path)


def test_other_precisions_threads_and_schedules_are_no_further_seeds():
    pytest.importorskip("matplotlib")
    common = {"model": "m", "engine": "onnxruntime", "seed": 0, "method": "magnitude", "sparsity_target": 0.5}
    plain = cell(1, 10.0, "a", sparsity=0.5, precision="fp32", threads=1, **common)
    twice, thrice = ({"speedup": n, "speedup_low": n, "speedup_high": n} for n in (2.0, 3.0))
    int8 = dataclasses.replace(plain, name="b", precision="int8", **thrice)
    threads = dataclasses.replace(plain, name="c", threads=2, p50_ms=2.0)
    dense = [dense_of(0, None), dataclasses.replace(dense_of(1, None), precision="int8", **twice)]
    (axes,) = speedup_against_sparsity([*dense, plain, int8, threads], {}).axes
    lines = drawn(axes)
    assert [y for _, y in points(lines["ONNX Runtime"])] == pytest.approx([dense[0].speedup, plain.speedup])
    assert [y for _, y in points(lines["ONNX Runtime int8"])] == [2.0, 3.0]
    assert lines["ONNX Runtime int8"].lines[0].get_fillstyle() == "left"
    iterative = dataclasses.replace(plain, name="d", schedule="iterative", pruning="iterative-magnitude:0.5")
    panels = speedup_against_sparsity([*dense, plain, iterative], {}).axes
    assert [axes.get_title().rpartition(":\n")[2] for axes in panels] == ["magnitude", "iterative magnitude"]


def test_channels_below_a_mask_have_a_panel_of_their_own():
    pytest.importorskip("matplotlib")
    both = [
        dataclasses.replace(
            channels_in_multiples(0, 16, share, 0.8),
            method="channels+magnitude", pruning=f"channels:{share}:16+magnitude:0.8",
        )
        for share in (0.3, 0.5)
    ]  # fmt: skip
    cells = [dense_of(0, 0.9), channels_in_multiples(0, 1, 0.5, 0.85), *both]
    first, second = speedup_against_sparsity(cells, {}).axes
    assert first.get_title() == "Channels removed"
    assert (second.get_title(), second.get_xlabel()) == (
        "Channels removed, then weights set to zero",
        "weights removed or zero, %",
    )
    titles = [axes.get_title() for axes in score_against_sparsity(cells).axes if axes.get_visible()]
    assert titles == ["channels, seed 0", "channels (x16) + magnitude, seed 0"]


def test_folds_are_draws_as_seeds_are():
    pytest.importorskip("matplotlib")
    dense = [dataclasses.replace(dense_of(0, 0.9 - fold / 10), name=f"d{fold}", fold=fold) for fold in (0, 1)]
    half = [
        dataclasses.replace(channels_in_multiples(0, 1, 0.5, 0.8 - fold / 10), name=f"h{fold}", fold=fold)
        for fold in (0, 1)
    ]
    (axes,) = score_against_sparsity([*dense, *half]).axes
    assert axes.get_title() == "channels, seed 0, folds 0, 1"
    assert points(drawn(axes)["fine-tuned"]) == [(50, 75)]
    assert drawn(axes)["dense"].get_ydata()[0] == pytest.approx(85)


def test_a_quantised_score_is_a_panel_of_its_own_and_moves_no_line():
    pytest.importorskip("matplotlib")
    dense, half = dense_of(0, 0.9), channels_in_multiples(0, 1, 0.5, 0.8)
    int8 = [
        dataclasses.replace(m, name=f"{m.name}8", precision="int8", **scored(value))
        for m, value in ((dense, 0.7), (half, 0.6))
    ]
    first, second = (axes for axes in score_against_sparsity([dense, half, *int8]).axes if axes.get_visible())
    assert [axes.get_title() for axes in (first, second)] == ["channels, seed 0", "channels int8, seed 0"]
    assert points(drawn(first)["fine-tuned"]) == [(50, 80)]
    assert points(drawn(second)["fine-tuned"]) == [(50, 60)]
    assert [drawn(axes)["dense"].get_ydata()[0] for axes in (first, second)] == pytest.approx([90, 90])


@pytest.mark.parametrize(
    ("caveat", "words"), [("PHANTOM", "accuracy on PHANTOM images, %"), ("LEAKY", "accuracy on LEAKY data, %")]
)
def test_a_caveat_stands_on_the_axis(caveat, words):
    pytest.importorskip("matplotlib")
    run = study_run(caveat=caveat)
    assert score_against_sparsity(run.measurements).axes[0].get_ylabel() == f"{words} (higher is better)"
    assert score_against_latency(run.measurements, {}).axes[0].get_ylabel() == f"{words} (higher is better)"
    plain = study_run(source="PHANTOM, LEAKY")
    assert score_against_sparsity(plain.measurements).axes[0].get_ylabel() == "accuracy, % (higher is better)"


def test_two_caveats_stand_both_on_the_axis():
    assert Scale("accuracy").axis(["", "A", "B", "A"]) == "accuracy on A data and on B data, %"


def test_other_precisions_have_smaller_points_beside_the_front():
    pytest.importorskip("matplotlib")
    run = replace(RUNS["study"], lambda m: m.engine == "ncnn", precision="int8")
    (axes,) = score_against_latency(run.measurements, {}).axes
    labels = axes.get_legend_handles_labels()[1]
    assert "int8 (small)" in labels
    drawn_points = [c for c in axes.collections if hasattr(c, "get_sizes") and len(c.get_offsets())]
    sizes = {size for collection in drawn_points for size in collection.get_sizes()}
    assert len(sizes) == 2
    (axes,) = score_against_latency(RUNS["study"].measurements, {}).axes
    assert not any("small" in label for label in axes.get_legend_handles_labels()[1])
