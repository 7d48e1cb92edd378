"""Scores of any metric: direction, tolerance and unit, in every format."""

from __future__ import annotations

import csv
import dataclasses
import io
import re

import numpy as np
import pytest

from sparsemark.analysis.front import Bar
from sparsemark.analysis.groups import grouped_interval, pooled
from sparsemark.records.run import Run
from sparsemark.records.scores import Score
from sparsemark.report import FORMATS, headlines, render
from sparsemark.report.accuracy import accuracy_markdown
from sparsemark.report.advice import advice
from sparsemark.report.document import content_of
from sparsemark.report.figures import draw_figures
from sparsemark.report.figures.score_sparsity import score_against_sparsity
from sparsemark.report.figures.score_speedup import score_against_speedup
from sparsemark.report.figures.speedup_sparsity import speedup_against_sparsity
from sparsemark.report.findings import findings_of
from sparsemark.report.scores import Scale, Scoring
from tests.report.runs import RUNS, of, replace, rescored, scored, without_scripts
from tests.synthetic import cell, study_run

DICE, MAE = "dice_volume", "mae"


def error(value):
    """From an accuracy to an error in some unit, the lower the better."""
    return None if value is None else 40 * (1 - value)


def errors(score):
    ends = {"low": error(score.high), "high": error(score.low)}
    earlier = {name: error(getattr(score, name)) for name in ("raw", "recalibrated")}
    return Score(error(score.value), **ends, **earlier, higher_is_better=False, tolerance=0.4)


def two_metrics(run, *order):
    """The same run with two metrics in this order: the old one as `dice_volume`, and its error as `mae`."""
    rows = []
    for m in run.measurements:
        score = next(iter(m.scores.values()), None)
        both = {} if score is None else {DICE: dataclasses.replace(score, tolerance=None), MAE: errors(score)}
        rows.append(dataclasses.replace(m, scores={name: both[name] for name in order if name in both}))
    return dataclasses.replace(run, measurements=tuple(rows))


VOLUMES = two_metrics(RUNS["study"], DICE, MAE)
ERRORS = two_metrics(RUNS["study"], MAE, DICE)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("run", [VOLUMES, ERRORS], ids=[DICE, MAE])
def test_a_run_with_several_metrics_can_be_shown_in_every_format(run, form):
    text = without_scripts(render(run, form))
    assert "accuracy" not in text
    assert "None" not in text


def rows_of(run):
    content = content_of(run)
    return [dict(zip(content.columns, row.texts, strict=True)) for row in content.rows]


def row_of(run, pruned, engine):
    (row,) = (row for row in rows_of(run) if (row["pruned"], row["engine"]) == (pruned, engine))
    return row


def test_fractions_are_shown_in_percent_and_points():
    assert row_of(VOLUMES, "dense", "PyTorch")["dice_volume % (change, points)"] == "88.0"
    assert row_of(VOLUMES, "magnitude 90 %", "PyTorch")["dice_volume % (change, points)"] == "84.5 (-3.5)"


def test_other_values_are_shown_with_four_digits_and_a_signed_difference():
    assert row_of(ERRORS, "dense", "PyTorch")["mae (change)"] == "4.800"
    assert row_of(ERRORS, "magnitude 90 %", "PyTorch")["mae (change)"] == "6.200 (+1.400)"
    assert row_of(ERRORS, "magnitude 30 %", "PyTorch")["mae (change)"] == "4.680 (-0.120)"


def test_a_loss_is_written_as_the_change_that_it_is():
    assert Scale("accuracy").lost(0.006, -0.002, 0.009) == "-0.6 [-0.9, +0.2]"
    assert Scale("accuracy").lost(-0.006) == "+0.6"
    assert Scale("accuracy").lost(0.0) == Scale("accuracy").lost(0.0001) == "+0.0"
    error = Scale("mae", percent=False, higher_is_better=False)
    assert error.lost(0.25, -0.5, 1.0) == "+0.2500 [-0.5000, +1.000]"


def test_a_loss_has_the_decimals_that_tell_it_from_what_is_allowed():
    scale = Scale("accuracy")
    losses = (0.0104, 0.00998, 0.01, 0.02, 0.01000001)
    texts = ["1.04 points", "0.998 points", "1.0 points", "2.0 points", "1.0000 points"]
    assert [scale.amount(loss, 0.01) for loss in losses] == texts
    assert scale.amount(0.0104) == "1.0 points"
    assert scale.change(Score(0.8696), Score(0.88), 0.01) == "-1.04"
    assert scale.change(Score(0.8704), Score(0.88), 0.01) == "-0.96", "it is within"
    assert scale.change(Score(0.8896), Score(0.88), 0.01) == "+1.0"


def test_a_column_of_a_metric_is_escaped_in_markdown():
    header = next(line for line in render(VOLUMES, "markdown").splitlines() if line.startswith("| model"))
    assert "| dice\\_volume % (change, points) |" in header
    assert "| speedup [95 %] |" in header


def test_the_headline_keeps_the_tolerance_of_an_error():
    line = advice(ERRORS)[0]
    assert line.startswith("fastest within 0.4 of the dense mae: channels 70 % on ncnn, 3.2")
    assert headlines(ERRORS)[0].endswith(", mae 4.800 -> 5.040.")
    rows = (
        dataclasses.replace(m, scores={n: dataclasses.replace(s, tolerance=0.1) for n, s in m.scores.items()})
        for m in ERRORS.measurements
    )
    strict = dataclasses.replace(ERRORS, measurements=tuple(rows))
    assert "channels 50 % on ncnn" in headlines(strict)[0], "an error that grew by .24 is too large now"
    worse = replace(ERRORS, lambda m: m.method != "none", scores={MAE: Score(9.0, higher_is_better=False)})
    assert "dense on ncnn" in headlines(worse)[0]
    better = replace(ERRORS, of("channels", "ncnn", 0.9), scores={MAE: Score(1.0, higher_is_better=False)})
    assert "channels 90 % on ncnn" in headlines(better)[0], "a lower error is no loss"


def test_where_nobody_named_a_tolerance_99_percent_of_the_dense_score_are_kept():
    line = advice(VOLUMES)[0]
    assert line.startswith("fastest that keeps 99 % of the dense dice_volume: channels 70 % on ncnn, ")
    assert headlines(VOLUMES)[0].endswith(", dice_volume 88.0 -> 87.4.")
    line = advice(VOLUMES, Bar(keep=0.95))[0]
    assert line.startswith("fastest that keeps 95 % of the dense dice_volume: channels 90 % on ncnn, ")


def test_where_lower_is_better_the_share_kept_is_a_limit_to_growth():
    line = advice(ERRORS, Bar(keep=0.95))[0]  # 4.8 / 0.95 = 5.05
    assert "that keeps 95 % of the dense mae, at most 1.053 times it: channels 70 % on ncnn" in line
    assert "channels 50 % on ncnn" in headlines(ERRORS, Bar(keep=0.96))[0], "4.8 / 0.96 = 5.00, and 70 % is at 5.04"


@pytest.mark.parametrize(
    ("tolerance", "words"),
    [
        (0.01, "within one point of accuracy"),
        (0.02, "within 2 points of accuracy"),
        (0.005, "within 0.5 points of accuracy"),
        (0.0, "without loss of accuracy"),
    ],
)
def test_a_tolerance_is_said_in_points(tolerance, words):
    assert f"fastest {words}: " in advice(rescored(RUNS["study"], "accuracy", tolerance=tolerance))[0]


def test_conditions_name_the_metrics_and_the_direction_that_readers_would_not_expect():
    assert "\n- mae on LGG, 22 test patients\n- mae: lower is better\n" in render(ERRORS, "markdown")
    text = render(VOLUMES, "markdown")
    assert "\n- dice\\_volume on LGG, 22 test patients\n" in text
    assert "is better" not in text


def test_networks_with_other_metrics_show_each_with_its_name():
    other = two_metrics(study_run(1, model="unet"), MAE)
    run = Run(RUNS["study"].measurements + other.measurements)
    texts = {row["model"]: row["score (change)"] for row in rows_of(run) if row["pruned"] == "magnitude 90 %"}
    assert texts == {"cnn9": "accuracy 84.5 % (-3.5 points)", "unet": "mae 6.200 (+1.400)"}
    assert [line.partition(":")[0] for line in headlines(run)] == ["cnn9", "unet"]
    assert "accuracy, mae on LGG, 22 test patients" in render(run)


def test_a_row_that_lacks_the_headline_does_not_promote_another_metric():
    common = {"model": "m", "engine": "torch", "seed": 0}
    whole = cell(1, name="a", method="none", scores={DICE: Score(0.9), MAE: Score(3.0)}, **common)
    partial = cell(2, name="b", method="magnitude", scores={MAE: Score(3.5)}, **common)
    for rows in ((whole, partial), (partial, whole)):
        run = Run(rows)
        assert {row["pruned"]: row["dice_volume %"] for row in rows_of(run)} == {"dense": "90.0", "magnitude": "-"}


def test_a_value_above_one_makes_a_metric_no_fraction():
    mixed = replace(RUNS["study"], of("random"), scores={"accuracy": Score(1.5)})
    assert row_of(mixed, "dense", "PyTorch")["accuracy (change)"] == "0.8800"
    raw = rescored(RUNS["study"], "accuracy", raw=-0.2)
    assert row_of(raw, "dense", "PyTorch")["accuracy (change)"] == "0.8800"


def test_csv_has_a_column_for_every_number_of_every_metric():
    first = next(csv.DictReader(io.StringIO(render(ERRORS, "csv"))))
    columns = list(first)
    start = columns.index("mae")
    numbers = ["", "_low", "_high", "_raw", "_recalibrated"]
    assert columns[start : start + 10] == [f"{metric}{end}" for metric in (MAE, DICE) for end in numbers]
    assert float(first["mae"]) == next(iter(ERRORS.measurements[0].scores.values())).value
    assert first["score_data"] == "LGG, 22 test patients"


def test_csv_keeps_a_metric_apart_from_a_field_of_the_same_name():
    run = rescored(RUNS["study"], "precision")
    first = next(csv.DictReader(io.StringIO(render(run, "csv"))))
    assert first["precision"] == "fp32"
    assert float(first["score_precision"]) == pytest.approx(0.88)


def test_scales_count_a_fraction_up_to_one():
    rows = [cell(1, model="m", scores={"a": Score(1.0, raw=0.0), "b": Score(1.0, recalibrated=1.01)})]
    scales = Scoring.of(rows).scales
    assert scales["a"].percent
    assert not scales["b"].percent


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.2141, "3.214"), (12345.6, "12346"), (0.00123456, "0.001235"), (0.0, "0.000"), (-3e-7, "-3.000e-07")],
)
def test_a_score_has_four_digits(value, text):
    assert Scale("m", percent=False).value(value) == text


def test_a_change_has_the_decimals_of_its_score():
    assert Scale("m", percent=False).change(Score(123.456), Score(123.0)) == "+0.5"
    assert Scale("m").change(Score(0.9), Score(0.904)) == "-0.4"


# figures


@pytest.mark.parametrize(("higher_is_better", "front"), [(False, [9.0, 5.0, 1.0]), (True, [9.0])])
def test_the_front_turns_where_lower_is_better(higher_is_better, front):
    pytest.importorskip("matplotlib")
    cells = [
        cell(i, ms, f"c{i}", model="m", engine="torch", method="magnitude",
             scores={MAE: Score(value, higher_is_better=higher_is_better)})
        for i, (ms, value) in enumerate([(1.0, 9.0), (2.0, 5.0), (3.0, 7.0), (4.0, 1.0)])
    ]  # fmt: skip
    (axes,) = score_against_speedup(cells, {}).axes
    (line,) = (line for line in axes.get_lines() if line.get_label() == "nothing is both faster and better")
    assert list(line.get_ydata()) == front


def test_axes_say_which_direction_is_better():
    pytest.importorskip("matplotlib")
    (axes,) = score_against_speedup(ERRORS.measurements, {}).axes
    assert axes.get_ylabel() == "mae (lower is better)"
    assert (
        score_against_sparsity(ERRORS.measurements).axes[0].get_ylabel()
        == "change of mae against dense (lower is better)"
    )
    (axes,) = score_against_speedup(VOLUMES.measurements, {}).axes
    assert axes.get_ylabel() == "dice_volume, % (higher is better)"
    label = score_against_sparsity(VOLUMES.measurements).axes[0].get_ylabel()
    assert label == "change of dice_volume against dense, points (higher is better)"


def test_the_front_of_an_error_is_drawn_downwards():
    pytest.importorskip("matplotlib")
    (axes,) = score_against_speedup(ERRORS.measurements, {}).axes
    (line,) = (line for line in axes.get_lines() if line.get_label() == "nothing is both faster and better")
    y = list(line.get_ydata())
    assert len(y) > 1
    assert y == sorted(y, reverse=True)
    assert {text.get_va() for text in axes.texts} == {"top"}, "names stand on the side without points"
    assert min(y) == pytest.approx(4.68)


def test_points_of_an_error_are_in_its_own_unit():
    pytest.importorskip("matplotlib")
    panel = score_against_sparsity(ERRORS.measurements).axes[0]
    handles, labels = panel.get_legend_handles_labels()
    line = handles[labels.index("magnitude")].lines[0]
    assert list(line.get_ydata()) == pytest.approx([4.68 - 4.8, 4.84 - 4.8, 5.04 - 4.8, 6.2 - 4.8])


def test_files_of_figures_are_called_after_the_metric(tmp_path):
    pytest.importorskip("matplotlib")
    files = draw_figures(rescored(RUNS["study"], "mae of/x"), tmp_path)
    named = ("speedup-sparsity-cnn9", "mae_of_x-speedup-cnn9", "mae_of_x-sparsity-cnn9")
    assert files == [tmp_path / f"{name}{end}" for name in named for end in (".png", ".svg", ".txt")]


def test_a_figure_of_latency_needs_no_score():
    pytest.importorskip("matplotlib")
    bare = replace(RUNS["study"], lambda m: True, scores={})
    assert speedup_against_sparsity(bare.measurements, {}) is not None
    assert score_against_sparsity(bare.measurements) is None
    assert score_against_speedup(bare.measurements, {}) is None


# the table over seeds


def over_seeds(run, seeds=(0, 1)):
    return [dataclasses.replace(m, seed=seed) for m in run.measurements if m.engine == "torch" for seed in seeds]


def table_lines(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_table_over_seeds_shows_whatever_metrics_there_are():
    header, _, first, *_ = table_lines(accuracy_markdown(over_seeds(ERRORS)))
    assert header == "| network | pruned | seeds | raw mae | recalibrated mae | final mae | dice\\_volume |"
    assert first.startswith("| cnn9 | dense | 2 | 4.800 [4.800, 4.800] | ")
    assert first.endswith(" | 4.800 [4.800, 4.800] | 0.880 [0.880, 0.880] |")
    header, _, first, *_ = table_lines(accuracy_markdown(over_seeds(VOLUMES, [0])))
    assert header.endswith("| final dice\\_volume % | mae |")
    assert first == "| cnn9 | dense | 1 | 88.0 | 88.0 | 88.0 | 4.800 |"
    assert "- mae: lower is better" in accuracy_markdown(over_seeds(VOLUMES))


def test_the_table_over_seeds_names_well_known_metrics_as_readers_do():
    names = ("accuracy", "f1", "recall", "precision", "roc_auc", "mcc")
    rows = [cell(1, model="m", method="none", seed=0, scores={name: Score(0.5) for name in names})]
    (header, *_) = table_lines(accuracy_markdown(rows))
    assert header.endswith("| final % | ROC AUC | F1 | recall | precision | mcc |")


def test_networks_with_other_metrics_have_tables_of_their_own():
    rows = over_seeds(RUNS["study"], [0]) + over_seeds(two_metrics(study_run(1, model="unet"), MAE), [0])
    text = accuracy_markdown(rows)
    headers = [line for line in table_lines(text) if "network" in line]
    assert [re.findall(r"final [^|]+", header) for header in headers] == [["final % "], ["final mae "]]


def test_folds_are_counted_where_there_are_any():
    rows = [
        cell(1, model="m", method="none", seed=seed, fold=fold, scores={MAE: Score(2.0 + fold)})
        for seed in (0, 1)
        for fold in (0, 1, 2)
    ]
    header, _, only = table_lines(accuracy_markdown(rows))
    assert header.startswith("| network | pruned | seeds | folds | raw mae |")
    assert only == "| m | dense | 2 | 3 | - | - | 3.000 [2.000, 4.000] |"


def test_folds_and_seeds_are_not_averaged_together():
    rows = [
        cell(1, model="m", method="none", seed=seed, fold=fold, scores={MAE: Score(value)})
        for seed, fold, value in ((0, None, 9.0), (1, None, 9.0), (0, 0, 1.0), (0, 1, 3.0))
    ]
    _, _, seeds, folds = table_lines(accuracy_markdown(rows))
    assert seeds == "| m | dense | 2 | - | - | - | 9.000 [9.000, 9.000] |"
    assert folds == "| m | dense | 1 | 2 | - | - | 2.000 [1.000, 3.000] |"


def test_the_interval_is_that_of_all_groups_together():
    """Two folds of two patients each: four patients are resampled; a single network keeps its own interval."""
    groups = [{"a": (0.5, 2.0), "b": (0.75, 2.0)}, {"c": (1.0, 2.0), "d": (0.25, 4.0)}]
    rows = [
        cell(1, model="m", method="none", seed=0, fold=fold, scores={"accuracy": Score(0.6, 0.1, 0.2, groups=of)})
        for fold, of in enumerate(groups)
    ]
    header, _, only = table_lines(accuracy_markdown(rows))
    assert header.endswith("| final % | 95 % interval |")
    low, high = grouped_interval([0.5, 0.75, 1.0, 0.25], [2 / 4, 2 / 4, 2 / 6, 4 / 6])
    assert only.endswith(f"| {100 * low:.1f} to {100 * high:.1f} |")
    _, _, alone = table_lines(accuracy_markdown(rows[:1]))
    assert alone.endswith("| 10.0 to 20.0 |")
    without = [*rows, dataclasses.replace(rows[0], fold=2, scores={"accuracy": Score(0.6)})]
    assert table_lines(accuracy_markdown(without))[2].endswith("| - |"), "not all are known by group"


def test_a_patient_that_two_networks_were_tested_on_is_one():
    found = pooled([{"a": (0.5, 2.0), "b": (1.0, 2.0)}, {"a": (0.8, 40.0)}])
    assert found == {"a": (pytest.approx((0.5 * 0.5 + 0.8) / 1.5), 1.5), "b": (1.0, 0.5)}
    values, weights = zip(*found.values(), strict=True)
    assert np.average(values, weights=weights) == pytest.approx((0.75 + 0.8) / 2), "the mean over networks"


def test_an_empty_table_over_seeds_still_says_what_failed():
    (failed,) = (m for m in RUNS["study"].measurements if m.status == "unsupported")
    assert f"- {failed.name}: {failed.reason}" in accuracy_markdown([failed])


def test_a_loss_near_what_is_allowed_has_the_same_decimals_wherever_it_stands():
    """A finding said -1.0 of what the table showed as -1.02, which reads as a row that keeps its score."""
    near = replace(RUNS["study"], of("channels", "ncnn", 0.9), **scored(0.8696, loss_low=-0.01, loss_high=0.03))
    (finding,) = (one for one in findings_of(near) if one.name == "removed channels on ncnn")
    assert finding.change == "-1.04 [-3.0, +1.0] points"
    assert any("87.0 (-1.04)" in row.texts for row in content_of(near).rows)
    assert any("-1.04 [-3.0, +1.0]" in row for row in content_of(near).front.rows)
