"""Layers of a file as `direct-csr` runs them, each beside what the machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from sparsemark.report.harmless import harmless
from sparsemark.report.renderers.terminal import draw, grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.direct.explanation import Layer
    from sparsemark.direct.limits import Limits
    from sparsemark.direct.network import Decision

_NUMBERS = ("density", "ms", "G/s", "of peak")
_COLUMNS = ("layer", "makes", "density", "runs as", "ms", "G/s", "of peak")
_GIGA = 1e9


def as_layers(layers: Sequence[Layer], limits: Limits, decision: Decision, *, width: int, colour: bool) -> str:
    """Write the table for a terminal of `width` columns, and which won: direct or dense."""
    rows = [
        (
            harmless(layer.name),
            " x ".join(map(str, layer.shape)),
            "" if layer.density is None else f"{layer.density:.2f}",
            harmless(layer.kernel),
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
    """Return what one core can do, for tables and captions."""
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
