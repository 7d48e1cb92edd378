"""Command line that times the same networks again, for longer: what a disturbed machine measured is not believed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sparsemark.cli.arguments import LAUNCHES
from sparsemark.report.harmless import harmless

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sparsemark.study.chosen import Chosen

_LONGER = 2
"""Times as many calls, and processes that share them."""


def again(options: argparse.Namespace, chosen: Chosen | None) -> str:
    """Return the command line of `sparsemark bench` that times a run's networks again, quoted for a shell.

    Empty where it cannot be shown as it is: a name with two spaces or unprintable characters would be another one.

    Args:
        options: of the run; `--quick` and `--until` are not taken over, since the calls are more in any case.
        chosen: what a search or a walk found, in place of the request for it.
    """
    command = shlex.join(["sparsemark", "bench", options.reference, *_words(options, chosen)])
    return command if harmless(command) == command else ""


def _words(options: argparse.Namespace, chosen: Chosen | None) -> Iterator[str]:
    found = [pruning.text for pruning in chosen.prunings] if chosen else []
    repeated = {
        "--input": options.input,
        "--prune": [*options.prune, *found],
        "--engine": options.engine,
        "--precision": options.precision,
    }
    for option, values in repeated.items():
        for value in values:
            yield from (option, str(value))
    single = {
        "--task": options.task,
        "--epochs": None if options.task is None else options.epochs,
        "--keep": options.keep,
        "--within": options.within,
        "--batch": ",".join(map(str, options.batch)) or None,
        "--threads": ",".join(map(str, options.threads)),
        "--rounds": _LONGER * options.rounds,
        "--launches": _LONGER * (options.launches or LAUNCHES),
        "--json": options.json,
        "--html": options.html,
        "--artifacts": options.artifacts,
    }
    for option, value in single.items():
        if value is not None:
            yield from (option, str(value))
