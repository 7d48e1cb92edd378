"""Cells measured in launches: fresh processes, in random order over cells, each launch journalled when it is done.

A cell's launches lie far apart in time, with other cells between them, so that what the machine does for a minute is
not taken for a property of one cell. Launches that were contaminated are measured again, once.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from sparsemark.analysis.launches import with_intervals
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.files import key_of
from sparsemark.measurement.launch import LEAST_PAIRS, launch
from sparsemark.measurement.parity import ParityError
from sparsemark.records.journal import launch_key
from sparsemark.records.measurement import ERROR, PARITY_FAILED, UNSUPPORTED, Measurement
from sparsemark.references import one_line
from sparsemark.study import rows
from sparsemark.study.conditions import conditions
from sparsemark.study.executor import Outcome, Progress, Turn
from sparsemark.study.host_classes import HERE
from sparsemark.study.interrupts import raised_again
from sparsemark.study.journal_keys import journal_key
from sparsemark.study.watch import kinds_of_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from sparsemark.records.journal import Journal
    from sparsemark.specs import Cell, Protocol, Variant
    from sparsemark.study.checked import Checked
    from sparsemark.study.executor import Executor
    from sparsemark.study.host_classes import HostClass
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.sampling import Sampling
    from sparsemark.study.watch import Watch

_LOG = logging.getLogger(__name__)

_LOOKS = 4
"""Times that the launches of a cell are doubled at most, where an interval is to be narrowed."""


def split(protocol: Protocol, launches: int) -> list[Protocol]:
    """Spread the blocks of a protocol over launches: over fewer where one would have less than `LEAST_PAIRS`."""
    count = max(1, min(launches, protocol.pairs // LEAST_PAIRS))
    more = protocol.pairs % count
    return [replace(protocol, pairs=protocol.pairs // count + (n < more)) for n in range(count)]


class Here:
    """Executor that checks in this process, and starts one launch after the other on this machine."""

    def classes(self) -> Sequence[HostClass]:
        """Return this machine alone."""
        return (HERE,)

    def prepare_ahead(self, pipeline: Pipeline, variants: Sequence[Variant], watch: Watch) -> None:
        """Prepare nothing: the pipeline does when it is asked."""

    def check_ahead(self, pipeline: Pipeline, cells: Callable[[], Iterable[Cell]], watch: Watch) -> None:
        """Check nothing, as above."""

    def check(self, pipeline: Pipeline, cell: Cell) -> Checked:
        """Return a cell with all but its timing."""
        return pipeline.check(cell)

    def shown(self, turns: Sequence[Turn]) -> Sequence[Turn]:
        """Return the turns, of which each is at work in its turn."""
        return turns

    def launch(self, turns: Sequence[Turn]) -> Iterator[Outcome | None]:
        """Do launches in their order."""
        for turn in turns:
            progress = turn.progress
            if progress.failed is not None or progress.checked is None:
                yield None
                continue
            try:
                yield Outcome(progress, launch(progress.job(), progress.checked.patience, _LOG.info))
            except Exception as error:
                yield Outcome(progress, error)

    def conditions(self, where: HostClass, engines: Iterable[str], *, measured_now: bool) -> Mapping[str, Any]:  # noqa: ARG002 - one class
        """Return machine and versions."""
        return conditions(engines, measured_now=measured_now)


def measure_in_launches(
    pipeline: Pipeline,
    cells: Sequence[Cell],
    journal: Journal,
    watch: Watch,
    sampling: Sampling,
    *,
    executor: Executor | None = None,
) -> list[Measurement]:
    """Measure cells in fresh processes; those that the journal holds are not measured again.

    Args:
        pipeline: prepares and checks one cell.
        cells: in the order of the result.
        journal: finished launches.
        watch: shows progress.
        sampling: how many launches, and when there are enough.
        executor: where; None is this machine.

    Returns:
        A row for each cell: its latency, or why there is none; of an executor with several classes of hosts, for each
        class and its cells.
    """
    executor = executor or Here()
    parts = split(pipeline.protocol, sampling.launches)
    with raised_again() as raise_if_interrupted:

        @cache
        def begun(cell: Cell) -> list[Progress]:
            return [_begun(pipeline, cell, where, journal, parts) for where in executor.classes() if where.takes(cell)]

        def unfinished() -> Iterator[Cell]:
            return (cell for cell in cells if any(one.missing > 0 for one in begun(cell)))

        executor.check_ahead(pipeline, unfinished, watch)
        cells_so_far: list[Progress] = []
        for cell in watch(cells, "checks", kinds_of_cells(cells)):
            for progress in begun(cell):
                if progress.missing > 0:
                    _check(pipeline, progress, journal, executor)
                cells_so_far.append(progress)
            raise_if_interrupted()

        def take_turns(what: str) -> None:
            turns = _turns(cells_so_far)
            outcomes = executor.launch(turns)
            for _ in watch(executor.shown(turns), what):
                _take(next(outcomes, None), journal)
                raise_if_interrupted()
            for outcome in outcomes:  # of cells that were begun again on another host
                _take(outcome, journal)

        take_turns("launches")
        take_turns("contaminated launches again")
        if sampling.until is not None:
            _narrow(pipeline, cells_so_far, sampling, take_turns, executor)
    found = _with_intervals(cells_so_far)
    return [found[progress] for where in executor.classes() for progress in cells_so_far if progress.where == where]


def _with_intervals(cells: Iterable[Progress]) -> dict[Progress, Measurement]:
    """Return rows with their intervals: the spread between launches is pooled within a class of hosts."""
    classes: dict[HostClass, list[Progress]] = {}
    for progress in cells:
        classes.setdefault(progress.where, []).append(progress)
    found: dict[Progress, Measurement] = {}
    for together in classes.values():
        rows_of_class = with_intervals([progress.row for progress in together])
        found |= dict(zip(together, rows_of_class, strict=True))
    return found


def _narrow(
    pipeline: Pipeline,
    cells: Sequence[Progress],
    sampling: Sampling,
    take_turns: Callable[[str], None],
    executor: Executor,
) -> None:
    """Double the launches of cells whose interval is too wide, until none is, the time is over or the looks are."""
    ends = time.monotonic() + sampling.budget_s
    for _ in range(_LOOKS):
        intervals = _with_intervals(cells)
        wide = [one for one in cells if one.failed is None and _width(intervals[one]) > (sampling.until or 0)]
        if not wide or time.monotonic() > ends:
            return
        for progress in wide:
            progress.wanted *= 2
            # One that was finished in the journal was not checked in this process yet.
            progress.checked = progress.checked or executor.check(pipeline, progress.cell)
        take_turns("more launches")


def _width(row: Measurement) -> float:
    """Half the width of the interval of a speedup, as a fraction of it."""
    if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
        return 0.0
    return (row.speedup_high - row.speedup_low) / (2 * row.speedup)


def _begun(pipeline: Pipeline, cell: Cell, where: HostClass, journal: Journal, parts: Sequence[Protocol]) -> Progress:
    """Take a cell's launches from the journal: those of one host, which a later host's replace."""
    wanted = len(parts)
    key = journal_key(pipeline, cell, where)
    progress = Progress(cell, where, None if key is None else key_of(key, wanted), parts, wanted)
    if key is not None and progress.key is not None:
        progress.failed = journal.get(key)
        while found := journal.get(launch_key(progress.key, len(progress.launches))):
            if progress.launches and found.host != progress.host:
                break
            progress.launches.append(found)
    return progress


def _check(pipeline: Pipeline, progress: Progress, journal: Journal, executor: Executor) -> None:
    """Do all of a cell but its timing."""
    progress.checked = executor.check(pipeline, progress.cell)
    if progress.checked.job is None:
        progress.failed = progress.checked.row
        # What is unsupported or broken today may only lack a package: it is tried again next time, at no cost.
        key = journal_key(pipeline, progress.cell, progress.where)
        if key is not None and progress.failed.status == PARITY_FAILED:
            journal.append(key, progress.failed)


def _turns(cells: Iterable[Progress]) -> list[Turn]:
    """Return what is missing: a launch of each cell in random order, then the next of each."""
    rounds: list[Turn] = []
    open_cells = [(progress, progress.missing) for progress in cells if progress.checked is not None]
    for n in range(max((missing for _, missing in open_cells), default=0)):
        turn = [
            Turn(f"{progress.cell.name}, launch {len(progress.launches) + n + 1}", progress)
            for progress, missing in open_cells
            if n < missing
        ]
        # The same order at every run of a study, so that it can be repeated.
        random.Random(f"{n}").shuffle(turn)  # noqa: S311 - no secret
        rounds += turn
    return rounds


def _take(outcome: Outcome | None, journal: Journal) -> None:
    """Add a launch to its cell and to the journal, or make its failure the cell's row."""
    if outcome is None or outcome.progress.checked is None:
        return
    progress, checked = outcome.progress, outcome.progress.checked
    match outcome.launch:
        case UnsupportedError() as error:
            progress.failed = replace(checked.row, status=UNSUPPORTED, reason=str(error))
        case ParityError() as error:
            progress.failed = rows.failed_parity(checked.row, error)
        case UserError() as error:
            progress.failed = replace(checked.row, status=ERROR, reason=str(error)[:500])
        case Exception() as error:
            progress.failed = replace(checked.row, status=ERROR, reason=one_line(error)[:500])
        case launched:
            row = progress.add(launched, outcome.host)
            if progress.key is not None:
                journal.append(launch_key(progress.key, len(progress.launches) - 1), row)
