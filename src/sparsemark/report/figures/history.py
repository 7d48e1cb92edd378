"""Figure of the speedups of every series over its runs, with the levels between change points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.report.harmless import harmless_series
from sparsemark.report.style import FORMATS, GREY, caption, new_figure, save, tidy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.analysis.change_points import Series

MOST_PANELS = 24
"""More would be too small to be read, or too many pixels."""

_COLUMNS = 3
_TICKS = 5
"""Labels of commits under a panel, at most."""

_SHORT_COMMIT = 7
_LONGEST_TITLE = 48
"""Characters above a panel."""

_LEAST_SPAN = 1.1
"""Ratio between the ends of the vertical axis, at least: noise must not look like mountains."""

_COLOUR, _CHANGE_COLOUR = "#0072B2", "#D55E00"


def check_figure_name(path: Path) -> None:
    """Refuse a name that does not say in which format to draw.

    Raises:
        UserError: the name ends otherwise.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--figure {path}: expected a name that ends in {' or '.join(FORMATS)}")


def draw_history(series: Sequence[Series], path: Path) -> None:
    """Draw a panel for each series; where there are more than `MOST_PANELS`, those that changed most.

    Args:
        series: at least one.
        path: of the file, in the format that it names.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    series = harmless_series(series)
    most = sorted(series, key=_largest_change, reverse=True)[:MOST_PANELS]
    shown = [one for one in series if one in most]
    figure = history_figure(shown)
    lines = ["bars: 95 %, within the run", "line: level between changes"]
    if any(one.changes is None for one in series):
        lines[1] = "changes of level not looked for, since ruptures is not installed"
    if len(shown) < len(series):
        lines.append(f"{len(series) - len(shown)} series that changed less are left out")
    machines = dict.fromkeys(f"{one.machine} ({one.machine_key[:4]})" for one in shown)
    caption(figure, "; ".join([*lines, *machines]))
    save(figure, path)


def history_figure(series: Sequence[Series]) -> Figure:
    """Return the figure, without its caption."""
    columns = min(_COLUMNS, len(series))
    rows = -(-len(series) // columns)
    figure = new_figure(0.6 + 3.8 * columns, 0.6 + 2.4 * rows, "Speedup over the reference, run by run")
    grid = figure.subplots(rows, columns, squeeze=False)
    several = len({one.machine_key for one in series}) > 1
    for axes, one in zip(grid.flat, series, strict=False):
        _draw_panel(axes, one)
        title = f"{one.cell} ({one.machine_key[:4]})" if several else one.cell
        axes.set_title(title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…", fontsize=9)
    for axes in grid.flat[len(series) :]:
        axes.set_visible(False)
    return figure


def _draw_panel(axes: Axes, one: Series) -> None:
    places, speedups = range(len(one.points)), one.speedups
    below = [max(0.0, p.speedup - p.speedup_low) if p.speedup_low is not None else 0.0 for p in one.points]
    above = [max(0.0, p.speedup_high - p.speedup) if p.speedup_high is not None else 0.0 for p in one.points]
    axes.errorbar(places, speedups, yerr=(below, above), fmt="o", color=_COLOUR, markersize=4, elinewidth=1, zorder=3)
    for start, end, level in one.levels:
        axes.plot([start - 0.4, end - 0.6], [level, level], color=GREY, linewidth=1.4, zorder=2)
    for change in one.changes or ():
        axes.axvline(change.index - 0.5, color=_CHANGE_COLOUR, linestyle="--", linewidth=1.2, zorder=1)
    middle = math.sqrt(min(speedups) * max(speedups))
    low, high = min(*speedups, middle / math.sqrt(_LEAST_SPAN)), max(*speedups, middle * math.sqrt(_LEAST_SPAN))
    axes.set_ylim(low - 0.15 * (high - low), high + 0.15 * (high - low))
    step = -(-len(speedups) // _TICKS)
    ticks = list(places)[::step]
    labels = [(one.points[i].commit or f"{one.points[i].time:%m-%d}")[:_SHORT_COMMIT] for i in ticks]
    axes.set_xticks(ticks, labels, fontsize=7)
    axes.tick_params(axis="y", labelsize=8)
    tidy(axes)


def _largest_change(one: Series) -> float:
    steps = [abs(math.log(change.ratio)) for change in one.changes or ()]
    return max([*steps, abs(math.log(one.speedups[-1] / one.speedups[0]))])
