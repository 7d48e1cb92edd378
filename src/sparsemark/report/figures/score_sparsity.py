"""Figure of the score against what was removed: the pruned network, recalibrated, fine-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.cells import MAJORITY, is_control, is_masked, is_structural, removed
from sparsemark.analysis.front import Bar, standings
from sparsemark.engines.base import Look
from sparsemark.report import wording
from sparsemark.report.figures.series import draw_series, precision_of, score_interval
from sparsemark.report.scores import Scoring
from sparsemark.report.style import GREY, End, label_ends, new_figure, tidy
from sparsemark.specs import ALL_ONES, DENSE, FP32, RANDOM

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.analysis.front import Standing
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.figures.series import Point
    from sparsemark.report.scores import Scale

    Draw = tuple[int | None, int | None]  # seed and fold

BARS = "bars: lowest to highest seed, or 95 % where there is one"

_PANELS_IN_A_ROW = 3

_STEPS = {
    "raw": ("pruned, nothing else", Look("#D55E00", "s", ":")),
    "recalibrated": ("BatchNorm recalibrated", Look("#E69F00", "^", "--")),
    "value": ("fine-tuned", Look("#0072B2", "o", "-")),
}
"""Values of a score in the order in which they arose, with their names and looks."""

_DENSE, _CHANCE = Look(GREY, "o", ":"), Look("#882255", "", "-.")
_CONTROL = Look("#CC79A7", "X", "")


def score_against_sparsity(cells: Iterable[Measurement], baselines: Sequence[Measurement] = ()) -> Figure | None:
    """Draw the headline metric of every method against what was removed: raw, recalibrated and fine-tuned.

    A panel shows the seeds that all its points have, so that points and the dense network are means over the same ones;
    a random control is a mark in the panel of the method that it controls.

    Args:
        cells: of one network; a variant that was timed on several engines counts once.
        baselines: what predicts without a network, such as the most frequent class.

    Returns:
        None where no pruned variant has a score.
    """
    cells = list(cells)
    scoring = Scoring.of(cells)
    scored = [m for m in cells if scoring.score(m)]
    variants = {(wording.pruned(m), precision_of(m), *_draw_of(m)): m for m in scored}.values()
    panels = _panels(variants)
    if not panels:
        return None
    scale = scoring.scale(cells[0].model)
    chance = [m for m in baselines if m.model == MAJORITY and scale.metric in m.scores]
    columns = min(_PANELS_IN_A_ROW, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(0.8 + 4.1 * columns, 0.8 + 3.3 * rows, _title(variants, scale))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    ends: dict[Axes, list[End]] = {}
    for axes, (name, panel) in zip(grid.flat, panels.items(), strict=False):
        draws = _shared_draws([m for m in panel if not is_control(m)] or panel)
        shown, of_all, by_chance = ([m for m in of if _draw_of(m) in draws] for of in (panel, variants, chance))
        ends[axes] = _draw_panel(axes, shown, of_all, by_chance, scale)
        axes.set(title=f"{name}, {_in_words(draws)}".rstrip(", "), xlabel=_removed_what(panel[0]), xlim=(-3, 100))
        tidy(axes)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    label = scale.axis(wording.caveat(m.data) for m in variants)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"{label} ({scale.direction})")
    label_ends(figure, ends)
    return figure


def _title(variants: Collection[Measurement], scale: Scale) -> str:
    """Return the answer: the most that can be removed while the score stays within what may be lost."""
    groups: dict[str, list[Standing]] = {}
    for one in standings(variants, Bar()):
        if one.loss is not None and not is_control(one.measurement) and one.measurement.method not in (DENSE, ALL_ONES):
            groups.setdefault(wording.pruned(one.measurement), []).append(one)
    kept = [
        (_mean_removed([one.measurement for one in group]), name, loss)
        for name, group in groups.items()
        if (loss := _mean(one.loss for one in group)) <= _mean(one.allowed for one in group)
    ]
    model = next(iter(variants)).model
    if not groups:
        return f"{model}: what does pruning cost in {scale.metric}?"
    if not kept:
        return f"{model}: nothing pruned keeps the {scale.metric}"
    _, name, loss = max(kept)
    change = f"{scale.lost(loss)}{scale.points.replace(',', '')} against dense"
    return f"{model} keeps its {scale.metric} with {name} ({change})"


def _mean(values: Iterable[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


def _panels(variants: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Return the variants of each method and its random controls, which have a panel of their own without it."""
    panels: dict[str, list[Measurement]] = {}
    controls: dict[str, list[Measurement]] = {}
    for m in variants:
        if m.method not in (None, DENSE, ALL_ONES):
            kind = wording.kind(m) + wording.precision_mark(m.precision)
            (controls if is_control(m) else panels).setdefault(kind, []).append(m)
    for kind, of in controls.items():
        controlled = "magnitude" if kind == RANDOM else kind.removeprefix(f"{RANDOM}-")
        panels.setdefault(controlled if controlled in panels else kind, []).extend(of)
    return panels


def _draw_panel(
    axes: Axes,
    panel: Sequence[Measurement],
    variants: Sequence[Measurement],
    chance: Sequence[Measurement],
    scale: Scale,
) -> list[End]:
    # A quantised dense network has lost already what quantising costs.
    everything = [m for m in variants if m.method == DENSE]
    dense = [m for m in everything if precision_of(m) == FP32] or everything
    series, random = [m for m in panel if not is_control(m)], [m for m in panel if is_control(m)]
    drawn = [(step, look, _points(series, part, scale)) for part, (step, look) in _STEPS.items()]
    drawn += [("zeroed at random", _CONTROL, _points(random, "value", scale))]
    for name, look, points in drawn:
        draw_series(axes, points, look, name)
    ends = [End(points[-1][1], name, look.colour) for name, look, points in drawn if points]
    for name, look, group in (("dense", _DENSE, dense), ("most frequent class", _CHANCE, chance)):
        if group:
            height = _middle(group, scale)[0]
            axes.axhline(height, color=look.colour, linewidth=1.2, linestyle=look.dashes, label=name, zorder=1)
            ends.append(End(height, name, look.colour))
    if dense:
        draw_series(axes, [(0.0, *_middle(dense, scale))], _DENSE, "")
    return ends


def _removed_what(m: Measurement) -> str:
    if is_structural(m):
        return "weights removed or zero, %" if is_masked(m) else "weights removed, %"
    return "weights that are zero, %"


def _points(series: Iterable[Measurement], part: str, scale: Scale) -> list[Point]:
    known = [m for m in series if getattr(m.scores[scale.metric], part) is not None and removed(m) is not None]
    return [
        (_mean_removed(group), *_middle(group, scale, part)) for group in sorted(_by_target(known), key=_mean_removed)
    ]


def _middle(group: Sequence[Measurement], scale: Scale, part: str = "value") -> tuple[float, float, float]:
    """Return the mean of some seeds, and how far its bar reaches down and up."""
    values = [scale.factor * getattr(m.scores[scale.metric], part) for m in group]
    middle = float(np.mean(values))
    low, high = min(values), max(values)
    if len(group) == 1 and part == "value":
        low, high = score_interval(group[0].scores[scale.metric], scale)
    return middle, max(0.0, middle - low), max(0.0, high - middle)


def _by_target(series: Iterable[Measurement]) -> list[list[Measurement]]:
    """Group the seeds of what was asked for; what was removed then may round to different percents."""
    groups: dict[object, list[Measurement]] = {}
    for m in series:
        asked = removed(m) if m.pruning is None and m.sparsity_target is None else (m.pruning, m.sparsity_target)
        groups.setdefault(asked, []).append(m)
    return list(groups.values())


def _mean_removed(group: Sequence[Measurement]) -> float:
    return 100 * float(np.mean([removed(m) or 0.0 for m in group]))


def _draw_of(m: Measurement) -> Draw:
    return m.seed, m.fold


def _shared_draws(panel: Sequence[Measurement]) -> set[Draw]:
    """Return the seeds and folds that every point has; all of them where no point shares any."""
    shared = set.intersection(*({_draw_of(m) for m in group} for group in _by_target(panel)))
    return shared or {_draw_of(m) for m in panel}


def _in_words(draws: Iterable[Draw]) -> str:
    seeds, folds = (sorted({one for one in ones if one is not None}) for ones in zip(*draws, strict=True))
    return ", ".join(
        f"{name}{'s' if len(known) > 1 else ''} {_run_of(known)}"
        for name, known in (("seed", seeds), ("fold", folds))
        if known
    )


def _run_of(numbers: Sequence[int]) -> str:
    """Return `0, 2` or, where none is left out between, `0 to 4`."""
    first, last = numbers[0], numbers[-1]
    return f"{first} to {last}" if last - first == len(numbers) - 1 > 1 else ", ".join(map(str, numbers))
