"""`sparsemark report`: the tables of a result file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark.cli.arguments import add_bar, bar
from sparsemark.cli.pages import write_index

if TYPE_CHECKING:
    import argparse

    from sparsemark.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser("report", help="latency-versus-accuracy tables of a result file")
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN.json", help="several of the same cells count as launches of one run"
    )
    parser.add_argument("--format", default="table", help="table, markdown, csv or html (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="PATH", help="write there (default: the terminal)")
    parser.add_argument(
        "--index",
        type=Path,
        metavar="PATH",
        help="write a page for each file beside PATH, and PATH, which links them; the files are runs of their own",
    )
    parser.add_argument(
        "--layers",
        nargs=2,
        type=Path,
        metavar=("DENSE.json", "PRUNED.json"),
        help="with --format html: the layers of two files side by side, from sparsemark explain --json",
    )
    parser.add_argument(
        "--all", action="store_true", help="on a terminal: findings, controls and conditions too (a pipe has them)"
    )
    add_bar(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Render a run to the terminal or to a file."""
    from sparsemark.analysis.merging import load_run
    from sparsemark.cli.terminal import show, write
    from sparsemark.errors import UserError
    from sparsemark.files import write_atomically
    from sparsemark.report import render
    from sparsemark.report.deployment import Deployment
    from sparsemark.report.layers import read_layers

    asked = bar(options)
    if options.layers is not None and (options.format != "html" or options.index is not None):
        raise UserError("--layers: expected --format html beside it, and no --index")
    if options.index is not None:
        write_index(options.runs, options.index, asked)
        return 0
    run = load_run(*options.runs)
    files = Deployment.of_run(run, tuple(options.runs))
    if options.output is None and options.format == "table":
        show(run, asked, files, whole=options.all)
        return 0
    layers = None if options.layers is None else read_layers(*options.layers)
    text = render(run, options.format, bar=asked, deployment=files, layers=layers)
    if options.output is None:
        write(text)
    else:
        write_atomically(options.output, text.encode())
    return 0
