"""A/A measurement: a fixed piece of work timed against itself, in fresh processes.

How far its ratio strays from 1, and from process to process, is what this machine does to any ratio. Both sides are the
same work in memory of its own: where a process happens to put its arrays differs between two sides as between two
programs. Engines add a spread of their own, which a gate sees in their cells.

`python -m sparsemark.measurement.aa THREADS` is one launch, which prints its result as a line of JSON.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.machine.children import end_with_parent
from sparsemark.machine.control_group import throttled_periods
from sparsemark.machine.import_path import variables
from sparsemark.machine.placement import measured_environment
from sparsemark.measurement.notices import read_stderr, send_notices
from sparsemark.specs import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Watch = Callable[[Sequence[str], str], Iterator[str]]

_LOG = logging.getLogger(__name__)

LEAST_LAUNCHES = 3
"""Launches however little time there is: two can agree by chance."""

_STEPS = 12
"""Steps of the progress, by time: how long a launch takes is not known before."""

_PROTOCOL = Protocol(warmup_seconds=0.25)
"""As a cell is timed; its half second of warm-up is shared by two sides that are one function."""


@dataclass(frozen=True)
class Launch:
    """Raw seconds of one process, and what disturbed it; None where that is not counted.

    Args:
        samples_s: of the one side, in the order of the calls.
        reference_s: of the other side.
        block: calls in one block; block i of the one side is paired with block i of the other.
        steal: share of the time that other guests of the hypervisor took.
        waited: share of the time that other processes had the processor.
        throttled: periods in which the control group's limit stopped the process.
    """

    samples_s: tuple[float, ...]
    reference_s: tuple[float, ...]
    block: int
    steal: float | None
    waited: float | None
    throttled: int | None


def launches(seconds: float, threads: int, watch: Watch) -> Iterator[Launch]:
    """Time the work against itself in one fresh process after the other, for about `seconds`.

    Args:
        seconds: after which no further process is started, once there were `LEAST_LAUNCHES`.
        threads: of the work.
        watch: shows progress over the steps.

    Raises:
        UserError: a process cannot be started, or fails.
    """
    started, made = time.monotonic(), 0
    ends = [seconds * step / _STEPS for step in range(1, _STEPS + 1)]
    for step, _ in enumerate(watch([f"until {end:.3g} s" for end in ends], "A/A")):
        still_due = LEAST_LAUNCHES if step + 1 == _STEPS else 0
        while time.monotonic() - started < ends[step] or made < still_due:
            yield _in_fresh_process(threads)
            made += 1


def _in_fresh_process(threads: int) -> Launch:
    command = [sys.executable, "-P", "-m", "sparsemark.measurement.aa", str(threads)]
    said: list[str] = []
    environment = measured_environment(variables())
    try:
        started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603 - fixed words
    except OSError as error:
        raise UserError(f"A/A: no process can be started: {error.strerror or error}") from error
    with started as process:
        reader = threading.Thread(target=read_stderr, args=(process.stderr, said, _LOG.info), daemon=True)
        try:
            reader.start()
            answer = b"" if process.stdout is None else process.stdout.read()
            process.wait()
        except BaseException:  # an interrupt, which must not wait for what is being timed
            process.kill()
            raise
        reader.join()
    if process.returncode:
        reason = said[-1].strip() if said else f"exit code {process.returncode}"
        raise UserError(f"A/A: the process that measures failed: {reason}")
    fields = json.loads(answer.splitlines()[-1])
    return Launch(**fields | {name: tuple(fields[name]) for name in ("samples_s", "reference_s")})


def launch(threads: int, protocol: Protocol = _PROTOCOL) -> Launch:
    """Time the work against itself in this process.

    Args:
        threads: of the work.
        protocol: blocks and warm-up.

    Raises:
        ParityError: this machine's BLAS computes something else.
    """
    from sparsemark.measurement.timing import measure
    from sparsemark.measurement.yardstick import inputs, yardstick

    batches = inputs()
    candidate, reference = yardstick(batches), yardstick(batches)
    with throttled_periods() as throttled:
        timing = measure(candidate, reference, batches, replace(protocol, threads=threads))
        return Launch(
            timing.samples_s, timing.reference_s, timing.block, timing.steal, timing.waited, throttled=throttled()
        )


if __name__ == "__main__":
    end_with_parent()
    send_notices()
    sys.stdout.write(f"{json.dumps(asdict(launch(int(sys.argv[1]))))}\n")
