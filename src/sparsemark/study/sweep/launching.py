"""Launching: launches of a sweep on one worker of each host, several to a task where they are short."""

from __future__ import annotations

import math
import queue
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sparsemark.measurement.launch import FAILURES, Answer, LaunchError
from sparsemark.references import one_line
from sparsemark.study.executor import Outcome
from sparsemark.study.sweep import worker
from sparsemark.study.sweep.cluster import CELL
from sparsemark.study.sweep.queue import ATTEMPTS, LaunchQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from distributed import Future

    from sparsemark.machine.host import Host
    from sparsemark.measurement.launch import Job
    from sparsemark.study.executor import Turn
    from sparsemark.study.host_classes import HostClass
    from sparsemark.study.sweep.cluster import Cluster
    from sparsemark.study.sweep.parcels import Folder, Parcel

POLL = 0.5
"""Seconds after which a wait for tasks looks whether their hosts are still there."""

_GRACE = 60.0
"""Seconds that a lost host is waited for, whose cells have launches."""

_AHEAD, _MOST_AHEAD, _AHEAD_S = 2, 64, 1.0
"""Launches that a host has at hand, so that it does not wait for the client between two: those of a second, but so many
at least and at most."""


@dataclass(eq=False)
class _Flight:
    """A task on a host, and those of its launches that are to come, in their order."""

    future: Future[Any]
    turns: dict[str, Turn]
    host: Host
    address: str


class Launching:
    """Launches of a sweep.

    Args:
        cluster: workers.
        classes: of their hosts.
        folder: of the command.
        submit: submits a task.
        check_unchanged: raises UserError where the study is no longer what was read.
    """

    def __init__(
        self,
        cluster: Cluster,
        classes: Sequence[HostClass],
        folder: Folder,
        submit: Callable[..., Future[Any]],
        check_unchanged: Callable[[], None],
    ) -> None:
        self._cluster, self._classes, self._folder = cluster, classes, folder
        self._submit, self._check_unchanged = submit, check_unchanged
        self._flights: dict[str, _Flight] = {}
        self._back: queue.SimpleQueue[tuple[str, Answer | BaseException]] = queue.SimpleQueue()
        self._notices: dict[str, str] = {}
        self._pace: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._sent: dict[str, set[str]] = {}
        self._numbers = count()

    def told(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take what a worker tells of its launches; Dask's thread calls this."""
        told = event[1]
        for key, answer in told.get("answers", {}).items():
            self._back.put((key, msgspec.json.decode(answer, type=Answer)))
        if "notice" in told:
            self._notices[told["key"]] = told["notice"]

    def at_work(self) -> str:
        """Return what runs where."""
        first: dict[str, str] = {}
        for key, flight in list(self._flights.items()):
            if flight.host.name not in first and key in flight.turns:
                first[flight.host.name] = self._notices.get(key, flight.turns[key].name)
        return "; ".join(f"{host}: {first[host]}" for host in sorted(first))

    def run(self, turns: Sequence[Turn]) -> Iterator[Outcome]:
        """Do launches, one a host at a time, and yield what came of them."""
        to_come = LaunchQueue(turns)
        gone: dict[str | HostClass, float] = {}
        looked = 0.0
        while to_come:
            timers = self._cluster.timers()
            if time.monotonic() - looked > POLL:  # it goes through all cells
                yield from self._look_after(to_come, timers, gone)
                looked = time.monotonic()
            for address in timers.values():
                self._supply(to_come, address)
            with suppress(queue.Empty):
                key, result = self._back.get(timeout=POLL)
                flight = self._flights.pop(key, None)
                self._notices.pop(key, None)
                if flight is not None:  # else of a host that was given up
                    self._check_unchanged()
                    yield self._landed(to_come, flight, flight.turns.pop(key), result)

    def _landed(self, to_come: LaunchQueue, flight: _Flight, turn: Turn, result: Answer | BaseException) -> Outcome:
        """Take what came of a launch."""
        host, now = flight.host.name, time.monotonic()
        # Several come at once, so that a single one says little.
        pace = now - self._last.get(host, now - _AHEAD_S)
        self._pace[host] = 0.8 * self._pace.get(host, pace) + 0.2 * pace
        self._last[host] = now
        if not flight.turns:
            flight.future.release()
        failure: Exception | None = None
        if isinstance(result, BaseException):
            failure = LaunchError(one_line(result))
        elif result.launch is None:
            failure = FAILURES.get(result.failure, LaunchError)(result.reason)
        to_come.done(turn, failed=failure is not None)
        if isinstance(result, BaseException) or result.launch is None:
            return Outcome(turn.progress, failure or LaunchError("no answer"), flight.host)
        return Outcome(turn.progress, result.launch, flight.host)

    def _supply(self, to_come: LaunchQueue, address: str) -> None:
        """Send launches to a host that soon has none at hand, in one task: each costs the scheduler milliseconds."""
        host = self._cluster.host(address)
        at_hand = sum(flight.host.name == host.name for flight in self._flights.values())
        wanted = min(_MOST_AHEAD, max(_AHEAD, math.ceil(_AHEAD_S / max(self._pace.get(host.name, _AHEAD_S), 1e-3))))
        if at_hand > wanted // 2:
            return
        classes = [where for where in self._classes if where.holds(host)]
        turns: dict[str, Turn] = {}
        while at_hand + len(turns) < wanted and (turn := to_come.take(host.name, classes)) is not None:
            turns[f"launch {turn.name} {next(self._numbers)}"] = turn
        if not turns:
            return
        launches = [
            (key, turn.progress.job(), turn.progress.checked.patience if turn.progress.checked else 0.0)
            for key, turn in turns.items()
        ]
        files = self._files([job for _, job, _ in launches], address)
        future = self._submit(
            worker.measure, launches, files, key=next(iter(turns)), workers=[address], resources={CELL: 1}, pure=False
        )
        flight = _Flight(future, turns, host, address)
        self._flights |= dict.fromkeys(turns, flight)
        keys = tuple(turns)
        future.add_done_callback(lambda future: self._ended(future, keys))

    def _files(self, jobs: Sequence[Job], address: str) -> Parcel:
        """Return what a worker needs for jobs and was not sent before; empty where it sees the command's folder."""
        if self._cluster.sees_folder(address):
            return ()
        sent = self._sent.setdefault(address, set())
        paths = {path for job in jobs for side in (job.candidate, job.reference) for path in (side.path, side.data)}
        parcel = self._folder.pack(Path(path) for path in sorted(paths - sent))
        sent |= paths
        return parcel

    def _ended(self, future: Future[Any], keys: Sequence[str]) -> None:
        """Take the end of a task whose launches have no answer; Dask's thread calls this."""
        if future.status == "error":
            error = future.exception()
            for key in keys:  # those with an answer are no longer waited for
                self._back.put((key, error))

    def _look_after(
        self, to_come: LaunchQueue, timers: Mapping[str, str], gone: dict[str | HostClass, float]
    ) -> Iterator[Outcome]:
        """Take launches back from hosts that were lost; yield the cells that are given up."""
        lost: dict[str, list[Turn]] = {}
        for key, flight in list(self._flights.items()):
            if timers.get(flight.host.name) != flight.address:
                flight.future.cancel()
                del self._flights[key]
                lost.setdefault(flight.host.name, []).append(flight.turns[key])
        for host, (at_work, *_) in lost.items():
            given_up = to_come.lose(host, at_work)
            if given_up is not None:
                why = f"its worker was lost {ATTEMPTS} times, the last one on {host}"
                yield Outcome(given_up, LaunchError(why))
        there = [self._cluster.host(address) for address in timers.values()]
        hosts = to_come.hosts() - set(timers)
        classes = {where for where in to_come.classes() if not any(map(where.holds, there))}
        now = time.monotonic()
        for absent in set(gone) - hosts - classes:
            del gone[absent]
        late = {absent for absent in hosts | classes if now - gone.setdefault(absent, now) > _GRACE}
        for host in hosts & late:
            to_come.leave(host)
        for where in classes & late:
            for progress in to_come.give_up(where):
                why = f"no host of class {where.name or where.folder} was there for {_GRACE:.0f} s"
                yield Outcome(progress, LaunchError(why))
