"""Figure of the score against the speedup, and the front of what is worth running."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_reference, is_structural, is_unpruned, reference_engine
from sparsemark.analysis.front import Bar, standings, with_folds_as_one
from sparsemark.analysis.statistics import Interval
from sparsemark.report import wording
from sparsemark.report.emphasis import best_first, coloured, in_colour, keeps_score
from sparsemark.report.figures.series import (
    REFERENCE_DASHES,
    bar,
    drawn_speedup,
    of_one_split,
    on_fewest_threads,
    precision_of,
)
from sparsemark.report.figures.titles import speed_title
from sparsemark.report.scores import Scoring
from sparsemark.report.style import (
    GREY,
    emphasised,
    engine_looks,
    legend,
    new_figure,
    scale_logarithmically,
    tidy,
)
from sparsemark.specs import FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.analysis.front import Standing
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.scores import Scale
    from sparsemark.report.wording import Notes

    Spot = tuple[Standing, Interval]  # one pruning on one engine, over its seeds and folds, and its speedup

BARS = "bars: 95 % interval of the paired ratio, and of the {metric} of numbered points; seeds and folds are one point"

_FACES = {"dense": "0.8", "weights set to zero": "none", "channels removed": ""}
"""Fill of a marker by what was pruned; empty is the engine's own colour."""

_ROOM = 1.15
"""Factor by which the axis of speedups goes beyond the points."""


_DIGITS = 9
"""Of a score, in its own unit: means of the same folds differ in the last bits."""


def score_against_speedup(cells: Iterable[Measurement], notes: Notes) -> Figure | None:
    """Draw every timed configuration by paired speedup and headline metric, and the front: none is faster and better.

    Args:
        cells: of one network.
        notes: what the run says of its engines.

    Returns:
        None where fewer than two configurations have both, or nothing was pruned and all keep the score.
    """
    cells = on_fewest_threads(m for m in cells if m.engine and not is_control(m))
    judged = of_one_split(with_folds_as_one(standings(cells, Bar())))
    spots = [
        (one, speedup)
        for one in judged
        if one.score is not None and one.measurement.p50_ms is not None and (speedup := drawn_speedup(one.measurement))
    ]
    if len(spots) < 2 or all(is_unpruned(one.measurement) and one.keeps for one, _ in spots):
        return None
    scale = Scoring.of(cells).scale(cells[0].model)
    figure = new_figure(10.5, 5.2, speed_title(cells, notes))
    axes = figure.subplots()
    _draw_spots(axes, spots, scale, notes)
    reference = next((m for m in cells if is_reference(m)), None)
    ms = "" if reference is None else f" ({wording.milliseconds(reference.p50_ms)} ms)"
    label = scale.axis(wording.caveat(one.measurement.data) for one, _ in spots)
    over = wording.engine_name(reference_engine(cells[0]), notes)
    axes.set(xlabel=f"times as fast as dense {over}{ms}", ylabel=f"{label} ({scale.direction})")
    scale_logarithmically(axes, "x")
    speeds = [end for _, speedup in spots for end in (speedup.low, speedup.high)]
    axes.set_xlim(min(speeds) / _ROOM, max(speeds) * _ROOM**2)  # names of the front stand to the right of their points
    tidy(axes)
    front = sorted((spot for spot in spots if spot[0].on_front), key=lambda spot: -spot[1].estimate)
    if front:
        _draw_front(axes, front, scale, notes)
    dense = next((one for one, _ in spots if is_reference(one.measurement)), None)
    held = {round(one.dense.value, _DIGITS) for one, _ in spots if one.dense is not None}
    if dense is not None and len(held) == 1:  # else one line would be another network's for some points
        _draw_dense(axes, dense, scale)
    legend(figure, axes)
    return figure


def _draw_dense(axes: Axes, dense: Standing, scale: Scale) -> None:
    """Draw the score of the dense network, and the least that keeps it."""
    at = _score(dense, scale).estimate
    words = f"dense, {scale.value(at / scale.factor)}{' %' if scale.percent else ''}"
    axes.axhline(at, color=GREY, linewidth=1.2, linestyle=REFERENCE_DASHES, zorder=1, label=words)
    if dense.allowed:
        ends = sorted((at, at + (-1 if scale.higher_is_better else 1) * scale.factor * dense.allowed))
        axes.axhspan(*ends, color="0.94", linewidth=0, zorder=0, label=scale.within(dense.allowed))


def _score(one: Standing, scale: Scale) -> Interval:
    """Return the score in the unit that is shown, of no extent where it has no interval."""
    if one.score is None:
        raise AssertionError("only what has a score is drawn")
    ends = (one.score.value if end is None else end for end in (one.score.low, one.score.high))
    return Interval(*(scale.factor * end for end in (one.score.value, *ends)))


def _draw_spots(axes: Axes, spots: Sequence[Spot], scale: Scale, notes: Notes) -> None:
    precisions = sorted({precision_of(one.measurement) for one, _ in spots})
    looks = engine_looks((one.measurement.engine for one, _ in spots), notes)
    members: dict[str, list[tuple[float, bool]]] = {engine: [] for engine in looks}
    for one, speedup in spots:
        members[one.measurement.engine or ""].append((speedup.low, keeps_score(one)))
    for engine, look in emphasised(looks, in_colour(best_first(members))).items():
        axes.scatter([], [], marker=look.marker, color=look.colour, label=wording.engine_name(engine, notes))
        for (kind, face), precision in itertools.product(_FACES.items(), precisions):
            chosen = [
                (_score(one, scale).estimate, speedup)
                for one, speedup in spots
                if (m := one.measurement).engine == engine and (_kind(m), precision_of(m)) == (kind, precision)
            ]
            if not chosen:
                continue
            x, y = [speedup.estimate for _, speedup in chosen], [score for score, _ in chosen]
            reach = tuple(zip(*(bar(speedup) for _, speedup in chosen), strict=True))
            axes.errorbar(x, y, xerr=reach, fmt="none", ecolor=look.colour, elinewidth=1, zorder=2)
            axes.scatter(
                x,
                y,
                s=_area(precision),
                marker=look.marker,
                facecolors=face or look.colour,
                edgecolors=look.colour,
                linewidths=1.4,
                zorder=3 if precision == FP32 else 4,  # the small ones would be covered
            )
    if note := coloured(members).strip():
        axes.scatter([], [], marker="none", label=note)
    kinds = {_kind(one.measurement) for one, _ in spots}
    for kind, face in ((kind, face) for kind, face in _FACES.items() if kind in kinds):
        axes.scatter([], [], marker="o", facecolors=face or GREY, edgecolors=GREY, label=kind)
    for precision in precisions:
        if precision != FP32:
            axes.scatter([], [], s=_area(precision), marker="o", color=GREY, label=f"{precision} (small)")


def _kind(m: Measurement) -> str:
    return "dense" if is_unpruned(m) else "channels removed" if is_structural(m) else "weights set to zero"


def _area(precision: str) -> int:
    """Return the area of a marker, in square points: smaller in other precisions than fp32."""
    return 56 if precision == FP32 else 20


def _draw_front(axes: Axes, front: Sequence[Spot], scale: Scale, notes: Notes) -> None:
    """Number the front, fastest first, and name its members above: names beside close points would cover each other."""
    x, y = [speedup.estimate for _, speedup in front], [_score(one, scale).estimate for one, _ in front]
    up = scale.higher_is_better
    axes.plot(
        x, y, drawstyle="steps-post", color=GREY, linewidth=1.2, label="nothing is both faster and better", zorder=1
    )
    lines = []
    for number, (before, (one, speedup)) in enumerate(zip([None, *front], front, strict=False), start=1):
        score, m = _score(one, scale), one.measurement
        reach = [[end] for end in bar(score)]
        at = speedup.estimate, score.estimate
        axes.errorbar(*at, yerr=reach, color="0.8", linewidth=1, capsize=3, zorder=1)
        # On the better side of the front there is no point.
        axes.annotate(
            f"F{number}",
            at,
            (5, 4 if up else -4),
            textcoords="offset points",
            ha="left",
            va="bottom" if up else "top",
            fontsize=8.5,
            fontweight="bold",
        )
        close = before is not None and speedup.high >= before[1].low
        name = f"{wording.pruned(m)}, {wording.runner(m, notes)}: {wording.ratio(speedup)}"
        lines.append(f"F{number}  {name}{' (~)' if close else ''}")
    lines += ["(~) not told apart in speed from the one before"] if any(line.endswith("(~)") for line in lines) else []
    axes.set_title("\n".join(lines), fontsize=8.5, loc="left")
