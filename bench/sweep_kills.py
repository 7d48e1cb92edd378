"""Trials of a sweep under kill -9: of a worker, a cell's process, the scheduler and the client, at random moments.

`python -m bench.sweep_kills [TRIALS]`, in an empty folder: stub cells on two workers with faked hosts. After each kill
the command is given again until it is done. Every cell must then be in the journal once, and those of one host apart in
time.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench.sweep_stubs
from bench.sweep_client import sweep
from sparsemark.errors import UserError
from sparsemark.machine import proc
from sparsemark.machine.children import children
from sparsemark.records.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.process import BaseProcess

KINDS = ("worker", "cell", "scheduler", "client")
CELLS, SECONDS, LONGEST = 16, 0.1, 1.2
ADDRESS = "tcp://127.0.0.1:28786"
HOSTS = ("a", "b")
PATIENCE = 10.0
"""Seconds for a process to end."""


class Processes:
    """A scheduler and a worker for each host."""

    def __init__(self) -> None:
        quiet = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", bench.sweep_stubs.SECONDS: str(SECONDS)}
        cli = [sys.executable, "-m"]
        port = ADDRESS.rpartition(":")[2]
        scheduler = [*cli, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
        self.scheduler = self._start(scheduler, quiet)
        options = ["--nthreads", "1", "--resources", "cell=1", "--memory-limit", "0", "--no-dashboard"]
        stubs = ["--preload", bench.sweep_stubs.__file__]
        self.nannies = [
            self._start(
                [*cli, "distributed.cli.dask_worker", ADDRESS, *options, *stubs],
                quiet | {"SPARSEMARK_HOST": host, "SPARSEMARK_HOST_LOCK": str(Path(f"{host}.lock").absolute())},
            )
            for host in HOSTS
        ]

    def _start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - Dask's own programs
            command, env=os.environ | environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def workers(self) -> list[int]:
        """Return the ids of the workers, which their nannies start again."""
        below = (child for nanny in self.nannies for child in children(nanny.pid))
        return [child for child in below if "spawn_main" in proc.read(f"/proc/{child}/cmdline")]

    def cells(self) -> list[int]:
        """Return the ids of the processes of cells."""
        below = (child for worker in self.workers() for child in children(worker))
        return [child for child in below if proc.read(f"/proc/{child}/cmdline").startswith("sleep")]

    def end(self) -> None:
        """End all of them."""
        for process in (*self.nannies, self.scheduler):
            process.terminate()
        for process in (*self.nannies, self.scheduler):
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:  # Dask's nanny, at times, where its scheduler was killed
                process.kill()
                process.wait()


def client(journal: Path) -> BaseProcess:
    """Start the command: forked, so that it does not import for seconds."""

    def main() -> None:
        with contextlib.suppress(UserError):
            sweep(ADDRESS, CELLS, journal)

    process = multiprocessing.get_context("fork").Process(target=main)
    process.start()
    return process


def rows(journal: Path) -> list[dict[str, Any]]:
    """Return what the journal's lines say, with their keys."""
    if not journal.exists():
        return []
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return [{"key": line["key"], **line["benchmark"]["extra_info"]} for line in lines]


def trial(processes: Processes, kind: str, journal: Path) -> tuple[Processes, int | None]:
    """Kill one process of a kind; return how many cells were journalled by then, None where the command was done."""
    process = client(journal)
    time.sleep(random.uniform(0, LONGEST))  # noqa: S311 - no secret
    finders: dict[str, Callable[[], Sequence[int | None]]] = {
        "worker": processes.workers,
        "cell": processes.cells,
        "scheduler": lambda: [processes.scheduler.pid],
        "client": lambda: [process.pid],
    }
    find = finders[kind]
    by_then = None
    while by_then is None and process.is_alive():
        for one in random.sample(found := [pid for pid in find() if pid is not None], min(1, len(found))):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile, as cells do
                os.kill(one, signal.SIGKILL)
                by_then = len(rows(journal))
    process.join()
    if kind == "scheduler":
        processes.end()
        processes = Processes()
    while len(rows(journal)) < CELLS:
        again = client(journal)
        again.join()
    found_rows = rows(journal)
    keys = [row["key"] for row in found_rows]
    assert len(set(keys)) == len(keys) == CELLS == len(Journal(journal).measurements())
    for host in HOSTS:
        held = sorted((row["held_from_s"], row["held_until_s"]) for row in found_rows if row["host"] == host)
        assert all(before[1] <= after[0] for before, after in pairwise(held)), host
    return processes, by_then


def main(trials: int) -> None:
    """Write a line for each kind."""
    processes = Processes()
    try:
        for kind in KINDS:
            began, numbers = time.monotonic(), itertools.count()
            by_then: list[int] = []
            while len(by_then) < trials:
                processes, done = trial(processes, kind, Path(f"{kind}{next(numbers)}.jsonl"))
                by_then += [] if done is None else [done]
            seconds = time.monotonic() - began
            sys.stdout.write(f"{kind}: {trials} kills with {by_then} of {CELLS} cells done, {seconds:.0f} s\n")
            sys.stdout.flush()
    finally:
        processes.end()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
