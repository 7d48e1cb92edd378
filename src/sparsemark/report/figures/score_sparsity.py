"""Figure of the score against the weights left, fine-tuned and before: a line for each kind of pruning."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import MAJORITY, is_control, is_quantised
from sparsemark.analysis.statistics import Interval
from sparsemark.engines.base import Look
from sparsemark.report import wording
from sparsemark.report.conditions import epochs_of
from sparsemark.report.emphasis import best_first, coloured, in_colour
from sparsemark.report.figures.changes import (
    BARS,
    axis_of,
    chance_of,
    change_in_words,
    changes_of,
    control_of,
    dense_in_words,
    drawn_from,
)
from sparsemark.report.figures.series import REFERENCE_DASHES, Way, draw_series, precision_of, scale_left
from sparsemark.report.figures.titles import sweep_title
from sparsemark.report.scores import Scoring
from sparsemark.report.style import GREY, End, emphasised, kind_looks, label_ends, new_figure, tidy
from sparsemark.specs import ALL_ONES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.records.measurement import Measurement
    from sparsemark.report.figures.changes import Change
    from sparsemark.report.figures.series import Point
    from sparsemark.report.scores import Scale

CONTROL, CHANCE, RANDOM_NAME = "dense, fine-tuned as long", "most frequent class", "as many at random"
"""Names of the dense control, of the chance level, and of random controls."""

CHANCE_COLOUR = "#882255"
_FIRST_WIDER = 1.6
"""Width of the panel of fine-tuned networks, over that of the others: its bars stand beside each other."""

_APART, _AT_MOST = 0.045, 0.16
"""Distance of points that would cover each other, and of the first from the last, as parts of their place."""

AT_RANDOM = Look("#CC79A7", "X", "none")
"""Look of random controls."""


def score_against_sparsity(cells: Iterable[Measurement], baselines: Sequence[Measurement] = ()) -> Figure | None:
    """Draw what each pruning changed in the headline metric against the weights that it left.

    The first panel is of fine-tuned networks; the others, on an axis of their own, are of the same networks before.
    A line joins networks that differ in one share alone: of channels removed first and zeros after, those with the same
    channels. Random controls are marks without a line.

    Args:
        cells: of one network.
        baselines: what predicts without a network, such as the most frequent class.

    Returns:
        None where no pruned variant has a score and a dense network to be held against.
    """
    cells = list(cells)
    if not cells:
        return None
    scale = Scoring.of(cells).scale(cells[0].model)
    changes = changes_of(cells, scale)
    shown = [one for one in changes if one.first.method != ALL_ONES and one.left > 0]
    if not any(not is_control(one.first) for one in shown):
        return None
    panels = {title: points for title, points in _panels(shown).items() if points}
    figure = new_figure(3.4 + 4.0 * len(panels), 4.8, sweep_title(shown, scale))
    ratios = [_FIRST_WIDER, *(1.0 for _ in panels)][: len(panels)]
    (grid,) = figure.subplots(1, len(panels), squeeze=False, width_ratios=ratios)
    looks = kind_looks(_kind(one) for one in shown if not is_control(one.first))
    members = _members(shown)
    vivid = in_colour(best_first(members))
    looks = emphasised(looks, vivid)
    chance = chance_of(shown, [m for m in baselines if m.model == MAJORITY and scale.metric in m.scores], scale)
    ends: dict[Axes, list[End]] = {}
    for axes, (title, points) in zip(grid, panels.items(), strict=True):
        placed = _beside(points)
        ends[axes] = _draw_kinds(axes, placed, looks, vivid)
        if axes is grid[0]:
            ends[axes] += _draw_control(axes, control_of(changes))
            ends[axes] += _draw_random(axes, placed, scale)
        if chance is not None and (axes is not grid[0] or len(panels) == 1):
            axes.axhline(chance, color=CHANCE_COLOUR, linewidth=1.2, linestyle="-.", zorder=1)
            ends[axes].append(End(chance, CHANCE, CHANCE_COLOUR))
        axes.axhline(0, color=GREY, linewidth=1.2, linestyle=REFERENCE_DASHES, zorder=1)
        ends[axes].append(End(0.0, dense_in_words(shown, scale), GREY))
        axes.set_title(title + (coloured(members, "most removed") if axes is grid[0] else ""))
        scale_left(axes, max(one.left for one in shown), min(one.left for one in shown))
        tidy(axes)
    grid[0].set_ylabel(axis_of(shown, scale), fontsize=9)
    for axes in grid[2:]:
        axes.sharey(grid[1])
    label_ends(figure, ends)
    return figure


def bars(cells: Iterable[Measurement]) -> str:
    """Return what points and bars are, for the caption."""
    drawn = drawn_from(cells)
    shown = f"{BARS}; what would cover each other stands side by side"
    return f"{shown}; points: {drawn}" if drawn else shown


def _panels(shown: Sequence[Change]) -> Mapping[str, list[tuple[Change, Interval]]]:
    """Return the points of each panel, by its title; quantised networks were pruned before, as those in float32."""
    epochs = epochs_of(m for one in shown for m in one.cells)
    tuned = f"fine-tuned for {epochs}" if epochs else "fine-tuned"
    floats = [one for one in shown if not is_control(one.first) and not is_quantised(one.first)]
    before = {
        "before: BatchNorm recalibrated": [(one, one.recalibrated) for one in floats],
        "before: pruned, nothing else": [(one, one.raw) for one in floats],
    }
    return {
        "pruned" if epochs.startswith("0 epochs") else tuned: [(one, one.value) for one in shown],
        **{
            title: [(one, Interval(at, at, at)) for one, at in points if at is not None]
            for title, points in before.items()
        },
    }


def _kind(one: Change) -> str:
    return wording.kind(one.first) + wording.precision_mark(one.first.precision)


def _members(shown: Sequence[Change]) -> dict[str, list[tuple[float, bool]]]:
    """Return what ranks the kinds; the best is that from which most can be removed with the score kept."""
    members: dict[str, list[tuple[float, bool]]] = {}
    for one in shown:
        if not is_control(one.first):
            members.setdefault(_kind(one), []).append((100 - one.left, one.keeps))
    return members


def _beside(points: Sequence[tuple[Change, Interval]]) -> list[tuple[Change, Interval, float]]:
    """Add the place of each point: the weights left, side by side where several leave about as many."""
    rising = sorted(range(len(points)), key=lambda index: points[index][0].left)  # equal ones stay in their order
    groups: list[list[int]] = []
    for index in rising:
        if groups and points[index][0].left <= points[groups[-1][0]][0].left * (1 + _APART / 2):
            groups[-1].append(index)
        else:
            groups.append([index])
    places = [0.0] * len(points)
    for group in groups:
        step = min(_APART, _AT_MOST / max(1, len(group) - 1))
        middle = fmean(points[index][0].left for index in group)
        for place, index in enumerate(group):
            places[index] = middle * (1 + step * (place - (len(group) - 1) / 2))
    return [(one, value, at) for (one, value), at in zip(points, places, strict=True)]


def _draw_kinds(
    axes: Axes, points: Sequence[tuple[Change, Interval, float]], looks: Mapping[str, Look], vivid: Container[str]
) -> list[End]:
    """Draw all lines of each kind in one look, and return the name of each where most was removed."""
    ends = []
    mixed = len({any(m.fold is not None for m in one.cells) for one, _, _ in points if not is_control(one.first)}) > 1
    for kind, look in looks.items():
        lines: dict[tuple[str, str], list[Point]] = {}
        for one, value, at in points:
            if not is_control(one.first) and _kind(one) == kind:
                # Folds test other inputs than seeds do: no line joins them.
                folds = {m.fold for m in one.cells} - {None}
                others = f", {wording.numeral(len(folds))} folds" if mixed and folds else ""
                name = wording.swept(one.first) + wording.precision_mark(one.first.precision) + others
                lines.setdefault((name, precision_of(one.first)), []).append((at, value))
        for (name, precision), line in lines.items():
            line.sort(key=lambda point: -point[0])
            draw_series(axes, line, look, kind, Way(None, precision), is_rest=kind not in vivid)
            ends.append(_end(line, name, look.colour))
    return ends


def _draw_random(axes: Axes, placed: Sequence[tuple[Change, Interval, float]], scale: Scale) -> list[End]:
    """Draw random controls, and return their name; those far from all others are written at the edge instead.

    Chance often loses ten times as much: an axis that reached it would hide what tells the methods apart.
    """
    pruned = [end for one, value, _ in placed if not is_control(one.first) for end in (value.low, value.high)]
    low, high = min(0.0, *pruned), max(0.0, *pruned)
    span = high - low
    random = [(one, at) for one, _, at in placed if is_control(one.first)]
    near = [(at, one.value) for one, at in random if low - span <= one.value.low and one.value.high <= high + span]
    points = sorted(near, key=lambda point: -point[0])
    draw_series(axes, points, AT_RANDOM, RANDOM_NAME)
    ends = [_end(points, RANDOM_NAME, AT_RANDOM.colour)] if points else []
    far = min((one for one, at in random if (at, one.value) not in near), key=lambda one: one.left, default=None)
    if far is not None:
        edge, arrow = (0, "↓") if far.value.estimate < low else (1, "↑")
        name = f"{arrow} {far.name}: {change_in_words(far, scale, bare=True)}"
        ends.append(End(axes.get_ylim()[edge], name, AT_RANDOM.colour))
    return ends


def _end(points: Sequence[Point], name: str, colour: str) -> End:
    x, y = points[-1]
    return End(y.estimate, name, colour, x)


def _draw_control(axes: Axes, control: Change | None) -> list[End]:
    """Draw the interval of the dense network that was fine-tuned as long, as a band."""
    if control is None:
        return []
    axes.axhspan(control.value.low, control.value.high, color="0.88", linewidth=0, zorder=0)
    axes.axhline(control.value.estimate, color="0.6", linewidth=1.0, zorder=0)
    return [End(control.value.estimate, CONTROL, "0.45")]
