"""Tasks, as they run on a worker."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import dask
import msgspec
from distributed import WorkerPlugin, get_worker

from sparsemark.errors import UserError
from sparsemark.measurement.launch import FAILURES, Answer, Place, launch
from sparsemark.references import one_line
from sparsemark.specs import FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from distributed import Worker

    from sparsemark.measurement.launch import Job
    from sparsemark.specs import Cell, Variant
    from sparsemark.study.checked import Checked
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.sweep.order import Order

_ONE_AT_A_TIME = threading.RLock()
"""Held by whatever prepares or checks: the working folder is the process's, and a pipeline is no thread's alone."""


class Workshop(WorkerPlugin):
    """Pipeline of a sweep on this worker, opened by the first task that needs it.

    Args:
        order: the sweep.
    """

    def __init__(self, order: Order) -> None:
        self.name, self.order = order.name, order
        self._pipeline: Pipeline | None = None

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - Dask's protocol
        """Forget the networks."""
        self._pipeline = None

    @contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """Yield the pipeline, in the command's folder."""
        from sparsemark.study.run import open_pipeline  # with torch, which a worker that only times does not need

        with _ONE_AT_A_TIME:
            before = os.getcwd()  # noqa: PTH109 - as the next line
            os.chdir(self.order.folder)
            try:
                if self._pipeline is None:
                    order = self.order
                    self._pipeline = open_pipeline(order.study, order.places, data=order.data)
                yield self._pipeline
            finally:
                os.chdir(before)


def _workshop(name: str) -> Workshop:
    found = get_worker().plugins[name]
    if not isinstance(found, Workshop):
        raise TypeError(f"{name}: {type(found).__name__}, expected a workshop")
    return found


def prepare(name: str, variant: Variant, dense: Exception | None) -> Exception | None:
    """Prepare a variant in the study's folder; return why it cannot be.

    Args:
        name: of the sweep.
        variant: to be prepared.
        dense: why the dense network cannot be, or None.
    """
    if dense is not None:
        return dense
    with _workshop(name).opened() as pipeline:
        try:
            pipeline.prepare(variant)
        except Exception as error:
            return _portable(error)
    return None


def check(name: str, cells: Sequence[Cell], ground: None) -> list[Checked] | Exception:  # noqa: ARG001 - waited for
    """Check the cells of one variant: what they share is made once.

    Args:
        name: of the sweep.
        cells: to be checked.
        ground: what `found` returned for the network's family.

    Returns:
        A result for each cell, or the error that ends the run.
    """
    with _workshop(name).opened() as pipeline:
        try:
            return [pipeline.check(cell) for cell in cells]
        except Exception as error:
            return _portable(error)


def found(name: str, dense: Variant, formats: Sequence[str]) -> None:
    """Make what all cells of a network's variants are held against: its files, and what it answers in float64."""
    from sparsemark.study.file import cell_of  # as above

    with _workshop(name).opened() as pipeline:
        for form in formats:
            with suppress(Exception):  # its cells will say so
                pipeline.export(pipeline.prepare(dense), form)
        with suppress(Exception):
            pipeline.check(cell_of(dense, pipeline.protocol.reference, FP32, pipeline.protocol.threads))


def measure(name: str, key: str, job: Job, patience: float) -> None:
    """Do a launch in a fresh process, which waits for this host's lock, and send the client what it found.

    A result that stayed here would be lost with this worker, and the client would wait for it.

    Args:
        name: of the sweep.
        key: of this launch.
        job: what is timed.
        patience: seconds after which it counts as hung.
    """
    worker = get_worker()
    place = Place(folder=_workshop(name).order.folder, environment=_environment())
    try:
        answer = Answer(launch(job, patience, lambda line: worker.log_event(name, {"key": key, "notice": line}), place))
    except Exception as error:
        kind = next((kind for kind, exception in FAILURES.items() if isinstance(error, exception)), "error")
        answer = Answer(failure=kind, reason=str(error))
    worker.log_event(name, {"key": key, "answer": msgspec.json.encode(answer).decode()})


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
