"""One launch: an engine timed in a fresh process, which loads it, checks it again and returns raw seconds.

Processes of one program differ, by memory layout above all, and one process cannot tell that from pruning. What is
timed in several of them can.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.machine.host_lock import only_measurement
from sparsemark.machine.placement import measured_environment
from sparsemark.measurement.notices import read_stderr
from sparsemark.measurement.parity import ParityError
from sparsemark.measurement.timing import Timing  # noqa: TC001 - as below
from sparsemark.measurement.turns import InTurn, PartnerError, Turn
from sparsemark.specs import Protocol  # noqa: TC001 - a job is read by these annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LEAST_PAIRS = 3
"""Pairs of blocks of one launch: with fewer, the order ABBA does not cancel a drift."""

_MORE_PATIENCE = 5.0
"""Seconds for the second of two launches once the first has failed: it notices that at its next turn."""


@dataclass(frozen=True)
class Side:
    """An artifact and the engine that runs it.

    Args:
        engine: its name.
        path: of the artifact.
        format: of the artifact.
        sha256: of the bytes that passed the parity check.
        data: file of its inputs and reference outputs, as `launch_data` writes it.
        outputs: name of its reference outputs there.
    """

    engine: str
    path: str
    format: str
    sha256: str
    data: str
    outputs: str


@dataclass(frozen=True)
class Job:
    """What a launch is to do.

    Args:
        candidate: what is timed.
        reference: what each of its blocks is paired with; loaded anew where it is the same artifact.
        protocol: blocks, threads, warm-up.
        turn: of this process where it takes turns with another, see `launch_in_turn`.
    """

    candidate: Side
    reference: Side
    protocol: Protocol
    turn: Turn | None = None


@dataclass(frozen=True)
class Launch:
    """What a launch found: raw seconds, and the largest memory it held with the candidate alone.

    Those of `in_turn` ran beside another process's, in `launch_in_turn`.
    """

    timing: Timing
    peak_rss_bytes: int | None
    in_turn: InTurn | None = None


@dataclass(frozen=True)
class Answer:
    """What a launch writes: what it found, or the kind of its failure and the reason."""

    launch: Launch | None = None
    failure: str = ""
    reason: str = ""


FAILURES: dict[str, type[Exception]] = {
    "unsupported": UnsupportedError,
    "parity": ParityError,
    "user": UserError,
    "partner": PartnerError,
}
"""Exceptions that mean the same in this process; any other becomes a `LaunchError`."""


@dataclass(frozen=True)
class Place:
    """Where a launch runs: a Python with its packages, and a folder.

    Args:
        python: its executable.
        folder: working folder, which references to models are relative to; None is this process's.
        environment: variables of the process; None are this process's.
        harness: folder of the sparsemark whose loop and machine control are used in place of that environment's own, so
            that two arms are timed by the same code; None leaves its own.
    """

    python: str = sys.executable
    folder: Path | None = None
    environment: Mapping[str, str] | None = None
    harness: Path | None = None

    def command(self, answer: Path) -> list[str]:
        """Return the command of a launch that writes its answer to a path."""
        # -P: a file in the working folder must not stand in for a module.
        if self.harness is None:
            return [self.python, "-P", "-m", "sparsemark.measurement.worker", str(answer), str(os.getpid())]
        return [self.python, "-P", "-c", _GRAFTED, str(answer), str(os.getpid()), str(self.harness)]


_GRAFTED = """
import importlib, sys
for name in ("measurement", "machine"):
    importlib.import_module(f"sparsemark.{name}").__path__[:] = [f"{sys.argv[3]}/{name}"]
from sparsemark.measurement.worker import main
sys.exit(main(*sys.argv[1:3]))
"""
"""Program of a launch with another sparsemark's harness around its own engines."""

HERE = Place()


class LaunchError(Exception):
    """A launch that crashed, hung or was killed."""


class InTurnError(Exception):
    """One of two launches that take turns did not end well.

    Args:
        which: its place, 0 or 1.
        error: what `launch` would have raised.
    """

    def __init__(self, which: int, error: Exception) -> None:
        super().__init__(str(error))
        self.which = which


def launch(job: Job, patience: float, notice: Callable[[str], None] = lambda _: None, place: Place = HERE) -> Launch:
    """Run a job in a fresh process.

    Args:
        job: checked in this process before.
        patience: seconds after which it counts as hung.
        notice: is given lines for the reader, such as what is being waited for.
        place: Python and folder.

    Raises:
        UnsupportedError: the engine cannot be loaded there.
        ParityError: it does not agree there.
        UserError: another measurement held the host for too long, or a file is no longer what was checked.
        LaunchError: the process crashed, hung or was killed; says how.
    """
    with _started(job, notice, place) as answer:
        return answer(patience)


def launch_in_turn(
    jobs: tuple[Job, Job],
    patience: float,
    notice: Callable[[str], None] = lambda _: None,
    places: tuple[Place, Place] = (HERE, HERE),
) -> tuple[Launch, Launch]:
    """Run two jobs in fresh processes that are there at the same time and, after their timings, take turns.

    Args:
        jobs: on the same number of threads; the first has the first turn.
        patience: seconds after which they count as hung.
        notice: is given lines for the reader.
        places: of the jobs.

    Raises:
        InTurnError: says which of them did not end well, and how.
        UserError: another measurement held the host for too long, or this system cannot hand over a socket.
    """
    if sys.platform == "win32":
        raise UserError("two processes cannot take turns on Windows; compare files of one process a side")
    with ExitStack() as stack:
        stack.enter_context(only_measurement())
        ends = [stack.enter_context(end) for end in socket.socketpair()]
        answers = []
        for number, (job, place, end) in enumerate(zip(jobs, places, ends, strict=True)):
            with_turn = replace(job, turn=Turn(end.fileno(), second=number == 1))
            answers.append(stack.enter_context(_started(with_turn, notice, place)))
        for end in ends:
            end.close()  # else neither would see the other's end
        made: list[Launch] = []
        failed: InTurnError | None = None
        for number, answer in enumerate(answers):
            try:
                made.append(answer(patience if failed is None else _MORE_PATIENCE))
            except PartnerError as error:
                failed = failed or InTurnError(number, error)
            except Exception as error:
                # Where both failed by themselves it is the second that hung, as the first waited for it.
                failed = InTurnError(number, error)
        if failed is not None:
            raise failed
    return made[0], made[1]


@contextmanager
def _started(job: Job, notice: Callable[[str], None], place: Place) -> Iterator[Callable[[float], Launch]]:
    """Start a process on a job; yield what waits for its answer, for so many seconds. Leaving ends the process."""
    with tempfile.TemporaryDirectory(prefix="sparsemark-launch-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "answer"
        with subprocess.Popen(  # noqa: S603 - a Python and our own program
            place.command(path),
            cwd=place.folder,
            env=measured_environment(place.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=() if job.turn is None else (job.turn.channel,),
        ) as process:
            lines: list[str] = []
            reader = threading.Thread(target=read_stderr, args=(process.stderr, lines, notice), daemon=True)

            def answer(patience: float) -> Launch:
                try:
                    process.wait(patience)
                except subprocess.TimeoutExpired:
                    raise LaunchError(f"no answer within {patience:.0f} s, so the process was killed") from None
                finally:
                    process.kill()
                    process.wait()
                    reader.join()
                return _read_answer(path, process.returncode, lines)

            try:
                # In here, since leaving the process waits for whoever reads from it, whom only its end sets free.
                reader.start()
                # Broken where it ended before it had read; how, its exit code says.
                with contextlib.suppress(BrokenPipeError):
                    if process.stdin is not None:
                        process.stdin.write(msgspec.json.encode(job))
                        process.stdin.close()
                yield answer
            finally:
                process.kill()
                process.wait()
                if reader.ident is not None:
                    reader.join()


def _read_answer(path: Path, code: int, said: list[str]) -> Launch:
    content = path.read_bytes() if path.exists() else b""
    if code != 0 or not content:
        raise LaunchError(_how_it_ended(code, said))
    answer = msgspec.json.decode(content, type=Answer)
    if answer.launch is None:
        raise FAILURES.get(answer.failure, LaunchError)(answer.reason)
    return answer.launch


def _how_it_ended(code: int, said: list[str]) -> str:
    last = f": {said[-1]}" if said else ""
    if code < 0:
        import signal

        names = {number.value: number.name for number in signal.Signals}
        return f"the process was ended by {names.get(-code, f'signal {-code}')}{last}"
    return f"the process ended with code {code}{last}"
