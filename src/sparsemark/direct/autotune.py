"""Measured choice: the fastest schedule of each convolution on this machine."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.choices import Choice, recall_choice, remember_choice
from sparsemark.direct.dense_bytes import count_records
from sparsemark.direct.estimate import promising
from sparsemark.direct.ir import BlockConvolution, Convolution
from sparsemark.direct.memory import placed
from sparsemark.direct.program import assemble
from sparsemark.direct.runtime.runner import Runner
from sparsemark.files import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sparsemark.direct.ir import Operation
    from sparsemark.direct.schedule import Schedule
    from sparsemark.direct.tables import Packed

_REPEATS = 5
_FINALISTS = 4
_PATIENCE = 0.2
"""Seconds that one way of running a layer is given."""

_HOPELESS = 1.5
"""How many times slower than the fastest so far a run must be for its way to be given up: above what a busy moment does
to most runs, and a way that is given up is not the fastest."""

_ALIKE = math.log(1.15)
"""Logarithm of the ratio of non-zeros up to which two layers of one shape are of one kind."""

_PRECISE = 1e-6
"""Resolution in seconds that a clock must have for the shortest layers."""

_clock = time.thread_time if time.get_clock_info("thread_time").resolution <= _PRECISE else time.perf_counter
"""Time that this thread had a processor: what others take in between is not the schedule's."""

_NO_IMAGE = np.zeros(1, np.float32)


def choose(
    ways: Mapping[Operation, Sequence[Schedule]], floats: int, memory: Path | None = None, machine: str = ""
) -> dict[Operation, Choice]:
    """Choose a schedule for each convolution: remembered, or timed now, once for all of one kind.

    Args:
        ways: to run each, its tensors placed.
        floats: of the arena that they take.
        memory: folder of earlier choices; None remembers none.
        machine: key of all beside the kind that decides a choice.
    """
    kinds: dict[str, Choice] = {}
    chosen = {}
    for operation, options in ways.items():
        kind = key_of(machine, _kind(operation, options))
        if kind not in kinds:
            path = memory / f"{kind}.json" if memory else None
            known = recall_choice(path, options) if path else None
            if known is None or is_due(known.again_at):
                known = _measured(operation, options, floats).joined(known)
                if path:
                    remember_choice(path, known)
            kinds[kind] = known
        chosen[operation] = kinds[kind]
    return chosen


def is_due(again_at: float | None) -> bool:
    """Whether the time has come to measure again."""
    return again_at is not None and time.time() >= again_at


def _kind(operation: Operation, ways: Sequence[Schedule]) -> tuple[object, ...]:
    """Return what the time of a convolution goes by; what is added to its sums and their bounds are not of it."""
    if operation.source is None:
        raise ValueError("a convolution reads channels")
    source = placed(operation.source)
    layout = source.channels, source.height, source.width, source.row, source.step
    if isinstance(operation, BlockConvolution):
        blocks = operation.blocks
        work = _alike(len(blocks.out)), _alike(count_records(blocks)), int(np.ptp(blocks.dy)), int(np.ptp(blocks.dx))
        return layout, placed(operation.target).row, operation.target.shape, work, [way.key for way in ways]
    if not isinstance(operation, Convolution):
        raise TypeError(f"{operation.name} is no convolution")
    taps = operation.taps
    return (
        layout,
        (
            operation.outputs,
            operation.height,
            operation.width,
            operation.target.row,
            operation.pooled,
            operation.split is None,
        ),
        (taps.right, taps.left, taps.above, taps.below),
        _alike(len(taps.weight)),
        [way.key for way in ways],
    )


def _alike(count: int) -> int:
    """Return a number that counts of non-zeros have in common which differ by little."""
    return round(math.log(max(count, 1)) / _ALIKE)


def _measured(operation: Operation, ways: Sequence[Schedule], floats: int) -> Choice:
    packed: Packed = {}

    def seconds(schedule: Schedule, least: float = math.inf) -> float:
        return time_operation(operation, {operation: schedule}, floats, packed, least=least)

    timed: dict[Schedule, float] = {}
    for schedule in promising(operation, ways) if isinstance(operation, Convolution) else ways:
        timed[schedule] = seconds(schedule, min(timed.values(), default=math.inf))
    finalists = sorted(timed, key=timed.__getitem__)[:_FINALISTS]
    # The least of a few runs may be that of a busy moment: once more, at another one.
    again = {schedule: seconds(schedule) for schedule in finalists}
    spread = max(max(timed[one], again[one]) / min(timed[one], again[one]) - 1 for one in finalists)
    return Choice({one: min(timed[one], again[one]) for one in finalists}, spread, time.time())


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
        start = _clock()
        runner(_NO_IMAGE)
        times.append(_clock() - start)
        if len(times) > 1 and min(times) > _HOPELESS * least:
            break
    return min(times)
