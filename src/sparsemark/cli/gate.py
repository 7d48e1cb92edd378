"""`sparsemark gate`: an exit code for a result file against another one, or for this tree against a revision."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.cli.pages import add_html

if TYPE_CHECKING:
    from sparsemark.analysis.verdicts import Tolerances, Verdict
    from sparsemark.cli.arguments import Commands
    from sparsemark.records.run import Run

LAUNCHES, HEADLINES = 10, 6
"""Launches of each arm, and most cells: what a verdict at 2 to 5 % takes."""

# In words here, since `analysis.gate` imports numpy; tests hold both against its constants.
_EXIT_CODES = (
    "exit codes: 0 ok, 1 regression, 2 usage or unreadable input, 3 inconclusive or contaminated (with --strict, or "
    "where not one latency could be compared, as on another machine), 4 no baseline, 5 parity failure"
)
_TOLERATED = (
    "tolerances: latency 2 % and 0.05 ms, scores as the task says (accuracy of the study: 1 point), agreement of an "
    "engine with its own network and of a pruned network with the dense one 0.5 point, size 1 %, memory 10 %; in "
    "files one process a side alarms beyond 12 % only, and beside a changed reference beyond 22 %"
)


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "gate",
        help="fail where a result file, or this tree, is worse than a baseline",
        epilog=f"{_EXIT_CODES}; {_TOLERATED}",
    )
    arms = parser.add_mutually_exclusive_group(required=True)
    arms.add_argument("--baseline", type=Path, metavar="A.json", help="a result file to judge B.json against")
    arms.add_argument(
        "--against",
        metavar="REV",
        help="a git revision, or name==version: measured here and now, launched in turn with this tree; each verdict "
        "says which change it could have seen",
    )
    parser.add_argument("candidate", nargs="?", type=Path, metavar="B.json", help="with --baseline")
    parser.add_argument(
        "--study",
        type=Path,
        help=f"with --against: whose cells are measured (default: {paths.DEFAULT_STUDY}); its tolerances count",
    )
    parser.add_argument(
        "--cell", action="append", default=[], metavar="NAME", help="with --against; repeats (default: six that answer)"
    )
    parser.add_argument(
        "--launches", type=int, default=LAUNCHES, metavar="N", help="with --against: of each arm (default: %(default)s)"
    )
    parser.add_argument("--data", type=Path, help="with --against: images for the study's tasks")
    parser.add_argument(
        "--tolerance",
        action="append",
        default=[],
        type=_tolerance,
        metavar="NAME=VALUE",
        help="such as latency=0.05, accuracy=0.02 or latency:CELL=0.05, where CELL may hold *; repeats",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit 3 where any samples cannot tell, in place of 0 and a warning"
    )
    parser.add_argument("--comment", type=Path, metavar="PATH", help="write a comment for a pull request, as Markdown")
    parser.add_argument(
        "--junit", type=Path, metavar="PATH", help="write the verdicts as JUnit XML, one test case each"
    )
    add_html(parser)
    parser.set_defaults(execute=execute)


def _tolerance(text: str) -> tuple[str, float]:
    """Parse `latency=0.05`."""
    name, _, value = text.rpartition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE, such as latency=0.05") from None


def execute(options: argparse.Namespace) -> int:
    """Show a verdict for every quantity of every cell; on GitHub, annotate and summarise them too."""
    from sparsemark.analysis.comparison import environment_differences, same_machine
    from sparsemark.analysis.verdicts import EXIT_OK, exit_code
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.files import check_writable, write_atomically
    from sparsemark.report.next_commands import next_commands
    from sparsemark.report.renderers.verdicts import render_verdicts

    for path in filter(None, (options.comment, options.junit, options.html)):
        check_writable(path)
    _check_together(options)
    verdicts, before, after = _against(options) if options.against else _files(options)
    code = exit_code(verdicts, strict=options.strict)
    differences, same = environment_differences(before, after), same_machine(before, after)
    commands = [] if code == EXIT_OK else next_commands(verdicts, after, options.baseline, options.candidate)
    width, colour = terminal()
    write(render_verdicts(verdicts, differences, same_machine=same, width=width, colour=colour))
    for command in commands:
        write(f"next: {command.command}  ({command.shows})\n")
    if options.comment:
        from sparsemark.report.renderers.comment import pull_request_comment

        write_atomically(options.comment, pull_request_comment(verdicts, after, commands, same_machine=same).encode())
    if options.junit:
        from sparsemark.report.renderers.junit import as_junit

        write_atomically(options.junit, as_junit(verdicts).encode())
    if options.html:
        from sparsemark.cli.pages import comparison_page

        write_atomically(options.html, comparison_page(before, after, verdicts).encode())
    if os.environ.get("GITHUB_ACTIONS"):
        from sparsemark.report.renderers.github import annotate, job_summary

        write(annotate(verdicts), commands=True)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            _append(Path(summary), job_summary(verdicts, same_machine=same))
    return code


def _check_together(options: argparse.Namespace) -> None:
    """Refuse options that say nothing beside each other.

    Raises:
        UserError: names one of them.
    """
    from sparsemark.errors import UserError

    if options.against is None:
        given = [f"--{name}" for name in ("cell", "data") if getattr(options, name)]
        if given:
            raise UserError(f"{given[0]}: expected --against beside it")
        if options.candidate is None:
            raise UserError("B.json: missing, expected the result file to judge")
    elif options.candidate is not None:
        raise UserError(f"{options.candidate}: expected no file beside --against, which measures this tree")
    if options.launches < 1:
        raise UserError(f"--launches {options.launches}: expected a whole number from 1")


def _tolerances(options: argparse.Namespace) -> Tolerances:
    """Return the study's tolerances, where a study is named, with those of the command line in their place."""
    from sparsemark.analysis.verdicts import Tolerances

    known = Tolerances()
    if options.study is not None:
        from sparsemark.study.file import load_study

        known = load_study(options.study).tolerances
    cells = {name.partition(":")[2]: value for name, value in options.tolerance if ":" in name}
    return known.replaced({name: value for name, value in options.tolerance if ":" not in name}, cells)


def _files(options: argparse.Namespace) -> tuple[list[Verdict], Run, Run]:
    from sparsemark.analysis.gate import gate, load_runs

    tolerances = _tolerances(options)
    before, after = load_runs(options.baseline, options.candidate)
    return gate(before, after, tolerances), before, after


def _against(options: argparse.Namespace) -> tuple[list[Verdict], Run, Run]:
    """Measure both arms here, in turn, and judge what they show."""
    from sparsemark.machine.locks import only_process
    from sparsemark.report.progress import watch
    from sparsemark.study.against import Duel, judge
    from sparsemark.study.arm import Request
    from sparsemark.study.revision import of_revision, this_tree

    study = options.study or paths.DEFAULT_STUDY
    options.study = study
    tolerances = _tolerances(options)
    data = str(options.data.absolute()) if options.data else None
    request = Request(str(study), data, tuple(options.cell), HEADLINES)
    work = paths.WORK / "against"
    with only_process(paths.lock(work), f"sparsemark gate --against {options.against}"):
        duel = Duel(of_revision(options.against, work), this_tree(), request)
        verdicts, before, after = judge(duel, options.launches, tolerances, watch)
        options.baseline, options.candidate = work / "baseline.json", work / "candidate.json"
        before.save(options.baseline)
        after.save(options.candidate)
    return verdicts, before, after


def _append(path: Path, text: str) -> None:
    """Append to the file that GitHub shows; an error of its pipe or disk must not read as a verdict."""
    from sparsemark.errors import UserError

    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"GITHUB_STEP_SUMMARY: {path}: cannot be written: {error.strerror or error}") from error
