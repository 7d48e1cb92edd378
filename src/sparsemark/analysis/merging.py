"""Runs of the same cells merged: what each process measured becomes a launch of one cell."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from sparsemark.analysis.comparison import other_machine
from sparsemark.analysis.launches import merged, with_intervals
from sparsemark.errors import UserError
from sparsemark.records.measurement import MEASURED
from sparsemark.records.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sparsemark.records.measurement import Measurement

_SAME = ("status", "speedup_reference", "reference_sha256", "threads", "batch", "block", "nonzeros", "sparsity")
"""Fields in which launches of one cell are alike."""


def load_run(*paths: Path) -> Run:
    """Read a result file, or several of the same cells as one; errors as in `Run.load` and `merge`."""
    runs = [Run.load(path) for path in paths]
    several = len(runs) > 1 or len({m.name for m in runs[0].measurements}) < len(runs[0].measurements)
    # A journal holds a row for each launch; a result file that names one cell twice is refused by who compares it.
    is_journal = not runs[0].machine_info and not runs[0].engines
    return merge(runs) if len(runs) > 1 or (several and is_journal) else runs[0]


def merge(runs: Sequence[Run]) -> Run:
    """Return one run whose cells hold the launches of all.

    Raises:
        UserError: they are of different machines, or two rows of one name are not launches of the same cell.
    """
    for run in runs[1:]:
        difference = other_machine(runs[0], run)
        if difference is not None:
            was, now = difference.baseline, difference.candidate
            raise UserError(f"{difference.field}: {was} in one file, {now} in another; expected runs of one machine")
    rows = defaultdict(list)
    for run in runs:
        for row in run.measurements:
            rows[row.name].append(row)
    measurements = with_intervals([_merged(launches) for launches in rows.values()])
    return replace(runs[-1], measurements=tuple(measurements), when=max(run.when for run in runs))


def _merged(rows: Sequence[Measurement]) -> Measurement:
    timed = [row for row in rows if row.status == MEASURED and row.samples_s]
    if len(timed) < 2:
        return timed[0] if timed else rows[-1]
    for field in _SAME:
        found = [getattr(row, field) for row in timed]
        if len(set(found)) > 1:
            raise UserError(f"{rows[0].name}: {field} is {found[0]!r} and {found[1]!r}; expected runs of the same cell")
    return merged(timed, len(timed))
