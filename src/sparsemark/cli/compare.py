"""`sparsemark compare`: two result files, cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from sparsemark.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser("compare", help="two result files, cell by cell, with intervals")
    parser.add_argument("baseline", type=Path, metavar="A.json")
    parser.add_argument("candidate", type=Path, metavar="B.json")
    parser.add_argument("--format", choices=("table", "html"), default="table", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="PATH", help="write there (default: the terminal)")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Show the change of every cell, and the differences of the environments."""
    from sparsemark.analysis.comparison import compare, environment_differences, same_machine
    from sparsemark.analysis.merging import load_run
    from sparsemark.cli.pages import comparison_page
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.files import write_atomically
    from sparsemark.report import DEFAULT_WIDTH
    from sparsemark.report.renderers.verdicts import render_comparison

    before, after = load_run(options.baseline), load_run(options.candidate)
    if options.format == "html":
        text = comparison_page(before, after)
    else:
        differences, same = environment_differences(before, after), same_machine(before, after)
        width, colour = terminal() if options.output is None else (DEFAULT_WIDTH, False)
        text = render_comparison(compare(before, after), differences, same_machine=same, width=width, colour=colour)
    if options.output is None:
        write(text)
    else:
        write_atomically(options.output, text.encode())
    return 0
