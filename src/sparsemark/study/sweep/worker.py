"""Tasks, as they run on a worker."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import dask
import msgspec
from distributed import WorkerPlugin, get_worker

from sparsemark.errors import UserError
from sparsemark.measurement.launch import FAILURES, Answer, Place, launch
from sparsemark.references import one_line
from sparsemark.specs import FP32
from sparsemark.study.sweep.parcels import Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from distributed import Worker

    from sparsemark.measurement.launch import Job
    from sparsemark.specs import Cell, Variant
    from sparsemark.study.checked import Checked
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.sweep.order import Order
    from sparsemark.study.sweep.parcels import Parcel

T = TypeVar("T")

_ONE_AT_A_TIME = threading.RLock()
"""Held by whatever prepares or checks: the working folder is the process's, and a pipeline is no thread's alone."""

_TOGETHER = 0.1
"""Seconds within which the answers of launches go in one message."""


class Workshop(WorkerPlugin):
    """Pipeline of a sweep on this worker, opened by the first task that needs it.

    Args:
        order: the sweep.
    """

    def __init__(self, order: Order) -> None:
        self.name, self.order = order.name, order
        self._pipeline: Pipeline | None = None
        self._folder: Folder | None = None

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - Dask's protocol
        """Forget the networks, and remove the copy of the command's folder."""
        self._pipeline = None
        if self._folder is not None and self._folder.root != self.order.folder:
            shutil.rmtree(self._folder.root, ignore_errors=True)

    @property
    def folder(self) -> Folder:
        """The command's folder, or this worker's copy of it."""
        if self._folder is None:
            order = self.order
            if not order.ships or order.token.is_seen:
                self._folder = Folder(order.folder, order.store)
            else:
                folder = Folder(Path(get_worker().local_directory).resolve() / order.name, order.store)
                folder.unpack(order.sources)
                self._folder = folder
        return self._folder

    @contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """Yield the pipeline, in the command's folder."""
        from sparsemark.study.file import Study  # with torch, which a worker that only times does not need
        from sparsemark.study.prepare import Places
        from sparsemark.study.run import open_pipeline

        before = os.getcwd()  # noqa: PTH109 - as the next line
        os.chdir(self.folder.root)
        try:
            if self._pipeline is None:
                order = self.order
                self._pipeline = open_pipeline(Study(**order.study), Places(**order.places), data=order.data)
            yield self._pipeline
        finally:
            os.chdir(before)

    @contextmanager
    def shipping(self) -> Iterator[Callable[[], Parcel]]:
        """Yield what returns, after the block, the files that were made within it."""
        with ExitStack() as stack:
            made = stack.enter_context(self.folder.made(*self.order.made)) if self.order.ships else ()
            yield lambda: self.folder.pack(made)


def _workshop(name: str) -> Workshop:
    found = get_worker().plugins[name]
    if not isinstance(found, Workshop):
        raise TypeError(f"{name}: {type(found).__name__}, expected a workshop")
    return found


def prepare(name: str, variant: Variant, dense: Exception | Parcel) -> Exception | Parcel:
    """Prepare a variant in the study's folder; return its files where they travel, or why it cannot be.

    Args:
        name: of the sweep.
        variant: to be prepared.
        dense: files of the dense network, or why it cannot be prepared.
    """
    if isinstance(dense, Exception):
        return dense
    shop = _workshop(name)
    with _ONE_AT_A_TIME:
        shop.folder.unpack(dense)
        with shop.shipping() as made:
            error = _attempted(shop, lambda pipeline: pipeline.prepare(variant))
        return error if isinstance(error, Exception) else made()


def check(
    name: str, groups: Sequence[Sequence[Cell]], own: Parcel, ground: Parcel
) -> tuple[list[list[Checked] | Exception], float, Parcel]:
    """Check the cells of some variants of one network: what a variant's cells share is made once.

    Args:
        name: of the sweep.
        groups: the cells of each variant.
        own: files of the variants' networks, where they travel.
        ground: what `found` returned for the dense network.

    Returns:
        For each variant a result for each cell, or the error that ends the run; the seconds that it took; and the files
        that were made, where they travel.
    """
    shop = _workshop(name)
    with _ONE_AT_A_TIME:
        began = time.monotonic()
        shop.folder.unpack((*own, *ground))
        with shop.shipping() as made:
            answers = [_attempted(shop, partial(_all_checked, shop, cells)) for cells in groups]
        return answers, time.monotonic() - began, made()


def found(name: str, dense: Variant, formats: Sequence[str], own: Parcel) -> Parcel:
    """Make what all cells of a network's variants are held against: its files, and what it answers in float64.

    Args:
        name: of the sweep.
        dense: the network.
        formats: of its files.
        own: its checkpoint, where files travel.

    Returns:
        What was made, where files travel.
    """
    from sparsemark.study.file import cell_of  # as above

    shop = _workshop(name)
    with _ONE_AT_A_TIME:
        shop.folder.unpack(own)
        with shop.shipping() as made, shop.opened() as pipeline:
            for form in formats:
                with suppress(Exception):  # its cells will say so
                    pipeline.export(pipeline.prepare(dense), form)
            with suppress(Exception):
                pipeline.check(cell_of(dense, pipeline.protocol.reference, FP32, pipeline.protocol.threads))
        return made()


def measure(name: str, launches: Sequence[tuple[str, Job, float]], files: Parcel) -> None:
    """Do launches in fresh processes, which wait for this host's lock, and send the client what they found.

    A result that stayed here would be lost with this worker, and the client would wait for it.

    Args:
        name: of the sweep.
        launches: key, what is timed, and the seconds after which it counts as hung.
        files: of the jobs, where they travel.
    """
    worker, shop = get_worker(), _workshop(name)
    with _ONE_AT_A_TIME:
        shop.folder.unpack(files)
    place = Place(folder=shop.folder.root, environment=_environment())
    answers: dict[str, str] = {}
    told = time.monotonic()
    for number, (key, job, patience) in enumerate(launches, start=1):

        def notice(line: str, key: str = key) -> None:
            worker.log_event(name, {"key": key, "notice": line})

        try:
            answer = Answer(launch(job, patience, notice, place))
        except Exception as error:
            kind = next((kind for kind, exception in FAILURES.items() if isinstance(error, exception)), "error")
            answer = Answer(failure=kind, reason=str(error))
        answers[key] = msgspec.json.encode(answer).decode()
        if number == len(launches) or time.monotonic() - told > _TOGETHER:
            worker.log_event(name, {"answers": answers})
            answers, told = {}, time.monotonic()


def _attempted(shop: Workshop, stage: Callable[[Pipeline], T]) -> T | Exception:
    try:
        with shop.opened() as pipeline:
            return stage(pipeline)
    except Exception as error:
        return _portable(error)


def _all_checked(shop: Workshop, cells: Sequence[Cell], pipeline: Pipeline) -> list[Checked]:
    return [_anywhere(pipeline.check(cell), shop) for cell in cells]


def _anywhere(checked: Checked, shop: Workshop) -> Checked:
    """Return a cell whose files are named relative to the command's folder, wherever a worker has that."""
    if checked.job is None:
        return checked

    def relative(text: str) -> str:
        path, root = Path(text), shop.folder.root
        return str(path.relative_to(root)) if path.is_relative_to(root) else text

    candidate, reference = (
        replace(side, path=relative(side.path), data=relative(side.data))
        for side in (checked.job.candidate, checked.job.reference)
    )
    return replace(checked, job=replace(checked.job, candidate=candidate, reference=reference))


def describe_conditions(engines: Iterable[str]) -> Mapping[str, Any]:
    """Return machine and versions of this worker's host."""
    from sparsemark.study.conditions import conditions  # as above

    return conditions(engines, measured_now=False)


def _environment() -> dict[str, str]:
    """Return the environment without what Dask's nanny added for its own worker, such as another malloc."""
    added = {name: str(value) for name, value in dask.config.get("distributed.nanny.pre-spawn-environ").items()}
    return {name: value for name, value in os.environ.items() if added.get(name) != value}


def _portable(error: Exception) -> Exception:
    """Return an error that another process can read: a class of the user's own is not known there."""
    if type(error).__module__ == "builtins" or isinstance(error, UserError | tuple(FAILURES.values())):
        return error
    return Exception(one_line(error))
