"""`sparsemark doctor`: what disturbs measurements on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from sparsemark.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declare the command, which takes no arguments."""
    parser = commands.add_parser("doctor", help="is this machine fit to measure on?")
    parser.set_defaults(execute=execute)


def execute(_: argparse.Namespace) -> int:
    """Check the machine for about a second and show what was found."""
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.machine.doctor import examine
    from sparsemark.report.renderers.lists import as_checklist

    width, colour = terminal()
    write(as_checklist(examine(), width=width, colour=colour))
    return 0
