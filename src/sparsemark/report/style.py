"""Style that figures share: looks that survive grey printing, axes, legend and the conditions under the figure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING, TypeVar

from sparsemark.engines import ENGINES
from sparsemark.engines.base import Look
from sparsemark.errors import UserError
from sparsemark.files import replacing

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.records.engine_note import EngineNote

_Key = TypeVar("_Key")

GREY = "0.4"

REST = "0.45"
"""Grey of series that are not among the best of many: dark enough for letters."""

FORMATS = {".svg": "svg", ".png": "png"}
"""Formats of a figure by the end of its name; others are PNG."""

_DPI = 110  # files stay well under 300 kB and print at the width of a page

_MARGIN = 0.01  # of the width, left and right of title and caption
_POINTS_AN_INCH = 72
_BEFORE_PERCENT = "\N{NO-BREAK SPACE}%"
_DRAWN = 0.97  # letters on whole pixels are up to so much wider than their outlines

_TITLE_POINTS = 13
_TITLE_LINE_INCHES = 0.22

_CAPTION_POINTS = 7.5
_LINE_INCHES = 0.15  # height of a line of it
_LABEL_POINTS = 11.0  # height of a name beside a series
_LOG_FROM = 4.0  # a linear axis would press the faster engines together where they differ by more than this
_TICKS, _FEW_TICKS = (1.0, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 3.0, 5.0)

_SPARE = (
    Look("#332288", "<", "--"), Look("#882255", ">", "-."), Look("#44AA99", "h", ":"), Look("#117733", "p", "--"),
)  # fmt: skip
"""Looks of engines that bring none: colours by Paul Tol, apart from those of Okabe and Ito."""

_KINDS = (
    Look("#0072B2", "o", "-"), Look("#D55E00", "s", "--"), Look("#009E73", "^", "-."), Look("#332288", "D", ":"),
    Look("#56B4E9", "v", "--"), Look("#E69F00", "P", "-."), Look("#999933", "<", ":"), Look("#8C6D31", ">", "-"),
    Look("#44AA99", "h", "--"), Look("#AA4499", "d", "-."),
)  # fmt: skip
"""Looks of kinds of pruning, of the same two palettes; markers tell them apart in grey."""

_FREQUENT = ("magnitude", "channels", "block4")
"""Kinds of pruning with a look of their own, the first of `_KINDS`."""


@dataclass(frozen=True)
class End:
    """Where a series ends, and its name there.

    Args:
        y: height, in the unit of the axis.
        text: the name.
        colour: of the name.
        x: place of the last point, in the unit of the axis; None for a line across the panel.
    """

    y: float
    text: str
    colour: str
    x: float | None = None


def engine_looks(engines: Iterable[str | None], notes: Mapping[str, EngineNote]) -> dict[str, Look]:
    """Return the look of each engine, ours in the order of the registry, then others; those without share spare looks.

    Args:
        engines: names, None for cells without an engine.
        notes: what the run says of its engines. Spare looks go by all of them, so that an engine has the same one in
            every figure of a run.
    """
    named = list(dict.fromkeys(engine for engine in engines if engine))
    known = {engine: _own_look(engine, notes) for engine in sorted({*named, *notes})}
    spare = cycle(_SPARE)
    looks = {engine: look or next(spare) for engine, look in known.items()}
    ordered = [*(engine for engine in ENGINES if engine in named), *(one for one in named if one not in ENGINES)]
    return {engine: looks[engine] for engine in ordered}


def emphasised(looks: Mapping[_Key, Look], vivid: Container[_Key]) -> dict[_Key, Look]:
    """Return the looks of series, grey where one does not stand in colour: markers and dashes stay."""
    return {key: look if key in vivid else replace(look, colour=REST) for key, look in looks.items()}


def _own_look(engine: str, notes: Mapping[str, EngineNote]) -> Look | None:
    """Return the look of an engine: ours as they are today, whatever a run noted when it was made."""
    if engine in ENGINES and ENGINES[engine].look is not None:
        return ENGINES[engine].look
    note = notes.get(engine)
    if note is None or note.colour is None or note.marker is None or note.dashes is None:
        return None
    look = Look(note.colour, note.marker, note.dashes)
    return look if _can_be_drawn(look) else None


def _can_be_drawn(look: Look) -> bool:
    """Check a look that another package brought: a misprint in it must not cost the figures of a whole run."""
    from matplotlib.colors import is_color_like
    from matplotlib.lines import Line2D

    return look.marker in Line2D.markers and look.dashes in Line2D.lineStyles and is_color_like(look.colour)


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure, its size in inches.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("figures: matplotlib is not installed, expected: pip install 'sparsemark[plots]'") from error
    # Figure in place of pyplot: nothing global is opened that somebody would have to close.
    lines = _wrapped(title, width, _TITLE_POINTS, "bold")
    figure = Figure(figsize=(width, height + _TITLE_LINE_INCHES * (len(lines) - 1)), layout="constrained")
    figure.suptitle("\n".join(lines), fontsize=_TITLE_POINTS, fontweight="bold", x=_MARGIN, ha="left")
    return figure


def tidy(axes: Axes) -> None:
    """Draw a faint grid behind the points, and no frame above or to the right."""
    axes.grid(visible=True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def scale_milliseconds(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Choose a logarithmic axis, with plain numbers, where the values spread; else a linear one from zero."""
    if max(values) / min(values) < _LOG_FROM:
        axes.set(**{f"{which}lim": (0, 1.1 * max(values))})
    else:
        scale_logarithmically(axes, which)


def scale_logarithmically(axes: Axes, which: str, *, dense: bool = True) -> None:
    """Make an axis logarithmic, with plain numbers: 1, 2, 3, 5 and 7, without 7 where they are not `dense`."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.yaxis if which == "y" else axes.xaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=_TICKS if dense else _FEW_TICKS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend to the right of a panel, for points that form no series to write a name to."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)


def label_ends(figure: Figure, ends: Mapping[Axes, Sequence[End]]) -> None:
    """Write a name to the right of where each series ends, moved up or down so that none covers another.

    A thin line leads to each name from the point that it belongs to, or from the end of its line across the panel.

    Call it last: what changes the height of a panel afterwards moves the series away from their names.
    """
    _without_formulas(figure)
    figure.draw_without_rendering()  # heights on the page are not known before
    for axes, own in ends.items():
        points = _POINTS_AN_INCH / figure.dpi
        heights = [points * float(axes.transData.transform((0, end.y))[1]) for end in own]
        bounds = points * axes.bbox.y0, points * axes.bbox.y1
        for end, height, free in zip(
            own, heights, within(spread(heights, _LABEL_POINTS), _LABEL_POINTS, bounds), strict=True
        ):
            axes.annotate(
                end.text,
                (1.0, end.y),
                (6, free - height),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=end.colour,
                fontsize=8.5,
                va="center",
                annotation_clip=False,
            )
            _lead(axes, end, free / points)


def _lead(axes: Axes, end: End, height: float) -> None:
    """Draw a line from the end of a series to its name, which stands at a height in pixels."""
    from matplotlib.patches import ConnectionPatch

    _, y = axes.transData.inverted().transform((0.0, height))
    across = axes.get_yaxis_transform()
    last, of = ((1.0, end.y), across) if end.x is None else ((end.x, end.y), axes.transData)
    line = ConnectionPatch(
        last, (1.01, y), of, across, axesA=axes, axesB=axes,
        color=end.colour, linewidth=0.6, alpha=0.5, clip_on=False, zorder=1,
    )  # fmt: skip
    line.set_in_layout(False)
    axes.add_artist(line)


def kind_looks(kinds: Iterable[str]) -> dict[str, Look]:
    """Return a look for each kind of pruning, in their order; they begin again where there are more than looks.

    The most frequent kinds have the same one in every figure.
    """
    named = list(dict.fromkeys(kinds))
    own = {kind: look for kind, look in zip(_FREQUENT, _KINDS, strict=False) if kind in named}
    # Those of frequent kinds that are absent come last.
    spare = cycle([*_KINDS[len(_FREQUENT) :], *(look for look in _KINDS[: len(_FREQUENT)] if look not in own.values())])
    return {kind: own.get(kind) or next(spare) for kind in named}


def spread(heights: Sequence[float], apart: float) -> list[float]:
    """Return places at least `apart` from each other, in the order of the heights and near them."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    clusters: list[list[int]] = []

    def bottom(cluster: Sequence[int]) -> float:
        return sum(heights[index] for index in cluster) / len(cluster) - apart * (len(cluster) - 1) / 2

    for index in order:
        clusters.append([index])
        # Neighbours that would overlap stand around their common middle, and may then reach the next below.
        while len(clusters) > 1 and bottom(clusters[-1]) < bottom(clusters[-2]) + apart * len(clusters[-2]):
            clusters[-2:] = [[*clusters[-2], *clusters[-1]]]
    places = [0.0] * len(heights)
    for cluster in clusters:
        for place, index in enumerate(cluster):
            places[index] = bottom(cluster) + apart * place
    return places


def within(places: Sequence[float], apart: float, bounds: tuple[float, float]) -> list[float]:
    """Return places of `spread`, those outside of the bounds moved inside, where they have room there."""
    low, high = bounds
    moved = list(places)
    if apart * (len(moved) - 1) > high - low:
        return moved
    order = sorted(range(len(moved)), key=lambda index: moved[index])
    for index in order:  # each pushes the one above it
        moved[index] = max(moved[index], low)
        low = moved[index] + apart
    for index in reversed(order):
        moved[index] = min(moved[index], high)
        high = moved[index] - apart
    return moved


def caption(figure: Figure, line: str) -> None:
    """Write a line under the figure, wrapped, and make room for it."""
    width, height = figure.get_size_inches()
    wrapped = _wrapped(line, width, _CAPTION_POINTS)
    room = _LINE_INCHES * (len(wrapped) + 1)
    figure.set_size_inches(width, height + room)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, room / (height + room), 1, height / (height + room)))  # type: ignore[call-arg] # constrained layout takes it
    figure.text(_MARGIN, 0.01, "\n".join(wrapped), fontsize=_CAPTION_POINTS, color=GREY, va="bottom", linespacing=1.3)


def _wrapped(text: str, inches: float, points: float, weight: str = "normal") -> list[str]:
    """Return a text in lines that fit a figure of this width, by the widths of its letters.

    Words are left whole, and so is `90 %`.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    measure, font = TextToPath(), FontProperties(size=points, weight=weight)
    room = _DRAWN * inches * (1 - 2 * _MARGIN) * _POINTS_AN_INCH
    lines: list[str] = []
    for word in " ".join(text.split()).replace(" %", _BEFORE_PERCENT).split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and measure.get_text_width_height_descent(longer, font, False)[0] <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line.replace(_BEFORE_PERCENT, " %") for line in lines]


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all: as PNG, or as SVG where its name ends so.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib import rc_context

    _without_formulas(figure)
    # No date and no random names in it: the same numbers are the same file.
    with replacing(path) as target, rc_context({"svg.hashsalt": "sparsemark"}):
        form = FORMATS.get(path.suffix.lower(), "png")
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(target, dpi=_DPI, format=form, facecolor="white", metadata=metadata)


def _without_formulas(figure: Figure) -> None:
    """Have dollars in names begin no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
