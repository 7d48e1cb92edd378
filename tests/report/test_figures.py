"""Figures of a study: which points, which series, which axes."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from sparsemark.errors import UserError
from sparsemark.report.figures import draw_figures
from sparsemark.report.figures.latency_sparsity import latency_against_sparsity
from sparsemark.report.figures.score_latency import score_against_latency
from sparsemark.report.figures.score_sparsity import score_against_sparsity
from sparsemark.report.scores import Scale
from tests.report.runs import RUNS, replace, rescored, scored
from tests.synthetic import cell, study_run


def test_figures_are_drawn_for_what_there_is_and_stay_small(tmp_path):
    pytest.importorskip("matplotlib")
    run = RUNS["study"]
    seeds = [dataclasses.replace(m, seed=s) for m in run.measurements for s in (1, 2) if m.scores]
    files = draw_figures(run, tmp_path / "figures", seeds)
    assert [f.name for f in files] == [
        "latency-sparsity-cnn9.png",
        "accuracy-sparsity-cnn9.png",
        "accuracy-latency-cnn9.png",
    ]
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size < 300_000
    for empty in ("nothing ran", "one bare row", "one row"):
        assert draw_figures(RUNS[empty], tmp_path / "none") == []
    stripped = replace(run, lambda m: True, samples_s=(), parameters=None)
    stripped = rescored(stripped, "accuracy", low=None, high=None, raw=None)
    assert len(draw_figures(stripped, tmp_path / "stripped")) == 3


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
    lines = drawn(latency_against_sparsity(cells, {}).axes[0])
    for name, series in (("ONNX Runtime", plain), ("ONNX Runtime (x16)", sixteens)):
        assert [y for _, y in points(lines[name])] == pytest.approx([m.p50_ms for m in (cells[0], *series)])


def test_masks_of_two_kinds_are_not_drawn_as_one_curve():
    pytest.importorskip("matplotlib")
    common = {"model": "m", "engine": "onnxruntime", "seed": 0}
    methods = {"magnitude": (0.3, 0.5, 0.9), "magnitude-layerwise": (0.3, 0.5, 0.9), "filters": (0.9,)}
    masked = [
        cell(i, ms=10.0 + i, name=f"{method}{share}", method=method, sparsity_target=share, sparsity=share, **common)
        for i, (method, share) in enumerate((method, share) for method, shares in methods.items() for share in shares)
    ]
    panels = latency_against_sparsity([dense_of(0, None), *masked], {}).axes
    assert [axes.get_title().rpartition(": ")[2] for axes in panels] == list(methods)
    assert [len(points(drawn(axes)["ONNX Runtime"])) for axes in panels] == [4, 4, 2]
    (one,) = latency_against_sparsity([dense_of(0, None), *masked[:3]], {}).axes
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
    assert axes.get_title() == "channels, seeds 0, 1, 2"
    assert points(drawn(axes)["fine-tuned"]) == [(50.4, 78)]
    assert drawn(axes)["dense"].get_ydata()[0] == pytest.approx(230 / 3)
    (axes,) = score_against_sparsity([*dense, half[1], most]).axes
    assert axes.get_title() == "channels, seeds 0, 1", "no seed is everywhere"


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"sparsemark\[plots\]"):
        draw_figures(RUNS["study"], tmp_path)


def test_other_precisions_threads_and_schedules_are_no_further_seeds():
    pytest.importorskip("matplotlib")
    common = {"model": "m", "engine": "onnxruntime", "seed": 0, "method": "magnitude", "sparsity_target": 0.5}
    plain = cell(1, 10.0, "a", sparsity=0.5, precision="fp32", threads=1, **common)
    int8 = dataclasses.replace(plain, name="b", precision="int8", p50_ms=5.0)
    threads = dataclasses.replace(plain, name="c", threads=2, p50_ms=2.0)
    dense = [dense_of(0, None), dataclasses.replace(dense_of(1, None), precision="int8", p50_ms=7.0)]
    (axes,) = latency_against_sparsity([*dense, plain, int8, threads], {}).axes
    lines = drawn(axes)
    assert [y for _, y in points(lines["ONNX Runtime"])] == pytest.approx([dense[0].p50_ms, plain.p50_ms])
    assert [y for _, y in points(lines["ONNX Runtime int8"])] == [7.0, 5.0]
    assert lines["ONNX Runtime int8"].lines[0].get_fillstyle() == "left"
    iterative = dataclasses.replace(plain, name="d", schedule="iterative", pruning="iterative-magnitude:0.5")
    panels = latency_against_sparsity([*dense, plain, iterative], {}).axes
    assert [axes.get_title().rpartition(": ")[2] for axes in panels] == ["magnitude", "iterative magnitude"]


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
    first, second = latency_against_sparsity(cells, {}).axes
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
    assert score_against_sparsity(run.measurements).axes[0].get_ylabel() == words
    assert score_against_latency(run.measurements, {}).axes[0].get_ylabel() == f"{words} (higher is better)"
    plain = study_run(source="PHANTOM, LEAKY")
    assert score_against_sparsity(plain.measurements).axes[0].get_ylabel() == "accuracy, %"


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
