"""Gate as a comment on a pull request: what moved, how sure that is, and what the run could not have seen."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from sparsemark.analysis.verdicts import LATENCY, Outcome
from sparsemark.report.harmless import harmless, harmless_verdicts, without_commands
from sparsemark.report.renderers.markdown import escape, markdown_table
from sparsemark.report.renderers.verdicts import OTHER_MACHINE, change_text, noticeable, summary_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sparsemark.analysis.verdicts import Verdict
    from sparsemark.records.run import Run
    from sparsemark.report.next_commands import NextCommand

_MOVED = (Outcome.PARITY_FAILURE, Outcome.REGRESSION, Outcome.IMPROVEMENT)
_UNDECIDED = (Outcome.INCONCLUSIVE, Outcome.CONTAMINATED, Outcome.INCOMPARABLE)

_COLUMNS = ("what moved", "by how much [95 %]", "how sure")

_NEVER_GATED = ("p90 to p99", "memory", "compressed size")
"""Numbers of a result file that are reported and have no verdict."""

_ROWS = 25
"""Rows of the table; with the longest texts that still makes less than the 65,536 characters that GitHub takes."""

_LONGEST = 160
"""Characters of a text in the comment; escaping makes up to five of one."""

_NAMED = 3
"""Cells or metrics named in a list; the others are counted."""


def pull_request_comment(
    verdicts: Sequence[Verdict], candidate: Run, commands: Sequence[NextCommand] = (), *, same_machine: bool = True
) -> str:
    """Write GitHub's Markdown for a comment that every push may replace.

    Args:
        verdicts: of the gate.
        candidate: the run that was judged; metrics in it without a verdict are named.
        commands: what to type next, harmless.
        same_machine: whether both runs come from one machine.
    """
    verdicts = harmless_verdicts(verdicts)
    moved = [verdict for verdict in noticeable(verdicts) if verdict.outcome in _MOVED]
    blocks = [f"### sparsemark gate: {escape(summary_line(verdicts))}"]
    if not same_machine:
        blocks.append(f"> {OTHER_MACHINE}")
    if moved:
        rows = [[escape(_shortened(text)) for text in _row(verdict)] for verdict in moved[:_ROWS]]
        blocks.append(markdown_table(_COLUMNS, rows))
        if len(moved) > _ROWS:
            blocks.append(f"and {len(moved) - _ROWS} more.")
    else:
        blocks.append("Nothing moved, as far as this run could see.")
    blocks.append(f"**Could not see:** {escape('; '.join(_unseen(verdicts, candidate)))}.")
    blocks += [f"Next: <code>{escape(command.command)}</code> ({escape(command.shows)})" for command in commands]
    # A job may print the file into its log.
    return without_commands("\n\n".join(blocks) + "\n")


def _row(verdict: Verdict) -> tuple[str, str, str]:
    what = f"{verdict.outcome}: {verdict.cell}, {verdict.quantity}"
    if verdict.quantity == LATENCY and verdict.change is not None:
        return what, f"time {change_text(verdict.change)}", verdict.reason
    return what, verdict.reason, "compared exactly: it does not scatter"


def _unseen(verdicts: Sequence[Verdict], candidate: Run) -> Iterator[str]:
    """Yield what this run could not have shown: small effects, undecided verdicts, numbers that have none."""
    limits = {v.cell: v.detectable for v in verdicts if v.quantity == LATENCY and v.detectable is not None}
    if limits:
        worst = max(limits, key=lambda cell: limits[cell])
        more = f" (median of {len(limits)} cells; {_percent(limits[worst])} in {_shortened(worst)})"
        yield f"slowdowns below {_percent(median(limits.values()))}" + (more if len(limits) > 1 else "")
    for outcome in _UNDECIDED:
        named = [f"{verdict.cell} {verdict.quantity}" for verdict in verdicts if verdict.outcome is outcome]
        if named:
            yield f"{outcome}: {_listed(named)}"
    judged = {(verdict.cell, verdict.quantity) for verdict in verdicts}
    measured = [(harmless(m.name), harmless(metric)) for m in candidate.measured() for metric in m.scores]
    without_tolerance = dict.fromkeys(metric for cell, metric in measured if (cell, metric) not in judged)
    not_gated = [*_NEVER_GATED, *(f"{metric} (no tolerance)" for metric in without_tolerance)]
    yield f"not gated: {_listed(not_gated, len(_NEVER_GATED) + _NAMED)}"


def _listed(names: Sequence[str], most: int = _NAMED) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(_shortened, names[:most])) + more


def _percent(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
