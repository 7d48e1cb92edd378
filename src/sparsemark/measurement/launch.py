"""One launch: an engine timed in a fresh process, which loads it, checks it again and returns raw seconds.

Processes of one program differ, by memory layout above all, and one process cannot tell that from pruning. What is
timed in several of them can.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.measurement.parity import ParityError
from sparsemark.measurement.timing import Timing  # noqa: TC001 - as below
from sparsemark.specs import Protocol  # noqa: TC001 - a job is read by these annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LEAST_PAIRS = 3
"""Pairs of blocks of one launch: with fewer, the order ABBA does not cancel a drift."""

NOTICE = "sparsemark: "
"""How lines begin that a launch writes to stderr for the reader, not for the one who looks for its fault."""

_KEPT_LINES = 20
"""Lines of stderr that are kept, to quote the last from."""


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
    """

    candidate: Side
    reference: Side
    protocol: Protocol


@dataclass(frozen=True)
class Launch:
    """What a launch found: raw seconds, and the largest memory it held with the candidate alone."""

    timing: Timing
    peak_rss_bytes: int | None


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
    with tempfile.TemporaryDirectory(prefix="sparsemark-launch-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "answer"
        with subprocess.Popen(  # noqa: S603 - a Python and our own program
            place.command(path),
            cwd=place.folder,
            env=place.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            said = _run(process, msgspec.json.encode(job), patience, notice)
        content = path.read_bytes() if path.exists() else b""
    if process.returncode != 0 or not content:
        raise LaunchError(_how_it_ended(process.returncode, said))
    answer = msgspec.json.decode(content, type=Answer)
    if answer.launch is None:
        raise FAILURES.get(answer.failure, LaunchError)(answer.reason)
    return answer.launch


def _run(process: subprocess.Popen[bytes], job: bytes, patience: float, notice: Callable[[str], None]) -> list[str]:
    """Feed a process and wait for its end; return the last lines that it wrote.

    Raises:
        LaunchError: it did not end in time, and was killed.
    """
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(process, lines, notice), daemon=True)
    try:
        # In here, since leaving the process waits for whoever reads from it, whom only its end sets free.
        reader.start()
        # Broken where it ended before it had read; how, its exit code says.
        with contextlib.suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.write(job)
                process.stdin.close()
        process.wait(patience)
    except subprocess.TimeoutExpired:
        raise LaunchError(f"no answer within {patience:.0f} s, so the process was killed") from None
    finally:
        process.kill()
        process.wait()
        if reader.ident is not None:
            reader.join()
    return lines


def _read(process: subprocess.Popen[bytes], lines: list[str], notice: Callable[[str], None]) -> None:
    if process.stderr is None:
        return
    for raw in process.stderr:
        line = raw.decode(errors="replace").rstrip()
        if line.startswith(NOTICE):
            notice(line.removeprefix(NOTICE))
        elif line:
            lines.append(line)
            del lines[:-_KEPT_LINES]


def _how_it_ended(code: int, said: list[str]) -> str:
    last = f": {said[-1]}" if said else ""
    if code < 0:
        import signal

        names = {number.value: number.name for number in signal.Signals}
        return f"the process was ended by {names.get(-code, f'signal {-code}')}{last}"
    return f"the process ended with code {code}{last}"
