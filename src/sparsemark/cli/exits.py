"""Exit codes, and the line on stderr that goes with an exception.

| code | meaning |
|---|---|
| 0 | done; of `gate`: nothing is worse |
| 1, 3, 4, 5 | verdicts of `gate`, defined in `sparsemark.analysis.gate` |
| 2 | the caller's mistake, or a limit of the machine |
| 70 | a fault of sparsemark |
| 130 | interrupted |
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.references import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = 2
"""As argparse exits where it refuses the arguments."""

FAULT = 70
"""EX_SOFTWARE of sysexits.h."""

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

DEBUG = "SPARSEMARK_DEBUG"
"""Environment variable that, set to anything, adds the traceback to the line of a fault."""


def run(name: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit code, whatever it raises.

    Args:
        name: of the command, at the head of its messages.
        command: returns the exit code where nothing goes wrong.
    """
    try:
        code = command()
        # Flushed here: an error of the disk or the pipe at interpreter exit would be a traceback.
        sys.stdout.flush()
    except UserError as error:
        _report(name, str(error))
        return int(getattr(error, "exit_code", USAGE))
    except KeyboardInterrupt:
        print(f"\nsparsemark {name}: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _redirect_stdout()  # the reader of our output has seen enough
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _report(name, f"{where}{error.strerror or error}")
        _flush_stdout()
        return USAGE
    except Exception as error:
        _report_fault(name, error)
        _flush_stdout()
        return FAULT
    return code


def _report(name: str, message: str) -> None:
    """Write one line to stderr, whatever lines the message quotes."""
    print(f"sparsemark {name}: {' '.join(message.split())}", file=sys.stderr)


def _report_fault(name: str, error: Exception) -> None:
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
