"""`sparsemark list`: pruners, formats and engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from sparsemark.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declare the command, which takes no arguments."""
    parser = commands.add_parser("list", help="pruners, formats and engines: available, or why not")
    parser.set_defaults(execute=execute)


def execute(_: argparse.Namespace) -> int:
    """Show sparsemark's own and other packages' implementations, with the reason where one cannot be used."""
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.engines import ENGINES
    from sparsemark.formats import FORMATS
    from sparsemark.pruning import PRUNERS
    from sparsemark.registry import availability
    from sparsemark.report.renderers.lists import as_inventory

    rows = [*availability(PRUNERS, "pruner"), *availability(FORMATS, "format"), *availability(ENGINES, "engine")]
    width, colour = terminal()
    write(as_inventory(rows, width=width, colour=colour))
    return 0
