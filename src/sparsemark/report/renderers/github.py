"""Gate on GitHub: annotations on the run, and the job's summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.verdicts import Outcome
from sparsemark.report.harmless import harmless_verdicts, without_commands
from sparsemark.report.renderers.verdicts import change_text, markdown_verdicts, noticeable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.analysis.verdicts import Verdict

_LEVELS = {Outcome.PARITY_FAILURE: "error", Outcome.REGRESSION: "error", Outcome.IMPROVEMENT: "notice"}

_SHOWN = 10
"""GitHub shows no more annotations of one kind for one step."""


def annotate(verdicts: Sequence[Verdict]) -> str:
    """Write a workflow command for everything that is not ok, at most 10 of a level; empty if all is ok.

    Source: docs.github.com, "Workflow commands for GitHub Actions".
    """
    lines: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    for verdict in noticeable(harmless_verdicts(verdicts, lines=True)):
        change = f" {change_text(verdict.change)}" if verdict.change else ""
        title = _property(without_commands(f"{verdict.outcome}: {verdict.cell}"))
        message = _data(without_commands(f"{verdict.quantity}{change}: {verdict.reason}"))
        level = _LEVELS.get(verdict.outcome, "warning")
        lines[level].append(f"::{level} title={title}::{message}\n")
    return "".join(line for level in lines.values() for line in level[:_SHOWN])


def job_summary(verdicts: Sequence[Verdict], *, same_machine: bool = True) -> str:
    """Write Markdown to be appended to the file that `GITHUB_STEP_SUMMARY` names."""
    return markdown_verdicts(verdicts, same_machine=same_machine)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
