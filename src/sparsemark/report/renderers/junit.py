"""Gate as JUnit XML, for the test reports of CI systems."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from sparsemark.analysis.verdicts import Outcome
from sparsemark.report.harmless import harmless_verdicts, without_commands
from sparsemark.report.renderers.verdicts import change_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.analysis.verdicts import Verdict

_TAGS = {
    Outcome.PARITY_FAILURE: "failure",
    Outcome.REGRESSION: "failure",
    Outcome.CONTAMINATED: "skipped",
    Outcome.INCONCLUSIVE: "skipped",
    Outcome.INCOMPARABLE: "skipped",
}
"""Elements of the test cases that did not pass."""


def as_junit(verdicts: Sequence[Verdict]) -> str:
    """Write one test case a verdict: class name the cell, name the quantity.

    Regressions and parity failures are failures. What is inconclusive, contaminated or incomparable is skipped, with
    the reason, even where `--strict` has it fail the gate.

    Source of the form: github.com/testmoapp/junitxml, what CI systems agree on.
    """
    verdicts = harmless_verdicts(verdicts)
    tags = [_TAGS.get(verdict.outcome) for verdict in verdicts]
    counts = {"tests": len(verdicts), "failures": tags.count("failure"), "errors": 0, "skipped": tags.count("skipped")}
    named = {"name": "sparsemark gate"} | {name: str(count) for name, count in counts.items()}
    root = ElementTree.Element("testsuites", named)
    suite = ElementTree.SubElement(root, "testsuite", named)
    for verdict, tag in zip(verdicts, tags, strict=True):
        case = ElementTree.SubElement(suite, "testcase", classname=verdict.cell, name=verdict.quantity)
        change = f"time {change_text(verdict.change)}: " if verdict.change else ""
        said = f"{verdict.outcome}: {change}{verdict.reason}"
        if tag is None:
            ElementTree.SubElement(case, "system-out").text = said
        else:
            ElementTree.SubElement(case, tag, message=said, type=str(verdict.outcome))
    ElementTree.indent(root)
    # A job may print the file into its log.
    text = without_commands(ElementTree.tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
