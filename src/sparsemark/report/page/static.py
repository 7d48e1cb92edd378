"""Figures of a page where no charting library is installed: those of papers, as SVG; none without matplotlib."""

from __future__ import annotations

import base64
import importlib.util
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparsemark.records.run import Run


def static_figures(run: Run) -> list[tuple[str, str]]:
    """Return for each network its name and a figure as a data address of an SVG image."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    from matplotlib import rc_context

    from sparsemark.analysis.cells import models
    from sparsemark.report.figures import figure_of

    found = []
    for model in models(run.measurements):
        figure = figure_of(run, model)
        if figure is None:
            continue
        file = io.BytesIO()
        with rc_context({"svg.hashsalt": "sparsemark", "text.parse_math": False}):
            figure.savefig(file, format="svg", metadata={"Date": None}, facecolor="white")
        # As an image, not inline: what a name holds can neither run nor reach the page.
        found.append((model or "network", "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()))
    return found
