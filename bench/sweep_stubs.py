"""Stub cells of a sweep: nothing is trained, checked or timed, so that what is left is the sweep itself.

A worker that is started with `--preload bench/sweep_stubs.py` answers for them. Their launch holds the host's lock
while a process sleeps, as long as SPARSEMARK_STUB_SECONDS says; 0 starts none.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

from sparsemark.files import key_of
from sparsemark.machine.host_lock import only_measurement
from sparsemark.measurement.launch import Job, Launch, LaunchError, Side
from sparsemark.measurement.timing import Timing
from sparsemark.specs import Cell, ModelSpec, Protocol, Pruning, Variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.study.checked import Checked
    from sparsemark.study.file import Study
    from sparsemark.study.host_classes import HostClass

SECONDS = "SPARSEMARK_STUB_SECONDS"
PROTOCOL = Protocol(pairs=4, block=2, images=1)


def study(count: int) -> Study:
    """Return a study of so many cells, each of another pruning of one network."""
    model = ModelSpec("stub", "stub.py:build", (1, 1))
    variants = [Variant(model, Pruning.of("magnitude", n / (2 * count))) for n in range(1, count + 1)]
    cells = [Cell(variant, "onnx", "onnxruntime") for variant in variants]
    from sparsemark.study.file import Study  # with torch, which no worker of stubs needs

    return Study("stub", None, tuple(variants), tuple(cells), PROTOCOL)


class StubPipeline:
    """Stands in for `Pipeline`: every network is there, and a cell's key is its name's."""

    protocol = PROTOCOL

    def has(self, _: Variant) -> bool:
        """Return that nothing is to be prepared."""
        return True

    def key(self, cell: Cell, where: HostClass) -> str:
        """Return a key of the cell."""
        return key_of(cell.name, where.name)

    def check(self, cell: Cell) -> Checked:
        """Return the cell as if it had been checked."""
        return checked(cell)


def checked(cell: Cell) -> Checked:
    """Return a cell as if it had been checked."""
    from sparsemark.records.measurement import MEASURED, Measurement
    from sparsemark.study.checked import Checked

    side = Side("stub", "stub", "onnx", "0" * 64, "stub", cell.name)
    return Checked(Measurement(cell.name, MEASURED), Job(side, side, PROTOCOL), "reference", 60.0)


def _check(_: str, groups: Sequence[Sequence[Cell]], *__: object) -> tuple[list[list[Checked]], float, tuple[()]]:
    began = time.monotonic()
    return [[checked(cell) for cell in cells] for cells in groups], time.monotonic() - began, ()


def _launch(job: Job, *_: object) -> Launch:
    count = job.protocol.pairs * job.protocol.block
    seconds = float(os.environ.get(SECONDS, "0"))
    with only_measurement() as waited:
        began = time.time()
        if seconds:
            code = subprocess.run(["sleep", str(seconds)], check=False).returncode  # noqa: S603, S607 - a number
            if code:
                raise LaunchError(f"the process ended with code {code}")
        held = began, time.time()
    return Launch(Timing((1e-3,) * count, (2e-3,) * count, job.protocol.block, None, None, waited, (), held), 1)


def stub_launches() -> None:
    """Put the stub in place of launches in this process."""
    from sparsemark.study import launches

    launches.launch = _launch


def dask_setup(_: object) -> None:
    """Put stubs in place of the tasks; Dask calls this when a worker starts."""
    from sparsemark.study.sweep import worker

    worker.check, worker.launch = _check, _launch
    worker.found = lambda *_: ()
