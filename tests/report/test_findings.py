"""Findings and controls: sentences that the intervals decide."""

from __future__ import annotations

import dataclasses
import re

from sparsemark.analysis.comparison import speedup_of, speedup_over
from sparsemark.analysis.statistics import quotient
from sparsemark.records.measurement import WHOLLY_DENSE
from sparsemark.records.run import Run
from sparsemark.report import findings, render, wording
from sparsemark.report.findings import controls
from tests.report.runs import BARE, FAILED, RUNS, of, replace


def test_findings_follow_the_intervals_whatever_was_expected():
    said = findings(RUNS["study"])
    assert any(s.startswith("zero masks on ONNX Runtime: unchanged in all 4 cells; magnitude 90 %") for s in said)
    assert any(s.startswith("zero masks on PyTorch: unchanged") for s in said)
    assert any(s.startswith("sparse storage (CSR) on torch CSR: slower in all 4 cells") for s in said)
    assert any(s.startswith("sparse storage (CSR) on direct CSR: faster in all 4 cells") for s in said)
    assert any(s.startswith("removed channels on PyTorch: faster in all 4 cells") for s in said)
    assert all(re.search(r"x \[[\d.]+, [\d.]+\]", s) for s in said)
    turned = replace(RUNS["study"], of("magnitude", "torch"), speedup=2.0, speedup_low=1.9, speedup_high=2.1)
    turned = replace(turned, of("channels", "torch"), speedup=0.1, speedup_low=0.09, speedup_high=0.11)
    turned = replace(turned, of("magnitude", "torch-csr", 0.9), speedup=1.0, speedup_low=0.8, speedup_high=1.3)
    said = findings(turned)
    assert any(s.startswith("zero masks on PyTorch: faster in all 4 cells; magnitude 90 % is 3.") for s in said)
    assert any(s.startswith("removed channels on PyTorch: slower in all 4 cells") for s in said)
    assert any(
        s.startswith("sparse storage (CSR) on torch CSR: slower in 3, not settled in 1 of 4 cells") for s in said
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
    assert any(s.startswith("removed channels on ONNX Runtime") and s.endswith(f" is {table}.") for s in findings(run))
    assert any(table in line and "ONNX" in line for line in render(run).splitlines() if "channels 90 %" in line)
    row, twin = (next(filter(of(*one), run.measurements)) for one in (("channels", "torch", 0.9), ("none", "torch")))
    assert speedup_over(row, twin) == quotient(speedup_of(row), speedup_of(twin)) != speedup_of(row)


def test_a_finding_says_where_the_mask_that_changes_nothing_is_not_unchanged():
    gave = r"; a mask without a zero gave 0\.9\d+x \[.*\]\.$"
    assert not any("without a zero" in s for s in findings(RUNS["study"]))
    off = {"speedup": 0.945, "speedup_low": 0.93, "speedup_high": 0.96, "samples_s": (), "reference_s": ()}
    run = replace(RUNS["study"], of("all-ones"), **off)
    said = findings(run)
    assert [s for s in said if re.search(gave, s)] == [s for s in said if " on ONNX Runtime: " in s]
    other = dataclasses.replace(next(filter(of("all-ones"), run.measurements)), name="b", model="b")
    assert findings(Run((*RUNS["study"].measurements, other))) == findings(RUNS["study"])


def test_what_a_mask_without_a_zero_gave_as_well_is_not_settled():
    """PyTorch was called faster by zeros at 1.15x, where a mask that removes nothing had come out at 1.12x."""
    noise = {"speedup": 1.12, "speedup_low": 1.04, "speedup_high": 1.16}
    run = replace(RUNS["study"], of("all-ones"), **noise)
    run = replace(run, of("magnitude", "onnxruntime"), speedup=1.15, speedup_low=1.07, speedup_high=1.17)
    (line,) = (s for s in findings(run) if s.startswith("zero masks on ONNX Runtime: "))
    assert line == (
        "zero masks on ONNX Runtime: not settled in all 4 cells; magnitude 90 % is 1.15x [1.07, 1.17]; "
        "a mask without a zero gave 1.12x [1.04, 1.16]."
    )
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


def test_a_line_says_a_number_and_a_verdict_and_the_title_what_it_is_held_against():
    run = RUNS["study"]
    for line in (*findings(run), *controls(run)):
        assert re.search(r"\d x? ?\[|x \[", line), line
        assert len(line.split()) <= 22, line
        assert "against" not in line
    text = render(run)
    assert text.count("same engine") == 1
    assert "What it says (zeros and channels over dense on the same engine, sparse storage over the reference)" in text
    assert "\n  - zero masks on ONNX Runtime: unchanged in all 4 cells; " in text


def test_a_ratio_to_dense_on_another_engine_than_the_reference_comes_with_that_of_the_table():
    lines = findings(RUNS["study"])
    row = next(filter(of("channels", "ncnn", 0.9), RUNS["study"].measurements))
    (line,) = (line for line in lines if line.startswith("removed channels on ncnn"))
    assert line.endswith(f"] ({row.speedup:.2f}x over the reference).")
    (line,) = (line for line in lines if line.startswith("removed channels on ONNX Runtime"))
    assert "over the reference" not in line, "it is the same"
    assert not any("over the reference" in line for line in lines if line.startswith("sparse storage"))
