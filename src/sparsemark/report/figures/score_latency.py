"""Figure of the score against latency, and the front of what is worth running."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_reference, is_structural
from sparsemark.analysis.front import answers
from sparsemark.report import wording
from sparsemark.report.figures.series import drawn_speedup, on_fewest_threads, precision_of, score_interval
from sparsemark.report.front import places
from sparsemark.report.headline import title_of
from sparsemark.report.scores import Scoring
from sparsemark.report.style import GREY, engine_looks, legend, new_figure, scale_milliseconds, tidy
from sparsemark.specs import DENSE, FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.analysis.front import Standing
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.scores import Scale
    from sparsemark.report.wording import Notes

BARS = "bars: 95 % of the paired ratio, and of the {metric} on the front"

_FACES = {"dense": "0.8", "weights set to zero": "none", "channels removed": ""}
"""Fill of a marker by what was pruned; empty is the engine's own colour."""


def score_against_latency(cells: Iterable[Measurement], notes: Notes) -> Figure | None:
    """Draw every timed cell by its time and headline metric, and the front: nothing is both faster and better.

    A time is that of the reference divided by the paired speedup, so that all are of the same moment.

    Args:
        cells: of one network.
        notes: what the run says of its engines.

    Returns:
        None where fewer than two cells have both.
    """
    cells = on_fewest_threads(m for m in cells if m.p50_ms is not None and not is_control(m))
    found = answers(cells)
    unit = _reference_ms(cells)
    if len(found) != 1 or unit is None:
        return None
    scoring = Scoring.of(cells)
    both = [one for one in found[0].standings if one.score is not None and drawn_speedup(one.measurement)]
    if len(both) < 2:
        return None
    scale = scoring.scale(found[0].model)
    figure = new_figure(9.6, 5.2, title_of(found[0], scoring, notes))
    axes = figure.subplots()
    _draw_cells(axes, both, scale, unit, notes)
    label = scale.axis(wording.caveat(one.measurement.data) for one in both)
    axes.set(xlabel="time of one image, ms (lower is better)", ylabel=f"{label} ({scale.direction})")
    scale_milliseconds(axes, "x", [_place(one, scale, unit)[0] for one in both])
    tidy(axes)
    legend(figure, axes)
    if members := sorted((one for one in both if one.on_front), key=lambda one: _place(one, scale, unit)):
        _draw_front(axes, members, scale, unit, notes)
    return figure


def _reference_ms(cells: Sequence[Measurement]) -> float | None:
    """Return the milliseconds of the reference, that of its own cell first."""
    own = [m.p50_ms for m in cells if is_reference(m) and m.p50_ms is not None]
    beside = [m.reference_p50_ms for m in cells if m.reference_p50_ms is not None]
    return next(iter([*own, *beside]), None)


def _draw_cells(axes: Axes, both: Sequence[Standing], scale: Scale, unit: float, notes: Notes) -> None:
    precisions = sorted({precision_of(one.measurement) for one in both})
    for engine, look in engine_looks((one.measurement.engine for one in both), notes).items():
        axes.scatter([], [], marker=look.marker, color=look.colour, label=wording.engine_name(engine, notes))
        for (kind, face), precision in itertools.product(_FACES.items(), precisions):
            chosen = [
                one
                for one in both
                if (one.measurement.engine, _kind(one.measurement), precision_of(one.measurement))
                == (engine, kind, precision)
            ]
            if not chosen:
                continue
            x, y = zip(*(_place(one, scale, unit) for one in chosen), strict=True)
            below, above = zip(*(_reach(one, unit) for one in chosen), strict=True)
            axes.errorbar(x, y, xerr=(below, above), fmt="none", ecolor=look.colour, elinewidth=1, zorder=2)
            axes.scatter(
                x,
                y,
                s=_area(precision),
                marker=look.marker,
                facecolors=face or look.colour,
                edgecolors=look.colour,
                linewidths=1.4,
                zorder=3,
            )
    for kind, face in _FACES.items():
        axes.scatter([], [], marker="o", facecolors=face or GREY, edgecolors=GREY, label=kind)
    for precision in precisions:
        if precision != FP32:
            axes.scatter([], [], s=_area(precision), marker="o", color=GREY, label=f"{precision} (small)")


def _kind(m: Measurement) -> str:
    return "dense" if m.method == DENSE else "channels removed" if is_structural(m) else "weights set to zero"


def _area(precision: str) -> int:
    """Return the area of a marker, in square points: smaller in other precisions than fp32."""
    return 56 if precision == FP32 else 20


def _place(one: Standing, scale: Scale, unit: float) -> tuple[float, float]:
    speedup = drawn_speedup(one.measurement)
    if speedup is None or one.score is None:
        raise ValueError(f"{one.measurement.name}: no point without both")
    return unit / speedup.estimate, scale.factor * one.score.value


def _reach(one: Standing, unit: float) -> tuple[float, float]:
    """Return how far the bar of a time reaches down and up."""
    speedup = drawn_speedup(one.measurement)
    if speedup is None:
        return 0.0, 0.0
    middle = unit / speedup.estimate
    return middle - unit / speedup.high, unit / speedup.low - middle


def _draw_front(axes: Axes, members: Sequence[Standing], scale: Scale, unit: float, notes: Notes) -> None:
    """Number the front, and name its members above: names beside close points would cover each other."""
    points = [_place(one, scale, unit) for one in members]
    x, y = zip(*points, strict=True)
    axes.plot(
        x, y, drawstyle="steps-post", color=GREY, linewidth=1.2, label="nothing is both faster and better", zorder=1
    )
    for one, at, height in zip(members, x, y, strict=True):
        if one.score is not None:
            low, high = score_interval(one.score, scale)
            bars = [[max(0.0, height - low)], [max(0.0, high - height)]]
            axes.errorbar(at, height, yerr=bars, color="0.8", linewidth=1, capsize=3, zorder=1)
    _write_names(axes, points, _names(members, places(members), notes), up=scale.higher_is_better)


def _names(members: Sequence[Standing], numbers: Mapping[str, str], notes: Notes) -> list[tuple[str, str]]:
    """Return number and name of each, which says where its speed is not told apart from that of the one before."""
    names = []
    for before, one in itertools.pairwise([None, *members]):
        m = one.measurement if one is not None else None
        if one is None or m is None or one.speedup is None:
            continue
        close = before is not None and before.speedup is not None and one.speedup.high >= before.speedup.low
        name = f"{wording.pruned(m)}, {wording.runner(m, notes)}: {wording.ratio(one.speedup)}"
        names.append((numbers[m.name], f"{name}{' (~)' if close else ''}"))
    return names


def _write_names(
    axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[tuple[str, str]], *, up: bool
) -> None:
    for (number, _), point in zip(names, points, strict=True):
        # On the better side of the front there is no point.
        axes.annotate(
            number,
            point,
            (-5, 4 if up else -4),
            textcoords="offset points",
            ha="right",
            va="bottom" if up else "top",
            fontsize=8.5,
            fontweight="bold",
        )
    lines = [f"{number}  {name}" for number, name in names]
    lines += ["(~) not told apart in speed from the one before"] if any(line.endswith("(~)") for line in lines) else []
    axes.set_title("\n".join(lines), fontsize=8.5, loc="left")
