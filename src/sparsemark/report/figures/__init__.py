"""Figures of a run, one file for each network and question."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import NO_NETWORK, models
from sparsemark.files import write_atomically
from sparsemark.report.conditions import conditions, summary
from sparsemark.report.figures import prunings, score_sparsity, score_speedup, speedup_sparsity
from sparsemark.report.figures.series import has_sweep, on_fewest_threads
from sparsemark.report.harmless import harmless_rows, harmless_run
from sparsemark.report.scores import Scoring
from sparsemark.report.style import caption, save

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.run import Run

    Drawn = tuple[str, Figure | None, str]  # start of the file name, figure, caption

FORMATS = (".png", ".svg")
"""Ends of the files of each figure, for a screen and for print."""


def draw_figures(run: Run, folder: Path, evaluated: Iterable[Measurement] = ()) -> list[Path]:
    """Draw what there are numbers for, one figure for each network and question, and return the files.

    Where no kind of pruning was tried at several shares, a dot plot stands in place of curves over them.

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
        shown = on_fewest_threads(own)
        for name, figure, note in (*_of_speed(run, own, shown), _of_score(run, own, baselines)):
            if figure is not None:
                caption(figure, note)
                path = folder / f"{name}-{_safe(model or 'network')}"
                files += [*_saved(figure, path), _described(path, conditions(run, shown))]
    return files


def _of_speed(run: Run, own: Sequence[Measurement], shown: Sequence[Measurement]) -> Iterator[Drawn]:
    metric, conditioned = Scoring.of(own).scale(own[0].model).metric, summary(run, shown)
    if has_sweep(m for m in shown if m.p50_ms is not None):
        figure, bars = speedup_sparsity.speedup_against_sparsity(own, run.engines), speedup_sparsity.BARS
        yield "speedup-sparsity", figure, f"{bars}; {conditioned}"
    else:
        figure, bars = prunings.speedup_of_prunings(own, run.engines), prunings.SPEEDUP_BARS
        yield "speedup-prunings", figure, f"{bars}; {conditioned}"
    figure = score_speedup.score_against_speedup(own, run.engines)
    yield f"{_safe(metric)}-speedup", figure, f"{score_speedup.BARS.format(metric=metric)}; {conditioned}"


def _of_score(run: Run, own: Sequence[Measurement], baselines: Sequence[Measurement]) -> Drawn:
    metric = _safe(Scoring.of(own).scale(own[0].model).metric)
    conditioned = summary(run, ())  # how cells were timed is no condition of a score
    if has_sweep(m for m in own if m.scores):
        figure = score_sparsity.score_against_sparsity(own, baselines)
        return f"{metric}-sparsity", figure, f"{score_sparsity.bars(own)}; {conditioned}"
    figure = prunings.score_of_prunings(own, baselines)
    return f"{metric}-prunings", figure, f"{prunings.score_bars(own)}; {conditioned}"


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
    """Return the figure that answers first for a network: the score against speedup, else speedup alone.

    None where there are too few cells for either. Raises UserError where matplotlib is not installed.
    """
    run = harmless_run(run)
    own = [m for m in run.measurements if m.model == model]
    by_speed = speedup_sparsity.speedup_against_sparsity if has_sweep(own) else prunings.speedup_of_prunings
    return score_speedup.score_against_speedup(own, run.engines) or by_speed(own, run.engines)


def _safe(name: str) -> str:
    """Return a name without characters that a file's name cannot have everywhere."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name)
