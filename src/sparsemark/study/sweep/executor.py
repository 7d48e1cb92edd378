"""Executor of a sweep: stages as tasks of Dask, each for the workers that can do it."""

from __future__ import annotations

import logging
import math
import queue
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from sparsemark import engines
from sparsemark.errors import UserError
from sparsemark.measurement.launch import FAILURES, Answer, LaunchError
from sparsemark.records.measurement import ERROR
from sparsemark.references import one_line
from sparsemark.registry import find
from sparsemark.study import rows
from sparsemark.study.checked import Checked
from sparsemark.study.conditions import conditions
from sparsemark.study.executor import Outcome
from sparsemark.study.host_classes import classes_of
from sparsemark.study.sweep import worker
from sparsemark.study.sweep.cluster import CELL
from sparsemark.study.sweep.queue import ATTEMPTS, LaunchQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from distributed import Client, Future

    from sparsemark.specs import Cell, Variant
    from sparsemark.study.executor import Turn
    from sparsemark.study.host_classes import HostClass, HostTable
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.sweep.cluster import Cluster
    from sparsemark.study.sweep.order import Order
    from sparsemark.study.watch import Watch

_LOG = logging.getLogger(__name__)

_POLL = 0.5
"""Seconds after which a wait for a launch looks whether its host is still there."""

_GRACE = 60.0
"""Seconds that a lost host is waited for, whose cells have launches."""


_AHEAD, _MOST_AHEAD, _AHEAD_S = 2, 32, 1.0
"""Launches that a host has at hand, so that it does not wait for the client between two: those of a second, but so many
at least and at most."""


@dataclass(frozen=True)
class _Flight:
    key: str
    future: Future[Any]
    turn: Turn
    host: str
    address: str
    sent: float


@dataclass(frozen=True)
class _Named:
    """An item of a display whose name is that of what is at work."""

    say: Callable[[], str]

    @property
    def name(self) -> str:
        """Name of what is at work now."""
        return self.say()


class Sweep:
    """Executor on a cluster.

    Args:
        cluster: workers.
        order: what they must know.
        tables: classes of hosts, as the study names them.
        check_unchanged: raises UserError where the study is no longer what was read.
    """

    def __init__(
        self, cluster: Cluster, order: Order, tables: Sequence[HostTable], check_unchanged: Callable[[], None]
    ) -> None:
        self._cluster, self._order, self._check_unchanged = cluster, order, check_unchanged
        self._classes = classes_of(tables, cluster.hosts())
        self._checked: dict[Cell, Checked] = {}
        self._flights: dict[str, _Flight] = {}
        self._back: queue.SimpleQueue[tuple[str, Answer | BaseException]] = queue.SimpleQueue()
        self._notices: dict[str, str] = {}
        self._pace: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._numbers = count()
        self._is_open = False

    def classes(self) -> Sequence[HostClass]:
        """Return the classes of its hosts."""
        return self._classes

    def _client(self) -> Client:
        """Return the client of workers that know the sweep."""
        client = self._cluster.client
        if not self._is_open:
            client.register_plugin(worker.Workshop(self._order))
            client.subscribe_topic(self._order.name, self._told)
            self._is_open = True
        return client

    def _submit(self, function: Callable[..., Any], *arguments: Any, key: str, **options: Any) -> Future[Any]:
        """Submit a task; its key is no other sweep's."""
        name = self._order.name
        return self._client().submit(function, name, *arguments, key=f"{key}-{name}", **options)

    def _told(self, event: tuple[float, Mapping[str, str]]) -> None:
        """Take what a worker tells of a launch; Dask's thread calls this."""
        told = event[1]
        if "answer" in told:
            self._back.put((told["key"], msgspec.json.decode(told["answer"], type=Answer)))
        else:
            self._notices[told["key"]] = told["notice"]

    def _ended(self, future: Future[Any]) -> None:
        """Take the end of a launch's task that has no answer."""
        if future.status == "error":
            self._back.put((str(future.key), future.exception()))

    def prepare_ahead(self, pipeline: Pipeline, variants: Sequence[Variant], watch: Watch) -> None:
        """Prepare what is not on disk, a network's dense one before what is pruned from it."""
        missing = [variant for variant in variants if not pipeline.has(variant)]
        futures: dict[Variant, Future[Any]] = {}
        for variant in missing:
            for one in dict.fromkeys((variant.dense, variant)):
                if one not in futures and (one in missing or not pipeline.has(one)):
                    needs = None if one == one.dense else futures.get(one.dense)
                    futures[one] = self._submit(worker.prepare, one, needs, key=f"prepare {one.name}")
        for variant, error in self._results(futures, "networks prepared", watch):
            if isinstance(error, Exception):
                pipeline.recall(variant, error)

    def check_ahead(self, pipeline: Pipeline, cells: Callable[[], Iterable[Cell]], watch: Watch) -> None:
        """Check cells, those of one variant by one worker, after what their dense network's need."""
        groups: dict[Variant, list[Cell]] = {}
        for cell in cells():
            groups.setdefault(cell.variant, []).append(cell)
        formats: dict[Variant, dict[str, None]] = {}
        for variant, of in groups.items():
            formats.setdefault(variant.dense, {}).update(dict.fromkeys(cell.format for cell in of))
        reference = find(pipeline.protocol.reference, engines.ENGINES, "engine").formats[0]
        grounds = {
            dense: self._submit(worker.found, dense, [*dict.fromkeys((reference, *needed))], key=f"found {dense.name}")
            for dense, needed in formats.items()
        }
        futures: dict[Variant, Future[Any]] = {}
        for dense, ground in grounds.items():  # in one message each: 10 ms a task else
            own = [variant for variant in groups if variant.dense == dense]
            keys = [f"check {variant.name}-{self._order.name}" for variant in own]
            cells_of = [groups[variant] for variant in own]
            tasks = self._client().map(worker.check, [self._order.name] * len(own), cells_of, key=keys, ground=ground)
            futures |= dict(zip(own, tasks, strict=True))
        for variant, found in self._results(futures, "networks checked", watch):
            if isinstance(found, UserError):
                raise found
            for index, cell in enumerate(groups[variant]):
                self._checked[cell] = found[index] if isinstance(found, list) else _broken(cell, found)

    def check(self, pipeline: Pipeline, cell: Cell) -> Checked:
        """Return what a worker found of a cell."""
        if cell not in self._checked:
            self.check_ahead(pipeline, lambda: [cell], lambda items, what, kinds=None: items)  # noqa: ARG005
        return self._checked[cell]

    def _results(
        self, futures: Mapping[Variant, Future[Any]], what: str, watch: Watch
    ) -> Iterator[tuple[Variant, Any]]:
        """Yield what tasks returned, as they come; for one whose workers died, the error."""
        back: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        of = {future: variant for variant, future in futures.items()}
        for future in futures.values():
            future.add_done_callback(back.put)
        kinds: Sequence[Hashable] = [variant.pruning.is_dense for variant in futures]
        shown = iter(watch([_Named(lambda: f"{len(of)} to come")] * len(of), what, kinds) if futures else ())
        next(shown, None)
        while of:
            for future, result in self._returned(back):
                yield of.pop(future), result
                next(shown, None)

    def _returned(self, back: queue.SimpleQueue[Future[Any]]) -> list[tuple[Future[Any], Any]]:
        """Wait a moment for tasks that are done; return those that are, with their results or errors, in one message.

        Raises:
            UserError: the scheduler is gone, or the study changed.
        """
        futures: list[Future[Any]] = []
        with suppress(queue.Empty):
            futures.append(back.get(timeout=_POLL))
            while True:
                futures.append(back.get_nowait())
        self._cluster.timers()  # raises where the scheduler is gone
        if not futures:
            return []
        self._check_unchanged()
        finished = [future for future in futures if future.status == "finished"]
        try:
            results = dict(zip(finished, self._cluster.client.gather(finished), strict=True))
        except Exception as error:  # the worker that holds one died meanwhile, and Dask does its task again
            _LOG.debug("%s", one_line(error))
            for future in futures:
                future.add_done_callback(back.put)
            return []
        failed = {future: future.exception() for future in futures if future.status == "error"}
        for future in futures:
            future.release()
        return list((results | failed).items())

    def shown(self, turns: Sequence[Turn]) -> Sequence[_Named]:
        """Return an item a turn that says what runs where."""
        return [_Named(self._at_work)] * len(turns)

    def _at_work(self) -> str:
        first: dict[str, _Flight] = {}
        for flight in list(self._flights.values()):
            first.setdefault(flight.host, flight)
        words = {host: self._notices.get(flight.key, flight.turn.name) for host, flight in first.items()}
        return "; ".join(f"{host}: {words[host]}" for host in sorted(words))

    def launch(self, turns: Sequence[Turn]) -> Iterator[Outcome | None]:
        """Do launches, one a host at a time, and yield what came of them."""
        to_come = LaunchQueue(turns)
        gone: dict[str | HostClass, float] = {}
        looked = 0.0
        while to_come:
            timers = self._cluster.timers()
            if time.monotonic() - looked > _POLL:  # it goes through all cells
                yield from self._look_after(to_come, timers, gone)
                looked = time.monotonic()
            for host, address in timers.items():
                self._supply(to_come, host, address)
            with suppress(queue.Empty):
                key, result = self._back.get(timeout=_POLL)
                flight = self._flights.pop(key, None)
                self._notices.pop(key, None)
                if flight is not None:  # else of a host that was given up
                    self._check_unchanged()
                    flight.future.release()
                    now = time.monotonic()
                    self._pace[flight.host] = now - max(flight.sent, self._last.get(flight.host, 0.0))
                    self._last[flight.host] = now
                    outcome = self._outcome(flight, result)
                    to_come.done(flight.turn, failed=isinstance(outcome.launch, Exception))
                    yield outcome

    def _supply(self, to_come: LaunchQueue, host: str, address: str) -> None:
        """Send launches to a host that soon has none at hand, in one message: each costs the scheduler milliseconds."""
        at_hand = sum(flight.host == host for flight in self._flights.values())
        wanted = min(_MOST_AHEAD, max(_AHEAD, math.ceil(_AHEAD_S / max(self._pace.get(host, _AHEAD_S), 1e-3))))
        if at_hand > wanted // 2:
            return
        classes = [where for where in self._classes if where.holds(self._cluster.host(address))]
        turns: list[Turn] = []
        while at_hand + len(turns) < wanted and (turn := to_come.take(host, classes)) is not None:
            turns.append(turn)
        if not turns:
            return
        keys = [f"launch {turn.name} {next(self._numbers)}-{self._order.name}" for turn in turns]
        futures = self._client().map(
            worker.measure,
            [self._order.name] * len(turns),
            keys,
            [turn.progress.job() for turn in turns],
            [turn.progress.checked.patience if turn.progress.checked else 0.0 for turn in turns],
            key=keys,
            workers=[address],
            resources={CELL: 1},
            pure=False,
        )
        for key, future, turn in zip(keys, futures, turns, strict=True):
            self._flights[key] = _Flight(key, future, turn, host, address, time.monotonic())
            future.add_done_callback(self._ended)

    def _look_after(
        self, to_come: LaunchQueue, timers: Mapping[str, str], gone: dict[str | HostClass, float]
    ) -> Iterator[Outcome]:
        """Take launches back from hosts that were lost; yield the cells that are given up."""
        lost: dict[str, list[Turn]] = {}
        for key, flight in list(self._flights.items()):
            if timers.get(flight.host) != flight.address:
                flight.future.cancel()
                del self._flights[key]
                lost.setdefault(flight.host, []).append(flight.turn)
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

    def _outcome(self, flight: _Flight, result: Answer | BaseException) -> Outcome:
        progress, host = flight.turn.progress, self._cluster.host(flight.address)
        if isinstance(result, BaseException):
            return Outcome(progress, LaunchError(one_line(result)), host)
        if result.launch is None:
            return Outcome(progress, FAILURES.get(result.failure, LaunchError)(result.reason), host)
        return Outcome(progress, result.launch, host)

    def conditions(self, where: HostClass, engines: Iterable[str], *, measured_now: bool) -> Mapping[str, Any]:
        """Return machine and versions of a class, as one of its workers describes them."""
        names = list(engines)
        if self._cluster.is_local:
            return conditions(names, measured_now=measured_now)
        timers = self._cluster.timers().values()
        address = next((one for one in timers if where.holds(self._cluster.host(one))), None)
        if address is None:  # its last host has gone meanwhile
            return where.machine
        found = self._cluster.client.run(worker.describe_conditions, names, workers=[address])
        return dict(found[address])


def _broken(cell: Cell, error: object) -> Checked:
    """Return the row of a cell whose workers died."""
    reason = one_line(error) if isinstance(error, BaseException) else str(error)
    return Checked(replace(rows.asked(cell), status=ERROR, reason=reason[:500]))
