"""Figure of speedup against the weights left: the paper's Figure 10, in every engine."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import (
    is_control,
    is_masked,
    is_reference,
    is_structural,
    methods_of,
    reference_engine,
    removed,
)
from sparsemark.report import wording
from sparsemark.report.emphasis import best_first, coloured, in_colour
from sparsemark.report.figures.series import (
    REFERENCE_DASHES,
    SPANNED,
    by_way,
    draw_series,
    drawn_speedup,
    kept_of,
    left_of,
    on_fewest_threads,
    points_of,
    precision_of,
    scale_left,
)
from sparsemark.report.figures.titles import speed_title
from sparsemark.report.style import (
    GREY,
    End,
    emphasised,
    engine_looks,
    label_ends,
    new_figure,
    scale_logarithmically,
    tidy,
)
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.engines.base import Look
    from sparsemark.records.measurement import Measurement
    from sparsemark.report.figures.series import Point, Way
    from sparsemark.report.wording import Notes

    Panel = tuple[str, list[Measurement], str | None]  # title, cells, the method of zeros that the title names

BARS = SPANNED

_MOST_COLUMNS = 3
"""Panels beside each other: a page is no wider."""

_FEW_WAYS = 2
"""Series of a method of zeros up to which it has no panel of its own: it would be empty."""

_OTHERS = (("d", "-."), ("p", ":"), ("h", "--"), ("8", "-."))
"""Markers and dashes of series of one engine whose zeros lie elsewhere than the title says."""

_ROOM = 1.25
"""Factor by which the axis goes beyond the bars, on either side."""

_HALF = 50.0
"""Weights left, in percent, up to which a panel that begins there would be half empty if it began at all of them."""

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
    cells = list(cells)
    timed = on_fewest_threads(m for m in points_of(cells) if not is_control(m) and drawn_speedup(m) is not None)
    panels = _panels(timed)
    if not panels:
        return None
    rows = -(-len(panels) // _MOST_COLUMNS)
    columns = -(-len(panels) // rows)  # four are two by two
    figure = new_figure(2.6 + 4.4 * columns, 4.6 * rows, speed_title(cells, notes))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).reshape(-1)
    for axes in grid[len(panels) :]:
        axes.remove()
    looks = engine_looks((m.engine for m in timed), notes)
    shown = [one for m in timed if (one := drawn_speedup(m))]
    bottom = min(min(one.low for one in shown) / _ROOM, _LEAST[0])
    top = max(max(one.high for one in shown) * _ROOM, _LEAST[1])
    reference = wording.engine_name(reference_engine(timed[0]), notes)
    for axes in grid[::columns]:
        axes.set_ylabel(f"times as fast as dense {reference}")
    scale_logarithmically(grid[0], "y")
    grid[0].set_ylim(bottom, top)
    kept = kept_of(cells)
    ends = {}
    for axes, (title, pruned, told) in zip(grid, panels, strict=False):
        lines = _lines(by_way(pruned, told), timed, looks, notes)
        ends[axes] = _draw_lines(axes, lines, kept)
        ends[axes] += _draw_limits(axes, [m for m in timed if is_reference(m)], lines, notes)
        axes.set_title(title + coloured(_members(lines, kept)))
        tidy(axes)
    label_ends(figure, ends)
    return figure


@dataclass(frozen=True)
class Line:
    """One series of a panel: its name and look, its cells and their points, most weights left first."""

    name: str
    look: Look
    cells: Sequence[Measurement]
    points: Sequence[Point]

    @property
    def left(self) -> float:
        """Weights left at its end, in percent."""
        return self.points[-1][0]

    @property
    def last(self) -> float:
        """Speedup at its end."""
        return self.points[-1][1].estimate


def _least(lines: Mapping[Way, Line]) -> float:
    return min(line.left for line in lines.values())


def _most(lines: Mapping[Way, Line]) -> float:
    """Return the weights left where the axis begins: all, but for lines that begin far below."""
    first = max(line.points[0][0] for line in lines.values())
    return 100.0 if first > _HALF else first


def _lines(
    ways: Mapping[Way, Sequence[Measurement]], timed: Sequence[Measurement], looks: Mapping[str, Look], notes: Notes
) -> dict[Way, Line]:
    """Return the series of a panel, each from the dense network on it where that was run in the same way."""
    found = {}
    others = dict(zip(dict.fromkeys(way.zeros for way in ways if way.zeros), cycle(_OTHERS), strict=False))
    for engine, look in looks.items():
        for way, group in ((way, group) for way, group in ways.items() if way.engine == engine):
            own = [m for m in timed if (m.engine, precision_of(m)) == (engine, way.precision)]
            cells = [*([] if way.mix else [m for m in own if m.method == DENSE]), *group]
            if points := _points(cells):
                marker, dashes = others.get(way.zeros, (look.marker, look.dashes))
                found[way] = Line(way.label(notes), replace(look, marker=marker, dashes=dashes), cells, points)
    return found


def _members(lines: Mapping[Way, Line], kept: Container[str]) -> dict[Way, list[tuple[float, bool]]]:
    """Return the lower end of the speedup of each cell of the series, and whether it keeps its score."""
    return {
        way: [(speedup.low, m.name in kept) for m in line.cells if (speedup := drawn_speedup(m))]
        for way, line in lines.items()
    }


def _draw_lines(axes: Axes, lines: Mapping[Way, Line], kept: Container[str]) -> list[End]:
    """Draw the series of a panel, and return the name of each at its end.

    Args:
        axes: of the panel.
        lines: its series.
        kept: names of the cells that keep their score.
    """
    vivid = in_colour(best_first(_members(lines, kept)))
    drawn = emphasised({way: line.look for way, line in lines.items()}, vivid)
    for way, line in lines.items():
        draw_series(axes, line.points, drawn[way], line.name, way, is_rest=way not in vivid)
    scale_left(axes, _most(lines), _least(lines))
    are_apart = len({round(line.left) for line in lines.values()}) > 1
    return [
        End(
            line.last,
            f"{line.name}, {_times(line.last)}{f' at {line.left:.0f} % left' if are_apart else ''}",
            drawn[way].colour,
            line.left,
        )
        for way, line in lines.items()
    ]


def _draw_limits(
    axes: Axes, references: Sequence[Measurement], lines: Mapping[Way, Line], notes: Notes
) -> Iterator[End]:
    """Draw the dense reference, and what would be reached if time went as the weights that are left."""
    least = _least(lines)
    axes.axhline(1, color=GREY, linewidth=1.2, linestyle=REFERENCE_DASHES, zorder=1)
    axes.plot([100, least], [1, 100 / least], color="0.75", linewidth=1.2, linestyle="--", zorder=1)
    for m in references[:1]:
        yield End(1.0, f"dense {wording.engine_name(m.engine, notes)}, {wording.milliseconds(m.p50_ms)} ms", GREY)
    _, top = axes.get_ylim()
    if 100 / least <= top:
        yield End(100 / least, "1 / (share left)", "0.55", least)
    elif 100 / top <= _most(lines):  # it leaves the panel on its way up
        words = axes.annotate("1 / (share left)", (100 / top, top), (-18, -3), textcoords="offset points")
        words.set(horizontalalignment="right", verticalalignment="top", fontsize=8.5, color="0.55")


def _times(ratio: float) -> str:
    return f"{ratio:.{1 if ratio >= 10 else 2}f}x"


def _panels(timed: Iterable[Measurement]) -> list[Panel]:
    """Return a panel for each method of masks: the same share of zeros lies elsewhere in each; and one for channels.

    Methods of few series stand in the panel of another, by name. Channels that were removed before weights were set to
    zero are beside those removed alone, without a line.
    """
    masks: dict[str, list[Measurement]] = defaultdict(list)
    channels: dict[str, list[Measurement]] = defaultdict(list)
    for m in timed:
        if removed(m) is None or left_of(m) <= 0:
            continue  # no place on a logarithmic axis
        if is_structural(m):
            channels[wording.named(methods_of(m)[0], m.schedule) + wording.qat_mark(m.method)].append(m)
        elif is_masked(m):
            masks[wording.named(m.method, m.schedule)].append(m)
    is_mixed = any(is_masked(m) for of in channels.values() for m in of)
    title = "Channels removed\n(and weights set to zero)" if is_mixed else "Channels removed"
    return [*_of_masks(masks), *_of_channels(title, channels)]


def _of_masks(groups: Mapping[str, list[Measurement]]) -> list[Panel]:
    if len(groups) < 2:
        return [("Weights set to zero", group, None) for group in groups.values()]
    ways = {method: len(by_way(group)) for method, group in groups.items()}
    host = max(ways, key=lambda method: ways[method])
    guests = [method for method in groups if method != host and ways[method] <= _FEW_WAYS]
    panels: list[Panel] = []
    for method, group in groups.items():
        if method not in guests:
            beside = [m for guest in guests for m in groups[guest]] if method == host else []
            others = ", others as named" if beside else ""
            panels.append((f"Weights set to zero:\n{method}{others}", [*group, *beside], method))
    return panels


def _of_channels(title: str, groups: Mapping[str, list[Measurement]]) -> list[Panel]:
    if len(groups) == 1:
        return [(title, group, None) for group in groups.values()]
    return [(f"{title}:\n{method}", group, None) for method, group in groups.items()]


def _points(series: Sequence[Measurement]) -> list[Point]:
    """Return the points of a series, most weights left first."""
    found = [(left_of(m), speedup) for m in series if (speedup := drawn_speedup(m))]
    return sorted(found, key=lambda point: -point[0])
