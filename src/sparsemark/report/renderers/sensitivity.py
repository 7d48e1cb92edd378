"""Layers by their sensitivity, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from sparsemark.report.harmless import harmless
from sparsemark.report.renderers.terminal import draw, grid
from sparsemark.report.scores import Scale
from sparsemark.report.wording import points

if TYPE_CHECKING:
    from sparsemark.records.sensitivity import Sensitivity


def as_sensitivity(found: Sensitivity, *, width: int, colour: bool) -> str:
    """Write the table for a terminal of `width` columns, the most sensitive layer first."""
    values = [found.dense, *(score for layer in found.layers for score in layer.scores)]
    scale = Scale(harmless(found.metric), all(0 <= value <= 1 for value in values), found.higher_is_better)
    tried = [f"at {100 * sparsity:g} %" for sparsity in found.sparsities]
    numbers = ["weights", *tried, "keeps to"]
    rows = [
        (harmless(layer.name), str(layer.weights), *map(scale.value, layer.scores), f"{100 * layer.ratio:.0f} %")
        for layer in found.layers
    ]
    within = points(found.tolerance, digits=2) if scale.percent else f"{found.tolerance:.4g}"
    lines = [
        f"{scale.title} with one layer pruned by {harmless(found.method)}, not fine-tuned; dense "
        f"{scale.value(found.dense)}",
        f"keeps to: up to there within {within} of dense ({scale.direction}), interpolated",
        f"scored on {harmless(found.data)}",
    ]
    notes = dict.fromkeys(harmless(note) for layer in found.layers for note in layer.notes)
    table = grid(["layer", *numbers], rows, whole=numbers, right=numbers)
    return draw([table, *map(Text, [*lines, *notes])], width=width, colour=colour)
