"""How `direct-csr` runs a file, layer by layer: a table, and how near each layer comes to what the machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from sparsemark.files import replacing
from sparsemark.report.renderers.terminal import draw, grid
from sparsemark.report.style import caption, new_figure, tidy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sparsemark.direct.explanation import Layer
    from sparsemark.direct.limits import Limits
    from sparsemark.direct.network import Decision

_NUMBERS = ("density", "ms", "G/s", "of peak")
_COLUMNS = ("layer", "makes", "density", "runs as", "ms", "G/s", "of peak")
_GIGA = 1e9


def as_layers(layers: Sequence[Layer], limits: Limits, decision: Decision, *, width: int, colour: bool) -> str:
    """Draw the table for a terminal of `width` columns, and say which won: direct or dense."""
    rows = [
        (
            layer.name,
            " x ".join(map(str, layer.shape)),
            "" if layer.density is None else f"{layer.density:.2f}",
            layer.kernel,
            "" if layer.seconds is None else f"{1e3 * layer.seconds:.3f}",
            "" if layer.rate is None else f"{layer.rate / _GIGA:.1f}",
            "" if layer.pace is None else f"{100 * layer.pace / limits.multiply_adds:.0f} %",
        )
        for layer in layers
    ]
    table = grid(_COLUMNS, rows, whole=_NUMBERS, right=_NUMBERS)
    lines = [_in_total(layers), in_words(limits), *_of_tiles(layers), *_contest(decision)]
    return draw([table, *map(Text, lines)], width=width, colour=colour)


def _in_total(layers: Sequence[Layer]) -> str:
    seconds, work = (sum(values) for values in zip(*((y.seconds or 0.0, y.multiply_adds) for y in layers), strict=True))
    return f"{1e3 * seconds:.2f} ms layer by layer, {work / 1e6:.1f} million multiply-adds on non-zeros"


def in_words(limits: Limits) -> str:
    """What one core can do, for tables and captions."""
    return (
        f"peak of one core, measured: {limits.multiply_adds / _GIGA:.1f} G multiply-adds a second, "
        f"{limits.loads / _GIGA:.1f} where each needs a load of its own, as every non-zero does"
    )


def _of_tiles(layers: Sequence[Layer]) -> list[str]:
    if not any(layer.winograd for layer in layers):
        return []
    return [
        "Winograd's tiles carry out fewer multiply-adds than dense: G/s counts those on non-zeros, of peak those done"
    ]


def _contest(decision: Decision) -> list[str]:
    if decision.direct_s is None or decision.dense_s is None:
        return ["the whole network could not be compared with dense ONNX Runtime; it runs direct"]
    direct, dense = 1e3 * decision.direct_s, 1e3 * decision.dense_s
    chosen = "dense" if decision.dense else "direct"
    return [f"the whole network: {direct:.2f} ms direct, {dense:.2f} ms dense in ONNX Runtime; it runs {chosen}"]


def draw_roofline(layers: Sequence[Layer], limits: Limits, conditions: Sequence[str], path: Path) -> None:
    """Draw the pace of every layer with weights against the machine's limits.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    shown = [(layer, pace) for layer in layers if (pace := layer.pace) is not None and layer.density is not None]
    figure = new_figure(9, 4.2, "Multiply-adds that are carried out, against what one core can do")
    axes = figure.add_subplot()
    for limit, dashes, words in (
        (limits.multiply_adds, "-", "multiply-adds"),
        (limits.loads, "--", "one load for each"),
    ):
        axes.axhline(limit / _GIGA, color="0.2", linestyle=dashes, linewidth=1.2)
        axes.text(len(shown) - 0.5, limit / _GIGA, f" {words}", va="center", fontsize=9)
    axes.bar(range(len(shown)), [pace / _GIGA for _, pace in shown], color="#56B4E9", edgecolor="0.2", width=0.7)
    labels = [
        f"{' x '.join(map(str, layer.shape))}\n"
        + ("Winograd" if layer.winograd else f"{100 * (1 - (layer.density or 0)):.0f} % zeros")
        for layer, _ in shown
    ]
    axes.set_xticks(range(len(shown)), labels, fontsize=8, rotation=30, ha="right")
    axes.set(xlim=(-0.6, len(shown) - 0.4), ylim=(0, None), ylabel="G multiply-adds / s", xlabel="layer: what it makes")
    tidy(axes)
    caption(figure, conditions)
    with replacing(path) as target:
        figure.savefig(target, dpi=110, format="png", facecolor="white")
