"""The terminal that a command writes to."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sparsemark.cli import exits
from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sparsemark.analysis.front import Bar
    from sparsemark.records.earlier import Lost
    from sparsemark.records.journal import Journal
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.report.deployment import Deployment
    from sparsemark.study.file import Study
    from sparsemark.study.pipeline import Pipeline

_SPEAKING = ("sparsemark", "training")
"""Loggers whose notices a user should see: what was resumed, and what was damaged and made again."""


def terminal() -> tuple[int, bool]:
    """Return the width in columns, and whether colours are welcome: not in a pipe, and not with NO_COLOR set."""
    from shutil import get_terminal_size

    from sparsemark.report import DEFAULT_WIDTH

    if not sys.stdout.isatty():
        return DEFAULT_WIDTH, False
    return get_terminal_size().columns, "NO_COLOR" not in os.environ


def write(text: str, *, commands: bool = False) -> None:
    """Write a text to stdout; where its reader has gone, the command goes on without one.

    Args:
        text: ends in a newline.
        commands: it holds GitHub's own commands, which a log must obey.
    """
    from sparsemark.report.harmless import for_log

    try:
        sys.stdout.write(text if commands else for_log(text))
    except BrokenPipeError:
        exits.discard_stdout()


def show(run: Run, bar: Bar | None = None, deployment: Deployment | None = None, *, whole: bool = False) -> None:
    """Write the answer and the tables of a run; arguments as in `report.render`.

    A file or a pipe gets all of it: what is left out there cannot be asked for any more.
    """
    from sparsemark.report import render

    width, colour = terminal()
    # A file or a pipe is as wide as its widest table: a column that is left out there cannot be had back by widening.
    shown = width if sys.stdout.isatty() else None
    whole = whole or shown is None
    write(render(run, width=shown, colour=colour, bar=bar, deployment=deployment, whole=whole))


def show_artifacts(pipeline: Pipeline, study: Study, rows: Sequence[Measurement], folder: Path) -> None:
    """Copy the exported files of what was measured to a folder and name them; errors as in `keep_artifacts`."""
    from sparsemark.records.measurement import MEASURED
    from sparsemark.study.deploy import keep_artifacts

    write("to deploy:\n")
    ran = {m.name for m in rows if m.status == MEASURED}
    for path in keep_artifacts(pipeline, [cell for cell in study.cells if cell.name in ran], folder):
        write(f"wrote {path}\n")


@contextmanager
def notices() -> Iterator[None]:
    """Write log lines of this program from level INFO to stderr while the block runs."""
    handler = _Stderr(logging.INFO)
    loggers = [logging.getLogger(name) for name in _SPEAKING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


class _Stderr(logging.Handler):
    """Write to what stderr is at the time: a progress bar puts another stream in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        print(self.format(record), file=sys.stderr, flush=True)


def taken_from(journal: Journal, cells: int) -> str | None:
    """Return `12 of 45 cells taken from PATH, measured 2026-11-20`; None where none were.

    Args:
        journal: after the run.
        cells: of the run in all.
    """
    if not journal.taken:
        return None
    days = sorted({m.measured_at[: len("2026-11-20")] for m in journal.taken if m.measured_at})
    when = f", measured {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    names = {m.name for m in journal.taken}
    return f"{len(names)} of {cells} cells taken from {journal.path}{when}"


def failures(measurements: Sequence[Measurement]) -> str | None:
    """Return a line with the number of rows that broke or failed parity, and the first; None where none did."""
    failed = _broken(measurements)
    if not failed:
        return None
    counts = ", ".join(f"{number} {status}" for status, number in Counter(m.status for m in failed).items())
    return (
        f"not everything was measured: {counts} of {len(measurements)}; the first: {failed[0].name}: {failed[0].reason}"
    )


def _broken(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the rows that broke or failed parity."""
    from sparsemark.records.measurement import ERROR, PARITY_FAILED

    return [m for m in measurements if m.status in (ERROR, PARITY_FAILED)]


def check_measured(measurements: Sequence[Measurement]) -> None:
    """Raise UserError where no row was measured: with what broke, before what an engine was not made for."""
    from sparsemark.records.measurement import MEASURED

    if not any(m.status == MEASURED for m in measurements):
        first = (*_broken(measurements), *measurements)[0]
        raise UserError(f"nothing was measured: {first.name}: {first.reason}")


def show_failures(measurements: Sequence[Measurement], lost: Lost | None) -> None:
    """Name what broke, and measured cells of an earlier result that are measured no more.

    Raises:
        UserError: one of those broke or failed parity, which must not end in exit code 0.
    """
    failed = failures(measurements)
    if failed:
        write(f"{failed}\n")
    if lost is not None and lost.broke:
        raise UserError(lost.line)
    if lost is not None:
        write(f"{lost.line}\n")
