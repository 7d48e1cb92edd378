"""The terminal that a command writes to."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sparsemark.cli import exits

if TYPE_CHECKING:
    from sparsemark.records.run import Run


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


def show(run: Run) -> None:
    """Write the tables of a run."""
    from sparsemark.report import render

    width, colour = terminal()
    write(render(run, width=width, colour=colour))
