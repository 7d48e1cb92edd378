"""Advice below the headline: how sure the choice is, what to deploy, why nothing pays, what speed alone says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sparsemark.analysis.front import Bar
from sparsemark.records.measurement import CONSTANT, NEVER_DEPENDED
from sparsemark.records.origin import Origin
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote
from sparsemark.report import headlines, render
from sparsemark.report.advice import advice
from sparsemark.report.deployment import Deployment
from sparsemark.report.document import content_of
from tests.report.runs import RUNS, of, replace, rescored, scored

RUN = RUNS["study"]
_ON_SELECT = "change on select, points"


def line_of(run, start, **more):
    (line,) = (line for line in advice(run, **more) if line.startswith(start))
    return line


def test_an_estimate_is_called_one():
    assert line_of(RUN, "how sure: ").endswith("a point estimate, without an interval of the loss")
    bare = rescored(RUN, "accuracy", low=None, high=None)
    assert "per_group in the task, or a score for each input, would give one" in line_of(bare, "how sure: ")


def bounded(low, high, sparsity):
    """The run with intervals of the loss on ncnn's network of that sparsity."""
    row = next(filter(of("channels", "ncnn", sparsity), RUN.measurements))
    score = dataclasses.replace(row.scores["accuracy"], loss_low=low, loss_high=high)
    return replace(RUN, of("channels", "ncnn", sparsity), scores={"accuracy": score})


def test_an_interval_says_whether_it_excludes_a_larger_loss():
    sure = line_of(bounded(-0.002, 0.009, 0.7), "how sure: ")
    assert (
        "the score changes by -0.6 [-0.9, +0.2] points (95 %, in pairs), which excludes a larger loss than 1.0 points"
        in sure
    )
    unsure = bounded(-0.002, 0.03, 0.7)
    assert "a point estimate, a larger loss than 1.0 points is not excluded" in line_of(unsure, "how sure: ")
    assert not any(line.startswith("the fastest that excludes") for line in advice(unsure)), "nothing is sure"
    both = replace(unsure, of("channels", "ncnn", 0.5), scores=next(
        m.scores for m in bounded(-0.001, 0.002, 0.5).measurements if of("channels", "ncnn", 0.5)(m)
    ))  # fmt: skip
    assert line_of(both, "the fastest that excludes a larger loss: ").startswith(
        "the fastest that excludes a larger loss: channels 50 % on ncnn, 3.39x"
    )


def test_the_number_of_inputs_is_said_and_whether_they_are_too_few():
    def counted(low, high, **counts):
        return line_of(rescored(bounded(low, high, 0.7), "accuracy", **counts), "how sure: ")

    few = counted(-0.037, 0.037, input_count=100)
    assert few.endswith("; 100 inputs, one is 1 point: too few to exclude that; 381 at least can")
    assert counted(-0.037, 0.037, input_count=381).endswith("; 381 inputs, one is 0.26 points")
    assert counted(-0.002, 0.009, input_count=2000).endswith("; 2000 inputs, one is 0.05 points"), "it is excluded"
    assert counted(-0.1, 0.1, input_count=700, group_count=20).endswith(
        "; 20 groups of 700 inputs in all, one is 5 points on average"
    )
    assert counted(-0.1, 0.1).endswith("is not excluded"), "an earlier version did not say"
    bare = rescored(RUN, "accuracy", low=None, high=None, input_count=100)
    assert line_of(bare, "how sure: ").endswith("would give one; 100 inputs"), "one is worth what the task makes of it"


def test_a_loss_of_all_that_is_allowed_is_called_so():
    def at(select):
        row = next(filter(of("channels", "ncnn", 0.7), RUN.measurements))
        scores = {"accuracy": dataclasses.replace(row.scores["accuracy"], select=select)}
        chosen = rescored(RUN, "accuracy", select=lambda score: min(score.value, 0.9))
        return line_of(replace(chosen, of("channels", "ncnn", 0.7), scores=scores), "how sure: ")

    assert "(accuracy 88.0 -> 87.0, all that is allowed), reported on others" in at(0.87)
    assert "all that is allowed" not in at(0.871)
    there = replace(RUN, of("channels", "ncnn", 0.7), **scored(0.87))
    assert "reported on, where it loses all that is allowed" in line_of(there, "how sure: ")


def test_a_faster_row_that_is_out_by_less_than_a_decimal_is_named():
    """The table showed 1.0 points of loss for what was not within one point, above the row that was chosen."""
    near = replace(RUN, of("channels", "ncnn", 0.9), **scored(0.8696))
    line = line_of(near, "channels 90 % on ncnn is ")
    assert line.endswith("] over dense ONNX Runtime, but loses 1.04 points: not within one point of accuracy")
    shown = {row.name: row.texts for row in content_of(near).rows}["cnn9-channels90-seed0-ncnn"]
    assert "87.0 (-1.04)" in shown
    for there in (0.87, 0.8604):
        run = replace(RUN, of("channels", "ncnn", 0.9), **scored(there))
        assert not any(" points: not within" in one for one in advice(run)), there
    slow = replace(near, of("channels", "ncnn", 0.9), speedup=2.0, speedup_low=1.9, speedup_high=2.1)
    assert not any(" points: not within" in one for one in advice(slow)), "it is not faster"
    apart = rescored(near, "accuracy", select=lambda score: score.value)
    assert " 1.04 points on the select inputs: not within" in line_of(apart, "channels 90 % on ncnn is ")


def test_what_was_chosen_on_other_inputs_and_loses_more_where_it_is_reported_says_so():
    chosen = rescored(RUN, "accuracy", select=lambda score: score.value)
    row = next(filter(of("channels", "ncnn", 0.9), RUN.measurements))
    lucky = {"accuracy": dataclasses.replace(row.scores["accuracy"], select=0.879)}
    run = replace(chosen, of("channels", "ncnn", 0.9), scores=lucky)
    line = line_of(run, "how sure: ")
    assert "chosen on the select inputs (accuracy 88.0 -> 87.9), reported on others" in line
    assert "on those it loses 3.5 points, which is not within one point of accuracy" in line
    front = content_of(run).front
    place = {row[front.columns.index("pruned")]: dict(zip(front.columns, row, strict=True)) for row in front.rows}
    assert (place["channels 90 %"][_ON_SELECT], place["channels 90 %"]["keeps it"]) == ("-0.1", "no")
    assert (place["channels 70 %"][_ON_SELECT], place["channels 70 %"]["keeps it"]) == ("-0.6", "yes")
    assert _ON_SELECT not in content_of(RUN).front.columns
    assert "select inputs" in line_of(chosen, "how sure: ")
    assert "on those it loses" not in line_of(chosen, "how sure: ")


def test_where_nothing_pays_the_nearest_is_where_to_go_on():
    start = "next: prune less than "
    assert not any(line.startswith(start) for line in advice(RUN)), "something pays"
    lossy = replace(RUN, lambda m: m.method not in ("none", "all-ones"), **scored(0.5), finetuning_epochs=1)
    near = replace(lossy, of("channels", "ncnn", 0.5), **scored(0.85))
    line = line_of(near, start)
    assert line.startswith(f"{start}channels 50 % on ncnn, which is 3.39x [")
    assert " over dense ONNX Runtime and loses 3.0 points, the least of what is faster, " in line
    assert line.endswith("or fine-tune for more than 1 epoch")
    bare = replace(near, lambda m: True, finetuning_epochs=None)
    assert line_of(bare, start).endswith("the least of what is faster")
    blind = replace(near, of("channels", "ncnn", 0.5), notes=CONSTANT)
    assert not line_of(blind, start).startswith(f"{start}channels 50 % on ncnn"), "it lost everything"
    slow = {"speedup": 0.5, "speedup_low": 0.4, "speedup_high": 0.6}
    slower = replace(near, lambda m: m.method not in ("none", "all-ones"), **slow)
    assert not any(line.startswith(start) for line in advice(slower))


def conditions_of(run):
    return [line for line in content_of(run).conditions if "fine-tuned" in line]


def test_fine_tuning_and_what_the_dense_network_lacked_are_said():
    """Accuracy that a pruned network gained may come from the epochs that the dense one did not get."""
    assert conditions_of(RUN) == [], "nobody recorded it"
    spent = replace(RUN, lambda m: m.method not in ("none", "all-ones"), finetuning_epochs=6)
    plain = Run(tuple(m for m in spent.measurements if m.method != "all-ones"))
    assert line_of(plain, "fine-tuning: ") == (
        "fine-tuning: the pruned network had 6 epochs, the dense one none; --prune all-ones adds the dense network, "
        "fine-tuned as long"
    )
    assert conditions_of(plain) == ["pruned networks were fine-tuned for 6 epochs, the dense one not"]
    control = replace(spent, lambda m: m.method == "all-ones", **scored(0.9))
    assert line_of(control, "fine-tuning: ") == (
        "fine-tuning: the dense network, fine-tuned as long, has accuracy 90.0; "
        "against it the score changes by -2.6 points"
    )
    rows = [
        dataclasses.replace(m, name=f"{m.name}-fold{fold}", fold=fold)
        for m in control.measurements
        for fold in (0, 1)
        if m.status == "measured" and m.control is None
    ]
    one_fold = [m for m in rows if m.method != "all-ones" or m.fold == 0]
    second = [m for m in rows if m.method == "all-ones" and m.fold == 1]
    worse = [dataclasses.replace(m, **scored(0.7)) for m in second]
    assert "has accuracy 80.0; against it the score changes by +7.4 points" in line_of(
        Run((*one_fold, *worse)), "fine-tuning: "
    ), "the mean over the folds of the choice"
    assert not any(line.startswith("fine-tuning: the dense") for line in advice(Run(tuple(one_fold)))), "one has none"
    unscored = replace(spent, lambda m: m.method == "all-ones", scores={})
    assert not any(line.startswith("fine-tuning") for line in advice(unscored)), (
        "the control is there, and says nothing"
    )
    assert conditions_of(spent) == [
        "pruned networks were fine-tuned for 6 epochs, the dense one not, all-ones is the dense one fine-tuned as long"
    ]
    none = replace(plain, lambda m: m.method != "none", finetuning_epochs=0)
    assert conditions_of(none) == ["pruned networks were not fine-tuned"]
    assert not any(line.startswith("fine-tuning") for line in advice(none))
    several = replace(plain, of("magnitude"), finetuning_epochs=1)
    assert conditions_of(several) == ["pruned networks were fine-tuned for 1 to 6 epochs, the dense one not"]


def test_a_command_that_is_named_can_be_typed():
    noisy = replace(RUN, lambda m: m.status == "measured", steal=0.07)
    (line,) = (line for line in content_of(noisy).conditions if "says why for each" in line)
    assert "timed cells disturbed; sparsemark report RUN.json --format csv says why for each" in line
    known = Deployment(results=(Path("my run.json"), Path("b.json")))
    (line,) = (line for line in content_of(noisy, deployment=known).conditions if "says why for each" in line)
    assert "; sparsemark report 'my run.json' b.json --format csv says why for each" in line


def test_what_to_deploy_is_a_file_or_the_command_that_makes_it():
    kept = Deployment("net.py:build", folder=Path("own"))
    assert line_of(RUN, "deploy", deployment=kept) == "deploy: own/cnn9-channels70-seed0.onnx"
    makes = Deployment("net.py:build", ("--input", "1,3,8,8"), ("--task", "my task.py"))
    assert line_of(RUN, "deploy", deployment=makes) == (
        "deploy: sparsemark export net.py:build --input 1,3,8,8 --prune channels:0.7 --task 'my task.py' --format onnx "
        "--output cnn9-channels70-seed0.onnx"
    )
    noisy = replace(RUN, lambda m: m.status == "measured", steal=0.07)
    assert line_of(noisy, "deploy", deployment=kept) == "deploy, if it holds: own/cnn9-channels70-seed0.onnx"
    csr = replace(RUN, of("channels"), **scored(0.5))
    assert line_of(csr, "deploy", deployment=kept) == (
        "deploy (sparsemark.load runs it): own/cnn9-magnitude70-seed0.csr"
    )
    assert " REF --prune channels:0.7 --task TASK.py " in line_of(RUN, "deploy"), "it was fine-tuned"


def test_a_result_file_says_what_its_files_are_and_an_earlier_one_must_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    result, folder = Path("results/run.json"), Path("own")
    inputs, task = ("--input", "1,3,8,8"), ("--task", "my task.py", "--epochs", "2")
    made = Deployment("net.py:build", inputs, task, folder, (result,))
    dataclasses.replace(RUN, origin=made.origin()).save(result)
    run = Run.load(result)
    known = Deployment.of_run(run, (result,))
    command = (
        "deploy: sparsemark export net.py:build --input 1,3,8,8 --prune channels:0.7 --task 'my task.py' --epochs 2 "
        "--format onnx --output cnn9-channels70-seed0.onnx"
    )
    assert line_of(run, "deploy", deployment=known) == command, "the file is gone"
    folder.mkdir()
    (folder / "cnn9-channels70-seed0.onnx").write_bytes(b"another")
    assert line_of(run, "deploy", deployment=known) == command, "another file has taken its place"
    row = next(filter(of("channels", "ncnn", 0.7), RUN.measurements))
    (folder / "cnn9-channels70-seed0.onnx").write_bytes(bytes(row.artifact_bytes or 0))
    found = next(m for m in run.measurements if m.artifact_bytes == row.artifact_bytes)
    assert found.artifact_bytes
    assert line_of(run, "deploy", deployment=known) == "deploy: own/cnn9-channels70-seed0.onnx"
    assert Deployment.of_run(run, (result, result)).folder is None, "of several files, only their names are known"


def test_words_of_a_strangers_file_are_shown_and_never_in_the_way():
    run = Run(RUN.measurements, origin=Origin("net.py:build", "--input '1,3", "--task $(x)", "\0"))
    line = line_of(run, "deploy", deployment=Deployment.of_run(run, (Path("run.json"),)))
    assert line.startswith("deploy: sparsemark export net.py:build --prune channels:0.7 --task '$(x)' --format onnx")


def test_where_nothing_pays_the_reason_is_said():
    masks = Run(tuple(m for m in RUN.measurements if m.engine == "onnxruntime" and m.method in ("none", "magnitude")))
    line = line_of(masks, "no pruned network pays: ")
    assert "the zeros are in ONNX Runtime, which does not use them; direct-csr, which does, was not measured" in line
    assert "no channels were removed" in line
    assert not any(line.startswith("deploy") for line in advice(masks))
    textbook = Run(tuple(m for m in RUN.measurements if m.engine in ("onnxruntime", "scipy-csr") and not m.control))
    cut = replace(textbook, of("channels"), **scored(0.5))
    line = line_of(cut, "no pruned network pays: ")
    assert line.startswith("no pruned network pays: channels 90 % on ONNX Runtime is 3.9")
    assert "but it loses 38.0 points, not within one point of accuracy" in line
    assert "zeros in a sparse engine make it 0.3" in line
    lossy = replace(RUN, lambda m: m.method != "none", **scored(0.5))
    assert line_of(lossy, "no pruned network pays: ").count("loses") == 1
    assert line_of(lossy, "deploy") == ("deploy: sparsemark export REF --format onnx --output cnn9-dense-seed0.onnx"), (
        "dense on ncnn is faster"
    )
    dense = Run(tuple(m for m in RUN.measurements if m.method == "none"))
    assert "no network was pruned: --prune does" in advice(dense)
    assert not any(line.startswith("no pruned network pays") for line in advice(dense))
    failed = replace(RUN, lambda m: m.method != "none", status="error", reason="why", speedup=None, p50_ms=None)
    assert line_of(failed, "no pruned network pays: ") == "no pruned network pays: none was measured"
    assert headlines(failed)[0].startswith("Prune: no, "), "they were tried"


def test_speed_alone_comes_with_how_often_a_network_decides_as_the_dense_one():
    note = DataNote("all 32 inputs (random inputs, standard normal)")
    run = replace(RUN, lambda m: True, scores={}, agreement_with_dense=0.9996, parity_data=note)
    lines = advice(run)
    assert "dense on ncnn: 2.02x [2.02, 2.04] over dense ONNX Runtime" in lines
    times = "channels 90 % on ncnn: 7.21x [7.18, 7.27] over dense ONNX Runtime"
    assert f"{times}, decides as dense on 99.9 % of the random inputs" in lines
    assert lines[-2].startswith("decides as dense: the share of the inputs given on which ")
    assert lines[-2].endswith("; it is not accuracy; on random inputs it says little of real ones")
    assert lines[-1].startswith("next: --task FILE.py")
    real = replace(run, lambda m: True, parity_data=DataNote("real ones"))
    assert not any("random" in line for line in advice(real))
    assert advice(real)[-2].endswith("; it is not accuracy")
    assert "| decides as dense |" in render(real, "markdown")
    header = next(line for line in render(run, "markdown").splitlines() if line.startswith("| model"))
    assert "| decides as dense, on random inputs |" in header
    assert "accuracy" not in header
    all_alike = advice(replace(run, lambda m: True, agreement_with_dense=1.0))
    assert "0 % or 100 % there often means that each network decides alike whatever its input" in all_alike[-2]


@pytest.mark.parametrize(("method", "note"), [("channels", CONSTANT), ("none", NEVER_DEPENDED)])
def test_agreement_with_a_network_that_answers_without_looking_is_no_share(method, note):
    run = replace(RUN, lambda m: True, scores={}, agreement_with_dense=1.0, parity_data=DataNote("real ones"))
    run = replace(run, of(method), notes=note)
    (line,) = (one for one in advice(run) if one.startswith("channels 90 % on ncnn: "))
    assert "how often it decides as dense tells nothing" in line
    assert "100 %" not in line
    (row,) = (one for one in content_of(run).rows if one.name == "cnn9-channels90-seed0-ncnn")
    assert "tells nothing" in row.texts
    assert "100 %" not in row.texts


def test_a_network_that_answers_without_looking_is_never_chosen():
    """Where one class is common it keeps the score."""
    blind = replace(RUN, of("channels", "ncnn", 0.7), notes=f"came with 3 zeros; {CONSTANT}")
    assert "channels 50 % on ncnn is " in headlines(blind)[0]
    masks = Run(tuple(m for m in blind.measurements if m.method == "none" or m.notes))
    assert f"channels 70 % on ncnn is 4.63x [4.59, 4.64] over dense ONNX Runtime, but {CONSTANT}" in line_of(
        masks, "no pruned network pays"
    )
    unscored = advice(replace(blind, lambda m: True, scores={}))
    assert f"channels 70 % on ncnn: 4.63x [4.59, 4.64] over dense ONNX Runtime, {CONSTANT}" in unscored


def test_colour_is_for_rows_that_keep_their_score():
    def coloured(run, bar=None):
        text = render(run, colour=True, bar=bar)
        return sum("\x1b[32m" in line for line in text.splitlines())

    faster = [m for m in RUN.measured() if m.control is None and m.speedup_low > 1]
    kept = [m for m in faster if m.scores["accuracy"].value >= 0.87]
    assert 0 < coloured(RUN) == len(kept) < len(faster)
    assert coloured(RUN, Bar(within=1.0)) == len(faster)
    unscored = replace(RUN, lambda m: True, scores={})
    assert coloured(unscored) == 0, "nobody knows what they predict: that one is fast is no good news"
