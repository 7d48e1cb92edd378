"""Figure of speedup against what was removed: the paper's Figure 10, in every engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.cells import is_control, is_masked, is_reference, is_structural, reference_engine
from sparsemark.analysis.front import answers
from sparsemark.report import wording
from sparsemark.report.figures.series import (
    REFERENCE_DASHES,
    by_removed,
    by_way,
    draw_series,
    drawn_speedup,
    on_fewest_threads,
    precision_of,
)
from sparsemark.report.headline import title_of
from sparsemark.report.scores import Scoring
from sparsemark.report.style import GREY, End, engine_looks, label_ends, new_figure, scale_logarithmically, tidy
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.engines.base import Look
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.figures.series import Point
    from sparsemark.report.wording import Notes

    Panel = tuple[str, str, list[Measurement]]  # title, label of what was removed, cells

BARS = "bars: 95 % interval of the paired ratio"

_MOST_COLUMNS = 3
"""Panels beside each other: a page is no wider."""

_ROOM = 1.25
"""Factor by which the axis goes beyond the bars, on either side."""

_LEAST = 0.8, 1.25
"""Speedups that the axis shows at least: without them a scatter of 1 % would fill it."""


def speedup_against_sparsity(cells: Iterable[Measurement], notes: Notes) -> Figure | None:
    """Draw the paired speedup of every engine over the reference, masks and channels side by side.

    Two cells' own milliseconds are never set side by side: minutes lie between them, and a shared machine moves more in
    minutes than pruning does.

    Args:
        cells: of one network.
        notes: what the run says of its engines.

    Returns:
        None where nothing that was pruned was timed.
    """
    timed = on_fewest_threads(m for m in cells if not is_control(m) and drawn_speedup(m) is not None)
    panels = _panels(timed)
    if not panels:
        return None
    (answer,) = answers(timed)
    columns = min(_MOST_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(1.2 + 4.4 * columns, 4.6 * rows, title_of(answer, Scoring.of(timed), notes))
    grid, unused = np.split(figure.subplots(rows, columns, sharey=True, squeeze=False).reshape(-1), [len(panels)])
    for axes in unused:
        axes.remove()
    looks = engine_looks((m.engine for m in timed), notes)
    ends = {axes: _draw_panel(axes, panel, timed, looks, notes) for axes, panel in zip(grid, panels, strict=True)}
    reference = wording.engine_name(reference_engine(timed[0]), notes)
    for axes in grid[::columns]:
        axes.set_ylabel(f"times as fast as dense {reference}")
    scale_logarithmically(grid[0], "y")
    shown = [one for m in timed if (one := drawn_speedup(m))]
    low, high = min(one.low for one in shown), max(one.high for one in shown)
    grid[0].set_ylim(min(low / _ROOM, _LEAST[0]), max(high * _ROOM, _LEAST[1]))
    label_ends(figure, ends)
    return figure


def _draw_panel(
    axes: Axes, panel: Panel, timed: Sequence[Measurement], looks: Mapping[str, Look], notes: Notes
) -> list[End]:
    title, label, pruned = panel
    ends = []
    for engine, look in looks.items():
        for way, group in by_way(m for m in pruned if m.engine == engine).items():
            own = [m for m in timed if (m.engine, precision_of(m)) == (engine, way.precision)]
            points = _points([*(m for m in own if m.method == DENSE), *group])
            name = way.label(notes)
            draw_series(axes, points, look, name, way)
            ends.append(End(points[-1][1], f"{name}, {_times(points[-1][1])}", look.colour))
    ends += _draw_limits(axes, [m for m in timed if is_reference(m)], pruned, notes)
    axes.set(title=title, xlabel=label, xlim=(-3, 100))
    tidy(axes)
    return ends


def _draw_limits(
    axes: Axes, references: Sequence[Measurement], pruned: Sequence[Measurement], notes: Notes
) -> Iterator[End]:
    """Draw the dense reference, and what would be reached if time went as the weights that are left."""
    axes.axhline(1, color=GREY, linewidth=1.2, linestyle=REFERENCE_DASHES, zorder=1)
    most = max((x for x in by_removed(pruned) if x < 100), default=0.0)
    x = np.linspace(0, most, 100)
    axes.plot(x, 1 / (1 - x / 100), color="0.75", linewidth=1.2, linestyle="--", zorder=1)
    for m in references[:1]:
        yield End(1.0, f"dense {wording.engine_name(m.engine, notes)}, {wording.milliseconds(m.p50_ms)} ms", GREY)
    best = max(speedup.estimate for m in pruned if (speedup := drawn_speedup(m)))
    if 1 / (1 - most / 100) <= best * _ROOM:
        yield End(1 / (1 - most / 100), "1 / (share left)", "0.55")
    else:  # it leaves the panel on its way up
        place = 100 * (1 - 1 / (best * _ROOM**0.5))
        words = axes.annotate("1 / (share left)", (max(0.0, place), best), (-4, 2), textcoords="offset points")
        words.set(horizontalalignment="right", fontsize=8.5, color="0.55")


def _times(ratio: float) -> str:
    return f"{ratio:.{1 if ratio >= 10 else 2}f}x"


def _panels(timed: Iterable[Measurement]) -> list[Panel]:
    """Return a panel for each method: the same share of zeros lies elsewhere in each."""
    masks: list[Measurement] = []
    channels: list[Measurement] = []
    both: list[Measurement] = []
    for m in timed:
        if is_structural(m):
            (both if is_masked(m) else channels).append(m)
        elif is_masked(m):
            masks.append(m)
    return [
        *_by_method("Weights set to zero", "weights that are zero, %", masks),
        *_by_method("Channels removed", "weights removed, %", channels),
        *_by_method("Channels removed, then weights set to zero", "weights removed or zero, %", both),
    ]


def _by_method(title: str, label: str, cells: Iterable[Measurement]) -> list[Panel]:
    groups: dict[str, list[Measurement]] = {}
    for m in cells:
        groups.setdefault(f"{wording.schedule_mark(m.schedule)}{m.method}", []).append(m)
    if len(groups) == 1:
        return [(title, label, group) for group in groups.values()]
    return [(f"{title}:\n{method}", label, group) for method, group in groups.items()]


def _points(series: Sequence[Measurement]) -> list[Point]:
    """Return the points of a series: of several seeds the geometric mean, with a bar that spans their intervals."""
    points = []
    for x, group in by_removed(series).items():
        found = [speedup for m in group if (speedup := drawn_speedup(m))]
        middle = math.exp(sum(math.log(one.estimate) for one in found) / len(found))
        low, high = min(one.low for one in found), max(one.high for one in found)
        points.append((x, middle, max(0.0, middle - low), max(0.0, high - middle)))
    return points
