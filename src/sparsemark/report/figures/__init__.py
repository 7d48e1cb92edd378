"""Figures of a run, one file for each network and question."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import NO_NETWORK, models
from sparsemark.files import write_atomically
from sparsemark.report.conditions import conditions, summary
from sparsemark.report.figures import score_latency, score_sparsity, speedup_sparsity
from sparsemark.report.figures.series import on_fewest_threads
from sparsemark.report.harmless import harmless_rows, harmless_run
from sparsemark.report.scores import Scoring
from sparsemark.report.style import caption, save

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

FORMATS = (".png", ".svg")
"""Ends of the files of each figure, for a screen and for print."""


def draw_figures(run: Run, folder: Path, evaluated: Iterable[Measurement] = ()) -> list[Path]:
    """Draw what there are numbers for, one figure for each network and question, and return the files.

    Each is there as PNG and SVG, beside a text with all the conditions of its numbers.

    Args:
        run: what was measured.
        folder: made if it is not there.
        evaluated: variants with a score that were not timed, such as further seeds, and what needs no network.

    Raises:
        UserError: matplotlib is not installed, or the folder cannot be written.
    """
    run = harmless_run(run)
    everything = [*run.measurements, *harmless_rows(evaluated)]
    baselines = [m for m in everything if m.model is not None and m.model.endswith(NO_NETWORK)]
    files = []
    for model in models(everything):
        own = [m for m in everything if m.model == model]
        metric = Scoring.of(own).scale(model).metric
        figures = {
            "speedup-sparsity": (speedup_sparsity.speedup_against_sparsity(own, run.engines), speedup_sparsity.BARS),
            f"{_safe(metric)}-sparsity": (score_sparsity.score_against_sparsity(own, baselines), score_sparsity.BARS),
            f"{_safe(metric)}-latency": (score_latency.score_against_latency(own, run.engines), score_latency.BARS),
        }
        for name, (figure, bars) in figures.items():
            if figure is not None:
                shown = on_fewest_threads(own)
                caption(figure, f"{bars.format(metric=metric)}; {summary(run, shown)}")
                path = folder / f"{name}-{_safe(model or 'network')}"
                files += [*_saved(figure, path), _described(path, conditions(run, shown))]
    return files


def _saved(figure: Figure, path: Path) -> list[Path]:
    files = [path.with_name(f"{path.name}{end}") for end in FORMATS]
    for file in files:
        save(figure, file)
    return files


def _described(path: Path, lines: Sequence[str]) -> Path:
    file = path.with_name(f"{path.name}.txt")
    write_atomically(file, "".join(f"{line}\n" for line in lines).encode())
    return file


def figure_of(run: Run, model: str | None) -> Figure | None:
    """Return the figure that answers first for a network: the score against latency, else latency against sparsity.

    None where there are too few cells for either. Raises UserError where matplotlib is not installed.
    """
    run = harmless_run(run)
    own = [m for m in run.measurements if m.model == model]
    return score_latency.score_against_latency(own, run.engines) or speedup_sparsity.speedup_against_sparsity(
        own, run.engines
    )


def _safe(name: str) -> str:
    """Return a name without characters that a file's name cannot have everywhere."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name)
