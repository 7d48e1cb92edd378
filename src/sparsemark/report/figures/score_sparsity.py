"""Figure of the score against what was removed: the pruned network, recalibrated, fine-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.cells import is_masked, is_structural, removed
from sparsemark.engines.base import Look
from sparsemark.report import wording
from sparsemark.report.figures.series import REFERENCE_DASHES, draw_series, precision_of, score_interval
from sparsemark.report.scores import Scoring
from sparsemark.report.style import GREY, legend, new_figure, tidy
from sparsemark.specs import ALL_ONES, DENSE, FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.records.measurement import Measurement
    from sparsemark.report.figures.series import Point
    from sparsemark.report.scores import Scale

    Draw = tuple[int | None, int | None]  # seed and fold

BARS = "lowest to highest seed, or 95 % where there is one"

_PANELS_IN_A_ROW = 3

_STEPS = {
    "raw": ("pruned, nothing else", Look("#D55E00", "s", ":")),
    "recalibrated": ("BatchNorm recalibrated", Look("#E69F00", "^", "--")),
    "value": ("fine-tuned", Look("#0072B2", "o", "-")),
}
"""Values of a score in the order in which they arose, with their names and looks."""


def score_against_sparsity(cells: Iterable[Measurement]) -> Figure | None:
    """Draw the headline metric of every method against what was removed: raw, recalibrated and fine-tuned.

    A panel shows the seeds that all its points have, so that points and the dense line are means over the same ones.

    Args:
        cells: of one network; a variant that was timed on several engines counts once.

    Returns:
        None where no pruned variant has a score.
    """
    cells = list(cells)
    scoring = Scoring.of(cells)
    scored = [m for m in cells if scoring.score(m)]
    variants = {(wording.pruned(m), precision_of(m), *_draw_of(m)): m for m in scored}.values()
    panels: dict[str, list[Measurement]] = {}
    for m in variants:
        if m.method not in (None, DENSE, ALL_ONES):
            panels.setdefault(wording.kind(m) + wording.precision_mark(m.precision), []).append(m)
    if not panels:
        return None
    scale = scoring.scale(cells[0].model)
    columns = min(_PANELS_IN_A_ROW, len(panels))
    rows = -(-len(panels) // columns)
    title = f"{cells[0].model}: what does pruning cost in {scale.metric}?"
    figure = new_figure(2.2 + 3.3 * columns, 0.8 + 3.1 * rows, title)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (name, panel) in zip(grid.flat, panels.items(), strict=False):
        draws = _shared_draws(panel)
        dense = [m for m in variants if m.method == DENSE and _draw_of(m) in draws]
        _draw_panel(axes, [m for m in panel if _draw_of(m) in draws], dense, scale)
        axes.set(title=f"{name}, {_in_words(draws)}".rstrip(", "), xlabel=_removed_what(panel[0]), xlim=(0, 100))
        tidy(axes)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    label = scale.axis(wording.caveat(m.data) for m in variants)
    for axes in grid[:, 0]:
        axes.set_ylabel(label if scale.higher_is_better else f"{label} ({scale.direction})")
    legend(figure, grid.flat)
    return figure


def _draw_panel(axes: Axes, series: Sequence[Measurement], dense: Sequence[Measurement], scale: Scale) -> None:
    for part, (step, look) in _STEPS.items():
        draw_series(axes, _points(series, part, scale), look, step)
    # A quantised dense network has lost already what quantising costs.
    trained = [m for m in dense if precision_of(m) == FP32] or dense
    if trained:
        height = float(np.mean([scale.factor * m.scores[scale.metric].value for m in trained]))
        axes.axhline(height, color=GREY, linewidth=1.2, linestyle=REFERENCE_DASHES, label="dense", zorder=1)


def _removed_what(m: Measurement) -> str:
    if is_structural(m):
        return "weights removed or zero, %" if is_masked(m) else "weights removed, %"
    return "weights that are zero, %"


def _points(series: Iterable[Measurement], part: str, scale: Scale) -> list[Point]:
    points = []
    known = [m for m in series if getattr(m.scores[scale.metric], part) is not None and removed(m) is not None]
    for group in sorted(_by_target(known), key=_mean_removed):
        values = [scale.factor * getattr(m.scores[scale.metric], part) for m in group]
        middle = float(np.mean(values))
        low, high = min(values), max(values)
        if len(group) == 1 and part == "value":
            low, high = score_interval(group[0].scores[scale.metric], scale)
        points.append((_mean_removed(group), middle, max(0.0, middle - low), max(0.0, high - middle)))
    return points


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
        f"{name}{'s' if len(known) > 1 else ''} {', '.join(map(str, known))}"
        for name, known in (("seed", seeds), ("fold", folds))
        if known
    )
