"""From which sparsity on is an engine faster than dense? Interpolated between the sparsities that were measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_masked, reference_engine, removed
from sparsemark.analysis.comparison import speedup_of
from sparsemark.report import wording
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

_FEWEST = 3
"""Sparsities, the dense network among them, between which a line says anything."""

_GAIN = 1.05
"""How much faster than without zeros an engine must be before they are said to help: two runs of one network on a
busy machine differ by up to 5 %."""

_Point = tuple[float, "Interval"]


def break_evens(run: Run) -> list[str]:
    """One line for each network, kind of mask and engine that was measured at several sparsities.

    The interval is where the ends of the speedups' own intervals break even.
    """
    # The reference engine against itself would cross one at any noise.
    cells = [m for m in run.measured() if not is_control(m) and m.engine != reference_engine(m)]
    lines = []
    for model, method, engine in dict.fromkeys((m.model, m.method, m.engine) for m in cells if is_masked(m)):
        own = [m for m in cells if (m.model, m.engine) == (model, engine) and m.method in (method, DENSE)]
        points = _points(own)
        dense = next((speedup for m in own if m.method == DENSE and (speedup := speedup_of(m))), None)
        if len(points) >= _FEWEST:
            words = f"{_in_words(points)}; {_of_zeros(points, dense)}"
            lines.append(f"{model}, {method} on {wording.engine_name(engine)}: {words}.")
    return lines


def _points(cells: Sequence[Measurement]) -> list[_Point]:
    known = {share: interval for m in cells if (share := removed(m)) is not None and (interval := speedup_of(m))}
    return sorted(known.items(), key=lambda point: point[0])


def _in_words(points: Sequence[_Point]) -> str:
    most = wording.percent(points[-1][0])
    early, found, late = _crossings(points, 1.0, 1.0, 1.0)
    if found is None:
        return f"slower than dense at every sparsity up to {most}"
    first = wording.percent(points[0][0])
    end = f"beyond {most}" if late is None else wording.percent(late)
    return (
        f"at least as fast as dense from {first} on"
        if found <= points[0][0]
        else f"breaks even at {wording.percent(found)}"
    ) + f" [{wording.percent(early or 0.0)}, {end}]"


def _of_zeros(points: Sequence[_Point], own: Interval | None) -> str:
    """From where on the engine gains by the zeros themselves: it may be faster than the reference without any."""
    if own is None:
        return "its own dense form was not measured"
    most = wording.percent(points[-1][0])
    percent = f"{100 * (_GAIN - 1):.0f} %"
    early, found, late = _crossings(points, *(_GAIN * speedup for speedup in (own.estimate, own.low, own.high)))
    if early is None:
        return f"zeros up to {most} do not make it {percent} faster than its own dense form"
    if found is None or late is None:
        return f"whether zeros up to {most} make it {percent} faster than its own dense form is not settled"
    bounds = f"{wording.percent(found)} [{wording.percent(early)}, {wording.percent(late)}]"
    return f"zeros make it {percent} faster than its own dense form from {bounds} on"


def _crossings(
    points: Sequence[_Point], level: float, low: float, high: float
) -> tuple[float | None, float | None, float | None]:
    """Where the speedup crosses a level between `low` and `high`: at the earliest, by estimate, at the latest.

    A speedup at the high end of its interval does so earlier.
    """
    early = crossing([(share, interval.high / low) for share, interval in points])
    found = crossing([(share, interval.estimate / level) for share, interval in points])
    late = crossing([(share, interval.low / high) for share, interval in points])
    return early, found, late


def crossing(points: Sequence[tuple[float, float]]) -> float | None:
    """Sparsity from which on every speedup is at least 1; None where the last one is below.

    Args:
        points: sparsity and speedup, by rising sparsity; between two of them the logarithm of the speedup is a line.
    """
    logs = [(share, math.log(speedup)) for share, speedup in points]
    below = [i for i, (_, value) in enumerate(logs) if value < 0]
    if not below:
        return logs[0][0]
    if below[-1] == len(logs) - 1:
        return None
    (x0, y0), (x1, y1) = logs[below[-1]], logs[below[-1] + 1]
    return x0 + (x1 - x0) * -y0 / (y1 - y0)
