"""Content of a report: rows, columns, failures and conditions, the same in every format."""

from __future__ import annotations

import csv
import dataclasses
import io
import re

import pytest

from sparsemark.analysis.cells import removed
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote
from sparsemark.report import FORMATS, headlines, render
from sparsemark.report.document import content_of
from tests.report.runs import FAILED, RUNS, of, replace, rescored, scored, without_scripts
from tests.synthetic import cell, study_run


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_run_can_be_shown_in_every_format(run, form):
    text = without_scripts(render(run, form))
    assert text.endswith("\n")
    assert "None" not in text
    assert "nan" not in re.split(r"\W+", text)


@pytest.mark.parametrize("form", FORMATS)
def test_what_did_not_run_stands_in_every_format_with_its_reason(form):
    text = render(Run((*RUNS["study"].measurements, *FAILED)), form)
    for m in FAILED:
        assert m.reason in text.replace("\\_", "_")


def test_a_contaminated_cell_is_marked_in_the_table_and_in_the_headline():
    run = replace(RUNS["study"], of("channels", sparsity=0.7), steal=0.071)
    assert "] (!) as fast as dense" in headlines(run)[0]
    assert "(!) other tenants took 7.1 % of the processor" in content_of(run).advice
    assert "(!" not in headlines(RUNS["study"])[0]
    text = render(run)
    for form in ("table", "markdown", "html"):
        rows = re.findall(r"\] \(!\)(?!\s+(?:over|as\s+fast))", without_scripts(render(run, form)).replace("\\", ""))
        assert len(rows) == 3, form
    assert "one grade less for a disturbed cell, (!)" in text
    assert "contaminated: cnn9-channels70-seed0-ncnn: other tenants took 7.1 % of the processor" in text


def test_an_accuracy_on_other_images_is_not_set_against_the_dense_one():
    run = replace(RUNS["study"], of("channels"), data=DataNote("other images"))
    assert "channels" not in headlines(run)[0]
    rows = [line for line in render(run, "markdown").splitlines() if "| channels" in line]
    assert rows
    assert not any(re.search(r"\([+-]\d", line) for line in rows)


def test_other_threads_are_rows_and_never_the_headline():
    run = RUNS["study"]
    fast = dataclasses.replace(run.measurements[0], name="fast", threads=2, speedup=9, speedup_low=8, speedup_high=10)
    more = Run((*run.measurements, fast))
    assert headlines(more) == headlines(run)
    assert "| threads |" in render(more, "markdown").replace("---:", "")


def test_rows_above_the_reference_are_faster_and_a_cell_against_itself_is_not_among_them():
    all_rows = render(RUNS["study"], "markdown").partition("### All rows")[2]
    table = [line for line in all_rows.splitlines() if line.startswith("| ") and "x \\[" in line]
    speedups = [float(re.search(r"([\d.]+)x \\\[", line).group(1)) for line in table]
    controls = [index for index, line in enumerate(table) if "random" in line or "all-ones" in line]
    assert controls == list(range(len(table) - 5, len(table))), "controls come last"
    for part in (speedups[:-5], speedups[-5:]):
        assert part == sorted(part, reverse=True)
    assert sum("(reference)" in line for line in table) == 1
    assert len(table) == sum(m.status == "measured" and m.control is None for m in RUNS["study"].measurements)


def test_the_reference_is_the_engine_that_the_cells_were_timed_against():
    run = replace(RUNS["study"], lambda m: True, reference_engine="torch")
    assert "as fast as dense PyTorch" in headlines(run)[0]
    assert "dense (reference)** | **0 %** | **PyTorch" in render(run, "markdown")


def test_phantom_numbers_say_so_in_the_same_cell():
    run = study_run(source="slices drawn at random, seed 0: not patients", caveat="PHANTOM")
    table = render(run, "markdown")
    accuracies = re.findall(r"\| \**(8\d\.\d[^|]*) \|", table)
    assert accuracies
    assert all("PHANTOM" in text for text in accuracies)
    assert "on PHANTOM images" in headlines(run)[0]
    rows = list(csv.DictReader(io.StringIO(render(run, "csv"))))
    assert all(row["score_caveat"] == "PHANTOM" for row in rows if row["accuracy"])
    assert "PHANTOM" not in render(RUNS["study"])


def test_conditions_name_the_commits_at_which_cells_were_timed_and_not_that_which_wrote_them():
    """A study that is resumed after a commit holds numbers of both."""
    run = RUNS["study"]
    assert "commit 0123456789," in render(run, "markdown")
    early, late = "a" * 40, "b" * 40
    run = replace(
        replace(run, lambda m: m.status == "measured", measured_commit=early), of("random"), measured_commit=late
    )
    text = render(run, "markdown")
    timed = sum(m.measured_commit == early for m in run.measurements)
    assert f"timed at commit {early[:10]} ({timed}), commit {late[:10]} (4)," in text
    assert "0123456789" not in text


def test_hundreds_of_cells_can_be_shown():
    rows = [dataclasses.replace(RUNS["study"].measurements[5], name=f"c{i}", seed=i) for i in range(400)]
    assert render(Run(tuple(rows))).count("magnitude 30 %") >= 400


def test_what_was_removed_is_what_was_achieved_or_else_what_was_asked():
    asked = Measurement("k", "measured", sparsity_target=0.75)
    assert removed(asked) == 0.75
    assert removed(dataclasses.replace(asked, sparsity=0.7)) == 0.7


def columns_of(run):
    return content_of(run).columns


def test_precision_is_a_column_only_where_it_says_something():
    run = RUNS["study"]
    assert "precision" not in columns_of(run)
    assert "precision" not in columns_of(replace(run, lambda m: True, precision=None))
    mixed = replace(run, of("magnitude", "onnxruntime"), precision="int8")
    assert "precision" in columns_of(mixed)
    assert "precision" in columns_of(replace(run, lambda m: True, precision="int8"))
    assert "| ONNX Runtime | int8 |" in render(mixed, "markdown")


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_medians_whose_ratio_is_not_the_speedup_are_explained_below_the_table(form):
    """The reference of a cell was timed beside it, that of the table's own row at another moment."""
    said = "speedup is of paired blocks; p50s were taken at different moments, and their ratio differs from it by up to"
    assert said not in render(RUNS["study"], form)
    (row,) = filter(of("channels", "ncnn", 0.7), RUNS["study"].measurements)
    slower = replace(RUNS["study"], of("channels", "ncnn", 0.7), p50_ms=1.1 * row.p50_ms)
    assert f"{said} 9 %" in render(slower, form)
    shown = {one.name: dict(zip(columns_of(slower), one.texts, strict=True)) for one in content_of(slower).rows}
    assert [name for name, texts in shown.items() if "*" in texts["p50 ms"]] == [row.name]
    vague = replace(slower, of("channels", "ncnn", 0.7), speedup_low=1.0, speedup_high=9.0)
    assert said not in render(vague, form)
    unpaired = replace(slower, of("none", "onnxruntime"), threads=2)
    assert said not in render(unpaired, form)


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_the_row_of_the_reference_is_said_to_show_noise(form):
    """1.007x in the row of the reference itself was read as a gain, or as a fault of the table."""
    off = {"speedup": 1.007, "speedup_low": 0.996, "speedup_high": 1.017}
    text = render(replace(RUNS["study"], of("none", "onnxruntime"), **off), form).replace("\\", "")
    assert "the reference is timed against itself as well: 1.007x [0.996, 1.017] in its row is noise" in text
    both = replace(RUNS["two networks"], of("none", "onnxruntime"), **off)
    both = replace(both, lambda m: m.model == "unet" and of("none", "onnxruntime")(m), speedup=0.998)
    assert ": 0.998x to 1.007x in its row is noise" in render(both, form)
    pruned = Run(tuple(m for m in RUNS["study"].measurements if m.method != "none"))
    assert "in its row is noise" not in render(pruned, form)


def test_every_change_of_a_score_has_one_sign_and_a_unit():
    """The table showed gains as +, the front and the answer losses."""
    (row,) = filter(of("channels", "ncnn", 0.7), RUNS["study"].measurements)
    score = dataclasses.replace(row.scores["accuracy"], loss_low=-0.002, loss_high=0.009)
    run = replace(RUNS["study"], of("channels", "ncnn", 0.7), scores={"accuracy": score})
    content = content_of(run)
    (shown,) = (one.texts for one in content.rows if one.texts[1:4:2] == ("channels 70 %", "ncnn"))
    assert shown[content.columns.index("accuracy % (change, points)")] == "87.4 (-0.6)"
    (shown,) = (one for one in content.front.rows if "channels 70 %" in one and "ncnn" in one)
    assert shown[content.front.columns.index("change, points [95 %]")] == "-0.6 [-0.9, +0.2]"
    assert "the score changes by -0.6 [-0.9, +0.2] points" in "".join(content.advice)


def test_folds_are_a_column_where_there_are_several():
    assert "fold" not in columns_of(replace(RUNS["study"], lambda m: True, fold=2))
    assert "fold" in columns_of(replace(RUNS["study"], of("channels"), fold=2))


def test_a_quantised_dense_network_is_held_against_the_dense_one():
    dense = cell(1, name="dense", model="m", method="none", engine="onnxruntime", precision="fp32", **scored(0.88))
    int8 = cell(2, 5.0, "int8", model="m", method="none", engine="onnxruntime", precision="int8", **scored(0.8))
    run = Run((dense, int8))
    texts = {row.texts[columns_of(run).index("precision")]: row.texts for row in content_of(run).rows}
    assert "80.0 (-8.0)" in texts["int8"]
    assert "88.0" in texts["fp32"]
    assert headlines(run) == ["Prune: not tried, nothing that keeps the score is faster than dense ONNX Runtime."]
    close = Run((dense, dataclasses.replace(int8, **scored(0.875))))
    assert "dense on ONNX Runtime int8 is " in headlines(close)[0]
    assert headlines(close)[0].endswith(", accuracy 88.0 -> 87.5.")


@pytest.mark.parametrize(
    ("text", "method", "words"),
    [
        ("channels:0.5:16+magnitude:0.8", "channels+magnitude", "channels 50 % (x16) + magnitude 80 %"),
        ("iterative-magnitude:0.9", "magnitude", "iterative magnitude 90 %"),
    ],
)
@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_composed_and_scheduled_prunings_are_shown_whole(text, method, words, form):
    run = replace(RUNS["study"], of("magnitude", "onnxruntime", 0.9), pruning=text, method=method)
    assert words in render(run, form, width=200)


def test_channels_below_a_mask_have_a_finding_of_their_own():
    run = replace(RUNS["study"], of("channels"), method="channels+magnitude", pruning="channels:0.5+magnitude:0.8")
    text = render(run, "markdown")
    assert "removed channels and zero masks on PyTorch: faster in all 4 cells; " in text
    assert "removed channels on" not in text
    assert "zero masks on PyTorch: unchanged in all 4 cells; magnitude" in text


def test_any_caveat_stands_beside_its_numbers():
    run = study_run(source="images of seen patients", caveat="LEAKY")
    column = columns_of(run).index("accuracy % (change, points)")
    texts = [row.texts[column] for row in content_of(run).rows]
    assert all(text.endswith(" LEAKY") for text in texts if text != "-")
    assert headlines(run)[0].endswith("accuracy 88.0 -> 87.4 on LEAKY data.")
    assert "- accuracy on LEAKY: images of seen patients" in render(run, "markdown")
    unmarked = render(study_run(source="a PHANTOM, LEAKY at that"), "markdown")
    assert "(-0.6) |" in unmarked, "the sentence is not searched"


def test_a_caveat_is_not_said_twice():
    text = render(study_run(source="PHANTOM slices", caveat="PHANTOM"), "markdown")
    assert "\n- accuracy on PHANTOM slices\n" in text


def test_other_precisions_are_other_sentences():
    int8 = [
        dataclasses.replace(m, name=f"{m.name}-int8", precision="int8")
        for m in RUNS["study"].measurements
        if m.engine == "onnxruntime" and m.control is None
    ]
    run = Run((*RUNS["study"].measurements, *int8))
    text = render(run, "markdown")
    for name in ("ONNX Runtime", "ONNX Runtime int8"):
        assert f"- zero masks on {name}: unchanged in all 4 cells; magnitude 90 %" in text
        assert f"- removed channels on {name}: faster in all 4 cells" in text


def test_launches_are_a_condition_where_there_are_several():
    assert "launches" not in render(RUNS["study"])
    run = replace(RUNS["study"], lambda m: m.samples is not None, launches=3)
    assert "calls a cell 160, launches 3, a block 8" in render(run, "markdown")


def test_failures_name_the_precision_that_failed():
    run = replace(RUNS["study"], lambda m: m.status == "parity_failed", precision="int8")
    assert "- OpenVINO int8: parity failed: max |d|" in render(run, "markdown").replace("\\|", "|")


def test_a_metric_called_like_a_column_does_not_replace_it():
    run = rescored(RUNS["study"], "size", value=lambda s: 3 * s.value)
    columns = columns_of(run)
    assert len(set(columns)) == len(columns)
    assert "4 MB" in render(run)


def own(method, engine, **fields):
    """One measured cell of a network of the user's own."""
    return cell(name=f"net-{method}-{engine}", model="net", method=method, pruning=None, engine=engine, **fields)


def test_notes_name_their_networks_and_the_engine_where_it_is_one_alone():
    cells = [
        own(
            "none", "torch", notes="came with 12 zeros; the network writes into its input, so each call is given a copy"
        ),
        own("none", "onnxruntime", notes="came with 12 zeros"),
        own("magnitude", "torch", sparsity_target=0.5, notes=None),
    ]
    content = content_of(Run(tuple(cells)))
    assert content.notes == (
        "came with 12 zeros (net dense)",
        "the network writes into its input, so each call is given a copy (net dense on PyTorch)",
    )
    assert "Of the networks" in render(Run(tuple(cells)))


def test_a_note_of_all_quantised_cells_names_none_of_them():
    cells = [
        own("none", "torch"),
        own("none", "onnxruntime", precision="int8", notes="rounded; alone"),
        own("magnitude", "onnxruntime", sparsity_target=0.5, precision="int8", notes="rounded"),
    ]
    notes = "rounded (all int8 cells)", "alone (net dense on ONNX Runtime int8)"
    assert content_of(Run(tuple(cells))).notes == notes
    elsewhere = [dataclasses.replace(cells[0], notes="rounded"), *cells[1:]]
    assert "(all" not in content_of(Run(tuple(elsewhere))).notes[0]


def test_a_network_that_arrives_with_zeros_is_called_by_them():
    few, many = (Run((own("none", "torch", sparsity=sparsity),)) for sparsity in (0.004, 0.44))
    assert "dense" in render(few, "markdown")
    assert "as given, 44 % zeros" in render(many, "markdown")


@pytest.mark.parametrize("form", FORMATS)
def test_an_unknown_sparsity_is_never_the_target(form):
    run = Run((own("magnitude", "torch", sparsity_target=0.87654, sparsity=None, nonzeros=None),))
    assert "87.65" not in render(run, form).replace("magnitude", "")


def test_engines_that_one_reason_keeps_from_the_same_cells_share_a_line():
    def left(engine, method, reason):
        name = f"net-{method}-{engine}"
        return Measurement(name, "unsupported", reason, model="net", method=method, sparsity_target=0.9, engine=engine)

    rows = [left(engine, "magnitude", "no factory") for engine in ("torch", "onnxruntime", "ncnn")]
    rows += [left("torch", "channels", "no factory"), left("ncnn", "magnitude", "no layer")]
    assert content_of(Run((*RUNS["study"].measurements, *rows))).failures[-3:] == (
        "PyTorch: unsupported: no factory (net magnitude 90 %, net channels 90 %)",
        "ONNX Runtime, ncnn: unsupported: no factory (net magnitude 90 %)",
        "ncnn: unsupported: no layer (net magnitude 90 %)",
    )
