"""The figures: latency against sparsity, accuracy against sparsity, and accuracy against latency."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.cells import ALL_ONES, is_control, is_masked, is_reference, is_structural, models, removed
from sparsemark.analysis.statistics import percentile_floor
from sparsemark.files import replacing
from sparsemark.report import wording
from sparsemark.report.document import conditions
from sparsemark.report.style import (
    GREY,
    Look,
    accuracy_label,
    caption,
    engine_looks,
    legend,
    new_figure,
    scale_milliseconds,
    tidy,
)
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

    Point = tuple[float, float, float, float]  # x, y, and how far the bar reaches down and up

_DPI = 110  # files stay well under 300 kB and print at the width of a page
_PANELS_IN_A_ROW = 3
_ROOM_FOR_NAMES = 9
_FACES = {"dense": "0.8", "weights set to zero": "none", "channels removed": ""}
"""Fill of a marker by what was pruned; empty is the engine's own colour."""

_STEPS = (
    ("accuracy_raw", "pruned, nothing else", Look("#D55E00", "s", ":")),
    ("accuracy_recalibrated", "BatchNorm recalibrated", Look("#E69F00", "^", "--")),
    ("accuracy", "fine-tuned", Look("#0072B2", "o", "-")),
)


def draw_figures(run: Run, folder: Path, evaluated: Iterable[Measurement] = ()) -> list[Path]:
    """Draw what there are numbers for, one PNG for each network and question, and name the files.

    Args:
        run: what was measured.
        folder: made if it is not there.
        evaluated: variants with an accuracy that were not timed, such as further seeds.

    Raises:
        UserError: matplotlib is not installed, or the folder cannot be written.
    """
    everything = [*run.measurements, *evaluated]
    files = []
    for model in models(everything):
        own = [m for m in everything if m.model == model]
        for name, figure, bars in (
            ("latency-sparsity", latency_against_sparsity(own), "10th to 90th percentile of the calls"),
            ("accuracy-sparsity", accuracy_against_sparsity(own), "lowest to highest seed, or 95 % where there is one"),
            ("accuracy-latency", accuracy_against_latency(own), "95 % of the accuracy, on the front only"),
        ):
            if figure is None:
                continue
            caption(figure, [f"bars: {bars}", *conditions(run, own)])
            path = folder / f"{name}-{re.sub(r'[^A-Za-z0-9_.]', '_', model or 'network')}.png"
            with replacing(path) as target:
                figure.savefig(target, dpi=_DPI, format="png", facecolor="white")
            files.append(path)
    return files


def latency_against_sparsity(cells: Sequence[Measurement]) -> Figure | None:
    """Draw the median latency of every engine against what was removed, masks and channels side by side.

    Args:
        cells: of one network.

    Returns:
        None where nothing that was pruned was timed.
    """
    timed = [m for m in cells if m.p50_ms is not None and not is_control(m)]
    panels = [
        panel
        for panel in (
            *((title, "weights that are zero, %", own) for title, own in _masked_panels(timed)),
            ("Channels removed", "weights removed, %", [m for m in timed if is_structural(m)]),
        )
        if panel[2]
    ]
    if not panels:
        return None
    figure = new_figure(2.0 + 4.2 * len(panels), 4.4, f"{cells[0].model}: does pruning make one image faster?")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    looks = engine_looks(m.engine for m in timed)
    for axes, (title, label, pruned) in zip(grid, panels, strict=True):
        engines = {m.engine for m in pruned}
        for engine, look in looks.items():
            if engine in engines:
                own = [m for m in timed if m.engine == engine]
                dense = [m for m in own if m.method == DENSE]
                for multiple, group in _by_multiple(m for m in own if m in pruned).items():
                    name = wording.engine_name(engine) + wording.multiple_of(multiple)
                    _draw_series(axes, _latency_points([*dense, *group]), look, name, hollow=multiple > 1)
        for reference in [m for m in timed if is_reference(m)][:1]:
            text = f"dense {wording.engine_name(reference.engine)}"
            axes.axhline(
                reference.p50_ms or 0.0, color=GREY, linewidth=1.2, linestyle=(0, (1, 2)), label=text, zorder=1
            )
        axes.set(title=title, xlabel=label, xlim=(-3, 100))
        tidy(axes)
    grid[0].set_ylabel("median time of one image, ms (lower is better)")
    scale_milliseconds(grid[0], "y", [m.p50_ms for m in timed if m.p50_ms])
    legend(figure, grid)
    return figure


def _masked_panels(timed: Sequence[Measurement]) -> list[tuple[str, list[Measurement]]]:
    """Masks: a panel for each method, since the same share of zeros lies elsewhere in each."""
    masked = [m for m in timed if is_masked(m)]
    methods = list(dict.fromkeys(m.method for m in masked))
    if len(methods) <= 1:
        return [("Weights set to zero", masked)]
    return [(f"Weights set to zero: {method}", [m for m in masked if m.method == method]) for method in methods]


def _latency_points(series: Sequence[Measurement]) -> list[Point]:
    points = []
    for x, group in _by_removed(series).items():
        middle = float(np.median([m.p50_ms for m in group if m.p50_ms is not None]))
        calls = [1e3 * sample for m in group for sample in m.samples_s]
        low, high = np.percentile(calls, [10, 90]) if len(calls) >= percentile_floor(90) else (middle, middle)
        points.append((x, middle, max(0.0, middle - float(low)), max(0.0, float(high) - middle)))
    return points


def accuracy_against_sparsity(cells: Sequence[Measurement]) -> Figure | None:
    """Draw the accuracy of every method against what was removed: raw, recalibrated and fine-tuned.

    A panel shows the seeds that all its points have, so that points and the dense line are means over the same ones.

    Args:
        cells: of one network; a variant that was timed on several engines counts once.

    Returns:
        None where no pruned variant has an accuracy.
    """
    variants = {(m.method, m.sparsity_target, m.round_to, m.seed): m for m in cells if m.accuracy is not None}.values()
    panels: dict[str, list[Measurement]] = {}
    for m in variants:
        if m.method not in (None, DENSE, ALL_ONES):
            panels.setdefault(f"{m.method}{wording.multiple_of(_multiple(m))}", []).append(m)
    if not panels:
        return None
    columns = min(_PANELS_IN_A_ROW, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(2.2 + 3.3 * columns, 0.8 + 3.1 * rows, f"{cells[0].model}: what does pruning cost in accuracy?")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    label = accuracy_label(m.accuracy_source for m in variants)
    for axes, (name, panel) in zip(grid.flat, panels.items(), strict=False):
        seeds = _shared_seeds(panel)
        series = [m for m in panel if m.seed in seeds]
        dense = [100 * m.accuracy for m in variants if m.method == DENSE and m.seed in seeds and m.accuracy is not None]
        for field, step, look in _STEPS:
            _draw_series(axes, _accuracy_points(series, field), look, step)
        if dense:
            axes.axhline(np.mean(dense), color=GREY, linewidth=1.2, linestyle=(0, (1, 2)), label="dense", zorder=1)
        removed_what = "weights removed, %" if is_structural(series[0]) else "weights that are zero, %"
        axes.set(title=f"{name}, {_seeds_text(seeds)}".rstrip(", "), xlabel=removed_what, xlim=(0, 100))
        tidy(axes)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(label)
    legend(figure, grid.flat)
    return figure


def _accuracy_points(series: Sequence[Measurement], field: str) -> list[Point]:
    points = []
    groups = _by_target([m for m in series if getattr(m, field) is not None and removed(m) is not None])
    for group in sorted(groups, key=_mean_removed):
        x = _mean_removed(group)
        values = [100 * getattr(m, field) for m in group]
        middle = float(np.mean(values))
        low, high = min(values), max(values)
        if len(group) == 1 and field == "accuracy":
            low, high = _accuracy_interval(group[0])
        points.append((x, middle, max(0.0, middle - low), max(0.0, high - middle)))
    return points


def _by_target(series: Iterable[Measurement]) -> list[list[Measurement]]:
    """Group the seeds of what was asked for; what was removed then may round to different percents."""
    groups: dict[float | None, list[Measurement]] = {}
    for m in series:
        groups.setdefault(removed(m) if m.sparsity_target is None else m.sparsity_target, []).append(m)
    return list(groups.values())


def _mean_removed(group: Sequence[Measurement]) -> float:
    return 100 * float(np.mean([removed(m) or 0.0 for m in group]))


def _shared_seeds(panel: Sequence[Measurement]) -> set[int | None]:
    """Find the seeds that every point has; all seeds where there is none such."""
    shared = set.intersection(*({m.seed for m in group} for group in _by_target(panel)))
    return shared or {m.seed for m in panel}


def _seeds_text(seeds: Iterable[int | None]) -> str:
    known = sorted(seed for seed in seeds if seed is not None)
    return f"seed{'s' if len(known) > 1 else ''} {', '.join(map(str, known))}" if known else ""


def _accuracy_interval(m: Measurement) -> tuple[float, float]:
    known = m.accuracy or 0.0
    low = known if m.accuracy_low is None else m.accuracy_low
    high = known if m.accuracy_high is None else m.accuracy_high
    return 100 * low, 100 * high


def accuracy_against_latency(cells: Sequence[Measurement]) -> Figure | None:
    """Draw every timed cell by its latency and accuracy, and the front: nothing is both faster and more accurate.

    Args:
        cells: of one network.

    Returns:
        None where fewer than two cells have both.
    """
    both = [m for m in cells if m.p50_ms is not None and m.accuracy is not None and not is_control(m)]
    if len(both) < 2:  # noqa: PLR2004 - one point has nothing to be compared with
        return None
    figure = new_figure(8.6, 5.0, f"{cells[0].model}: what is worth running?")
    axes = figure.subplots()
    for engine, look in engine_looks(m.engine for m in both).items():
        axes.scatter([], [], marker=look.marker, color=look.colour, label=wording.engine_name(engine))
        for kind, face in _FACES.items():
            chosen = [m for m in both if m.engine == engine and _kind(m) == kind]
            x, y = [m.p50_ms or 0.0 for m in chosen], [100 * (m.accuracy or 0.0) for m in chosen]
            fill = face or look.colour
            axes.scatter(
                x, y, s=56, marker=look.marker, facecolors=fill, edgecolors=look.colour, linewidths=1.4, zorder=3
            )
    for kind, face in _FACES.items():
        axes.scatter([], [], marker="o", facecolors=face or GREY, edgecolors=GREY, label=kind)
    scale_milliseconds(axes, "x", [m.p50_ms for m in both if m.p50_ms])
    _draw_front(axes, _front(both))
    label = accuracy_label(m.accuracy_source for m in both)
    axes.set(xlabel="median time of one image, ms (lower is better)", ylabel=f"{label} (higher is better)")
    tidy(axes)
    legend(figure, [axes])
    return figure


def _kind(m: Measurement) -> str:
    return "dense" if m.method == DENSE else "channels removed" if is_structural(m) else "weights set to zero"


def _front(cells: Sequence[Measurement]) -> list[Measurement]:
    """Keep the cells that no faster one equals in accuracy, fastest first."""
    front: list[Measurement] = []
    for m in sorted(cells, key=lambda m: (m.p50_ms or 0.0, -(m.accuracy or 0.0))):
        if not front or (m.accuracy or 0.0) > (front[-1].accuracy or 0.0):
            front.append(m)
    return front


def _draw_front(axes: Axes, front: Sequence[Measurement]) -> None:
    x = [m.p50_ms or 0.0 for m in front]
    y = [100 * (m.accuracy or 0.0) for m in front]
    axes.plot(
        x, y, drawstyle="steps-post", color=GREY, linewidth=1.2, label="nothing is both faster and better", zorder=2
    )
    # Above and to the left of the front there is no point, so there is room for names.
    axes.set_xlim(left=x[0] / _ROOM_FOR_NAMES if axes.get_xscale() == "log" else None)
    for m, at, height in zip(front, x, y, strict=True):
        low, high = _accuracy_interval(m)
        bars = [[max(0.0, height - low)], [max(0.0, high - height)]]
        axes.errorbar(at, height, yerr=bars, color="0.8", linewidth=1, capsize=3, zorder=1)
        text = f"{wording.pruned(m)}, {wording.engine_name(m.engine)} "
        axes.annotate(text, (at, height), (-5, 3), textcoords="offset points", ha="right", va="bottom", fontsize=8)


def _multiple(m: Measurement) -> int:
    """Give the number that channel counts are a multiple of, 1 where they are not rounded."""
    return (m.round_to or 1) if is_structural(m) else 1


def _by_multiple(series: Iterable[Measurement]) -> dict[int, list[Measurement]]:
    """Tell channels in multiples of sixteen, say, from plain ones: other networks, not other seeds of one."""
    groups: dict[int, list[Measurement]] = {}
    for m in series:
        groups.setdefault(_multiple(m), []).append(m)
    return dict(sorted(groups.items()))


def _by_removed(series: Sequence[Measurement]) -> dict[float, list[Measurement]]:
    """Group cells by what was removed, in whole percent, ascending: seeds of one target differ by less than one."""
    groups: dict[float, list[Measurement]] = {}
    for m in series:
        share = removed(m)
        if share is not None:
            groups.setdefault(float(round(100 * share)), []).append(m)
    return dict(sorted(groups.items()))


def _draw_series(axes: Axes, points: Sequence[Point], look: Look, label: str, *, hollow: bool = False) -> None:
    if not points:
        return
    x, y, below, above = zip(*points, strict=True)
    axes.errorbar(
        x,
        y,
        yerr=(below, above),
        label=label,
        color=look.colour,
        marker=look.marker,
        markerfacecolor="white" if hollow else look.colour,
        linestyle=look.dashes,
        markersize=6,
        linewidth=1.6,
        capsize=3,
        elinewidth=1,
    )
