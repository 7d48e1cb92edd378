"""Figure of latency against what was removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.cells import is_control, is_masked, is_reference, is_structural
from sparsemark.analysis.statistics import percentile_floor
from sparsemark.report import wording
from sparsemark.report.figures.series import (
    REFERENCE_DASHES,
    by_removed,
    by_way,
    draw_series,
    on_fewest_threads,
    precision_of,
)
from sparsemark.report.style import GREY, engine_looks, legend, new_figure, scale_milliseconds, tidy
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.figure import Figure

    from sparsemark.records.measurement import Measurement
    from sparsemark.report.figures.series import Point
    from sparsemark.report.wording import Notes

    Panel = tuple[str, str, list[Measurement]]  # title, label of what was removed, cells

BARS = "10th to 90th percentile of the calls"


def latency_against_sparsity(cells: Iterable[Measurement], notes: Notes) -> Figure | None:
    """Draw the median latency of every engine against what was removed, masks and channels side by side.

    Args:
        cells: of one network.
        notes: what the run says of its engines.

    Returns:
        None where nothing that was pruned was timed.
    """
    timed = on_fewest_threads(m for m in cells if m.p50_ms is not None and not is_control(m))
    panels = _panels(timed)
    if not panels:
        return None
    figure = new_figure(2.0 + 4.2 * len(panels), 4.4, f"{timed[0].model}: does pruning make one image faster?")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    looks = engine_looks((m.engine for m in timed), notes)
    for axes, (title, label, pruned) in zip(grid, panels, strict=True):
        for engine, look in looks.items():
            for way, group in by_way(m for m in pruned if m.engine == engine).items():
                own = [m for m in timed if (m.engine, precision_of(m)) == (engine, way.precision)]
                points = _points([*(m for m in own if m.method == DENSE), *group])
                draw_series(axes, points, look, way.label(notes), way)
        for reference in [m for m in timed if is_reference(m)][:1]:
            text = f"dense {wording.engine_name(reference.engine, notes)}"
            height = reference.p50_ms or 0.0
            axes.axhline(height, color=GREY, linewidth=1.2, linestyle=REFERENCE_DASHES, label=text, zorder=1)
        axes.set(title=title, xlabel=label, xlim=(-3, 100))
        tidy(axes)
    grid[0].set_ylabel("median time of one image, ms (lower is better)")
    scale_milliseconds(grid[0], "y", [m.p50_ms for m in timed if m.p50_ms])
    legend(figure, grid)
    return figure


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
    return [(f"{title}: {method}", label, group) for method, group in groups.items()]


def _points(series: Sequence[Measurement]) -> list[Point]:
    points = []
    for x, group in by_removed(series).items():
        middle = float(np.median([m.p50_ms for m in group if m.p50_ms is not None]))
        calls = [1e3 * sample for m in group for sample in m.samples_s]
        low, high = np.percentile(calls, [10, 90]) if len(calls) >= percentile_floor(90) else (middle, middle)
        points.append((x, middle, max(0.0, middle - float(low)), max(0.0, float(high) - middle)))
    return points
