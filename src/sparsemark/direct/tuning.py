"""Choice of the fastest kernel of each layer on this machine, by measurement."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.layout import Choice, candidates
from sparsemark.direct.memory import placed
from sparsemark.direct.program import Streams, assemble
from sparsemark.direct.runner import Runner
from sparsemark.direct.steps import Convolution
from sparsemark.direct.winograd import variants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sparsemark.direct.steps import Lowered, Step

_REPEATS = 5
_FINALISTS = 4
_PATIENCE = 0.2
"""Seconds that one way of running a layer is given."""

_HOPELESS = 1.5
"""How many times slower than the fastest so far a run must be for its way to be given up: above what a busy moment does
to most runs, and a way that is given up is not the fastest."""

_NO_IMAGE = np.zeros(1, np.float32)


def options(step: Convolution, threads: int = 1) -> list[Choice]:
    """Ways to run a convolution whose tensors are placed, where so many threads share an image."""
    if step.source is None:
        raise ValueError("a convolution reads planes")
    found = candidates(
        step.taps, placed(step.source), step.outputs, height=step.height, width=step.width, pooled_row=step.pooled_row
    )
    return found + [Choice(variant, winograd=True) for variant in variants(step, threads)]


def choose(lowered: Lowered, floats: int, threads: int) -> dict[Step, Choice]:
    """Time every way to run each convolution, alone, and keep the fastest.

    Args:
        lowered: its tensors placed.
        floats: of the arena that they take.
        threads: that will share an image; only one runs here.
    """
    return {step: _fastest(step, floats, threads) for step in lowered.steps if isinstance(step, Convolution)}


def _fastest(step: Convolution, floats: int, threads: int) -> Choice:
    streams: Streams = {}

    def seconds(choice: Choice, least: float = math.inf) -> float:
        return time_step(step, {step: choice}, floats, streams, least=least)

    timed: dict[Choice, float] = {}
    for choice in options(step, threads):
        timed[choice] = seconds(choice, min(timed.values(), default=math.inf))
    finalists = sorted(timed, key=timed.__getitem__)[:_FINALISTS]
    # The least of a few runs may be that of a busy moment: once more, at another one.
    again = {choice: min(timed[choice], seconds(choice)) for choice in finalists}
    return min(again, key=again.__getitem__)


def time_step(
    step: Step,
    choices: Mapping[Step, Choice],
    floats: int,
    streams: Streams | None = None,
    *,
    least: float = math.inf,
) -> float:
    """Least seconds of a few runs of one step that does not read the image, on one thread.

    Args:
        step: to run.
        choices: how.
        floats: of the arena that its tensors take.
        streams: non-zeros in order, of earlier calls for the same step.
        least: seconds of a faster way; where two runs take far longer there are no more.
    """
    runner = Runner(assemble([step], choices, floats, 1, streams), 1)
    runner(_NO_IMAGE)
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _PATIENCE:
        start = time.perf_counter()
        runner(_NO_IMAGE)
        times.append(time.perf_counter() - start)
        if len(times) > 1 and min(times) > _HOPELESS * least:
            break
    return min(times)
