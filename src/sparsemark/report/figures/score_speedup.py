"""Figure of the score against the speedup, and the front of what is worth running."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_reference, is_structural, reference_engine
from sparsemark.analysis.front import answers
from sparsemark.analysis.statistics import Interval
from sparsemark.report import wording
from sparsemark.report.figures.changes import mean_score
from sparsemark.report.figures.series import (
    bar,
    by_configuration,
    drawn_speedup,
    mean_speedup,
    on_fewest_threads,
    precision_of,
)
from sparsemark.report.figures.titles import speed_title
from sparsemark.report.scores import Scoring
from sparsemark.report.style import GREY, engine_looks, legend, new_figure, scale_logarithmically, tidy
from sparsemark.specs import DENSE, FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.analysis.front import Standing
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.scores import Scale
    from sparsemark.report.wording import Notes

BARS = "bars: 95 % interval of the paired ratio, and of the {metric} of numbered points; seeds and folds are one point"

_FACES = {"dense": "0.8", "weights set to zero": "none", "channels removed": ""}
"""Fill of a marker by what was pruned; empty is the engine's own colour."""

_ROOM = 1.15
"""Factor by which the axis of speedups goes beyond the points."""


@dataclass(frozen=True)
class Spot:
    """One pruning on one engine, over its seeds and folds.

    Args:
        cells: one a seed or fold.
        speedup: over the reference.
        score: in the unit that is shown.
        good: what the front goes by, higher is better: the loss against dense where it is known; None where others know
            theirs and this one does not.
    """

    cells: tuple[Measurement, ...]
    speedup: Interval
    score: Interval
    good: float | None

    @property
    def first(self) -> Measurement:
        """One of the cells, for what all share."""
        return self.cells[0]


def score_against_speedup(cells: Iterable[Measurement], notes: Notes) -> Figure | None:
    """Draw every timed configuration by paired speedup and headline metric, and the front: none is faster and better.

    Args:
        cells: of one network.
        notes: what the run says of its engines.

    Returns:
        None where fewer than two configurations have both.
    """
    cells = on_fewest_threads(m for m in cells if m.p50_ms is not None and not is_control(m))
    found = answers(cells)
    if len(found) != 1:
        return None
    scale = Scoring.of(cells).scale(found[0].model)
    spots = _spots(found[0].standings, scale, notes)
    if len(spots) < 2:
        return None
    figure = new_figure(10.5, 5.2, speed_title(cells, notes))
    axes = figure.subplots()
    _draw_spots(axes, spots, notes)
    reference = next((m for m in cells if is_reference(m)), None)
    ms = "" if reference is None else f" ({wording.milliseconds(reference.p50_ms)} ms)"
    label = scale.axis(wording.caveat(m.data) for one in spots for m in one.cells)
    over = wording.engine_name(reference_engine(cells[0]), notes)
    axes.set(xlabel=f"times as fast as dense {over}{ms}", ylabel=f"{label} ({scale.direction})")
    scale_logarithmically(axes, "x")
    speeds = [end for one in spots for end in (one.speedup.low, one.speedup.high)]
    axes.set_xlim(min(speeds) / _ROOM, max(speeds) * _ROOM)
    tidy(axes)
    legend(figure, axes)
    if front := _front(spots):
        _draw_front(axes, front, notes, up=scale.higher_is_better)
    return figure


def _spots(both: Iterable[Standing], scale: Scale, notes: Notes) -> list[Spot]:
    """Return what has a score and a speedup, seeds and folds of one configuration together."""
    found = [one for one in both if one.score is not None and drawn_speedup(one.measurement)]
    loss_of = {one.measurement.name: one.loss for one in found}
    is_judged = any(loss is not None for loss in loss_of.values())
    spots = []
    for cells in by_configuration((one.measurement for one in found), notes).values():
        score, speedup = mean_score(cells, scale.metric), mean_speedup(cells)
        losses = [loss for m in cells if (loss := loss_of[m.name]) is not None]
        good: float | None = score.estimate if scale.higher_is_better else -score.estimate
        if is_judged:
            good = -fmean(losses) if losses else None
        if speedup:
            shown = Interval(*(scale.factor * end for end in (score.estimate, score.low, score.high)))
            spots.append(Spot(tuple(cells), speedup, shown, good))
    return spots


def _front(spots: Sequence[Spot]) -> list[Spot]:
    """Return what no other is both as fast and as good as, the fastest first."""
    front: list[Spot] = []
    judged = [(one.speedup.estimate, one.good, one) for one in spots if one.good is not None]
    best = None
    for _, good, one in sorted(judged, key=lambda item: item[:2], reverse=True):
        if best is None or good > best:
            front.append(one)
            best = good
    return front


def _draw_spots(axes: Axes, spots: Sequence[Spot], notes: Notes) -> None:
    precisions = sorted({precision_of(one.first) for one in spots})
    for engine, look in engine_looks((one.first.engine for one in spots), notes).items():
        axes.scatter([], [], marker=look.marker, color=look.colour, label=wording.engine_name(engine, notes))
        for (kind, face), precision in itertools.product(_FACES.items(), precisions):
            chosen = [
                one
                for one in spots
                if (one.first.engine, _kind(one.first), precision_of(one.first)) == (engine, kind, precision)
            ]
            if not chosen:
                continue
            x, y = [one.speedup.estimate for one in chosen], [one.score.estimate for one in chosen]
            reach = tuple(zip(*(bar(one.speedup) for one in chosen), strict=True))
            axes.errorbar(x, y, xerr=reach, fmt="none", ecolor=look.colour, elinewidth=1, zorder=2)
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


def _draw_front(axes: Axes, front: Sequence[Spot], notes: Notes, *, up: bool) -> None:
    """Number the front, and name its members above: names beside close points would cover each other."""
    x, y = [one.speedup.estimate for one in front], [one.score.estimate for one in front]
    axes.plot(
        x, y, drawstyle="steps-post", color=GREY, linewidth=1.2, label="nothing is both faster and better", zorder=1
    )
    lines = []
    for number, (before, one) in enumerate(zip([None, *front], front, strict=False), start=1):
        reach = [[end] for end in bar(one.score)]
        at = one.speedup.estimate, one.score.estimate
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
        close = before is not None and one.speedup.high >= before.speedup.low
        name = f"{wording.pruned(one.first)}, {wording.runner(one.first, notes)}: {wording.ratio(one.speedup)}"
        lines.append(f"F{number}  {name}{' (~)' if close else ''}")
    lines += ["(~) not told apart in speed from the one before"] if any(line.endswith("(~)") for line in lines) else []
    axes.set_title("\n".join(lines), fontsize=8.5, loc="left")
