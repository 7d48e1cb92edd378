"""Findings and controls: sentences that the intervals decide."""

from __future__ import annotations

import dataclasses
import re

from sparsemark.analysis.comparison import speedup_of, speedup_over
from sparsemark.analysis.statistics import quotient
from sparsemark.records.measurement import WHOLLY_DENSE
from sparsemark.records.run import Run
from sparsemark.records.scores import DataNote
from sparsemark.report import findings, render, wording
from sparsemark.report.finding import findings_table, sentences
from sparsemark.report.findings import TITLE, controls, findings_of
from tests.report.runs import BARE, FAILED, RUNS, of, replace, scored


def test_findings_follow_the_intervals_whatever_was_expected():
    said = findings(RUNS["study"])
    assert any(s.startswith("zero masks on ONNX Runtime: unchanged in all 4 cells; magnitude 90 %") for s in said)
    assert any(s.startswith("zero masks on PyTorch: unchanged") for s in said)
    assert any(s.startswith("sparse storage (CSR) on torch CSR: slower in all 4 cells") for s in said)
    assert any(s.startswith("sparse storage (CSR) on direct CSR: faster in all 4 cells") for s in said)
    assert any(s.startswith("removed channels on PyTorch: faster in all 4 cells") for s in said)
    assert all(re.search(r"x \[[\d.]+, [\d.]+\] over ", s) for s in said)
    turned = replace(RUNS["study"], of("magnitude", "torch"), speedup=2.0, speedup_low=1.9, speedup_high=2.1)
    turned = replace(turned, of("channels", "torch"), speedup=0.1, speedup_low=0.09, speedup_high=0.11)
    turned = replace(turned, of("magnitude", "torch-csr", 0.9), speedup=1.0, speedup_low=0.8, speedup_high=1.3)
    said = findings(turned)
    assert any(s.startswith("zero masks on PyTorch: faster in all 4 cells; magnitude 90 % is 3.") for s in said)
    assert any(s.startswith("removed channels on PyTorch: slower in all 4 cells") for s in said)
    told = "sparse storage (CSR) on torch CSR: slower in 3 of 4 cells; magnitude 90 % is "
    assert any(s.startswith(told) for s in said)
    assert (
        "sparse storage (CSR) on torch CSR, cell by cell over dense ONNX Runtime: slower in 3, not settled in 1."
        in said
    )
    unsettled = replace(turned, of("channels", "torch"), speedup=1.0, speedup_low=0.3, speedup_high=2.0)
    assert any(s.startswith("removed channels on PyTorch: not settled in all 4") for s in findings(unsettled))
    assert findings(Run(FAILED)) == findings(Run((BARE,))) == []


def test_an_engine_that_hands_the_whole_network_over_says_nothing_of_sparse_storage():
    note = {"notes": f"0 of 7 convolutions sparse; {WHOLLY_DENSE}"}
    handed = replace(RUNS["study"], of("magnitude", "direct-csr"), **note)
    said = [s for s in findings(handed) if s.startswith("sparse storage")]
    assert said
    assert not any("direct CSR" in s for s in said)


def test_a_finding_over_the_reference_is_the_number_of_the_table():
    """The reference as a cell came out at 1.03, and dividing by it would make another number of one comparison."""
    off = {"speedup": 1.03, "speedup_low": 1.02, "speedup_high": 1.04}
    run = replace(RUNS["study"], of("none", "onnxruntime"), **off)
    (row,) = filter(of("channels", "onnxruntime", 0.9), run.measurements)
    table = wording.ratio(speedup_of(row))
    assert any(
        s.startswith("removed channels on ONNX Runtime") and f" is {table} over dense " in s for s in findings(run)
    )
    assert any(table in line and "ONNX" in line for line in render(run).splitlines() if "channels 90 %" in line)
    row, twin = (next(filter(of(*one), run.measurements)) for one in (("channels", "torch", 0.9), ("none", "torch")))
    assert speedup_over(row, twin) == quotient(speedup_of(row), speedup_of(twin)) != speedup_of(row)


def test_noise_of_an_engine_is_said_once_below_the_findings():
    assert not any("without a zero" in s for s in findings(RUNS["study"]))
    off = {"speedup": 0.945, "speedup_low": 0.93, "speedup_high": 0.96, "samples_s": (), "reference_s": ()}
    run = replace(RUNS["study"], of("all-ones"), **off)
    (line,) = (s for s in findings(run) if "without a zero" in s)
    gave = r"a mask without a zero on ONNX Runtime gave 0\.9\d+x \[.*\] over dense ONNX Runtime: "
    assert re.fullmatch(rf"{gave}ratios within that are not settled\.", line)
    assert findings(run)[-1] == line
    other = dataclasses.replace(next(filter(of("all-ones"), run.measurements)), name="b", model="b")
    assert findings(Run((*RUNS["study"].measurements, other))) == findings(RUNS["study"])


def test_what_a_mask_without_a_zero_gave_as_well_is_not_settled():
    """PyTorch was called faster by zeros at 1.15x, where a mask that removes nothing had come out at 1.12x."""
    noise = {"speedup": 1.12, "speedup_low": 1.04, "speedup_high": 1.16}
    run = replace(RUNS["study"], of("all-ones"), **noise)
    run = replace(run, of("magnitude", "onnxruntime"), speedup=1.15, speedup_low=1.07, speedup_high=1.17)
    (line,) = (s for s in findings(run) if s.startswith("zero masks on ONNX Runtime: "))
    told = "zero masks on ONNX Runtime: not settled in all 4 cells; magnitude 90 % is 1.15x [1.07, 1.17] over "
    assert line == f"{told}dense ONNX Runtime."
    assert any("on ONNX Runtime gave 1.12x [1.04, 1.16]" in s for s in findings(run))
    beyond = replace(run, of("magnitude", "onnxruntime"), speedup=1.2, speedup_low=1.17, speedup_high=1.3)
    assert any(s.startswith("zero masks on ONNX Runtime: faster in all 4") for s in findings(beyond))
    slow = {"speedup": 0.9, "speedup_low": 0.85, "speedup_high": 0.95}
    run = replace(replace(run, of("all-ones"), **slow), of("magnitude", "onnxruntime"), **slow)
    assert any(s.startswith("zero masks on ONNX Runtime: not settled in all 4") for s in findings(run))
    assert any(s.startswith("removed channels on ONNX Runtime: faster") for s in findings(run))


def test_controls_say_whether_they_gave_the_known_answer():
    calm = {"speedup": 1.001, "speedup_low": 0.996, "speedup_high": 1.004}
    said = controls(replace(RUNS["study"], of("none", control="aa"), samples_s=(), reference_s=(), **calm))
    agrees = [s for s in said if s.endswith("agrees with itself to 1%.")]
    assert agrees
    assert agrees[0].startswith("A/A (cnn9 dense on ONNX Runtime)")
    assert any(s.startswith("all-ones mask on ONNX Runtime: unchanged") for s in said)
    assert any(s.startswith("random mask on ONNX Runtime: unchanged in all 4 cells") for s in said)
    off = {"speedup": 1.2, "speedup_low": 1.1, "speedup_high": 1.3}
    said = controls(replace(RUNS["study"], of("none", control="aa"), **off))
    assert any(s.endswith("1.20x [1.10, 1.30]: differences below 30 % cannot be trusted here.") for s in said)
    said = controls(replace(RUNS["study"], of("all-ones"), **off))
    assert any(s.startswith("all-ones mask on ONNX Runtime: faster") for s in said)
    vague = {"speedup": 1.0, "speedup_low": 0.8, "speedup_high": 1.3}
    said = controls(replace(RUNS["study"], of("none", control="aa"), **vague))
    assert any("too noisy to tell" in s for s in said)


def test_random_masks_are_held_against_the_magnitude_mask_run_in_the_same_way():
    run = RUNS["study"]
    assert any(s.startswith("random mask on ONNX Runtime: ") for s in controls(run))
    for way in ({"precision": "int8"}, {"threads": 2}, {"fold": 1}, {"schedule": "iterative"}):
        elsewhere = replace(run, of("magnitude", "onnxruntime"), **way)
        assert not any(s.startswith("random mask") for s in controls(elsewhere)), way


def test_a_line_says_a_number_and_a_verdict_and_what_both_are_over():
    run = RUNS["study"]
    for line in (*findings(run), *controls(run)):
        assert len(re.findall(r"\d x? ?\[|x \[", line)) == 1, line
        assert len(line.split()) <= 28, line
        assert line.startswith("A/A") or len(re.findall(r"\] over (dense|magnitude|the same)", line)) == 1, line
        assert "against" not in line
    text = render(run)
    assert f"\n{TITLE}\n" in text
    assert "\n  - zero masks on ONNX Runtime: unchanged in all 4 cells; " in text


MIXED = replace(RUNS["study"], of("channels", "torch", 0.3), speedup=0.1, speedup_low=0.09, speedup_high=0.11)
MIXED = replace(MIXED, of("channels", "torch", 0.5), speedup=0.1, speedup_low=0.09, speedup_high=0.11)
"""Two of four cells faster, two slower."""


def test_verdicts_that_differ_are_one_word_and_the_counts_stand_below():
    line, *_ = (s for s in findings(MIXED) if s.startswith("removed channels on PyTorch: "))
    assert line.startswith("removed channels on PyTorch: mixed in 4 cells; channels 90 % is ")
    assert {"removed channels on PyTorch, cell by cell over dense PyTorch: slower in 2, faster in 2."} == {
        s for s in findings(MIXED) if "cell by cell" in s
    }


def table_of(run):
    columns, rows = findings_table(findings_of(run), "dense ONNX Runtime")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_the_table_is_of_the_findings_with_both_baselines_and_the_score():
    for run in (RUNS["study"], RUNS["two networks"], MIXED):
        found = findings_of(run)
        assert [f"{one['what'].text}: {one['verdict'].text}; " for one in table_of(run)] == [
            f"{s.removeprefix(f'{one.model}: ').partition('; ')[0]}; "
            for one, s in zip(found, sentences(found), strict=True)
        ]
    for row, one in zip(table_of(RUNS["study"]), findings_of(RUNS["study"]), strict=True):
        over, own = row["over dense ONNX Runtime"], row["over the same without it"]
        decides = over if one.by_reference else own
        assert [cell for cell in row.values() if "decides" in cell.classes] == [decides]
        assert decides.text in one.sentence
    cell = next(filter(of("channels", "ncnn", 0.9), RUNS["study"].measurements))
    dense = next(filter(of("none", "ncnn"), RUNS["study"].measurements))
    (row,) = (row for row in table_of(RUNS["study"]) if row["what"].text == "removed channels on ncnn")
    assert row["what"].more == "channels 90 %"
    assert row["over dense ONNX Runtime"].text == wording.ratio(speedup_of(cell)), "the number of the table"
    assert row["over the same without it"].text == wording.ratio(speedup_over(cell, dense))
    assert (row["score change"].text, row["score change"].more) == ("-3.5 points", "accuracy 88.0 \u2192 84.5")


def test_columns_of_the_table_that_are_empty_are_left_out():
    assert table_of(RUNS["two networks"])[0]["what"].more.startswith("cnn9, ")
    unscored = replace(RUNS["study"], lambda m: True, scores={})
    assert "score change" not in table_of(unscored)[0]
    stored = Run(tuple(m for m in RUNS["study"].measurements if m.engine in ("onnxruntime", "direct-csr")))
    stored = Run(tuple(m for m in stored.measurements if m.engine == "direct-csr" or m.method == "none"))
    assert "over the same without it" not in table_of(stored)[0], "nothing dense ran there"
    assert findings_table([], "dense ONNX Runtime") == ([], [])


def test_a_caveat_stands_beside_the_score_of_a_finding():
    phantom = replace(RUNS["study"], lambda m: True, data=DataNote("drawn", "PHANTOM"))
    assert all(row["score change"].more.endswith(" on PHANTOM images") for row in table_of(phantom))


def test_a_quantised_rows_score_is_held_against_what_its_time_is():
    """Its ratio is over the dense network quantised; what quantising cost that one is no cost of the pruning."""
    run = RUNS["study"]

    def quantised(m, accuracy):
        return dataclasses.replace(
            m, name=f"{m.name}-int8", precision="int8", **scored(accuracy, loss_low=0.02, loss_high=0.04)
        )

    chosen = [m for m in run.measurements if m.engine == "onnxruntime" and m.control is None]
    dense = next(m for m in chosen if m.method == "none")
    pruned = next(m for m in chosen if m.method == "channels" and m.sparsity_target == 0.9)
    both = dataclasses.replace(run, measurements=(*run.measurements, quantised(dense, 0.86), quantised(pruned, 0.85)))

    def of_int8(found):
        (one,) = (one for one in findings_of(found) if one.name == "removed channels on ONNX Runtime int8")
        return one

    one = of_int8(both)
    assert (one.values, one.change) == ("accuracy 86.0 -> 85.0", "-1.0 points")
    (plain,) = (one for one in findings_of(both) if one.name == "removed channels on ONNX Runtime")
    assert plain.values.startswith("accuracy 88.0 -> ")
    alone = dataclasses.replace(run, measurements=(*run.measurements, quantised(pruned, 0.85)))
    assert not [one for one in findings_of(alone) if one.name == "removed channels on ONNX Runtime int8"]
