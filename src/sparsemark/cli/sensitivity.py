"""`sparsemark sensitivity`: which layers of a network bear pruning, and which do not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark import paths
from sparsemark.cli.arguments import add_input

if TYPE_CHECKING:
    from sparsemark.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "sensitivity",
        help="score against sparsity, one layer at a time",
        description="Prune one layer at a time, layers whose channels go together as one, and score the network on the "
        "inputs that the task selects by. Nothing is fine-tuned.",
        epilog="OUT feeds --prune METHOD@OUT:S, which spreads S over the layers as they bear it. The same command, "
        "interrupted or killed, goes on from OUT.sensitivity.jsonl. An OUT of another kind is not replaced.",
    )
    parser.add_argument("reference", metavar="REF", help="file.py:factory or package.module:factory")
    parser.add_argument(
        "--task", type=Path, required=True, metavar="FILE.py", help="your inputs and score (see README)"
    )
    add_input(parser)
    parser.add_argument("--method", default="magnitude", help="a pruner (default: %(default)s)")
    parser.add_argument(
        "--sparsities", type=_fractions, metavar="S,S,...", help="tried in each layer (default: .5,.7,.8,.9,.95)"
    )
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="result file")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Score every layer at every sparsity, write the result file and show it."""
    from sparsemark.cli.terminal import terminal, write
    from sparsemark.files import check_writable, is_stream
    from sparsemark.machine.locks import only_process
    from sparsemark.machine.temporary import temporary_folder
    from sparsemark.records.sensitivity import check_replaceable
    from sparsemark.report.progress import watch
    from sparsemark.report.renderers.sensitivity import as_sensitivity
    from sparsemark.study import asked
    from sparsemark.study.sensitivity import SPARSITIES, measure_sensitivity
    from sparsemark.study.task import load_task

    check_writable(options.json)
    model = asked.model(options.reference, options.input, (), options.task)
    sparsities = SPARSITIES if options.sparsities is None else options.sparsities
    command = f"sparsemark sensitivity {options.reference} --json {options.json}"
    with temporary_folder() as work:
        # What is written into a stream has no place for a journal beside it.
        streams = is_stream(options.json)
        result = work / "result" if streams else options.json
        journal = paths.sensitivity_journal(result)
        with only_process(paths.bench_lock(result), command):
            if not streams:
                check_replaceable(options.json)
            task = load_task(options.task)
            found = measure_sensitivity(model, task, options.method, sparsities, journal=journal, watch=watch)
            found.save(options.json)
            width, colour = terminal()
            write(as_sensitivity(found, width=width, colour=colour))
            write(f"wrote {options.json}\n")
            journal.unlink(missing_ok=True)
    return 0


def _fractions(text: str) -> tuple[float, ...]:
    """Parse `.5,.7`."""
    try:
        return tuple(float(one) for one in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected fractions and commas, such as .5,.7,.9") from None
