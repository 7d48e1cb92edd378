"""Parser of the command line.

Nothing here imports torch, numpy or rich: `--help` must be instant, and commands that only read must start quickly.
Each command module declares its arguments in `add` and imports what it needs in `execute`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from sparsemark.cli import (
    bench,
    compare,
    doctor,
    exits,
    explain,
    export,
    gate,
    history,
    init,
    listing,
    report,
    run,
    sensitivity,
)
from sparsemark.cli.terminal import notices
from sparsemark.machine.placement import wait_passively

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMMANDS = (run, bench, init, sensitivity, export, report, compare, gate, history, doctor, explain, listing)


def parse_and_run(arguments: Sequence[str] | None) -> int:
    """Run the command that `arguments` name and return its exit code; arguments and errors as in `cli.main`."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.commands[options.name].refuse(unknown)
    if not getattr(options, "quick", False):  # which measures in this very process
        wait_passively()

    def command() -> int:
        with notices():  # of every command: any of them may wait for the host, or find a damaged file
            return int(options.execute(options))

    return exits.run(f"sparsemark {options.name}", command)


def _parser() -> _Parser:
    parser = _Parser(
        prog="sparsemark",
        description="Does pruning this network make it faster, on this machine, and what does it cost in accuracy?",
        epilog="`run` may train networks and fine-tune them; `bench` and `export` fine-tune pruned ones where --task "
        "brings batches and a loss. No other command trains.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    parser.commands = commands.choices
    return parser


class _Parser(argparse.ArgumentParser):
    """Parser whose errors quote arguments without obeying them; argparse makes those of the commands by this class."""

    commands: Mapping[str, _Parser]
    """Those of the commands by name; of the program's own."""

    def error(self, message: str) -> NoReturn:
        super().error(exits.cleaned(message))

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Exit with the usage of this parser, and the nearest of its options to the first that it does not know."""
        import difflib

        option = next((word.partition("=")[0] for word in unknown if word.startswith("--")), "")
        close = difflib.get_close_matches(option, self._option_string_actions, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")


class _Version(argparse.Action):
    """Print the version; looking it up takes longer than declaring all options, so it waits for this one."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"sparsemark {version('sparsemark')}")
        except PackageNotFoundError:
            print("sparsemark, not installed")
        parser.exit()
