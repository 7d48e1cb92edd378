"""Break-even: the sparsity from which on an engine is faster than dense, between the sparsities that were measured."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_mask_only, reference_engine, removed, way
from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.statistics import Interval
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.records.measurement import Measurement

GAIN = 1.05
"""Speedup over its own dense form from which zeros help an engine: two runs of one network differ by up to 5 %."""

_FEWEST = 3
"""Sparsities, the dense network among them, that a break-even needs."""

_Point = tuple[float, Interval]
"""Share of the weights removed, and speedup over the reference."""


@dataclass(frozen=True)
class Crossing:
    """Share removed from which on a level is reached; None where it never is.

    Args:
        early: by the high ends of the speedups' intervals.
        found: by their estimates.
        late: by their low ends.
    """

    early: float | None
    found: float | None
    late: float | None


@dataclass(frozen=True)
class BreakEven:
    """Break-even of one engine on one network and kind of mask.

    Args:
        model: the network.
        method: of the mask.
        schedule: of the pruning.
        engine: a name in `ENGINES`.
        precision: what the engine computed in.
        threads: of the engine.
        batch: inputs a call.
        least: smallest share removed that was measured.
        most: the largest.
        over_dense: where the speedup over the reference reaches 1.
        by_zeros: where it reaches `GAIN` times that of the dense network on this engine, which may be faster than the
            reference without any zero; None where that was not measured.
    """

    model: str | None
    method: str | None
    schedule: str | None
    engine: str | None
    precision: str | None
    threads: int | None
    batch: int | None
    least: float
    most: float
    over_dense: Crossing
    by_zeros: Crossing | None


def break_evens(measurements: Iterable[Measurement]) -> list[BreakEven]:
    """Return one for each network, kind of mask and engine that was measured at several sparsities.

    Channels are left out, alone and below a mask: they speed up an engine without any zero.
    """
    # The reference engine against itself would cross one at any noise.
    cells = [m for m in measurements if not is_control(m) and m.engine != reference_engine(m)]
    series: dict[tuple[object, ...], Measurement] = {}
    for m in cells:
        if is_mask_only(m):
            series.setdefault((m.method, m.schedule, *way(m)), m)
    return [found for example in series.values() if (found := _break_even(example, cells))]


def _break_even(example: Measurement, cells: Iterable[Measurement]) -> BreakEven | None:
    """Return the break-even of the cells that differ from `example` only in what was removed."""
    dense, own = [], []
    for m in cells:
        if way(m) == way(example):
            if m.method == DENSE:
                dense.append(m)
            if m.method == DENSE or (m.method, m.schedule) == (example.method, example.schedule):
                own.append(m)
    points = _points(own)
    if len(points) < _FEWEST:
        return None
    without = next((speedup for m in dense if (speedup := speedup_of(m))), None)
    return BreakEven(
        model=example.model,
        method=example.method,
        schedule=example.schedule,
        engine=example.engine,
        precision=example.precision,
        threads=example.threads,
        batch=example.batch,
        least=points[0][0],
        most=points[-1][0],
        over_dense=_crossing(points, Interval(1.0, 1.0, 1.0)),
        by_zeros=_crossing(points, Interval(*(GAIN * end for end in astuple(without)))) if without else None,
    )


def _points(cells: Iterable[Measurement]) -> list[_Point]:
    known = {share: interval for m in cells if (share := removed(m)) is not None and (interval := speedup_of(m))}
    return sorted(known.items(), key=lambda point: point[0])


def _crossing(points: Sequence[_Point], level: Interval) -> Crossing:
    """Return where the speedup crosses a level; one at the high end of its interval does so earlier."""
    return Crossing(
        crossing([(share, interval.high / level.low) for share, interval in points]),
        crossing([(share, interval.estimate / level.estimate) for share, interval in points]),
        crossing([(share, interval.low / level.high) for share, interval in points]),
    )


def crossing(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the share from which on every speedup is at least 1; None where the last one is below.

    Args:
        points: share removed and speedup, by rising share; between two of them the logarithm of the speedup is a line.
    """
    logs = [(share, math.log(speedup)) for share, speedup in points]
    below = [i for i, (_, value) in enumerate(logs) if value < 0]
    if not below:
        return logs[0][0]
    if below[-1] == len(logs) - 1:
        return None
    (x0, y0), (x1, y1) = logs[below[-1]], logs[below[-1] + 1]
    return x0 + (x1 - x0) * -y0 / (y1 - y0)
