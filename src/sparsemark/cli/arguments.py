"""Command line arguments that several commands take, and their types."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemark.specs import PRECISIONS

if TYPE_CHECKING:
    from sparsemark.analysis.front import Bar
    from sparsemark.study.sampling import Sampling

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

LAUNCHES = 3
"""Fresh processes of a cell where the command line does not say: the fewest whose mean still averages something out."""


def network_input(text: str) -> str:
    """Check the form of an input, such as `ids=1,12:int64`; what is in it is the command's to judge."""
    shape(text.rpartition("=")[2].partition(":")[0])
    return text


def shape(text: str) -> tuple[int, ...]:
    """Parse the sizes of an input, such as `1,3,128,128`."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers and commas, such as 1,3,128,128") from None


def counts(text: str) -> tuple[int, ...]:
    """Parse whole numbers from 1, such as `1` or `1,8`, each once and in order."""
    try:
        found = tuple(sorted({int(number) for number in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers and commas, such as 1,8") from None
    if found[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers from 1")
    return found


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Declare the precisions that cells are measured in beside float32."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        action="append",
        default=[],
        help="int8: every network quantised as well, beside its float32, calibrated on the task's training inputs "
        "(repeats; default: fp32)",
    )


def add_input(parser: argparse.ArgumentParser) -> None:
    """Declare the inputs of the network that a command takes."""
    parser.add_argument(
        "--input",
        type=network_input,
        action="append",
        default=[],
        metavar="[NAME=]SIZES[:DTYPE]",
        help="one input, such as 1,3,224,224 or ids=1,128:int64; repeats where there are several (default: what the "
        "ONNX file declares or the task's images have)",
    )


def add_task(parser: argparse.ArgumentParser) -> None:
    """Declare a user's task, and how long a pruned network is fine-tuned by it."""
    parser.add_argument(
        "--task", type=Path, metavar="FILE.py", help="your inputs and score, and how to fine-tune (see README)"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=6,
        help="of fine-tuning, for every pruning alike, the dense network not (default: %(default)s, as in the study of "
        "cnn9; a study file says its own)",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Declare in how many processes a cell is measured, and until when."""
    parser.add_argument(
        "--launches",
        type=int,
        metavar="N",
        help="fresh processes that the timed calls of a cell are spread over (default: 3; 1 where calls are few)",
    )
    parser.add_argument(
        "--until",
        type=_percent,
        metavar="P%",
        help="add launches until the interval of every speedup is that narrow: plus or minus P %%",
    )
    parser.add_argument(
        "--budget", type=_duration, metavar="60s", help="with --until: time after which none are added (default: 10m)"
    )
    parser.add_argument("--quick", action="store_true", help="measure in this process: sooner, and to be trusted less")


def add_bar(parser: argparse.ArgumentParser) -> None:
    """Declare how much of the dense score a configuration must keep to be chosen."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--keep",
        type=float,
        metavar="SHARE",
        help="name the fastest that keeps this share of the dense score, such as 0.99; where lower is better, at most "
        "1/SHARE of it (default: the metric's own tolerance, 0.99 where it has none)",
    )
    either.add_argument(
        "--within", type=float, metavar="LOSS", help="the same by the largest loss, in the metric's unit, such as 0.01"
    )


def bar(options: argparse.Namespace) -> Bar:
    """Return what `add_bar` asks for.

    Raises:
        UserError: a number is out of range.
    """
    from sparsemark.analysis.front import Bar

    return Bar(options.keep, options.within)


def sampling(options: argparse.Namespace) -> Sampling:
    """Return what `add_sampling` asks for.

    Raises:
        UserError: options that do not go together, or are out of range.
    """
    from sparsemark.errors import UserError
    from sparsemark.study.sampling import IN_THIS_PROCESS, Sampling

    asked = {"launches": options.launches, "until": options.until, "budget": options.budget}
    given = [name for name, value in asked.items() if value is not None]
    if options.quick:
        if given:
            raise UserError(f"--quick --{given[0]}: expected one of them")
        return IN_THIS_PROCESS
    if options.budget is not None and options.until is None:
        raise UserError("--budget: expected --until beside it, which says what the time is for")
    if options.launches is not None and options.launches < 1:
        raise UserError(f"--launches {options.launches}: expected a whole number from 1")
    launches = LAUNCHES if options.launches is None else options.launches
    return Sampling(launches, options.until, Sampling.budget_s if options.budget is None else options.budget)


def _percent(text: str) -> float:
    """Parse `1%` or `0.5 %` to a fraction."""
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a percentage, such as 1%") from None


def _duration(text: str) -> float:
    """Parse `60s`, `10m` or `1h` to seconds."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        return float(text[:-1]) * units[text[-1:]]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number and s, m or h, such as 60s") from None
