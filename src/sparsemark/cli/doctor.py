"""`sparsemark doctor`: is this machine fit to measure on, and down to which effect?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from sparsemark.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "doctor",
        help="is this machine fit to measure on, and down to which effect?",
        description="Check what disturbs a measurement here, then time a fixed piece of work against itself in fresh "
        "processes for about a minute. The last line is the verdict: fit, noisy with the smallest effect that a gate "
        "with ten launches a side can be trusted with, or unfit with the reason.",
        epilog="The exit code is 0 whatever the verdict.",
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of timing, at least three processes (default: %(default)g)"
    )
    parser.add_argument("--threads", type=int, default=1, help="that you will measure with (default: %(default)s)")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Check the machine, measure its noise and show what was found."""
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.errors import UserError
    from sparsemark.machine.doctor import examine
    from sparsemark.report.progress import watch
    from sparsemark.report.renderers.lists import as_checklist
    from sparsemark.study.fitness import fitness

    if not 0 < options.seconds < math.inf:
        raise UserError(f"--seconds {options.seconds:g}: expected a number above 0")
    if options.threads < 1:
        raise UserError(f"--threads {options.threads}: expected a whole number from 1")
    checks = examine(min(1.0, options.seconds), options.threads)
    judgement = fitness(options.seconds, options.threads, watch)
    width, colour = terminal()
    write(as_checklist(checks, judgement, width=width, colour=colour))
    return 0
