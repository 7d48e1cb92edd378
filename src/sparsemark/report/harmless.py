"""Harmless text: what a result file, an artifact or an exception says cannot steer whatever shows it.

Every text of a stranger passes here once, where it enters the report. Removed here is what is harmful everywhere:
sequences that steer a terminal, marks that turn the direction of a line or break it, halves of characters, which no
encoding can write. Renderers then escape what has a meaning in their own format.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import TYPE_CHECKING, Any

from sparsemark.records.engine_note import EngineNote
from sparsemark.records.scores import DataNote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sparsemark.analysis.change_points import Series
    from sparsemark.analysis.comparison import Comparison, Difference
    from sparsemark.analysis.verdicts import Verdict
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

_LINE_ENDS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")

_FORMULA = re.compile(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
"""Beginning of a cell that a spreadsheet computes, in ASCII and in full width (OWASP, "CSV Injection")."""


def harmless(text: str, *, lines: bool = False) -> str:
    r"""Return text of printable characters; the others are written as escapes, such as `\x1b`.

    Args:
        text: a stranger's.
        lines: keep the ends of lines, as `\n`; else all white space becomes a single space.
    """
    if text.isprintable() and "  " not in text:
        return text if lines else text.strip()
    if lines:
        return "\n".join(map(_printable, _LINE_ENDS.split(text)))
    return _printable(" ".join(text.split()))


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(map(_character, line))


def _character(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else ascii(character)[1:-1]


def harmless_values(value: Any) -> Any:
    """Return parsed JSON, or a record made of it, with every text in it harmless: keys of objects as well."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return {harmless_values(key): harmless_values(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [harmless_values(inner) for inner in value]
    if isinstance(value, DataNote | EngineNote):
        return dataclasses.replace(value, **harmless_values(vars(value)))
    return value


def harmless_rows(rows: Iterable[Measurement]) -> list[Measurement]:
    """Return rows whose texts, and names of metrics, are harmless."""
    return [dataclasses.replace(row, **harmless_values(vars(row))) for row in rows]


def harmless_run(run: Run) -> Run:
    """Return a run whose texts are harmless."""
    texts = {name: harmless_values(value) for name, value in vars(run).items() if name != "measurements"}
    return dataclasses.replace(run, measurements=tuple(harmless_rows(run.measurements)), **texts)


def harmless_verdicts(verdicts: Iterable[Verdict], *, lines: bool = False) -> list[Verdict]:
    """Return verdicts whose texts are harmless."""
    return [
        dataclasses.replace(
            verdict,
            cell=harmless(verdict.cell),
            quantity=harmless(verdict.quantity),
            reason=harmless(verdict.reason, lines=lines),
        )
        for verdict in verdicts
    ]


def harmless_comparisons(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return comparisons whose texts are harmless."""
    return [
        dataclasses.replace(
            comparison,
            cell=harmless(comparison.cell),
            baseline=next(iter(harmless_rows([comparison.baseline] if comparison.baseline else [])), None),
            candidate=next(iter(harmless_rows([comparison.candidate] if comparison.candidate else [])), None),
            why_not=comparison.why_not and harmless(comparison.why_not),
        )
        for comparison in comparisons
    ]


def harmless_differences(differences: Iterable[Difference]) -> list[Difference]:
    """Return conditions that differ, as harmless texts."""
    return [dataclasses.replace(one, **harmless_values(vars(one))) for one in differences]


def harmless_series(series: Iterable[Series]) -> list[Series]:
    """Return series whose texts are harmless."""
    return [
        dataclasses.replace(
            one,
            **harmless_values({name: getattr(one, name) for name in ("cell", "machine", "machine_key", "reference")}),
            points=tuple(dataclasses.replace(point, **harmless_values(vars(point))) for point in one.points),
        )
        for one in series
    ]


def cell_of_csv(value: Any) -> Any:
    """Return a value as a cell that no spreadsheet computes: text gets an apostrophe, numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = harmless(value, lines=True)
    return f"'{text}" if _FORMULA.match(text) else text


def for_log(text: str) -> str:
    """Return text for a log: without commands where GitHub reads it."""
    return without_commands(text) if os.environ.get("GITHUB_ACTIONS") else text


def without_commands(text: str) -> str:
    """Return text for the log of a job on GitHub, which obeys `::error::` and `##[group]` in what a step prints.

    Source: `ActionCommand.cs` of actions/runner.
    """
    while "::" in text or "##[" in text:
        text = text.replace("::", ": :").replace("##[", "## [")
    return text
