"""Cells measured in launches: fresh processes, in random order over cells, each launch journalled when it is done.

A cell's launches lie far apart in time, with other cells between them, so that what the machine does for a minute is
not taken for a property of one cell. Launches that were contaminated are measured again, once.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sparsemark.analysis.contamination import contamination_of
from sparsemark.analysis.launches import merged, with_intervals
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.files import key_of
from sparsemark.measurement.launch import LEAST_PAIRS, launch
from sparsemark.measurement.parity import ParityError
from sparsemark.records.journal import launch_key
from sparsemark.records.measurement import ERROR, PARITY_FAILED, UNSUPPORTED, Measurement
from sparsemark.references import one_line
from sparsemark.study import rows
from sparsemark.study.interrupts import raised_again
from sparsemark.study.pipeline import journal_key
from sparsemark.study.watch import kinds_of_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sparsemark.records.journal import Journal
    from sparsemark.specs import Cell, Protocol
    from sparsemark.study.checked import Checked
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.sampling import Sampling
    from sparsemark.study.watch import Watch

_LOG = logging.getLogger(__name__)

_LOOKS = 4
"""Times that the launches of a cell are doubled at most, where an interval is to be narrowed."""


@dataclass
class _Progress:
    """Launches of one cell so far.

    Args:
        cell: that is measured.
        key: under which launches are journalled; None where the network cannot be made.
        launches: their rows, in order.
        checked: what can be timed; None where all that is wanted was in the journal.
        failed: the row of a cell that cannot be measured.
        wanted: number of launches that are enough.
    """

    cell: Cell
    key: str | None
    wanted: int
    launches: list[Measurement] = field(default_factory=list)
    checked: Checked | None = None
    failed: Measurement | None = None

    @property
    def row(self) -> Measurement:
        """The cell's row as it stands."""
        return self.failed or merged(self.launches, self.wanted)

    @property
    def missing(self) -> int:
        """Launches that are still to be done: those not begun, and as many again as were contaminated."""
        if self.failed is not None:
            return 0
        clean = sum(not contamination_of(row) for row in self.launches)
        return min(self.wanted - clean, 2 * self.wanted - len(self.launches))


@dataclass(frozen=True)
class _Turn:
    """One launch to come, named for the display."""

    name: str
    progress: _Progress


def split(protocol: Protocol, launches: int) -> list[Protocol]:
    """Spread the blocks of a protocol over launches: over fewer where one would have less than `LEAST_PAIRS`."""
    count = max(1, min(launches, protocol.pairs // LEAST_PAIRS))
    more = protocol.pairs % count
    return [replace(protocol, pairs=protocol.pairs // count + (n < more)) for n in range(count)]


def measure_in_launches(
    pipeline: Pipeline, cells: Sequence[Cell], journal: Journal, watch: Watch, sampling: Sampling
) -> list[Measurement]:
    """Measure cells in fresh processes; those that the journal holds are not measured again.

    Args:
        pipeline: prepares and checks one cell.
        cells: in the order of the result.
        journal: finished launches.
        watch: shows progress.
        sampling: how many launches, and when there are enough.

    Returns:
        A row for each cell: its latency, or why there is none.
    """
    parts = split(pipeline.protocol, sampling.launches)
    with raised_again() as raise_if_interrupted:
        cells_so_far = []
        for cell in watch(cells, "checks", kinds_of_cells(cells)):
            cells_so_far.append(_begun(pipeline, cell, journal, len(parts)))
            raise_if_interrupted()

        def take_turns(what: str) -> None:
            for turn in watch(_turns(cells_so_far), what):
                _launch(turn.progress, parts, journal)
                raise_if_interrupted()

        take_turns("launches")
        take_turns("contaminated launches again")
        if sampling.until is not None:
            _narrow(pipeline, cells_so_far, sampling, take_turns)
    return with_intervals([progress.row for progress in cells_so_far])


def _narrow(
    pipeline: Pipeline, cells: Sequence[_Progress], sampling: Sampling, take_turns: Callable[[str], None]
) -> None:
    """Double the launches of cells whose interval is too wide, until none is, the time is over or the looks are."""
    ends = time.monotonic() + sampling.budget_s
    for _ in range(_LOOKS):
        intervals = {row.name: row for row in with_intervals([one.row for one in cells])}
        wide = [one for one in cells if one.failed is None and _width(intervals[one.cell.name]) > (sampling.until or 0)]
        if not wide or time.monotonic() > ends:
            return
        for progress in wide:
            progress.wanted *= 2
            # One that was finished in the journal was not checked in this process yet.
            progress.checked = progress.checked or pipeline.check(progress.cell)
        take_turns("more launches")


def _width(row: Measurement) -> float:
    """Half the width of the interval of a speedup, as a fraction of it."""
    if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
        return 0.0
    return (row.speedup_high - row.speedup_low) / (2 * row.speedup)


def _begun(pipeline: Pipeline, cell: Cell, journal: Journal, wanted: int) -> _Progress:
    """Take a cell's launches from the journal, and check the cell if that leaves some to do."""
    key = journal_key(pipeline, cell)
    progress = _Progress(cell, None if key is None else key_of(key, wanted), wanted)
    if key is not None and progress.key is not None:
        progress.failed = journal.get(key)
        while found := journal.get(launch_key(progress.key, len(progress.launches))):
            progress.launches.append(found)
    if progress.missing > 0:
        progress.checked = pipeline.check(cell)
        if progress.checked.job is None:
            progress.failed = progress.checked.row
            # What is unsupported or broken today may only lack a package: it is tried again next time, at no cost.
            if key is not None and progress.failed.status == PARITY_FAILED:
                journal.append(key, progress.failed)
    return progress


def _turns(cells: Iterable[_Progress]) -> list[_Turn]:
    """Return what is missing: a launch of each cell in random order, then the next of each."""
    rounds: list[_Turn] = []
    open_cells = [(progress, progress.missing) for progress in cells if progress.checked is not None]
    for n in range(max((missing for _, missing in open_cells), default=0)):
        turn = [
            _Turn(f"{progress.cell.name}, launch {len(progress.launches) + n + 1}", progress)
            for progress, missing in open_cells
            if n < missing
        ]
        # The same order at every run of a study, so that it can be repeated.
        random.Random(f"{n}").shuffle(turn)  # noqa: S311 - no secret
        rounds += turn
    return rounds


def _launch(progress: _Progress, parts: Sequence[Protocol], journal: Journal) -> None:
    checked = progress.checked
    if checked is None or checked.job is None or progress.failed is not None:
        return
    number = len(progress.launches)
    part = parts[number % len(parts)]
    job = replace(checked.job, protocol=replace(checked.job.protocol, pairs=part.pairs))
    try:
        row = checked.with_launch(launch(job, checked.patience, _LOG.info))
    except UnsupportedError as error:
        progress.failed = replace(checked.row, status=UNSUPPORTED, reason=str(error))
    except ParityError as error:
        progress.failed = rows.failed_parity(checked.row, error)
    except UserError as error:
        progress.failed = replace(checked.row, status=ERROR, reason=str(error)[:500])
    except Exception as error:
        progress.failed = replace(checked.row, status=ERROR, reason=one_line(error)[:500])
    else:
        progress.launches.append(row)
        if progress.key is not None:
            journal.append(launch_key(progress.key, number), row)
