"""Executor of a sweep: stages as tasks of Dask, each for the workers that can do it."""

from __future__ import annotations

import logging
import queue
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from sparsemark import engines
from sparsemark.errors import UserError
from sparsemark.records.measurement import ERROR
from sparsemark.references import one_line
from sparsemark.registry import find
from sparsemark.study import rows
from sparsemark.study.checked import Checked
from sparsemark.study.conditions import conditions
from sparsemark.study.host_classes import classes_of
from sparsemark.study.sweep import worker
from sparsemark.study.sweep.batches import Batches
from sparsemark.study.sweep.launching import POLL, Launching
from sparsemark.study.sweep.parcels import Folder, walked
from sparsemark.study.sweep.queue import ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from distributed import Client, Future

    from sparsemark.specs import Cell, Variant
    from sparsemark.study.executor import Outcome, Turn
    from sparsemark.study.host_classes import HostClass, HostTable
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.sweep.cluster import Cluster
    from sparsemark.study.sweep.order import Order
    from sparsemark.study.sweep.parcels import Parcel
    from sparsemark.study.watch import Watch

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

_EACH = 2
"""Tasks of checks that a worker has at hand; more would only lie in memory."""

_LAST_WORDS = 3.0
"""Seconds for the workers to forget a sweep."""


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
        self._folder = Folder(order.folder, order.store, order.made)
        self._launching = Launching(cluster, self._classes, self._folder, self._submit, check_unchanged)
        self._grounds: dict[Variant, Future[Any]] = {}
        self._untold: dict[Variant, Future[Any]] = {}
        self._numbers = count()
        self._is_open = False

    def classes(self) -> Sequence[HostClass]:
        """Return the classes of its hosts."""
        return self._classes

    def close(self) -> None:
        """Have the workers forget the sweep, whose networks and files they hold."""
        if self._is_open:
            client = self._cluster.client
            with suppress(Exception):  # a scheduler that is gone
                client.sync(client._unregister_worker_plugin, self._order.name, callback_timeout=_LAST_WORDS)

    def _client(self) -> Client:
        """Return the client of workers that know the sweep."""
        client = self._cluster.client
        if not self._is_open:
            order = self._order
            if not self._cluster.all_see_folder:
                order = replace(order, sources=Folder(order.folder, order.store).pack(walked(order.folder)))
            self._order = order
            self._register(client, order)
            client.subscribe_topic(order.name, self._launching.told)
            self._is_open = True
        return client

    def _register(self, client: Client, order: Order) -> None:
        """Send the sweep to the workers; again where one of them died meanwhile.

        Raises:
            UserError: the scheduler is gone.
        """
        for attempt in range(ATTEMPTS):
            try:
                client.register_plugin(worker.Workshop(order))
            except OSError as error:
                if attempt + 1 == ATTEMPTS:
                    raise self._cluster.lost(error) from error
                self._cluster.workers()  # raises where the scheduler is gone
            else:
                return

    def _submit(self, function: Callable[..., Any], *arguments: Any, key: str, **options: Any) -> Future[Any]:
        """Submit a task; its key is no other sweep's."""
        client, name = self._client(), self._order.name
        return client.submit(function, name, *arguments, key=f"{key}-{name}", **options)

    def _files(self, pipeline: Pipeline, variants: Iterable[Variant]) -> Parcel:
        """Return the networks of variants, where files travel."""
        self._client()
        if not self._order.ships:
            return ()
        found = []
        for variant in variants:
            with suppress(Exception):  # the worker says why
                found.append(pipeline.prepare(variant).source.path)
        return self._folder.pack(found)

    def prepare_ahead(self, pipeline: Pipeline, variants: Sequence[Variant], watch: Watch) -> None:
        """Prepare what is not on disk, a network's dense one before what is pruned from it."""
        missing = [variant for variant in variants if not pipeline.has(variant)]
        futures: dict[Variant, Future[Any]] = {}
        for variant in missing:
            for one in dict.fromkeys((variant.dense, variant)):
                if one not in futures and (one in missing or not pipeline.has(one)):
                    needs: Future[Any] | Parcel = ()
                    if one != one.dense:
                        needs = futures[one.dense] if one.dense in futures else self._files(pipeline, [one.dense])
                    futures[one] = self._submit(worker.prepare, one, needs, key=f"prepare {one.name}")
        left = iter(futures.items())
        shown = self._progress(list(futures), "networks prepared", watch)
        for variant, found in self._results(lambda: next(left, None), lambda: len(futures)):
            if isinstance(found, Exception):
                pipeline.recall(variant, found)
            else:
                self._folder.unpack(found)
            next(shown, None)

    def check_ahead(self, pipeline: Pipeline, cells: Callable[[], Iterable[Cell]], watch: Watch) -> None:
        """Check cells, those of one variant by one worker, after what their dense network's need."""
        groups: dict[Variant, list[Cell]] = {}
        for cell in cells():
            groups.setdefault(cell.variant, []).append(cell)
        batches = Batches(groups)

        def submitted() -> tuple[list[Variant], Future[Any]] | None:
            batch = batches.take()
            if not batch:
                return None
            ground = self._ground(pipeline, groups, batch[0].dense)
            cells_of, own = [groups[variant] for variant in batch], self._files(pipeline, batch)
            key = f"check {batch[0].name} {next(self._numbers)}"
            return batch, self._submit(worker.check, cells_of, own, ground, key=key)

        shown = self._progress(list(groups), "networks checked", watch)
        for batch, result in self._results(submitted, lambda: _EACH * self._cluster.size):
            if isinstance(result, Exception) and len(batch) > 1 and not isinstance(result, UserError):
                batches.again(batch)  # whichever of them it was
                continue
            if not isinstance(result, BaseException):
                batches.took(batch, result[1])
            self._remember(groups, batch, result)
            for _ in batch:
                next(shown, None)

    def _remember(self, groups: Mapping[Variant, Sequence[Cell]], batch: Sequence[Variant], result: Any) -> None:
        """Take what `worker.check` returned of some variants, or raised.

        Raises:
            UserError: it ends the run.
        """
        answers = [result] * len(batch)
        if not isinstance(result, BaseException):
            answers, _, files = result
            self._folder.unpack(files)
            if batch[0].dense in self._untold:
                self._folder.unpack(self._untold.pop(batch[0].dense).result())
        for variant, found in zip(batch, answers, strict=True):
            if isinstance(found, UserError):
                raise found
            for index, cell in enumerate(groups[variant]):
                self._checked[cell] = found[index] if isinstance(found, list) else _broken(cell, found)

    def _ground(self, pipeline: Pipeline, groups: Mapping[Variant, Sequence[Cell]], dense: Variant) -> Future[Any]:
        """Return the task that makes what the cells of a dense network's variants are held against."""
        if dense not in self._grounds:
            self._grounds.clear()  # tasks that wait for an earlier one hold that
            reference = find(pipeline.protocol.reference, engines.ENGINES, "engine").formats[0]
            own = (cell.format for variant, cells in groups.items() if variant.dense == dense for cell in cells)
            formats = [*dict.fromkeys((reference, *own))]
            files = self._files(pipeline, [dense])
            self._grounds[dense] = self._submit(worker.found, dense, formats, files, key=f"found {dense.name}")
            if self._order.ships:
                self._untold[dense] = self._grounds[dense]
        return self._grounds[dense]

    def check(self, pipeline: Pipeline, cell: Cell) -> Checked:
        """Return what a worker found of a cell."""
        if cell not in self._checked:
            self.check_ahead(pipeline, lambda: [cell], lambda items, what, kinds=None: items)  # noqa: ARG005
        return self._checked[cell]

    def _progress(self, variants: Sequence[Variant], what: str, watch: Watch) -> Iterator[Any]:
        """Return an iterator that shows one more variant as done at each step; the first one begins."""
        kinds: Sequence[Hashable] = [variant.pruning.is_dense for variant in variants]
        workers = _Named(lambda: f"on {self._cluster.size} workers")
        shown = iter(watch([workers] * len(variants), what, kinds) if variants else ())
        next(shown, None)
        return shown

    def _results(
        self, submitted: Callable[[], tuple[T, Future[Any]] | None], at_once: Callable[[], int]
    ) -> Iterator[tuple[T, Any]]:
        """Yield what tasks returned, as they come; for one whose workers died, the error.

        Args:
            submitted: submits the next task, and returns it with what it is of; None where there is none now.
            at_once: returns how many tasks may be under way.
        """
        back: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        of: dict[Future[Any], T] = {}
        while True:
            while len(of) < at_once() and (task := submitted()) is not None:
                of[task[1]] = task[0]
                task[1].add_done_callback(back.put)
            if not of:
                return
            for future, result in self._returned(back):
                yield of.pop(future), result

    def _returned(self, back: queue.SimpleQueue[Future[Any]]) -> list[tuple[Future[Any], Any]]:
        """Wait a moment for tasks that are done; return those that are, with their results or errors, in one message.

        Raises:
            UserError: the scheduler is gone, or the study changed.
        """
        futures: list[Future[Any]] = []
        with suppress(queue.Empty):
            futures.append(back.get(timeout=POLL))
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
        return [_Named(self._launching.at_work)] * len(turns)

    def launch(self, turns: Sequence[Turn]) -> Iterator[Outcome | None]:
        """Do launches, one a host at a time, and yield what came of them."""
        yield from self._launching.run(turns)

    def conditions(self, where: HostClass, engines: Iterable[str], *, measured_now: bool) -> Mapping[str, Any]:
        """Return machine and versions of a class, as one of its workers describes them."""
        names = list(engines)
        if self._cluster.is_local:
            return conditions(names, measured_now=measured_now)
        timers = self._cluster.timers().values()
        address = next((one for one in timers if where.holds(self._cluster.host(one))), None)
        if address is None:  # its last host has gone meanwhile
            return where.machine
        try:
            return dict(self._cluster.client.run(worker.describe_conditions, names, workers=[address])[address])
        except OSError:  # gone meanwhile, as above
            return where.machine


def _broken(cell: Cell, error: object) -> Checked:
    """Return the row of a cell whose workers died."""
    reason = one_line(error) if isinstance(error, BaseException) else str(error)
    return Checked(replace(rows.asked(cell), status=ERROR, reason=reason[:500]))
