"""Figures of a study: which points, which series, which axes."""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys

import pytest

from sparsemark.analysis.cells import MAJORITY
from sparsemark.errors import UserError
from sparsemark.report.figures import draw_figures
from sparsemark.report.figures.changes import changes_of, drawn_from
from sparsemark.report.figures.prunings import score_of_prunings
from sparsemark.report.figures.score_sparsity import score_against_sparsity
from sparsemark.report.figures.score_speedup import score_against_speedup
from sparsemark.report.figures.speedup_sparsity import speedup_against_sparsity
from sparsemark.report.scores import Scale
from sparsemark.report.style import kind_looks, spread, within
from tests.report.runs import RUNS, channels_in_multiples, dense_of, drawn, on_fold, replace, rescored, scored
from tests.synthetic import cell, study_run


def test_figures_are_drawn_for_what_there_is_and_stay_small(tmp_path):
    pytest.importorskip("matplotlib")
    run = RUNS["study"]
    seeds = [dataclasses.replace(m, seed=s) for m in run.measurements for s in (1, 2) if m.scores]
    files = draw_figures(run, tmp_path / "figures", seeds)
    named = ("speedup-sparsity-cnn9", "accuracy-speedup-cnn9", "accuracy-sparsity-cnn9")
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


def points(container):
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(*container.lines[0].get_data(), strict=True)]


def test_channels_in_multiples_are_no_further_seeds_of_plain_ones():
    pytest.importorskip("matplotlib")
    plain = [channels_in_multiples(0, 1, sparsity, 0.9) for sparsity in (0.3, 0.5)]
    sixteens = [channels_in_multiples(0, 16, sparsity, 0.7) for sparsity in (0.3, 0.5)]
    cells = [dense_of(0, 0.92), *plain, *sixteens]
    (axes,) = score_against_sparsity(cells).axes
    for name, change in (("channels", -2), ("channels (x16)", -22)):
        places = points(drawn(axes)[name])
        assert [y for _, y in places] == [change, change]
        assert [x for x, _ in places] == pytest.approx([70, 50], rel=0.03), "side by side"
    beside = [points(drawn(axes)[name])[0][0] for name in ("channels", "channels (x16)")]
    assert abs(beside[0] - beside[1]) > 2, "neither covers the other"
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
    (axes,) = panels
    assert axes.get_title() == "Weights set to zero:\nmagnitude, others as named", "each has but one series"
    assert {name: len(points(line)) for name, line in drawn(axes).items()} == {
        "ONNX Runtime": 4, "ONNX Runtime, magnitude-layerwise": 4, "ONNX Runtime, filters": 2
    }  # fmt: skip
    several = [dataclasses.replace(m, name=f"{m.name}-{engine}", engine=engine) for m in masked[:6]
               for engine in ("onnxruntime", "torch", "ncnn")]  # fmt: skip
    looks = {(line.lines[0].get_marker(), line.lines[0].get_linestyle()) for line in drawn(axes).values()}
    assert len(looks) == 3, "of one engine, and told apart in grey"
    panels = speedup_against_sparsity([dense_of(0, None), *several, *masked[6:]], {}).axes
    titles = [axes.get_title().rpartition(":\n")[2] for axes in panels]
    assert titles == ["magnitude, others as named", "magnitude-layerwise"]
    assert [len(drawn(axes)) for axes in panels] == [4, 3]
    (one,) = speedup_against_sparsity([dense_of(0, None), *masked[:3]], {}).axes
    assert one.get_title() == "Weights set to zero"


def test_points_are_changes_against_the_dense_network_of_the_same_seeds():
    pytest.importorskip("matplotlib")
    dense = [dense_of(0, 0.9), dense_of(1, 0.7), dense_of(2, 0.7)]
    half = [channels_in_multiples(seed, 1, 0.5, 0.88 - seed / 10, 0.494 + seed / 100) for seed in (0, 1, 2)]
    most = channels_in_multiples(0, 1, 0.9, 0.8)
    figure = score_against_sparsity([*dense, *half, most])
    (axes,) = figure.axes
    assert points(drawn(axes)["channels"]) == [(49.6, pytest.approx(78 - 230 / 3)), (10, -10)]
    assert "dense, 76.7 to 90.0 %" in [text.get_text() for text in axes.texts]
    assert "channels 50 % (+1.3 points)" in figure.get_suptitle().replace("\n", " "), (
        "the title is about the points that are drawn"
    )


def test_folds_are_not_averaged_with_other_splits():
    pytest.importorskip("matplotlib")
    dense = [dense_of(0, 0.9), *(on_fold(dense_of(0, 0.8), fold) for fold in (0, 1))]
    half = channels_in_multiples(0, 1, 0.5, 0.5)
    folds = [on_fold(channels_in_multiples(0, 1, 0.5, 0.78 - fold / 50), fold) for fold in (0, 1)]
    (axes,) = score_against_sparsity([*dense, half, *folds]).axes
    assert points(drawn(axes)["channels"]) == [(50, -3)]
    assert drawn_from([*dense, half, *folds]) == "means over folds 0, 1"


def test_no_line_joins_folds_with_seeds():
    """They test other inputs."""
    pytest.importorskip("matplotlib")
    dense = [dense_of(0, 0.9), *(on_fold(dense_of(0, 0.8), fold) for fold in (0, 1))]
    seeds = [channels_in_multiples(0, 1, share, 0.88) for share in (0.3, 0.5, 0.7)]
    folds = [on_fold(channels_in_multiples(0, 1, 0.9, 0.78), fold) for fold in (0, 1)]
    (axes,) = score_against_sparsity([*dense, *seeds, *folds]).axes
    assert {"channels", "channels, two folds"} < {text.get_text() for text in axes.texts}
    lengths = [len(line.lines[0].get_xdata()) for line in axes.containers]
    assert sorted(lengths) == [1, 3]
    assert drawn_from([*dense, *seeds, *folds]) == "means over seed 0 or folds 0, 1"
    assert drawn_from([*dense, *folds, on_fold(seeds[0], 0)]) == "means over folds 0, 1, or some of them"


def test_what_keeps_the_score_lies_on_a_band_below_the_dense_network():
    pytest.importorskip("matplotlib")
    cells = [dense_of(0, 0.92), channels_in_multiples(0, 1, 0.5, 0.9)]
    (axes,) = score_against_speedup(cells, {}).axes
    labels = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    assert labels["dense, 92.0 %"].get_ydata()[0] == pytest.approx(92)
    band = labels["within one point of accuracy"]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((91, 92))
    other = [on_fold(one, 0) for one in (dense_of(0, 0.8), channels_in_multiples(0, 1, 0.7, 0.79))]
    (axes,) = score_against_speedup([*cells, *other], {}).axes
    assert not any(label.startswith("dense, ") for label in axes.get_legend_handles_labels()[1]), "they have two"


def test_frequent_prunings_have_one_look_in_every_figure_and_no_two_share_one():
    few, many = kind_looks(["channels", "lamp"]), kind_looks(["taylor", "wanda", "lamp", "channels", "magnitude"])
    assert few["channels"] == many["channels"]
    kinds = [f"kind {n}" for n in range(10)]
    assert len(set(kind_looks(kinds).values())) == 10


def test_cells_without_a_place_on_the_axis_make_no_panel():
    pytest.importorskip("matplotlib")
    common = {"model": "m", "engine": "onnxruntime", "seed": 0, "method": "magnitude"}
    nowhere = [cell(1, name="unknown", **common), cell(2, name="all", sparsity=1.0, sparsity_target=0.99, **common)]
    assert speedup_against_sparsity([dense_of(0, None), *nowhere], {}) is None
    half = channels_in_multiples(0, 1, 0.5, 0.9)
    (axes,) = speedup_against_sparsity([dense_of(0, None), *nowhere, half], {}).axes
    assert axes.get_title() == "Channels removed"


def test_masks_of_several_steps_are_joined_in_the_last_alone():
    pytest.importorskip("matplotlib")
    masks = [
        cell(0, name=f"{first}{last}", model="m", engine="onnxruntime", seed=0, method="magnitude+block4",
             pruning=f"magnitude:{first}+block4:{last}", sparsity_target=last, sparsity=1 - (1 - first) * (1 - last))
        for first in (0.3, 0.5) for last in (0.5, 0.7, 0.9)
    ]  # fmt: skip
    (axes,) = speedup_against_sparsity([dense_of(0, None), *masks], {}).axes
    lines = drawn(axes)
    assert {name: len(points(line)) for name, line in lines.items()} == {
        f"ONNX Runtime, magnitude {first} % + block4": 3 for first in (30, 50)
    }


def test_seeds_that_test_the_same_inputs_are_no_surer_than_one():
    """Half-widths of folds add in quadrature, since their inputs differ; those of seeds do not."""
    ends = {"low": 0.7, "high": 0.9, "loss_low": 0.0, "loss_high": 0.2}
    dense = [dense_of(seed, 0.9) for seed in (0, 1)]
    half = [dataclasses.replace(channels_in_multiples(seed, 1, 0.5, 0.8), **scored(0.8, **ends)) for seed in (0, 1)]
    (change,) = changes_of([*dense, *half], Scale("accuracy"))
    assert (change.value.low, change.value.high) == pytest.approx((-20, 0), abs=1e-9)


def test_a_moment_of_the_machine_moves_no_point():
    """The figure shows ratios of pairs: a cell timed in a slow minute has slow milliseconds and the same speedup."""
    pytest.importorskip("matplotlib")
    cells = [dense_of(0, 0.92), *(channels_in_multiples(0, 1, share, 0.9) for share in (0.3, 0.5, 0.7))]
    slow = [cells[0], dataclasses.replace(cells[1], p50_ms=3 * cells[1].p50_ms), *cells[2:]]
    for draw in (speedup_against_sparsity, score_against_speedup):
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


@pytest.mark.parametrize(
    ("places", "moved"),
    [
        ([10.0, 50.0], [10.0, 50.0]),
        ([-3.0, 7.0, 17.0], [0.0, 10.0, 20.0]),
        ([95.0, 105.0, 50.0], [90.0, 100.0, 50.0]),
        ([float(10 * n) for n in range(-2, 12)], [float(10 * n) for n in range(-2, 12)]),  # no room for all
        ([], []),
    ],
)
def test_names_stay_beside_their_panel(places, moved):
    assert within(places, 10.0, (0.0, 100.0)) == moved


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
    for draw in (speedup_against_sparsity, score_against_speedup):
        title = draw(run.measurements, {}).get_suptitle().replace("\n", " ")
        assert "dense ONNX Runtime, within one point of accuracy" in title
        assert re.search(r" is \d\.\d\dx \[\d\.\d\d, \d\.\d\d\] as fast as dense", title)
    assert "dense ONNX Runtime, speed only" in speedup_against_sparsity(bare.measurements, {}).get_suptitle()


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
                sparsity_target=0.5 + i / 10,
                sparsity=0.5 + i / 10,
                **fields,
                **ratio,
                **scored(score),
            )
            for i, (ratio, score) in enumerate(zip(near, (0.8, 0.85), strict=True))
        ),
    ]
    (axes,) = score_against_speedup(cells, {}).axes
    first, second, third, *rest = axes.get_title(loc="left").splitlines()
    assert [line[:2] for line in (first, second, third)] == ["F1", "F2", "F3"]
    assert [line.endswith("(~)") for line in (first, second, third)] == [False, True, False]
    assert rest == ["(~) not told apart in speed from the one before"]


def test_random_controls_stand_beside_what_they_control_and_chance_is_a_line():
    pytest.importorskip("matplotlib")
    cells = RUNS["study"].measurements
    chance = dataclasses.replace(cells[0], name="majority-seed0", model=MAJORITY, method=None, **scored(0.5))
    figure = score_against_sparsity(cells, [chance])
    tuned, *before = figure.axes
    assert [x for x, _ in points(drawn(tuned)["as many at random"])] == pytest.approx([70, 50, 30], rel=0.08), (
        "side by side with the others"
    )
    assert "↓ random 90 %: -10.5" in [text.get_text() for text in tuned.texts], "further from the others than they are"
    assert not any("as many at random" in drawn(axes) for axes in before)
    level = 50 - 88
    assert not any(line.get_ydata()[0] == pytest.approx(level) for line in tuned.get_lines()), "an axis that fits"
    for axes in before:
        assert any(line.get_ydata()[0] == pytest.approx(level) for line in axes.get_lines())


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
    aware = dataclasses.replace(plain, name="e", method="magnitude+qat", pruning="magnitude:0.5+qat")
    unpruned = dataclasses.replace(aware, name="f", method="all-ones+qat", pruning="all-ones+qat", sparsity=0.0)
    panels = speedup_against_sparsity([*dense, plain, iterative, aware, unpruned], {}).axes
    lines = drawn(panels[0])
    assert list(lines)[:3] == [
        "ONNX Runtime", "ONNX Runtime, iterative magnitude", "ONNX Runtime, magnitude, quantisation-aware"
    ]  # fmt: skip
    aware_line = points(lines["ONNX Runtime, magnitude, quantisation-aware"])
    assert aware_line[0][1] == pytest.approx(dense[0].speedup)


def test_no_line_joins_mixes_of_other_channels():
    pytest.importorskip("matplotlib")
    both = [
        dataclasses.replace(
            channels_in_multiples(0, 16, share, 0.8), name=f"b{share}{zeros}", sparsity_target=zeros,
            sparsity=1 - (1 - share) * (1 - zeros), method="channels+magnitude",
            pruning=f"channels:{share}:16+magnitude:{zeros}",
        )
        for share in (0.3, 0.5) for zeros in (0.7, 0.8, 0.9)
    ]  # fmt: skip
    cells = [dense_of(0, 0.9), channels_in_multiples(0, 1, 0.5, 0.85), *both]
    (axes,) = speedup_against_sparsity(cells, {}).axes
    assert axes.get_title() == "Channels removed\n(and weights set to zero)"
    lines = drawn(axes)
    for share in (30, 50):
        places = [x for x, _ in points(lines[f"ONNX Runtime, channels {share} % (x16) + magnitude"])]
        assert places == pytest.approx([(100 - share) * left for left in (0.3, 0.2, 0.1)])
    (axes,) = score_against_sparsity(cells).axes
    handles, labels = axes.get_legend_handles_labels()
    assert labels == ["channels", "channels (x16) + magnitude", "channels (x16) + magnitude"]
    assert len({handle.lines[0].get_color() for handle in handles[1:]}) == 1, "one kind has one look"
    names = [text.get_text() for text in axes.texts]
    assert {"channels 30 % (x16) + magnitude", "channels 50 % (x16) + magnitude"} < set(names)


def test_a_quantised_score_is_a_series_of_its_own_against_the_dense_float():
    pytest.importorskip("matplotlib")
    dense, half = dense_of(0, 0.9), channels_in_multiples(0, 1, 0.5, 0.8)
    int8 = [
        dataclasses.replace(m, name=f"{m.name}8", precision="int8", **scored(value))
        for m, value in ((dense, 0.7), (half, 0.6))
    ]
    (axes,) = score_against_sparsity([dense, half, *int8]).axes
    for name, change in (("channels", -10), ("channels int8", -30)):
        ((x, y),) = points(drawn(axes)[name])
        assert (x, y) == (pytest.approx(50, rel=0.03), change)


@pytest.mark.parametrize(
    ("caveat", "words"), [("PHANTOM", "accuracy on PHANTOM images"), ("LEAKY", "accuracy on LEAKY data")]
)
def test_a_caveat_stands_on_the_axis(caveat, words):
    pytest.importorskip("matplotlib")
    run = study_run(caveat=caveat)
    changed = f"change of {words} against dense, points (higher is better)"
    assert score_against_sparsity(run.measurements).axes[0].get_ylabel() == changed
    assert score_of_prunings(run.measurements).axes[0].get_xlabel() == changed
    (axes,) = score_against_speedup(run.measurements, {}).axes
    assert axes.get_ylabel() == f"{words}, % (higher is better)"
    plain = study_run(source="PHANTOM, LEAKY")
    assert "PHANTOM" not in score_against_sparsity(plain.measurements).axes[0].get_ylabel()


def test_two_caveats_stand_both_on_the_axis():
    assert Scale("accuracy").axis(["", "A", "B", "A"]) == "accuracy on A data and on B data, %"


def test_other_precisions_have_smaller_points_beside_the_front():
    pytest.importorskip("matplotlib")
    run = replace(RUNS["study"], lambda m: m.engine == "ncnn", precision="int8")
    (axes,) = score_against_speedup(run.measurements, {}).axes
    labels = axes.get_legend_handles_labels()[1]
    assert "int8 (small)" in labels
    drawn_points = [c for c in axes.collections if hasattr(c, "get_sizes") and len(c.get_offsets())]
    sizes = {size for collection in drawn_points for size in collection.get_sizes()}
    assert len(sizes) == 2
    (axes,) = score_against_speedup(RUNS["study"].measurements, {}).axes
    assert not any("small" in label for label in axes.get_legend_handles_labels()[1])
