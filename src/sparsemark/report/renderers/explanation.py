"""Layers of an artifact as an engine runs them, each beside what the machine can do, and what to change."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from sparsemark.report.harmless import harmless
from sparsemark.report.knobs import changes, others
from sparsemark.report.layers import MARK, SCHEMA
from sparsemark.report.renderers.terminal import draw, grid
from sparsemark.report.wording import engine_name, milliseconds, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.analysis.gains import Ranked
    from sparsemark.records.explanation import ExplainedLayer, Explanation

_WORK, _LEFT = "multiply-adds (M, dense)", "multiply-adds (left)"
_COLUMNS = ("layer", "makes", "density", "runs as", "ms", "share", _WORK, _LEFT, "of peak")
_NUMBERS = ("density", "ms", "share", _WORK, _LEFT, "of peak")
_LEGEND = "share: of the time of all layers; multiply-adds left: share of the dense ones whose weight is not zero"
_MEGA, _GIGA = 1e6, 1e9


def as_explanation(explanation: Explanation, ranked: Sequence[Ranked], *, width: int, colour: bool) -> str:
    """Write the table for a terminal of `width` columns, what to change below it, and what else was tried."""
    rows = [_row(layer, explanation) for layer in explanation.layers]
    parts: list[Any] = [grid(_COLUMNS, rows, whole=_NUMBERS, right=_NUMBERS), Text(_LEGEND, style="dim")]
    below = [_in_total(explanation), *limits_in_words(explanation), *explanation.notes, *_tiles(explanation)]
    parts += [Text(harmless(line)) for line in below]
    for title, lines in (
        ("Which knob to turn (gain of a call, 95 % interval over pairs)", changes(ranked, explanation)),
        ("Beside that", others(ranked, explanation)),
    ):
        if lines:
            parts.append(Text(f"\n{title}", style="bold"))
            parts += [Padding(Text(harmless(line)), (0, 0, 0, 2)) for line in lines]
    return draw(parts, width=width, colour=colour)


def as_json(explanation: Explanation, ranked: Sequence[Ranked], machine: dict[str, Any]) -> str:
    """Write the same as data: layers, pairs of seconds with their gain, and the machine."""
    document = {
        MARK: SCHEMA,
        **asdict(explanation),
        "changes": [
            asdict(one.advice) | {"gain_s": one.gain_s and asdict(one.gain_s), "pays": one.pays} for one in ranked
        ],
        "suggested": changes(ranked, explanation),
        "machine_info": machine,
    }
    return json.dumps(document, indent=1) + "\n"


def limits_in_words(explanation: Explanation) -> list[str]:
    """Return what one core can do, for tables and captions; nothing where it was not measured."""
    if explanation.peak is None:
        return []
    text = f"peak of one core, measured: {explanation.peak / _GIGA:.1f} G multiply-adds a second"
    if explanation.loads is not None:
        text += f", {explanation.loads / _GIGA:.1f} where each needs a load of its own, as every non-zero does"
    if explanation.peak_int8 is not None:
        text += f"; {explanation.peak_int8 / _GIGA:.1f} in 8-bit integers"
    return [text]


def _row(layer: ExplainedLayer, explanation: Explanation) -> tuple[str, ...]:
    timed, total = layer.seconds, explanation.layer_seconds
    return (
        harmless(layer.name),
        " x ".join(map(str, layer.shape)),
        "" if layer.density is None else f"{layer.density:.2f}",
        harmless(layer.kernel),
        "" if timed is None else f"{1e3 * timed:.3f}",
        "" if timed is None or not total else percent(timed / total),
        f"{layer.multiply_adds / _MEGA:.2f}" if layer.multiply_adds else "",
        percent(layer.left / layer.multiply_adds) if layer.multiply_adds else "",
        "" if (reached := explanation.share_of_peak(layer)) is None else percent(reached),
    )


def _in_total(explanation: Explanation) -> str:
    dense, left = (
        sum(getattr(layer, name) for layer in explanation.layers) / _MEGA for name in ("multiply_adds", "left")
    )
    return (
        f"{milliseconds(1e3 * explanation.seconds)} ms a call in {engine_name(explanation.engine, {})}, "
        f"{milliseconds(1e3 * explanation.layer_seconds)} ms layer by layer; {dense:.1f} million multiply-adds dense, "
        f"{left:.1f} on non-zeros"
    )


def _tiles(explanation: Explanation) -> list[str]:
    if any("Winograd" in layer.kernel for layer in explanation.layers):
        return ["Winograd's tiles carry out fewer multiply-adds than dense, zeros among them: of peak counts those"]
    return []
