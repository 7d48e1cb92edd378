"""Style that figures share: looks that survive grey printing, axes, legend and the conditions under the figure."""

from __future__ import annotations

import textwrap
from itertools import cycle
from typing import TYPE_CHECKING

from sparsemark.engines import ENGINES
from sparsemark.engines.base import Look
from sparsemark.errors import UserError
from sparsemark.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparsemark.records.engine_note import EngineNote

GREY = "0.4"

FORMATS = {".svg": "svg", ".png": "png"}
"""Formats of a figure by the end of its name; others are PNG."""

_DPI = 110  # files stay well under 300 kB and print at the width of a page

_CAPTION_POINTS = 7.5
_CHARACTERS_AN_INCH = 17.5  # of the caption's font
_LINE_INCHES = 0.15  # height of a line of it
_LOG_FROM = 4.0  # a linear axis would press the faster engines together where they differ by more than this
_TICKS = (1.0, 2.0, 3.0, 5.0, 7.0)

_SPARE = (Look("#332288", "<", "--"), Look("#882255", ">", "-."), Look("#44AA99", "h", ":"))
"""Looks of engines that bring none: colours by Paul Tol, apart from those of Okabe and Ito."""


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


def _own_look(engine: str, notes: Mapping[str, EngineNote]) -> Look | None:
    note = notes.get(engine)
    if note is None:
        return ENGINES[engine].look if engine in ENGINES else None
    if note.colour is None or note.marker is None or note.dashes is None:
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
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return figure


def tidy(axes: Axes) -> None:
    """Draw a faint grid behind the points, and no frame above or to the right."""
    axes.grid(visible=True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def scale_milliseconds(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Choose a logarithmic axis, with plain numbers, where the values spread; else a linear one from zero."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.yaxis if which == "y" else axes.xaxis
    if max(values) / min(values) < _LOG_FROM:
        axes.set(**{f"{which}lim": (0, 1.1 * max(values))})
        return
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=_TICKS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """Draw one legend for all panels, to the right of them."""
    entries: dict[str, Artist] = {}
    for panel in axes:
        handles, labels = panel.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(list(entries.values()), list(entries), loc="outside right center", frameon=False, fontsize=9)


def caption(figure: Figure, lines: Iterable[str]) -> None:
    """Write the conditions under the figure, and make room for them."""
    width, height = figure.get_size_inches()
    wrapped = textwrap.wrap("; ".join(lines), int(width * _CHARACTERS_AN_INCH), break_long_words=False)
    room = _LINE_INCHES * (len(wrapped) + 1)
    figure.set_size_inches(width, height + room)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, room / (height + room), 1, height / (height + room)))  # type: ignore[call-arg] # constrained layout takes it
    figure.text(0.01, 0.01, "\n".join(wrapped), fontsize=_CAPTION_POINTS, color=GREY, va="bottom", linespacing=1.3)


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all: as PNG, or as SVG where its name ends so.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar in a name begins no formula
    # No date and no random names in it: the same numbers are the same file.
    with replacing(path) as target, rc_context({"svg.hashsalt": "sparsemark"}):
        form = FORMATS.get(path.suffix.lower(), "png")
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(target, dpi=_DPI, format=form, facecolor="white", metadata=metadata)
