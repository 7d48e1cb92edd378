"""Headlines: the fastest cell that keeps the score of the dense network."""

from __future__ import annotations

import dataclasses
import re

import pytest

from sparsemark.analysis.contamination import Disturbance
from sparsemark.analysis.front import Bar, standings
from sparsemark.records.measurement import Measurement
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote, Score
from sparsemark.report import headlines, render
from sparsemark.report.advice import advice
from sparsemark.report.document import content_of
from sparsemark.report.page.cells import cell_records
from sparsemark.report.scores import Scoring
from tests.report.runs import BARE, FAILED, RUNS, of, replace, rescored, scored
from tests.synthetic import cell


def test_the_headline_comes_first_and_the_fastest_within_one_point_below_it():
    answer = " ".join(render(RUNS["study"]).split("\n\n")[0].split())
    first, below = answer[: answer.index(" fastest within")], answer[answer.index("fastest within") :]
    assert re.fullmatch(
        r"Prune: yes \(a larger loss is possible\), channels 70 % on ncnn is 4\.6\dx \[4\.\d\d, 4\.\d\d\] as fast as "
        r"dense ONNX Runtime \(2\.\d\dx by pruning\), accuracy 88\.0 -> 87\.4\.",
        first,
    )
    told = r"fastest within one point of accuracy: channels 70 % on ncnn, 3\.2\d ms"
    assert re.match(told, " ".join(below.split()))
    assert re.fullmatch(told, advice(RUNS["study"])[0])


@pytest.mark.parametrize("name", ["study", "two networks", "nothing ran", "one bare row"])
def test_a_headline_is_one_verdict_one_speedup_with_its_share_and_one_score(name):
    disturbed = replace(RUNS[name], lambda m: m.status == "measured", steal=0.071)
    unscored = replace(RUNS[name], lambda m: True, scores={})
    phantom = replace(RUNS[name], lambda m: True, data=DataNote("drawn", "PHANTOM"))
    for run in (RUNS[name], disturbed, unscored, phantom):
        for line in headlines(run):
            assert len(line.split()) <= 33, line
            assert len(re.findall(r"\d\.\d+x", line)) <= 2, line
            assert ". " not in line
            assert len(re.findall(r"\[|->", line)) <= 2, line
            assert not re.search(r" ms\b|\(\d(?!\.\d+x (?:by pruning|over the fastest dense)\))", line), line


def test_what_left_the_headline_stands_in_the_lines_below_it():
    run = rescored(RUNS["study"], "accuracy", select=0.88)
    below = " ".join(advice(run))
    for words in ("the loss is allowed on the select inputs alone", "within one point of accuracy", " ms "):
        assert words in below
    lossy = replace(RUNS["study"], lambda m: m.method != "none", **scored(0.5))
    slow = replace(lossy, of("none"), speedup=0.5, speedup_low=0.4, speedup_high=0.6)
    assert "nothing within one point of accuracy is faster than dense ONNX Runtime" in advice(slow)
    unscored = replace(RUNS["study"], lambda m: True, scores={})
    line = next(line for line in advice(unscored) if line.startswith("speed only"))
    told = r"speed only: no score was measured; pruned networks reach 0\.28\dx to 7\.2\dx over dense ONNX Runtime"
    assert re.fullmatch(told, line)


def test_a_speedup_is_split_into_what_the_engine_and_what_pruning_gives():
    """3.45x by pruning and int8 was credited to pruning, which gave 1.57x of it."""
    number = r"(\d\.\d\d)x"
    words = rf"{number} over dense ONNX Runtime in all: {number} by ncnn without pruning, "
    words += rf"{number} \[\d\.\d\d, \d\.\d\d\] by pruning"
    (found,) = (known for line in advice(RUNS["study"]) if (known := re.fullmatch(words, line)))
    total, alone, more = map(float, found.groups())
    assert alone * more == pytest.approx(total, rel=0.01)
    elsewhere = replace(RUNS["study"], of("none", "torch"), speedup=3.0, speedup_low=2.9, speedup_high=3.1)
    split = "x over dense ONNX Runtime in all: 3.00x by the fastest dense network, on PyTorch, 1.54x ["
    assert any(split in line for line in advice(elsewhere))
    lossy = replace(elsewhere, of("none", "torch"), precision="int8", **scored(0.5))
    by_pruning = [line for line in advice(lossy) if line.endswith(" by pruning")]
    assert len(by_pruning) == 1, "a dense network that loses the score is no rival"
    masks = [m for m in RUNS["study"].measurements if m.engine in ("onnxruntime", "direct-csr") and m.control is None]
    assert " in all: " not in "".join(advice(Run(tuple(masks)))), "no dense row but the reference"


def test_a_gain_that_the_fastest_dense_network_may_have_as_well_is_not_certain():
    close = {"speedup": 4.6, "speedup_low": 4.5, "speedup_high": 4.7}
    run = replace(RUNS["study"], of("none", "ncnn"), **close)
    assert headlines(run)[0].startswith("Prune: not certain, channels 70 % on ncnn is 4.6")
    assert re.match(r"not certain: 1\.0\d\dx \[0\.9\d\d, 1\.0\d\d\] over the fastest dense", advice(run)[0])
    assert any(line.startswith("deploy, if it holds: ") for line in advice(run))


def changed(**fields):
    """The study, whose network that is chosen has other fields of its score."""
    (score,) = next(filter(of("channels", "ncnn", 0.7), RUNS["study"].measurements)).scores.values()
    scores = {"accuracy": dataclasses.replace(score, **fields)}
    return replace(RUNS["study"], of("channels", "ncnn", 0.7), scores=scores)


def test_the_first_words_answer_whether_to_prune():
    def answer(run):
        return headlines(run)[0].partition(", ")[0]

    def sure(run):
        (line,) = (line for line in advice(run) if line.startswith("how sure: "))
        return line

    assert answer(RUNS["study"]) == "Prune: yes (a larger loss is possible)"
    excluded = changed(loss_low=-0.002, loss_high=0.009)
    assert answer(excluded) == "Prune: yes"
    assert "which excludes a larger loss than 1.0 points" in sure(excluded)
    apart = rescored(changed(value=0.88), "accuracy", select=lambda score: score.value - 0.003)
    assert "chosen on the select inputs (accuracy 87.7 -> 87.7)" in sure(apart)
    contradicted = rescored(RUNS["study"], "accuracy", select=0.88)
    assert answer(contradicted) == "Prune: not certain"
    assert advice(contradicted)[0] == "not certain: the loss is allowed on the select inputs alone"
    masks = [m for m in RUNS["study"].measurements if m.engine == "onnxruntime" and m.method in ("none", "magnitude")]
    assert answer(Run(tuple(masks))) == "Prune: no"
    assert answer(replace(RUNS["study"], lambda m: m.status == "measured", steal=0.071)) == "Prune: not certain"
    assert "Prune" not in answer(replace(RUNS["study"], lambda m: True, scores={}))


def test_the_headline_follows_the_accuracies():
    run = replace(RUNS["study"], of("channels"), **scored(0.8))
    assert "magnitude 70 % on direct CSR" in headlines(run)[0]
    lossy = replace(RUNS["study"], lambda m: m.method != "none", **scored(0.5))
    assert "dense on ncnn" in headlines(lossy)[0]
    assert "->" not in headlines(lossy)[0]


def test_a_loss_of_exactly_one_point_is_within_one_point():
    common = {"model": "m", "engine": "onnxruntime", "seed": 0}
    dense = cell(1, name="dense", method="none", **scored(0.88), **common)
    cut = cell(2, ms=5, name="cut", method="channels", **scored(0.87), **common)
    assert "channels on ONNX Runtime" in headlines(Run((dense, cut)))[0]
    assert "channels" not in headlines(Run((dense, dataclasses.replace(cut, **scored(0.8699)))))[0]


def test_the_dense_network_that_was_trained_for_int8_is_no_pruned_one():
    common = {"model": "m", "engine": "onnxruntime", "seed": 0, "finetuning_epochs": 6}
    dense = cell(1, name="dense", method="none", pruning="none", **scored(0.88), **common)
    int8 = {"precision": "int8", **scored(0.88), **common}
    unpruned = cell(2, ms=5, name="ones", method="all-ones+qat", pruning="all-ones+qat", **int8)
    blocks = cell(3, ms=2, name="blocks", method="block4+qat", pruning="block4:0.9+qat", sparsity=0.9, **int8)
    run = Run((dense, unpruned))
    assert "Prune: not tried, all-ones, quantisation-aware on ONNX Runtime int8 is " in headlines(run)[0]
    assert "no network was pruned: --prune does" in advice(run)
    assert any(line.endswith("--prune all-ones+qat adds the dense network, fine-tuned as long")
               for line in advice(Run((dense, blocks))))  # fmt: skip
    both = Run((dense, unpruned, blocks))
    assert "block4 90 %, quantisation-aware on ONNX Runtime int8 is " in headlines(both)[0]
    assert not any("adds the dense network" in line for line in advice(both))
    assert any("x by ONNX Runtime int8 without pruning, " in line for line in advice(both))


def test_without_a_winner_the_headline_says_so():
    slow = {"speedup": 0.5, "speedup_low": 0.4, "speedup_high": 0.6}
    assert headlines(replace(RUNS["study"], lambda m: m.status == "measured", **slow)) == [
        "Prune: no, nothing that keeps the score is faster than dense ONNX Runtime."
    ]
    assert headlines(Run(FAILED)) == ["Nothing was measured: 1 unsupported, 1 parity_failed, 1 error."]
    assert headlines(Run((BARE,))) == ["No cell has a speedup with an interval."]
    few = cell(1, name="few", method="none", model="m", engine="onnxruntime", speedup_low=None, speedup_high=None)
    assert headlines(Run((few,))) == [
        "No cell has a speedup with an interval; more timed calls (--rounds) give it one."
    ]


def test_without_a_score_no_network_is_called_fastest():
    run = replace(RUNS["study"], lambda m: True, scores={})
    (line,) = headlines(run)
    assert re.fullmatch(r"Speed only: pruned, up to 7\.2\dx as fast as dense ONNX Runtime\.", line)
    undense = Run(tuple(m for m in RUNS["study"].measurements if m.method != "none"))
    (line,) = headlines(undense)
    assert line.startswith("Speed only: pruned, up to ")
    told = "speed only: no dense row to hold accuracies against; pruned networks reach "
    assert any(line.startswith(told) for line in advice(undense))
    dense = Run(tuple(m for m in run.measurements if m.method == "none"))
    assert headlines(dense) == ["Speed only: nothing pruned was timed."]
    for text in (render(run), render(undense)):
        assert "astest" not in text.partition("All rows")[0].partition("removed")[0]
        assert "--task FILE.py" in text
    one_unknown = replace(RUNS["study"], of("channels"), scores={})
    assert "channels" not in headlines(one_unknown)[0]


def test_the_headline_prefers_the_surer_of_two_fast_cells():
    lucky = {"speedup": 9.0, "speedup_low": 2.0, "speedup_high": 20.0}
    run = replace(RUNS["study"], of("channels", "ncnn", 0.5), **lucky)
    assert "channels 70 % on ncnn" in headlines(run)[0]
    assert (
        "chosen by the lower end of the interval: channels 50 % is 9.00x [2.00, 20.00] over dense ONNX Runtime"
        in advice(run)
    )
    elsewhere = replace(RUNS["study"], of("channels", "torch", 0.5), **lucky)
    chosen = "chosen by the lower end of the interval: channels 50 % on PyTorch is 9.00x [2.00, 20.00] over "
    assert f"{chosen}dense ONNX Runtime" in advice(elsewhere)
    assert not any("by the lower end" in line for line in advice(RUNS["study"]))
    too_lossy = replace(run, of("channels", "ncnn", 0.5), **scored(0.5))
    assert not any("by the lower end" in line for line in advice(too_lossy))


def failed(engine, status="error", method="none", **more):
    fields = {"model": "cnn9", "method": method, "engine": engine, "precision": "fp32", "threads": 1, "batch": 1}
    return Measurement(f"cnn9-{method}-{engine}", status, "why", **fields | more)


def test_a_headline_of_a_disturbed_machine_begins_with_the_doubt_and_the_lines_say_what_to_do():
    every = replace(RUNS["study"], lambda m: m.status == "measured", steal=0.071)
    most = replace(RUNS["study"], lambda m: m.engine in ("onnxruntime", "torch", "torch-csr"), steal=0.071)
    for run in (every, most):
        assert re.match(r"Prune: not certain, channels 70 % on ncnn is 4\.\d\dx", headlines(run)[0])
        assert advice(run)[0] == (
            "next: sparsemark doctor shows what disturbs this machine; measure again when that has ended"
        )
        assert advice(run)[1] == f"not certain: {Disturbance.of(run.measurements).words}"
    few = replace(RUNS["study"], of("channels"), steal=0.071)
    assert headlines(few)[0].startswith("Prune: yes (a larger loss is possible), ")
    assert re.search(r" is 4\.63x \[.*\] \(!\) as fast as ", headlines(few)[0])
    assert advice(few)[0] == advice(every)[0], "the chosen cell is one of the few"
    assert not any("timed cells disturbed" in line for line in advice(few))
    others = replace(RUNS["study"], of("channels", "torch"), steal=0.071)
    assert not any("doctor" in line for line in advice(others))
    unscored = replace(every, lambda m: True, scores={})
    assert headlines(unscored)[0].startswith("Speed only, not certain: pruned, up to ")
    both = Run(every.measurements + RUNS["two networks"].measurements)
    assert [line[:30] for line in headlines(both)][1].startswith("unet: prune: yes")


def test_the_engines_that_did_not_run_are_named_below_the_headline():
    """An engine without a time may be the fastest one: the comparison is among those that ran."""
    assert absent_of(RUNS["study"]) == ["did not run: OpenVINO (parity failed)"]
    torchless = [m for m in RUNS["study"].measurements if (m.engine, m.method) != ("torch", "none")]
    rows = (*torchless, failed("torch"), failed("torch-compile", "unsupported"), failed("theirs", threads=None))
    absent = "dense on PyTorch (error), torch.compile (unsupported), theirs (error)"
    assert absent_of(Run(rows)) == [f"did not run: OpenVINO (parity failed), {absent}"]
    slow = {"speedup": 0.5, "speedup_low": 0.4, "speedup_high": 0.6}
    slowed = replace(Run(rows), lambda m: m.status == "measured", **slow)
    assert headlines(slowed) == ["Prune: no, nothing that keeps the score is faster than dense ONNX Runtime."]
    assert absent_of(slowed) == [f"did not run: {absent}"]


def absent_of(run):
    return [line for line in advice(run) if line.startswith("did not run")]


def test_what_has_a_time_or_was_not_asked_did_not_fail_to_run():
    rows = (
        failed("ncnn", method="channels"),  # some cells of an engine that ran: the list below the table has them
        failed("theirs", threads=2),  # another job
        failed("theirs", model="unet"),  # another network
        failed("theirs", control="aa"),
    )
    plain = Run(tuple(m for m in RUNS["study"].measurements if m.engine != "openvino"))
    more = Run((*plain.measurements, *rows))
    assert absent_of(plain) == absent_of(more) == []
    int8 = Run((*plain.measurements, failed("ncnn", "unsupported", precision="int8")))
    assert absent_of(int8) == ["did not run: ncnn int8 (unsupported)"]


def test_a_stored_interval_without_width_is_not_shown_as_certainty():
    """Earlier versions resampled scores that were all right."""
    run = replace(RUNS["study"], of("channels", "ncnn", 0.7), scores={"accuracy": Score(1.0, 1.0, 1.0, tolerance=0.01)})
    front = content_of(run).front
    shown = {row[front.columns.index("accuracy % [95 %]")] for row in front.rows}
    assert "100.0" in shown
    records = cell_records(standings(run.measurements, Bar()), Scoring.of(run.measurements), {}, {})
    assert [100.0, None, None] in [record["score"] for record in records]
