"""JUnit XML of the gate: a test case a verdict, whole whatever the cells are called."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.analysis.statistics import Interval
from sparsemark.analysis.verdicts import Outcome, Verdict
from sparsemark.report.harmless import harmless, without_commands
from sparsemark.report.renderers.junit import as_junit

FAILED = {Outcome.REGRESSION, Outcome.PARITY_FAILURE}
SKIPPED = {Outcome.INCONCLUSIVE, Outcome.CONTAMINATED, Outcome.INCOMPARABLE}


def cases(verdicts):
    return ElementTree.fromstring(as_junit(verdicts)).findall("testsuite/testcase")


@pytest.mark.parametrize("outcome", Outcome)
def test_a_verdict_is_a_test_case_that_fails_is_skipped_or_passes(outcome):
    (case,) = cases([Verdict("net-torch", "latency", outcome, "the reason", Interval(0.2, 0.19, 0.21))])
    assert (case.get("classname"), case.get("name")) == ("net-torch", "latency")
    (said,) = case
    assert said.tag == ("failure" if outcome in FAILED else "skipped" if outcome in SKIPPED else "system-out")
    assert (said.text or said.get("message")) == f"{outcome}: time +20.0 % [+19.0, +21.0]: the reason"
    assert said.get("type") == (None if said.tag == "system-out" else outcome)


def test_the_counts_are_those_of_the_cases():
    verdicts = [Verdict(f"c{i}", "size", outcome, "") for i, outcome in enumerate((*Outcome, Outcome.REGRESSION))]
    root = ElementTree.fromstring(as_junit(verdicts))
    for element in (root, *root.findall("testsuite")):
        assert [element.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["8", "3", "0", "3"]
    assert len(cases(verdicts)) == 8


@given(st.text(st.characters()))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_back_as_its_harmless_form(text):
    for outcome in (Outcome.OK, Outcome.REGRESSION):
        (case,) = cases([Verdict(text, text, outcome, text)])
        clean = without_commands(harmless(text))
        assert (case.get("classname"), case.get("name")) == (clean, clean)
        (said,) = case
        assert (said.text or said.get("message")).endswith(clean)


@pytest.mark.parametrize(
    "evil", ["::error::x", "]]><failure/>", '"><script>&', "##[group]x", "\u202e\x1b[2J\ud800\x00"]
)
def test_no_text_is_markup_or_a_command(evil):
    verdicts = [Verdict(evil, evil, Outcome.REGRESSION, evil)]
    text = as_junit([*verdicts, dataclasses.replace(verdicts[0], outcome=Outcome.OK)])
    assert "::" not in text
    assert "##[" not in text
    assert all(character.isprintable() or character == "\n" for character in text)
    assert [[child.tag for child in case] for case in ElementTree.fromstring(text).iter("testcase")] == [
        ["failure"],
        ["system-out"],
    ]
