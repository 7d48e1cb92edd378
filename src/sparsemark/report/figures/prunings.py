"""Dot plots of prunings that were each tried at one or two shares: a row for each, best first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import MAJORITY, is_control, is_reference, reference_engine
from sparsemark.engines.base import Look
from sparsemark.report import wording
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
from sparsemark.report.figures.score_sparsity import AT_RANDOM, CHANCE, CHANCE_COLOUR, CONTROL
from sparsemark.report.figures.series import (
    REFERENCE_DASHES,
    SPANNED,
    bar,
    drawn_speedup,
    left_of,
    on_fewest_threads,
    points_of,
    pruned_in,
)
from sparsemark.report.figures.titles import methods_title, speed_title
from sparsemark.report.scores import Scoring
from sparsemark.report.style import GREY, engine_looks, new_figure, scale_logarithmically, tidy
from sparsemark.specs import ALL_ONES, RANDOM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.figures.changes import Change
    from sparsemark.report.wording import Notes

SPEEDUP_BARS = f"{SPANNED}; rings: 1 / (share of weights left)"

_WIDTH, _ROW_INCHES, _REST_INCHES = 10.5, 0.27, 1.3

_CONTROL_BELOW = 0.3
"""Distance of a random control from its row."""

_ALIKE, _LOSING = Look("#0072B2", "o", ""), Look("#D55E00", "s", "")
"""Looks of prunings whose loss is not certain, and of those that lose by their whole interval."""


@dataclass(frozen=True)
class Row:
    """One pruning.

    Args:
        name: to the left.
        value: with its interval.
        words: the value, to the right.
        look: colour and marker.
        beside: value of its random control, or None.
    """

    name: str
    value: Interval
    words: str
    look: Look
    beside: Interval | None = None


def score_of_prunings(cells: Iterable[Measurement], baselines: Sequence[Measurement] = ()) -> Figure | None:
    """Draw what each pruning changed in the headline metric, its random control below it.

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
    shown = [one for one in changes if one.first.method != ALL_ONES]
    pruned = sorted((one for one in shown if not is_control(one.first)), key=lambda one: one.loss.estimate)
    if not pruned:
        return None
    controls = _controls(shown)
    rows = [
        Row(
            _name(one),
            one.value,
            change_in_words(one, scale, bare=True),
            _LOSING if one.surely_loses else _ALIKE,
            control.value if (control := controls.get(one.name)) else None,
        )
        for one in pruned
    ]
    figure = new_figure(_WIDTH, _REST_INCHES + _ROW_INCHES * len(rows), methods_title(shown, scale))
    axes = figure.subplots()
    _draw_rows(axes, rows)
    lines = [(0.0, dense_in_words(shown, scale), GREY, "left")]
    axes.axvline(0, color=GREY, linewidth=1.2, linestyle=REFERENCE_DASHES, zorder=1)
    if control := control_of(changes):
        axes.axvspan(control.value.low, control.value.high, color="0.88", linewidth=0, zorder=0)
        lines.append((min(0.0, control.value.high), CONTROL, "0.45", "right"))
    chance = chance_of(shown, [m for m in baselines if m.model == MAJORITY and scale.metric in m.scores], scale)
    if chance is not None and _is_near(chance, rows):
        axes.axvline(chance, color=CHANCE_COLOUR, linewidth=1.2, linestyle="-.", zorder=1)
        lines.append((chance, CHANCE, CHANCE_COLOUR, "left"))
    elif chance is not None:
        edge, arrow = (0, "\u2190") if chance < 0 else (1, "\u2192")
        words = f"{arrow} {CHANCE}: {scale.signed(chance / scale.factor)}"
        lines.append((axes.get_xlim()[edge], words, CHANCE_COLOUR, "right" if edge else "left"))
    _name_lines(axes, lines)
    axes.set_xlabel(axis_of(shown, scale))
    return figure


def _is_near(chance: float, rows: Iterable[Row]) -> bool:
    """Return whether an axis that reaches the chance level would not be empty for most of its width."""
    ends = [0.0, *(end for row in rows for one in (row.value, row.beside) if one for end in (one.low, one.high))]
    low, high = min(ends), max(ends)
    return 2 * low - high <= chance <= 2 * high - low


def score_bars(cells: Iterable[Measurement]) -> str:
    """Return what points and bars are, for the caption."""
    cells = list(cells)
    drawn = drawn_from(cells)
    shown = f"{BARS}; square: all of it is worse"
    if cells and _controls(changes_of(cells, Scoring.of(cells).scale(cells[0].model))):
        shown += "; cross: as many weights at random"
    return f"{shown}; points: {drawn}" if drawn else shown


def _controls(changes: Iterable[Change]) -> dict[str, Change]:
    """Return random controls by the name of the pruning that each has as many weights as."""
    changes = list(changes)
    names = {one.name for one in changes}
    found = {}
    for one in changes:
        if is_control(one.first):
            rest = one.name.removeprefix(RANDOM).removeprefix("-")
            of = [name for name in (rest, f"magnitude-{rest}", f"magnitude{rest}") if name in names]
            found.update(dict.fromkeys(of[:1], one))
    return found


def _name(one: Change) -> str:
    """Return what was pruned, and over how many seeds or folds it is a mean."""
    folds = len({m.fold for m in one.cells} - {None})
    count, of = (folds, "fold") if folds else (len(one.cells), "seed")
    return f"{one.name} ({count} {of}{'s' if count > 1 else ''})"


def speedup_of_prunings(cells: Iterable[Measurement], notes: Notes) -> Figure | None:
    """Draw the paired speedup of each network in each engine over the reference, the fastest first.

    Args:
        cells: of one network.
        notes: what the run says of its engines.

    Returns:
        None where nothing but the reference was timed.
    """
    cells = list(cells)
    timed = on_fewest_threads(m for m in points_of(cells) if not is_control(m) and drawn_speedup(m) is not None)
    if all(map(is_reference, timed)):
        return None
    looks = engine_looks((m.engine for m in timed), notes)
    found = []
    for m in timed:
        if not is_reference(m) and (value := drawn_speedup(m)):
            name = f"{pruned_in(m)}, {wording.runner(m, notes)}"
            found.append((Row(name, value, wording.ratio(value), looks[m.engine or ""]), m))
    found.sort(key=lambda pair: -pair[0].value.estimate)
    figure = new_figure(_WIDTH, _REST_INCHES + _ROW_INCHES * len(found), speed_title(cells, notes))
    axes = figure.subplots()
    _draw_rows(axes, [row for row, _ in found])
    for place, (_, m) in enumerate(found):
        if 0 < (left := left_of(m)) < 100:
            axes.plot(100 / left, place, marker="o", markersize=9, markerfacecolor="none", color="0.6", zorder=1)
    engine = wording.engine_name(reference_engine(timed[0]), notes)
    axes.axvline(1, color=GREY, linewidth=1.2, linestyle=REFERENCE_DASHES, zorder=1)
    reference = next((m for m in timed if is_reference(m)), None)
    ms = "" if reference is None else f", {wording.milliseconds(reference.p50_ms)} ms"
    _name_lines(axes, [(1.0, f"dense {engine}{ms}", GREY, "left")])
    axes.set_xlabel(f"times as fast as dense {engine}")
    scale_logarithmically(axes, "x")
    return figure


def _draw_rows(axes: Axes, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        _draw_dot(axes, row.value, place, row.look, 7)
        if row.beside is not None:
            _draw_dot(axes, row.beside, place + _CONTROL_BELOW, AT_RANDOM, 5)
        axes.text(1.01, place, row.words, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    tidy(axes)


def _draw_dot(axes: Axes, value: Interval, y: float, look: Look, size: int) -> None:
    reach = [[end] for end in bar(value)]
    axes.errorbar(
        value.estimate, y, xerr=reach, fmt=look.marker, color=look.colour, markersize=size, capsize=3, elinewidth=1.2
    )


def _name_lines(axes: Axes, lines: Iterable[tuple[float, str, str, str]]) -> None:
    """Write the name of each vertical line above it, to the `left` or `right` end of the text."""
    for x, name, colour, side in lines:
        apart = 3 if side == "left" else -3
        axes.annotate(
            name, (x, 1.0), (apart, 4), xycoords=("data", "axes fraction"), textcoords="offset points",
            color=colour, fontsize=8.5, ha=side, va="bottom", annotation_clip=False,
        )  # fmt: skip
