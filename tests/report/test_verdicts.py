"""Comparisons and verdicts, for a terminal and for a job on GitHub."""

from __future__ import annotations

import dataclasses
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.analysis.comparison import Comparison, compare, environment_differences
from sparsemark.analysis.gate import gate
from sparsemark.analysis.statistics import Interval
from sparsemark.analysis.verdicts import Outcome, Verdict
from sparsemark.records.run import Run
from sparsemark.records.scores import Score
from sparsemark.report.renderers.github import annotate, job_summary
from sparsemark.report.renderers.verdicts import render_comparison, render_verdicts
from tests.report.runs import scored
from tests.synthetic import MACHINE, cell, study_run

VERDICTS = [
    Verdict("fine", "latency", Outcome.OK, "within 2 %"),
    Verdict("slow", "latency", Outcome.REGRESSION, "beyond 2.0 %", Interval(0.2, 0.19, 0.21)),
    Verdict("slower", "latency", Outcome.REGRESSION, "beyond 2.0 %", Interval(0.5, 0.4, 0.6)),
    Verdict("wrong", "status", Outcome.PARITY_FAILURE, "measured, fails parity now: a\nb"),
    Verdict("vague", "latency", Outcome.INCONCLUSIVE, "could have seen +5 %", Interval(0.01, -0.04, 0.06)),
    Verdict("fast", "size", Outcome.IMPROVEMENT, "2 -> 1"),
]


def test_verdicts_come_worst_first_and_what_is_ok_is_only_counted():
    text = render_verdicts(VERDICTS)
    assert text.startswith(
        "Gate - parity failure: 1, regression: 2, inconclusive: 1, improvement: 1, ok: 1 (6 values of 6 cells)"
    )
    places = [text.index(f" {name} ") for name in ("wrong", "slower", "slow", "vague", "fast")]
    assert places == sorted(places)
    assert " fine " not in text
    assert "+20.0 % [+19.0, +21.0]" in text


def test_another_machine_is_warned_of():
    assert "different machines" in render_verdicts(VERDICTS, same_machine=False)
    assert "different machines" not in render_verdicts(VERDICTS)
    assert "different machines" in job_summary(VERDICTS, same_machine=False)


def test_github_annotations_are_one_line_each_with_the_level_that_fits():
    lines = annotate(VERDICTS).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::error", "::warning", "::notice"]
    assert lines[0] == "::error title=parity failure%3A wrong::status: measured, fails parity now: a%0Ab"
    assert "+20.0 %25" in lines[2]
    many = [dataclasses.replace(VERDICTS[1], cell=f"c{i}") for i in range(30)] + [VERDICTS[4]]
    assert annotate(many).count("::error") == 10
    assert annotate(many).count("::warning") == 1
    assert annotate(VERDICTS[:1]) == ""


def test_the_job_summary_folds_what_is_ok():
    text = job_summary(VERDICTS)
    assert text.startswith("## sparsemark gate\n")
    above, below = text.split("<details>")
    assert "| slow |" in above
    assert "| fine |" in below
    assert "<details>" not in job_summary(VERDICTS[1:])


def test_a_comparison_lists_every_cell_largest_slowdown_first_and_the_environment():
    before, after = study_run(1), study_run(2)
    index = 3
    slow = dataclasses.replace(
        after.measurements[index], samples_s=tuple(1.5 * s for s in after.measurements[index].samples_s)
    )
    changed = (*after.measurements[:index], slow, *after.measurements[index + 1 :])
    after = Run(changed, MACHINE | {"versions": {"torch": "2.14.0"}})
    text = render_comparison(compare(before, after), environment_differences(before, after))
    rows = [line.split()[0] for line in text.splitlines() if line.strip().startswith("cnn9-")]
    assert rows[0] == slow.name
    assert sorted(rows) == sorted(m.name for m in before.measurements)
    assert "versions.torch" in text
    assert render_verdicts(gate(before, before)).startswith("Gate - ok: ")


WHY = "candidate: the reference moved 4.8 % within the run; the ratio to the reference moved 3.1 % within the run"


def unfolded(text, column):
    """What stands in the last column of a table of one row, without the spaces at which it may have been folded."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.endswith(column))
    edge = lines[start].index(column)
    rows = itertools.takewhile(str.strip, lines[start + 2 :])
    return "".join("".join(line[edge:] for line in rows).split())


@given(st.integers(40, 200), st.text("abcdefgh", max_size=60), st.lists(st.text("xyz", min_size=1, max_size=40)))
@settings(max_examples=150, deadline=None)
def test_no_word_of_a_reason_is_lost_at_any_width(width, name, more):
    reason = " ".join([WHY, *more])
    cells = [cell(noise, name=f"c{name}", artifact_bytes=10**9 + noise, **scored(0.9 - noise / 10)) for noise in (0, 1)]
    comparison = render_comparison([Comparison(f"c{name}", *cells, why_not=reason)], width=width)
    assert "1,000,000,000" in comparison, "half a number would be another number"
    assert unfolded(comparison, "note") == "".join(reason.split())
    verdict = Verdict(f"c{name}", "latency", Outcome.CONTAMINATED, reason, Interval(0.1, 0.05, 0.2))
    assert unfolded(render_verdicts([verdict], width=width), "why") == "".join(reason.split())


def test_a_comparison_says_in_which_run_a_cell_was_contaminated():
    cells = [cell(noise, name="c", reference_drift=None) for noise in (0, 1)]
    changed = dataclasses.replace(cells[1], steal=0.071)
    text = render_comparison(compare(Run((cells[0],)), Run((changed,))), width=200)
    assert "candidate: other tenants took 7.1 % of the processor" in " ".join(text.split())


def test_a_comparison_shows_the_headline_metric_whatever_it_is():
    before, after = (
        cell(noise, name="c", model="m", scores={"mae": Score(3.2 + noise, higher_is_better=False)}) for noise in (0, 1)
    )
    text = render_comparison(compare(Run((before,)), Run((after,))), width=200)
    assert text.splitlines()[0].split()[-3:] == ["mae", "bytes", "note"]
    assert "3.200 -> 4.200" in text
    other = cell(2, name="d", model="n", **scored(0.9))
    text = render_comparison(compare(Run((before, other)), Run((after, other))), width=200)
    assert " score " in text.splitlines()[0]
    assert "mae 3.200 -> mae 4.200" in text
    assert "accuracy 0.9000" in text
