"""Figure of the score against latency, and the front of what is worth running."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import is_control, is_structural
from sparsemark.report import wording
from sparsemark.report.figures.series import on_fewest_threads, precision_of, score_interval
from sparsemark.report.scores import Scoring
from sparsemark.report.style import GREY, engine_looks, legend, new_figure, scale_milliseconds, tidy
from sparsemark.specs import DENSE, FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.records.measurement import Measurement
    from sparsemark.report.scores import Scale
    from sparsemark.report.wording import Notes

BARS = "95 % of the {metric}, on the front only"

_ROOM_FOR_NAMES = 9
_FACES = {"dense": "0.8", "weights set to zero": "none", "channels removed": ""}
"""Fill of a marker by what was pruned; empty is the engine's own colour."""


def score_against_latency(cells: Iterable[Measurement], notes: Notes) -> Figure | None:
    """Draw every timed cell by its latency and headline metric, and the front: nothing is both faster and better.

    Args:
        cells: of one network.
        notes: what the run says of its engines.

    Returns:
        None where fewer than two cells have both.
    """
    timed = on_fewest_threads(m for m in cells if m.p50_ms is not None and not is_control(m))
    scoring = Scoring.of(timed)
    both = [m for m in timed if scoring.score(m)]
    if len(both) < 2:
        return None
    scale = scoring.scale(both[0].model)
    figure = new_figure(8.6, 5.0, f"{both[0].model}: what is worth running?")
    axes = figure.subplots()
    precisions = sorted({precision_of(m) for m in both})
    for engine, look in engine_looks((m.engine for m in both), notes).items():
        axes.scatter([], [], marker=look.marker, color=look.colour, label=wording.engine_name(engine, notes))
        for (kind, face), precision in itertools.product(_FACES.items(), precisions):
            chosen = [m for m in both if (m.engine, _kind(m), precision_of(m)) == (engine, kind, precision)]
            x, y = _places(chosen, scale)
            fill = face or look.colour
            axes.scatter(
                x,
                y,
                s=_area(precision),
                marker=look.marker,
                facecolors=fill,
                edgecolors=look.colour,
                linewidths=1.4,
                zorder=3,
            )
    for kind, face in _FACES.items():
        axes.scatter([], [], marker="o", facecolors=face or GREY, edgecolors=GREY, label=kind)
    for precision in precisions:
        if precision != FP32:
            axes.scatter([], [], s=_area(precision), marker="o", color=GREY, label=f"{precision} (small)")
    scale_milliseconds(axes, "x", [m.p50_ms for m in both if m.p50_ms])
    _draw_front(axes, front(both, scale), scale, notes)
    label = scale.axis(wording.caveat(m.data) for m in both)
    axes.set(xlabel="median time of one image, ms (lower is better)", ylabel=f"{label} ({scale.direction})")
    tidy(axes)
    legend(figure, [axes])
    return figure


def _kind(m: Measurement) -> str:
    return "dense" if m.method == DENSE else "channels removed" if is_structural(m) else "weights set to zero"


def _area(precision: str) -> int:
    """Return the area of a marker, in square points: smaller in other precisions than fp32."""
    return 56 if precision == FP32 else 20


def _places(cells: Iterable[Measurement], scale: Scale) -> tuple[list[float], list[float]]:
    cells = list(cells)
    return [m.p50_ms or 0.0 for m in cells], [scale.factor * m.scores[scale.metric].value for m in cells]


def front(cells: Iterable[Measurement], scale: Scale) -> list[Measurement]:
    """Return the cells that no faster one equals in score, fastest first.

    Args:
        cells: with a latency and a score.
        scale: of the metric.
    """
    sign = 1 if scale.higher_is_better else -1

    def goodness(m: Measurement) -> float:
        return sign * m.scores[scale.metric].value

    best: list[Measurement] = []
    for m in sorted(cells, key=lambda m: (m.p50_ms or 0.0, -goodness(m))):
        if not best or goodness(m) > goodness(best[-1]):
            best.append(m)
    return best


def _draw_front(axes: Axes, best: Sequence[Measurement], scale: Scale, notes: Notes) -> None:
    x, y = _places(best, scale)
    axes.plot(
        x, y, drawstyle="steps-post", color=GREY, linewidth=1.2, label="nothing is both faster and better", zorder=2
    )
    # On the better side of the front, and to its left, there is no point, so there is room for names.
    axes.set_xlim(left=x[0] / _ROOM_FOR_NAMES if axes.get_xscale() == "log" else None)
    up = scale.higher_is_better
    for m, at, height in zip(best, x, y, strict=True):
        low, high = score_interval(m.scores[scale.metric], scale)
        bars = [[max(0.0, height - low)], [max(0.0, high - height)]]
        axes.errorbar(at, height, yerr=bars, color="0.8", linewidth=1, capsize=3, zorder=1)
        axes.annotate(
            f"{wording.pruned(m)}, {wording.runner(m, notes)} ",
            (at, height),
            (-5, 3 if up else -3),
            textcoords="offset points",
            ha="right",
            va="bottom" if up else "top",
            fontsize=8,
        )
