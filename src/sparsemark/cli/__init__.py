"""Command line of sparsemark."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; a mistake of the caller's is one line on stderr.

    Args:
        arguments: of the command line, without the program's name; None takes the process's own.

    Raises:
        SystemExit: argparse refuses the arguments (code 2), or `--help` or `--version` is among them.
    """
    from sparsemark.cli import exits

    return exits.guard(lambda: _parse_and_run(arguments))


def _parse_and_run(arguments: Sequence[str] | None) -> int:
    # Imported under the guard: in a broken installation Python's own exit code would be 1, a regression.
    from sparsemark.cli.parser import parse_and_run

    return parse_and_run(arguments)
