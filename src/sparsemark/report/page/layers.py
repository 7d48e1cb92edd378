"""Layers on a page: time and multiply-adds of each, dense and pruned, as charts and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsemark.report import wording
from sparsemark.report.page import rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from sparsemark.records.explanation import ExplainedLayer
    from sparsemark.report.layers import Explained, LayerPair, Layers

TIME, WORK = "layers-time", "layers-work"
"""Names of the charts."""

COLUMNS = (
    "layer", "makes", "kernel, dense", "kernel, pruned", "ms, dense", "ms, pruned", "times as fast",
    "M multiply-adds, dense", "M multiply-adds, pruned", "of peak, dense", "of peak, pruned",
)  # fmt: skip
TEXTS = 4
"""Columns that hold no numbers: the first ones."""

_MILLI, _MEGA = 1e3, 1e-6
_DENSE, _PRUNED = rows.SIDES
_LEAST = 0.01
"""Share of a call from which on a layer without weights is drawn; the table has all."""


def charts(layers: Layers) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Return the charts' specifications and their values, by the name of the chart; charts without values are left out.

    Time is in milliseconds, multiply-adds in millions on weights that are not zero.
    """
    drawn = [pair for pair in layers.pairs if _is_drawn(pair, layers)]
    specs, values = {}, {}
    for name, description, title, number, words in (
        (TIME, "Time of each layer, dense and pruned", "time of one call, ms", _milliseconds, _kernels),
        (WORK, "Multiply-adds of each layer, dense and pruned", "multiply-adds on non-zeros, million", _millions,
         _non_zeros),
    ):  # fmt: skip
        found = []
        for place, pair in enumerate(drawn):
            said = words(pair, layers)
            points = _points(place, pair, layers, number)
            found += [point | {"text": "" if index else f"{pair.name}: {said}"} for index, point in enumerate(points)]
        if any(point["x"] for point in found):
            specs[name], values[name] = rows.bars(description, title, len(drawn)), found
    return specs, values


def _is_drawn(pair: LayerPair, layers: Layers) -> bool:
    sides = ((layers.dense, pair.dense), (layers.pruned, pair.pruned))
    return any(layer and (layer.multiply_adds or (layer.seconds or 0) >= _LEAST * one.seconds) for one, layer in sides)


def _kernels(pair: LayerPair, layers: Layers) -> str:
    """Return `NCHWc Conv, 103 % -> direct, 69 % of peak`."""
    said = []
    for explained, layer in ((layers.dense, pair.dense), (layers.pruned, pair.pruned)):
        peak = explained.share_of_peak(layer) if layer else None
        if layer:
            said.append(layer.kernel + ("" if peak is None else f", {wording.percent(peak)}"))
    return " -> ".join(said) + (" of peak" if said[-1].endswith("%") else "")


def _non_zeros(pair: LayerPair, _: Layers) -> str:
    layer = pair.pruned or pair.dense
    return "" if layer is None or layer.density is None else f"{wording.percent(layer.density)} non-zeros"


def _points(
    place: int, pair: LayerPair, layers: Layers, number: Callable[[ExplainedLayer], float | None]
) -> list[dict[str, Any]]:
    facts = [(column, text) for column, text in zip(COLUMNS, _texts(pair, layers), strict=True) if text][1:]
    found = []
    for side, explained, layer in ((_DENSE, layers.dense, pair.dense), (_PRUNED, layers.pruned, pair.pruned)):
        value = number(layer) if layer else None
        if layer is None or value is None:
            continue
        peak = explained.share_of_peak(layer)
        label = f"{pair.name}, {side}: {value:.3g}, {layer.kernel}"
        found.append(
            {"cell": pair.name, "place": place, "run": side, "x": value, "facts": facts,
             "label": label + (f", {wording.percent(peak)} of the peak" if peak is not None else "")}
        )  # fmt: skip
    return found


def table(layers: Layers) -> list[tuple[str, ...]]:
    """Return a row of texts for each layer, in the order of `COLUMNS`."""
    return [_texts(pair, layers) for pair in layers.pairs]


def totals(layers: Layers) -> list[str]:
    """Return a line for each file: time of a call, and what all layers multiply."""
    return [_total(side, one) for side, one in ((_DENSE, layers.dense), (_PRUNED, layers.pruned))]


def _total(side: str, one: Explained) -> str:
    work = _MEGA * sum(layer.left for layer in one.layers)
    return (
        f"{side}: {one.artifact}, {wording.milliseconds(_MILLI * one.seconds)} ms a call in "
        f"{wording.engine_name(one.engine, {})}, {work:.4g} million multiply-adds on non-zeros"
    )


def changes(layers: Layers) -> list[str]:
    """Return what was tried and would gain, of the pruned file first."""
    return [f"{one.artifact}: {line}" for one in (layers.pruned, layers.dense) for line in one.suggested]


def _texts(pair: LayerPair, layers: Layers) -> tuple[str, ...]:
    sides = ((layers.dense, pair.dense), (layers.pruned, pair.pruned))
    own = pair.pruned or pair.dense
    before, after = (layer.seconds if layer else None for _, layer in sides)
    peaks = [explained.share_of_peak(layer) if layer else None for explained, layer in sides]
    return (
        pair.name,
        " x ".join(map(str, own.shape)) if own else "",
        *(layer.kernel if layer else wording.ABSENT for _, layer in sides),
        *("" if seconds is None else f"{_MILLI * seconds:.3f}" for seconds in (before, after)),
        wording.bare_ratio(before / after) if before and after else "",
        *(f"{_MEGA * layer.left:.2f}" if layer and layer.multiply_adds else "" for _, layer in sides),
        *("" if peak is None else wording.percent(peak) for peak in peaks),
    )


def _milliseconds(layer: ExplainedLayer) -> float | None:
    return None if layer.seconds is None else _MILLI * layer.seconds


def _millions(layer: ExplainedLayer) -> float | None:
    return _MEGA * layer.left if layer.multiply_adds else None
