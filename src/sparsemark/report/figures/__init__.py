"""Figures of a run, one file for each network and question."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import models
from sparsemark.report.conditions import conditions
from sparsemark.report.figures import latency_sparsity, score_latency, score_sparsity
from sparsemark.report.figures.series import on_fewest_threads
from sparsemark.report.harmless import harmless_rows, harmless_run
from sparsemark.report.scores import Scoring
from sparsemark.report.style import caption, save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from matplotlib.figure import Figure

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run
    from sparsemark.report.wording import Notes

_FIGURES: dict[str, tuple[Callable[[list[Measurement], Notes], Figure | None], str]] = {
    "latency-sparsity": (latency_sparsity.latency_against_sparsity, latency_sparsity.BARS),
    "{metric}-sparsity": (lambda cells, _notes: score_sparsity.score_against_sparsity(cells), score_sparsity.BARS),
    "{metric}-latency": (score_latency.score_against_latency, score_latency.BARS),
}
"""Figures by the names of their files, with what their bars are; `metric` is the headline's name."""


def draw_figures(run: Run, folder: Path, evaluated: Iterable[Measurement] = ()) -> list[Path]:
    """Draw what there are numbers for, one PNG for each network and question, and return the files.

    Args:
        run: what was measured.
        folder: made if it is not there.
        evaluated: variants with a score that were not timed, such as further seeds.

    Raises:
        UserError: matplotlib is not installed, or the folder cannot be written.
    """
    run = harmless_run(run)
    everything = [*run.measurements, *harmless_rows(evaluated)]
    files = []
    for model in models(everything):
        own = [m for m in everything if m.model == model]
        metric = Scoring.of(own).scale(model).metric
        for name, (draw, bars) in _FIGURES.items():
            figure = draw(own, run.engines)
            if figure is None:
                continue
            caption(figure, [f"bars: {bars.format(metric=metric)}", *conditions(run, on_fewest_threads(own))])
            path = folder / f"{name.format(metric=_safe(metric))}-{_safe(model or 'network')}.png"
            save(figure, path)
            files.append(path)
    return files


def figure_of(run: Run, model: str | None) -> Figure | None:
    """Return the figure that answers first for a network: the score against latency, else latency against sparsity.

    None where there are too few cells for either. Raises UserError where matplotlib is not installed.
    """
    run = harmless_run(run)
    own = [m for m in run.measurements if m.model == model]
    return score_latency.score_against_latency(own, run.engines) or latency_sparsity.latency_against_sparsity(
        own, run.engines
    )


def _safe(name: str) -> str:
    """Return a name without characters that a file's name cannot have everywhere."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name)
