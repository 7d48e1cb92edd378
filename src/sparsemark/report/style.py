"""What all figures share: looks that survive grey printing, axes, legend and the conditions under the figure."""

from __future__ import annotations

import textwrap
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

from sparsemark.errors import UserError
from sparsemark.report import wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "0.4"

_CAPTION_POINTS = 7.5
_CHARACTERS_AN_INCH = 17.5  # of the caption's font
_LINE_INCHES = 0.15  # height of a line of it
_LOG_FROM = 4.0  # a linear axis would press the faster engines together where they differ by more than this
_TICKS = (1.0, 2.0, 3.0, 5.0, 7.0)


class Look(NamedTuple):
    """Colour, marker and dashes of one series."""

    colour: str
    marker: str
    dashes: str


# Okabe and Ito's colours, told apart by the colour-blind; markers and dashes tell them apart in grey.
_ENGINES = {
    "onnxruntime": Look("#0072B2", "o", "-"),
    "torch": Look("#D55E00", "s", "--"),
    "torch-compile": Look("#E69F00", "P", "-."),
    "ncnn": Look("#009E73", "^", "-."),
    "openvino": Look("#56B4E9", "v", "--"),
    "direct-csr": Look("#000000", "D", "-"),
    "torch-csr": Look("#CC79A7", "X", ":"),
    "scipy-csr": Look("#8C6D31", "d", ":"),
    "deepsparse": Look("#7F7F7F", "*", "--"),
}
_OTHERS = (Look("#332288", "<", "--"), Look("#882255", ">", "-."), Look("#44AA99", "h", ":"))


def engine_looks(engines: Iterable[str | None]) -> dict[str, Look]:
    """Give each engine its look, the same in every figure; engines of other packages share what is left."""
    named = sorted({engine for engine in engines if engine})
    others = cycle(_OTHERS)
    looks = {engine: look for engine, look in _ENGINES.items() if engine in named}
    return looks | {engine: next(others) for engine in named if engine not in _ENGINES}


def new_figure(width: float, height: float, title: str) -> Figure:
    """Make an empty figure, in inches.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("figures: matplotlib is not installed, expected: pip install 'sparsemark[plots]'") from error
    # A Figure of its own, not pyplot's: nothing global is opened that somebody would have to close.
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return figure


def tidy(axes: Axes) -> None:
    """Leave the frame open and draw a faint grid behind the points."""
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
    """Put one legend for all panels to the right of them."""
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


def accuracy_label(sources: Iterable[str | None]) -> str:
    """Name an axis of accuracies; images of no patient are named on the axis itself."""
    return "accuracy on PHANTOM images, %" if any(map(wording.is_phantom, sources)) else "accuracy, %"
