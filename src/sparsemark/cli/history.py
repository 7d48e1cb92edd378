"""`sparsemark history`: ratios over commits."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.errors import UserError

if TYPE_CHECKING:
    from sparsemark.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declare the command's arguments, and those of `add`."""
    parser = commands.add_parser(
        "history",
        help="ratios over commits, with change points; `history add RUN.json` adds a run",
        description="Show how many times as fast as its reference each cell was, run by run, and where that changed. "
        "Each machine and each reference is another series.",
        epilog="Change points need ruptures (pip install 'sparsemark[history]'). They are a report: the gate "
        "does not use them.",
    )
    parser.add_argument("--file", type=Path, default=paths.HISTORY, help="the history (default: %(default)s)")
    parser.add_argument("--cell", metavar="NAME", help="every run of this cell")
    parser.add_argument("--figure", type=Path, metavar="PATH", help="draw it too, as .svg or .png")
    parser.set_defaults(execute=execute)
    actions = parser.add_subparsers(metavar="add")
    adding = actions.add_parser(
        "add",
        help="append the ratios of a run",
        description="Append the speedup, score and size of every measured cell to the history. Points that are there "
        "already are not added again; several processes may add at once.",
    )
    adding.add_argument("run", type=Path, metavar="RUN.json")
    # Suppressed: a default here would replace what stands before `add`.
    adding.add_argument("--file", type=Path, default=argparse.SUPPRESS, help=f"the history (default: {paths.HISTORY})")
    adding.set_defaults(execute=execute_add)


def execute(options: argparse.Namespace) -> int:
    """Show the history, and draw it if asked to."""
    from sparsemark.analysis.change_points import series_of
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.records.history import read_history
    from sparsemark.references import nearest
    from sparsemark.registry import missing
    from sparsemark.report.figures.history import check_figure_name, draw_history
    from sparsemark.report.renderers.history import as_history, as_runs

    if options.figure:
        check_figure_name(options.figure)
    points = read_history(options.file)
    if not points:
        raise UserError(f"{options.file}: no runs in it; `sparsemark history add RUN.json` adds one")
    known = {point.cell for point in points}
    if options.cell is not None and options.cell not in known:
        raise UserError(f"{options.file}: {nearest(options.cell, known, 'cell')}")
    chosen = [point for point in points if options.cell in (None, point.cell)]
    series = series_of(chosen, find_changes=missing(("ruptures",)) is None)
    width, colour = terminal()
    write((as_history if options.cell is None else as_runs)(series, width=width, colour=colour))
    if options.figure:
        draw_history(series, options.figure)
        write(f"wrote {options.figure}\n")
    return 0


def execute_add(options: argparse.Namespace) -> int:
    """Append a run to the history."""
    from sparsemark.cli.terminal import write
    from sparsemark.machine.fingerprint import machine_key, machine_name
    from sparsemark.records.history import add_to_history, points_of
    from sparsemark.records.run import Run

    for option in ("cell", "figure"):
        if getattr(options, option) is not None:
            raise UserError(f"--{option}: `sparsemark history add` shows nothing; leave it out")
    run = Run.load(options.run)
    if not run.machine_info:
        raise UserError(f"{options.run}: machine_info: missing, expected the machine; without it no series is known")
    try:
        points = points_of(run, machine_name(run.machine_info), machine_key(run.machine_info))
    except ValueError as error:
        raise UserError(f"{options.run}: {error}") from error
    if not points:
        raise UserError(f"{options.run}: no measured cell with a speedup, nothing to add")
    added = add_to_history(options.file, points)
    there = f", {len(points) - added} were there already" if added < len(points) else ""
    without = len(run.measurements) - len(points)
    left_out = f", {without} have no speedup" if without else ""
    write(f"added {added} cells of {options.run} to {options.file}{there}{left_out}\n")
    return 0
