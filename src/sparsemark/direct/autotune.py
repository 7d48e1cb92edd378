"""Measured choice: the fastest schedule of each convolution on this machine."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.ir import Convolution
from sparsemark.direct.program import assemble
from sparsemark.direct.runtime.runner import Runner
from sparsemark.direct.schedule import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparsemark.direct.ir import Lowered, Operation
    from sparsemark.direct.schedule import Schedule
    from sparsemark.direct.tables import Packed

_REPEATS = 5
_FINALISTS = 4
_PATIENCE = 0.2
"""Seconds that one way of running a layer is given."""

_HOPELESS = 1.5
"""How many times slower than the fastest so far a run must be for its way to be given up: above what a busy moment does
to most runs, and a way that is given up is not the fastest."""

_NO_IMAGE = np.zeros(1, np.float32)


def choose(lowered: Lowered, floats: int, threads: int) -> dict[Operation, Schedule]:
    """Time every way to run each convolution, alone, and keep the fastest.

    Args:
        lowered: its tensors placed.
        floats: of the arena that they take.
        threads: that will share an image; only one runs here.
    """
    return {
        operation: _fastest(operation, floats, threads)
        for operation in lowered.operations
        if isinstance(operation, Convolution)
    }


def _fastest(operation: Convolution, floats: int, threads: int) -> Schedule:
    packed: Packed = {}

    def seconds(schedule: Schedule, least: float = math.inf) -> float:
        return time_operation(operation, {operation: schedule}, floats, packed, least=least)

    timed: dict[Schedule, float] = {}
    for schedule in options(operation, threads):
        timed[schedule] = seconds(schedule, min(timed.values(), default=math.inf))
    finalists = sorted(timed, key=timed.__getitem__)[:_FINALISTS]
    # The least of a few runs may be that of a busy moment: once more, at another one.
    again = {schedule: min(timed[schedule], seconds(schedule)) for schedule in finalists}
    return min(again, key=again.__getitem__)


def time_operation(
    operation: Operation,
    schedules: Mapping[Operation, Schedule],
    floats: int,
    packed: Packed | None = None,
    *,
    least: float = math.inf,
) -> float:
    """Least seconds of a few runs of one operation that does not read the image, on one thread.

    Args:
        operation: to run.
        schedules: how.
        floats: of the arena that its tensors take.
        packed: non-zeros in order, of earlier calls for the same operation.
        least: seconds of a faster way; where two runs take far longer there are no more.
    """
    runner = Runner(assemble([operation], schedules, floats, 1, packed), 1)
    runner(_NO_IMAGE)
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _PATIENCE:
        start = time.perf_counter()
        runner(_NO_IMAGE)
        times.append(time.perf_counter() - start)
        if len(times) > 1 and min(times) > _HOPELESS * least:
            break
    return min(times)
