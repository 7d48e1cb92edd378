"""Exit codes, and the line on stderr that goes with an exception.

| code | meaning |
|---|---|
| 0 | done; of `gate`: nothing is worse |
| 1, 3, 4, 5 | verdicts of `gate`, defined in `sparsemark.analysis.gate` |
| 2 | the caller's mistake, or a limit of the machine |
| 70 | a fault of sparsemark |
| 130 | interrupted by Ctrl-C |
| 143 | terminated by SIGTERM (129 by SIGHUP), after the same clean-up; the same command goes on from there |
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.machine.children import children, end, now
from sparsemark.references import one_line
from sparsemark.study.interrupts import raised_again

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = 2
"""As argparse exits where it refuses the arguments."""

FAULT = 70
"""EX_SOFTWARE of sysexits.h."""

SIGNALLED = 128
"""Added to the number of a signal, as shells have it."""

INTERRUPTED = SIGNALLED + signal.SIGINT
TERMINATED = SIGNALLED + signal.SIGTERM

DEBUG = "SPARSEMARK_DEBUG"
"""Environment variable that, set to anything, adds the traceback to the line of a fault."""


def run(name: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit code, whatever it raises.

    Interrupted, it ends the processes that the command started and that still run.

    Args:
        name: of the command, at the head of its messages.
        command: returns the exit code where nothing goes wrong.
    """
    begun = now()
    with raised_again() as interrupts:
        try:
            code = command()
            # Flushed here: an error of the disk or the pipe at interpreter exit would be a traceback.
            sys.stdout.flush()
        except BaseException as error:
            # A library may have made another error of the interrupt, or an exit code.
            interrupted = interrupts.came is not None or isinstance(error, KeyboardInterrupt)
            if not interrupted and not isinstance(error, Exception):
                raise
            if not interrupted:
                return _failed(name, error)
            interrupts.ignore()
            return _interrupted(name, interrupts.came or signal.SIGINT, begun)
    return code


def _interrupted(name: str, number: int, begun: float) -> int:
    end(children(since=begun))
    word = "interrupted" if number == signal.SIGINT else "terminated"
    # A terminal shows ^C at the head of the line.
    line = "\n" if sys.stderr.isatty() else ""
    print(f"{line}{name}: {word}; the same command goes on from here", file=sys.stderr)
    return SIGNALLED + number


def _failed(name: str, error: BaseException) -> int:
    if isinstance(error, UserError):
        _report(name, str(error))
        return int(getattr(error, "exit_code", USAGE))
    if isinstance(error, BrokenPipeError):
        _redirect_stdout()  # the reader of our output has seen enough
        return 0
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        _report(name, f"{where}{error.strerror or error}")
        _flush_stdout()
        return USAGE
    _report_fault(name, error)
    _flush_stdout()
    return FAULT


def _report(name: str, message: str) -> None:
    """Write one line to stderr, whatever lines the message quotes."""
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)


def _report_fault(name: str, error: BaseException) -> None:
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error)
    _report(name, f"a fault of sparsemark: {one_line(error)} (set {DEBUG}=1 for the traceback)")


def _flush_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _redirect_stdout()


def _redirect_stdout() -> None:
    """Redirect stdout to /dev/null so that Python's flush at exit cannot fail a second time."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
