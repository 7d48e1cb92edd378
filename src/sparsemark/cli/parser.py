"""Parser of the command line, and the entry point of the `sparsemark` program.

Nothing here imports torch, numpy or rich: `--help` must be instant, and commands that only read must start quickly.
Each command module declares its arguments in `add` and imports what it needs in `execute`.
"""

from __future__ import annotations

import argparse
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from sparsemark.cli import bench, compare, doctor, exits, explain, gate, listing, report, run

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (run, bench, report, compare, gate, doctor, explain, listing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; a mistake of the caller's is one line on stderr.

    Args:
        arguments: of the command line, without the program's name; None takes the process's own.

    Raises:
        SystemExit: argparse refuses the arguments (code 2), or `--help` or `--version` is among them.
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a pipe's encoding may lack the lines of a table
    return exits.run(f"sparsemark {options.name}", lambda: int(options.execute(options)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sparsemark",
        description="Does pruning this network make it faster, on this machine, and what does it cost in accuracy?",
        epilog="`run` may train networks and fine-tune them; `bench` fine-tunes pruned ones where --task brings "
        "batches and a loss. No other command trains.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser


class _Version(argparse.Action):
    """Print the version; looking it up takes longer than declaring all options, so it waits for this one."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"sparsemark {version('sparsemark')}")
        except PackageNotFoundError:
            print("sparsemark, not installed")
        parser.exit()
