"""Peak of one core of this machine: the kernels themselves, on data that stay in the first cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.autotune import time_operation
from sparsemark.direct.blocks import BLOCK, Blocks
from sparsemark.direct.ir import BlockConvolution, Convolution, Lowered, Operation, planes, words
from sparsemark.direct.memory import place
from sparsemark.direct.schedule import byte_options, options
from sparsemark.direct.taps import Taps
from sparsemark.direct.target import LANES

_CHANNELS, _OUTPUTS, _HEIGHT = 16, 1024, 4  # a third of a millisecond: the call itself takes microseconds
_BYTES, _BYTE_OUTPUTS = 256, 256
"""Input and output channels of the same in bytes."""

_ATTEMPTS = 5


@dataclass(frozen=True)
class Peak:
    """Multiply-adds a second.

    Args:
        multiply_adds: where each loaded pixel serves several output channels, so that arithmetic is the limit.
        loads: where each serves one, as every non-zero of a sparse layer does, so that loads are.
        of_bytes: of 8-bit integers; None where no layer of the network has them, so that it was not measured.
    """

    multiply_adds: float
    loads: float
    of_bytes: float | None = None


def measure_peak(*, of_bytes: bool = False) -> Peak:
    """Time small dense convolutions in every way there is, and keep the best of either kind.

    Args:
        of_bytes: a convolution of bytes as well.
    """
    best = {True: 0.0, False: 0.0}
    for rows in (3, 1):  # of one pixel, weights need no offsets
        operation, floats = _probe(rows)
        work = len(operation.taps.weight) * operation.height * operation.width
        for schedule in options(operation):
            if schedule.winograd:
                continue  # it does less than `work`
            seconds = min(time_operation(operation, {operation: schedule}, floats) for _ in range(_ATTEMPTS))
            several = schedule.channels > 1
            best[several] = max(best[several], work / seconds)
    return Peak(max(best.values()), best[False], _peak_of_bytes() if of_bytes else None)


def _peak_of_bytes() -> float:
    operation, floats = _probe_of_bytes()
    work = operation.weights * operation.height * operation.width
    seconds = [
        time_operation(operation, {operation: schedule}, floats)
        for schedule in byte_options(operation)
        for _ in range(_ATTEMPTS)
    ]
    return work / min(seconds)


def _probe(rows: int) -> tuple[Convolution, int]:
    """Return a convolution with kernels of so many rows and one column, and the floats that its tensors take."""
    width = 4 * LANES
    source, target = planes(_CHANNELS, _HEIGHT, width), planes(_OUTPUTS, _HEIGHT, width)
    source.top = source.bottom = rows // 2
    out, plane, dy = (a.reshape(-1) for a in np.indices((_OUTPUTS, _CHANNELS, rows)))
    taps = Taps(out, plane, dy - rows // 2, np.zeros_like(out), np.ones(out.size, np.float32))
    fill = Operation(isa.INPUT, "input", None, source)
    bias = np.zeros(_OUTPUTS, np.float32)
    operation = Convolution(
        isa.CONVOLVE, "probe", source, target, None, {}, bias, taps=taps, height=_HEIGHT, width=width, weights=out.size
    )
    return operation, place(Lowered((), (fill, operation), ((target, ()),)))


def _probe_of_bytes() -> tuple[BlockConvolution, int]:
    """Return a dense convolution of bytes of one pixel, and the floats that its tensors take."""
    width = 4 * LANES
    source, target = words(_BYTES, _HEIGHT, width, 0), words(_BYTE_OUTPUTS, _HEIGHT, width, 0)
    out, plane = (a.reshape(-1) for a in np.indices((_BYTE_OUTPUTS, _BYTES // BLOCK)))
    centre = np.zeros_like(out)
    fill = Operation(isa.INPUT, "input", None, source)
    operation = BlockConvolution(
        isa.CONVOLVE_BYTES,
        "probe",
        source,
        target,
        blocks=Blocks(out, plane, centre, centre, np.ones((out.size, BLOCK), np.int8)),
        bias=np.zeros(_BYTE_OUTPUTS, np.int32),
        scales=np.ones(_BYTE_OUTPUTS, np.float32),
        levels=(0, 0, 255),
        weights=_BYTES * _BYTE_OUTPUTS,
        height=_HEIGHT,
        width=width,
    )
    return operation, place(Lowered((), (fill, operation), ((target, ()),)))
