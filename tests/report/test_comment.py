"""Comment on a pull request: what moved, and what the run could not have seen."""

from __future__ import annotations

import dataclasses

import pytest

from sparsemark.analysis.gate import gate
from sparsemark.analysis.statistics import Interval
from sparsemark.analysis.verdicts import Outcome, Verdict
from sparsemark.records.run import Run
from sparsemark.records.scores import Score
from sparsemark.report.next_commands import NextCommand
from sparsemark.report.renderers.comment import pull_request_comment
from tests.report.test_harmless import split_row
from tests.synthetic import MACHINE, accuracy, cell

LIMIT = 65_536
"""Characters of a comment that GitHub takes."""

SLOW = Verdict("slow", "latency", Outcome.REGRESSION, "beyond 2.0 % in both halves", Interval(0.2, 0.19, 0.21), 0.03)
LOST = Verdict("lost", "accuracy", Outcome.REGRESSION, "0.92 -> 0.9, tolerance 0.01")
WRONG = Verdict("wrong", "status", Outcome.PARITY_FAILURE, "measured in the baseline, fails parity now")
SMALLER = Verdict("smaller", "size", Outcome.IMPROVEMENT, "2 -> 1")
VAGUE = Verdict("vague", "latency", Outcome.INCONCLUSIVE, "could have seen", Interval(0.01, -0.04, 0.06), 0.07)
STOLEN = Verdict("stolen", "latency", Outcome.CONTAMINATED, "other tenants", Interval(0.0, -0.01, 0.01), 0.05)
FINE = Verdict("fine", "latency", Outcome.OK, "within 2 %", Interval(0.0, -0.01, 0.01), 0.04)
RUN = Run(tuple(cell(name=name) for name in ("slow", "vague", "stolen", "fine")), MACHINE)


def table(text):
    return [split_row(line)[:-1] for line in text.splitlines() if line.startswith("|")][2:]


def unseen(text):
    (line,) = [line for line in text.splitlines() if line.startswith("**Could not see:**")]
    return line


def test_the_table_has_what_moved_worst_first_with_the_interval_and_what_makes_it_sure():
    rows = table(pull_request_comment([FINE, SMALLER, SLOW, VAGUE, LOST, WRONG, STOLEN], RUN))
    assert [row[0].strip() for row in rows] == [
        "parity failure: wrong, status",
        "regression: slow, latency",
        "regression: lost, accuracy",
        "improvement: smaller, size",
    ]
    assert rows[1][1].strip() == r"time +20.0 % \[+19.0, +21.0\]"
    assert "both halves" in rows[1][2]
    assert rows[2][1].strip() == "0.92 -&gt; 0.9, tolerance 0.01"
    assert "exactly" in rows[2][2]


def test_one_line_says_what_could_not_be_seen():
    line = unseen(pull_request_comment([SLOW, VAGUE, STOLEN, FINE], RUN))
    assert "slowdowns below +4.5 % (median of 4 cells; +7.0 % in vague)" in line
    assert "inconclusive: vague latency; contaminated: stolen latency" in line
    assert "incomparable" not in line
    assert "not gated: p90 to p99, memory, compressed size." in line


def test_metrics_without_a_tolerance_are_named_as_not_gated():
    scores = accuracy(0.9) | {"f1": Score(0.8)}
    run = Run((cell(name="a", scores=scores),), MACHINE)
    line = unseen(pull_request_comment(gate(run, run), run))
    assert "f1 (no tolerance)" in line
    assert "accuracy" not in line


def test_where_nothing_moved_it_does_not_claim_more_than_the_run_saw():
    text = pull_request_comment([FINE, VAGUE], RUN)
    assert "Nothing moved, as far as this run could see." in text
    assert not table(text)
    assert "different machines" not in text
    assert "different machines" in pull_request_comment([FINE], RUN, same_machine=False)


def test_the_next_command_is_there():
    text = pull_request_comment([SLOW], RUN, [NextCommand("sparsemark compare 'a`b.json' c.json", "both runs")])
    assert r"Next: <code>sparsemark compare 'a\`b.json' c.json</code> (both runs)" in text


@pytest.mark.parametrize("name", ["x", "@" * 10_000])
def test_a_comment_is_never_longer_than_github_takes(name):
    named = [dataclasses.replace(SLOW, cell=f"{i}{name}", reason=name) for i in range(1000)]
    undecided = (Outcome.INCONCLUSIVE, Outcome.CONTAMINATED, Outcome.INCOMPARABLE)
    vague = [
        dataclasses.replace(VAGUE, cell=f"v{i}{name}", quantity=f"{outcome}{name}", outcome=outcome)
        for i in range(1000)
        for outcome in undecided
    ]
    scores = {f"{name}{i}": Score(0.5) for i in range(100)}
    text = pull_request_comment([*named, *vague], Run((cell(name=name, scores=scores),)))
    assert len(text) < LIMIT
    assert len(table(text)) == 25
    assert "and 975 more." in text
    assert unseen(text).count(" and 997 more") == len(undecided)


def test_a_log_that_shows_the_file_obeys_nothing_in_it():
    evil = "::error::x ##[group]y"
    text = pull_request_comment(
        [dataclasses.replace(SLOW, cell=evil), dataclasses.replace(VAGUE, cell=evil)],
        Run((cell(name=evil, scores={evil: Score(0.5)}),)),
        [NextCommand(evil, evil)],
    )
    assert "::" not in text
    assert "##[" not in text
