"""`sparsemark gate`: an exit code for a result file against a baseline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from sparsemark.cli.arguments import Commands

# In words here, since `analysis.gate` imports numpy; tests hold both against its constants.
_EXIT_CODES = (
    "exit codes: 0 ok, 1 regression, 2 usage or unreadable input, 3 inconclusive or contaminated (with --strict, or "
    "where not one latency could be compared, as on another machine), 4 no baseline, 5 parity failure"
)
_TOLERATED = (
    "tolerances: latency 2 % and 0.05 ms, scores as the task says (accuracy of the study: 1 point), agreement of an "
    "engine with its own network 0.5 point, size 1 %"
)


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "gate", help="fail where a result file is worse than a baseline", epilog=f"{_EXIT_CODES}; {_TOLERATED}"
    )
    parser.add_argument("--baseline", type=Path, required=True, metavar="A.json")
    parser.add_argument("candidate", type=Path, metavar="B.json")
    parser.add_argument(
        "--strict", action="store_true", help="exit 3 where any samples cannot tell, in place of 0 and a warning"
    )
    parser.add_argument("--comment", type=Path, metavar="PATH", help="write a comment for a pull request, as Markdown")
    parser.add_argument(
        "--junit", type=Path, metavar="PATH", help="write the verdicts as JUnit XML, one test case each"
    )
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Show a verdict for every quantity of every cell; on GitHub, annotate and summarise them too."""
    from sparsemark.analysis.comparison import environment_differences, same_machine
    from sparsemark.analysis.gate import gate, load_runs
    from sparsemark.analysis.verdicts import EXIT_OK, exit_code
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.files import check_writable, write_atomically
    from sparsemark.report.next_commands import next_commands
    from sparsemark.report.renderers.verdicts import render_verdicts

    for path in filter(None, (options.comment, options.junit)):
        check_writable(path)
    before, after = load_runs(options.baseline, options.candidate)
    verdicts = gate(before, after)
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
    if os.environ.get("GITHUB_ACTIONS"):
        from sparsemark.report.renderers.github import annotate, job_summary

        write(annotate(verdicts), commands=True)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            _append(Path(summary), job_summary(verdicts, same_machine=same))
    return code


def _append(path: Path, text: str) -> None:
    """Append to the file that GitHub shows; an error of its pipe or disk must not read as a verdict."""
    from sparsemark.errors import UserError

    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"GITHUB_STEP_SUMMARY: {path}: cannot be written: {error.strerror or error}") from error
