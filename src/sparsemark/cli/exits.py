"""Exit codes, and the line on stderr that goes with an exception.

| code | meaning |
|---|---|
| 0 | done; of `gate`: nothing is worse |
| 1, 3, 4, 5 | verdicts of `gate`, defined in `sparsemark.analysis.gate` |
| 2 | the caller's mistake, or a limit of the machine |
| 70 | a fault of sparsemark, or a user's code that leaves the process |
| 130 | interrupted by Ctrl-C |
| 143 | terminated by SIGTERM (129 by SIGHUP), after the same clean-up; the same command goes on from there |
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.machine import pace
from sparsemark.machine.children import children, end, now
from sparsemark.references import one_line
from sparsemark.study.interrupts import raised_again

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

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


def guard(start: Callable[[], int]) -> int:
    """Call the command line and return its exit code, whatever goes wrong before a command is known.

    Raises:
        SystemExit: argparse ended the process.
    """
    try:
        _prepare_streams()
        return start()
    except SystemExit:
        with contextlib.suppress(OSError):
            _flush_stdout()
        raise
    except BaseException as error:
        return _code_of("", error)


def run(name: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit code, whatever it raises.

    Interrupted, it ends the processes that the command started and that still run.

    Args:
        name: of the command, at the head of its messages.
        command: returns the exit code where nothing goes wrong.
    """
    begun = now()
    pace.begin()
    with raised_again() as interrupts:
        try:
            code = command()
            # Flushed here: an error of the disk or the pipe at interpreter exit would be a traceback.
            _flush_stdout()
        except BaseException as error:
            # A library may have made another error of the interrupt, or an exit code.
            if interrupts.came is None and not isinstance(error, KeyboardInterrupt):
                return _code_of(name, error)
            interrupts.ignore()
            return _interrupted(name, interrupts.came or signal.SIGINT, begun)
    return code


def _interrupted(name: str, number: int, begun: float) -> int:
    end(children(since=begun))
    word = "interrupted" if number == signal.SIGINT else "terminated"
    with contextlib.suppress(OSError):
        _flush_stdout()
        if sys.stderr.isatty():
            _say("")  # a terminal shows ^C at the head of the line
        _report(name, f"{word}; the same command goes on from here")
    return SIGNALLED + number


def _prepare_streams() -> None:
    """Replace streams that the caller closed (`>&-`) by /dev/null, and have the others write what they can."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            # Not only for `print`: the next file that is opened would take the free descriptor, and be written to by
            # libraries that print from C.
            setattr(sys, stream, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        elif isinstance(getattr(sys, stream), TextIOWrapper):
            getattr(sys, stream).reconfigure(errors="replace")  # a pipe's encoding may lack the lines of a table


def _code_of(name: str, error: BaseException) -> int:
    """Report an error and return its exit code; an error while reporting does not change it."""
    code = _code(error)
    try:
        with contextlib.suppress(OSError):
            _flush_stdout()
        _explain(name, error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException:  # whatever it is, nothing is left to say it with
        with contextlib.suppress(OSError):
            os.write(2, f"sparsemark: a fault of sparsemark: {type(error).__name__}\n".encode())
    return code


def _code(error: BaseException) -> int:
    match error:
        case UserError():
            return int(getattr(error, "exit_code", USAGE))
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():
            return 0  # the reader of our output has seen enough
        case OSError():
            return USAGE
        case _:
            # SystemExit as well: a user's code that leaves with 1 must not be taken for a regression.
            return FAULT


def _explain(name: str, error: BaseException) -> None:
    """Write the line on stderr that goes with an error."""
    match error:
        case UserError():
            _report(name, str(error))
        case KeyboardInterrupt():
            _say("")
            _report(name, "interrupted; the same command goes on from here")
        case BrokenPipeError():
            _redirect_stdout()
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            _report(name, f"{where}{error.strerror or error}")
        case _:
            _report_fault(name, error)


def _report(name: str, message: str) -> None:
    """Write one line to stderr, whatever lines the message quotes."""
    _say(f"{name or 'sparsemark'}: {cleaned(message)}")


def _report_fault(name: str, error: BaseException) -> None:
    if os.environ.get(DEBUG):
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            _say(line if line.isprintable() else ascii(line)[1:-1])
    try:
        words = one_line(error)
    except Exception:  # of an error that cannot be written, the type is left
        words = type(error).__name__
    _report(name, f"a fault of sparsemark: {words} (set {DEBUG}=1 for the traceback)")


def cleaned(message: str) -> str:
    """Return a message in one line that steers neither a terminal nor the log of a job on GitHub."""
    line = " ".join(message.split())
    if line.isprintable() and "::" not in line and "##[" not in line:
        return line  # the usual case, without the time that it takes to import the report
    try:
        from sparsemark.report.harmless import for_log, harmless
    except Exception:  # the message may be that numpy is missing, which the report needs
        return ascii(line)[1:-1]
    return for_log(harmless(line))


def _say(line: str) -> None:
    """Write a line to stderr, as far as anybody listens: the exit code says it too."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _redirect(sys.stderr)


def _flush_stdout() -> None:
    """Write what is still in memory; a reader that has gone has seen enough.

    Raises:
        OSError: the disk is full.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _redirect_stdout()
    except OSError:
        _redirect_stdout()
        raise


def discard_stdout() -> None:
    """Discard what is still to be written to stdout: its reader has gone."""
    _redirect_stdout()


def _redirect_stdout() -> None:
    _redirect(sys.stdout)


def _redirect(stream: TextIO) -> None:
    """Redirect a stream to /dev/null so that Python's flush at exit cannot fail a second time."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
