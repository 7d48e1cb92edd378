"""Break-even: between which measured sparsities an engine becomes as fast as dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_mask_only, reference_engine, removed, way
from sparsemark.analysis.comparison import speedup_of, speedup_over
from sparsemark.analysis.statistics import Interval
from sparsemark.specs import ALL_ONES, DENSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sparsemark.records.measurement import Measurement

GAIN = 1.05
"""Speedup over its own dense form from which zeros help an engine: two runs of one network differ by up to 5 %."""

_FEWEST = 3
"""Sparsities, the dense network among them, that a break-even needs."""

_SAME = Interval(1.0, 1.0, 1.0)

_Point = tuple[float, Interval]
"""Share of the weights removed, and how many times as fast the network is."""


@dataclass(frozen=True)
class Crossing:
    """Measured shares removed around the one at which a level is reached; nothing between two of them is guessed.

    Args:
        below: the largest share at which the whole interval of the speedup is below the level; None where none is.
        reached: the smallest from which on all intervals are at it or above; None where the last one is not.
        unsettled: shares beyond `below` and before `reached` whose intervals hold the level.
    """

    below: float | None
    reached: float | None
    unsettled: tuple[float, ...] = ()


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
            reference without any zero, and what a mask without a zero reached; None where that was not measured.
        without_zeros: how many times as fast as dense a mask without a zero was, where its interval reaches `GAIN`; a
            gain as small is none of the zeros.
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
    without_zeros: Interval | None = None


def break_evens(measurements: Iterable[Measurement]) -> list[BreakEven]:
    """Return one for each network, kind of mask and engine that was measured at several sparsities.

    Channels are left out, alone and below a mask: they speed up an engine without any zero.
    """
    # The reference engine against itself would cross one at any noise.
    rows = [m for m in measurements if m.engine != reference_engine(m)]
    cells = [m for m in rows if not is_control(m)]
    ones = [m for m in rows if m.method == ALL_ONES and m.control is None]
    series: dict[tuple[object, ...], Measurement] = {}
    for m in cells:
        if is_mask_only(m):
            series.setdefault((m.method, m.schedule, *way(m)), m)
    return [found for example in series.values() if (found := _break_even(example, cells, ones))]


def _break_even(example: Measurement, cells: Iterable[Measurement], ones: Iterable[Measurement]) -> BreakEven | None:
    """Return the break-even of the cells that differ from `example` only in what was removed.

    Args:
        example: one of them.
        cells: without controls.
        ones: masks without a zero.
    """
    dense, masked = [], []
    for m in cells:
        if way(m) == way(example) and m.method == DENSE:
            dense.append(m)
        elif way(m) == way(example) and (m.method, m.schedule) == (example.method, example.schedule):
            masked.append(m)
    points = _points([*dense, *masked], speedup_of)
    if len(points) < _FEWEST:
        return None
    own = next((m for m in dense if speedup_of(m)), None)
    noise = None if own is None else _noise(own, ones)
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
        over_dense=crossing(points, 1.0),
        by_zeros=None if own is None else crossing(_over_own(own, masked), GAIN, noise.high if noise else GAIN),
        without_zeros=noise,
    )


def _noise(own: Measurement, ones: Iterable[Measurement]) -> Interval | None:
    """Return the highest of what masks without a zero gave over the dense network, if that reaches `GAIN`."""
    found = [ratio for m in ones if way(m) == way(own) and (ratio := speedup_over(m, own)) and ratio.high >= GAIN]
    return max(found, key=lambda ratio: ratio.high, default=None)


def _over_own(own: Measurement, masked: Iterable[Measurement]) -> list[_Point]:
    """Return how many times as fast zeros made the engine; without any, it is the same by definition."""
    return [(removed(own) or 0.0, _SAME), *_points(masked, lambda m: speedup_over(m, own))]


def _points(cells: Iterable[Measurement], ratio: Callable[[Measurement], Interval | None]) -> list[_Point]:
    known = {share: interval for m in cells if (share := removed(m)) is not None and (interval := ratio(m))}
    return sorted(known.items(), key=lambda point: point[0])


def crossing(points: Sequence[_Point], level: float, settled: float = 0.0) -> Crossing:
    """Return between which points a speedup reaches a level for good.

    Args:
        points: by rising share removed.
        level: of the speedup.
        settled: what whole intervals must be at or above to have reached it, where that is more than the level.
    """
    last = max((i for i, (_, interval) in enumerate(points) if interval.high < level), default=-1)
    after = points[last + 1 :]
    lacking = [i for i, (_, interval) in enumerate(after) if interval.low < max(level, settled)]
    first = lacking[-1] + 1 if lacking else 0
    return Crossing(
        below=None if last < 0 else points[last][0],
        reached=after[first][0] if first < len(after) else None,
        unsettled=tuple(after[i][0] for i in lacking),
    )
