"""Two arms in one job: cells of this tree and of another revision, launched in turn."""

from __future__ import annotations

import contextlib
import logging
import random
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from sparsemark.analysis.gate import gate
from sparsemark.analysis.launches import merged, with_intervals
from sparsemark.analysis.paired_launches import Alarms, Batch, PairedChange, alarms_of, judge_pairs, unsettled
from sparsemark.analysis.significance import signed_rank_interval
from sparsemark.analysis.statistics import log_time_ratios
from sparsemark.analysis.verdicts import NoBaselineError
from sparsemark.errors import UserError
from sparsemark.measurement.launch import LEAST_PAIRS, InTurnError, launch_in_turn
from sparsemark.measurement.notices import NOTICE
from sparsemark.records.benchmark_json import from_benchmark
from sparsemark.records.measurement import ERROR
from sparsemark.records.run import Run
from sparsemark.references import one_line
from sparsemark.study import rows
from sparsemark.study.arm import Answer, Request
from sparsemark.study.interrupts import raised_again

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sparsemark.analysis.comparison import Comparison
    from sparsemark.analysis.verdicts import Tolerances, Verdict
    from sparsemark.measurement.launch import Job, Launch
    from sparsemark.measurement.turns import InTurn
    from sparsemark.records.measurement import Measurement
    from sparsemark.study.arm import CheckedCell
    from sparsemark.study.revision import Arm
    from sparsemark.study.watch import Watch

_LOG = logging.getLogger(__name__)

LONGER = 2
"""Further launches of cells that are not settled, as a multiple of the first."""


@dataclass
class _Timed:
    """A cell in both arms: its jobs, the launches of both so far, and which could not run, and why."""

    name: str
    jobs: tuple[Job, Job]
    cells: tuple[CheckedCell, CheckedCell]
    launches: list[tuple[Launch, Launch]] = field(default_factory=list)
    failed: tuple[int, str] | None = None


@dataclass(frozen=True)
class _Turn:
    """A launch of each arm, named for the display."""

    name: str
    cell: _Timed
    first: int


@dataclass(frozen=True)
class Found:
    """What two arms showed.

    Args:
        baseline, candidate: their rows, as two result files would hold them.
        changes: by cell, of those that both could run.
        dense: name of the cell of the dense network in the same arm, by cell.
    """

    baseline: Run
    candidate: Run
    changes: dict[str, PairedChange]
    dense: dict[str, str]


class Duel:
    """Cells of two arms, checked in their own environments and launched in turn.

    Args:
        baseline: the revision.
        candidate: this tree.
        request: study and cells.

    Raises:
        UserError: an arm cannot be asked, or the two have no cell in common.
    """

    def __init__(self, baseline: Arm, candidate: Arm, request: Request) -> None:
        self._arms = baseline, candidate
        after = _ask(candidate, request)
        before = _ask(baseline, replace(request, cells=tuple(after.cells)))
        common = [name for name in after.cells if name in before.cells]
        if not common:
            raise UserError(f"{request.study}: {baseline.name} has none of its cells; expected one at least in both")
        self._answers = before, after
        self._timed = [one for name in common if (one := self._timed_cell(name)) is not None]

    def _timed_cell(self, name: str) -> _Timed | None:
        cells = self._answers[0].cells[name], self._answers[1].cells[name]
        before, after = cells[0].job, cells[1].job
        if before is None or after is None:
            return None
        pairs = replace(before.protocol, pairs=LEAST_PAIRS)
        # Both beside the baseline's own dense file: what the change cannot touch.
        jobs = replace(before, protocol=pairs), replace(after, reference=before.reference, protocol=pairs)
        return _Timed(name, jobs, cells)

    def launch(self, count: int, watch: Watch, only: Sequence[str] | None = None) -> Found:
        """Add launches to every cell, and return what the added ones show.

        Args:
            count: of launches of each arm.
            watch: shows progress.
            only: names of cells; None for all.
        """
        cells = [one for one in self._timed if only is None or one.name in only]
        before = {one.name: len(one.launches) for one in cells}
        turns: list[_Turn] = []
        for number in range(count):
            # Baseline first in every other launch, so that what drifts falls on both alike.
            some = [
                _Turn(f"{one.name}, launch {number + 1}", one, (number + position) % 2)
                for position, one in enumerate(cells)
            ]
            random.Random(f"{number}").shuffle(some)  # noqa: S311 - no secret
            turns += some
        with raised_again() as raise_if_interrupted:
            for turn in watch(turns, "launches of both arms"):
                self._launch(turn.cell, turn.first)
                raise_if_interrupted()
        return self._found(cells, before)

    def _launch(self, cell: _Timed, first: int) -> None:
        if cell.failed is not None:
            return
        order = first, 1 - first
        try:
            made = launch_in_turn(
                (cell.jobs[order[0]], cell.jobs[order[1]]),
                max(one.patience for one in cell.cells),
                _LOG.info,
                (self._arms[order[0]].place, self._arms[order[1]].place),
            )
        except InTurnError as error:
            cell.failed = order[error.which], one_line(error)[:500]
            return
        cell.launches.append((made[order[0]], made[order[1]]))

    def so_far(self) -> Found:
        """Return what all launches show."""
        return self._found(self._timed, {one.name: 0 for one in self._timed})

    def forget(self) -> None:
        """Drop all launches, for another decision on the same arms."""
        for one in self._timed:
            one.launches.clear()
            one.failed = None

    def _found(self, cells: Sequence[_Timed], before: dict[str, int]) -> Found:
        added = {one.name: one.launches[before[one.name] :] for one in cells}
        runs = [self._run(which, added) for which in (0, 1)]
        changes = {one.name: _change(added[one.name]) for one in cells if one.failed is None}
        dense = {one.name: self._answers[1].cells[one.name].reference or "" for one in cells}
        return Found(runs[0], runs[1], changes, dense)

    def _run(self, which: int, launches: dict[str, list[tuple[Launch, Launch]]]) -> Run:
        answer = self._answers[which]
        failures = {one.name: one.failed for one in self._timed if one.failed is not None}
        found = []
        for name, cell in answer.cells.items():
            row, failed = from_benchmark(cell.row), failures.get(name)
            if failed is not None and failed[0] == which:
                row = replace(row, status=ERROR, reason=failed[1])
            elif launches.get(name):
                row = merged([self._row(name, which, pair[which]) for pair in launches[name]], len(launches[name]))
            found.append(row)
        return Run(tuple(with_intervals(found)), answer.conditions)

    def _row(self, name: str, which: int, launch: Launch) -> Measurement:
        cell = next(one for one in self._timed if one.name == name)
        row = from_benchmark(cell.cells[which].row)
        return rows.with_launch(row, launch, cell.cells[0].reference or "", cell.jobs[which].reference)


def _change(launches: Sequence[tuple[Launch, Launch]]) -> PairedChange:
    differences = [_difference(before.in_turn, after.in_turn) for before, after in launches]
    after_ms = 1e3 * float(np.median([np.median(after.in_turn.samples_s) for _, after in launches if after.in_turn]))
    change = signed_rank_interval(differences).estimate
    return PairedChange(tuple(differences), after_ms * -float(np.expm1(-change)))


def _difference(before: InTurn | None, after: InTurn | None) -> float:
    """Return ln(after / before): the median over blocks that were neighbours in time."""
    if before is None or after is None:
        raise ValueError("launches that did not take turns")
    return float(np.median(log_time_ratios(after.samples_s, before.samples_s, after.block)))


def _ask(arm: Arm, request: Request) -> Answer:
    """Have an arm check the cells in its own environment.

    Raises:
        NoBaselineError: its sparsemark is too old to be asked.
        UserError: the request is wrong there.
    """
    _LOG.info("checking the cells of %s", arm.name)
    with tempfile.TemporaryDirectory(prefix="sparsemark-arm-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "answer"
        lines: list[str] = []
        with subprocess.Popen(  # noqa: S603 - the arm's Python and its own program
            [arm.python, "-P", "-m", "sparsemark.study.arm", str(path)],
            cwd=arm.folder,
            env=arm.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                if process.stdin is not None and process.stderr is not None:
                    with contextlib.suppress(BrokenPipeError):  # it ended before it had read
                        process.stdin.write(msgspec.json.encode(request))
                        process.stdin.close()
                    for raw in process.stderr:
                        line = raw.decode(errors="replace").strip()
                        lines = [*lines[-20:], line] if line and not line.startswith(NOTICE) else lines
            except BaseException:
                process.kill()
                raise
        content = path.read_bytes() if path.exists() else b""
    if not content:
        said = lines[-1] if lines else f"code {process.returncode}"
        if "No module named" in said and "sparsemark" in said:
            raise NoBaselineError(f"{arm.name}: its sparsemark has no --against; compare files, with --baseline")
        raise UserError(f"{arm.name}: cannot be checked: {said}")
    found = msgspec.json.decode(content, type=Answer)
    if found.error is not None:
        raise UserError(f"{arm.name}: {found.error}")
    return found


@dataclass(frozen=True)
class Decided:
    """Launches that decide: of every cell, and once more of what alarmed.

    Args:
        found: rows and changes of every cell.
        first: the same changes, of time and of speedup.
        second: of the cells that alarmed; None where none did.
        alarms: of the first.
    """

    found: Found
    first: Batch
    second: Batch | None
    alarms: Alarms


def decide(duel: Duel, launches: int, tolerances: Tolerances, watch: Watch) -> Decided:
    """Launch both arms, longer where that settles nothing, and what alarms a second time.

    Args:
        duel: two arms, checked.
        launches: of each arm, in each batch.
        tolerances: what the candidate may lose.
        watch: shows progress.
    """
    found = duel.launch(launches, watch)
    first = Batch.of(found.changes, found.dense)
    alarms = alarms_of(first, tolerances)
    if more := unsettled(first, alarms, tolerances):
        duel.launch(LONGER * launches, watch, only=_beside_dense(more, found.dense))
        found = duel.so_far()
        first = Batch.of(found.changes, found.dense)
        alarms = alarms_of(first, tolerances)
    second = None
    if alarmed := {name for cells in alarms.values() for name in cells}:
        again = duel.launch(launches, watch, only=_beside_dense(alarmed, found.dense))
        second = Batch.of(again.changes, again.dense)
    return Decided(found, first, second, alarms)


def _beside_dense(cells: set[str], dense: dict[str, str]) -> list[str]:
    """Return cells and their dense networks, which the speedup asks for, in one order whatever the set's."""
    return sorted(cells | {dense[name] for name in cells})


def judge(duel: Duel, launches: int, tolerances: Tolerances, watch: Watch) -> tuple[list[Verdict], Run, Run]:
    """Measure both arms and return the verdicts with both arms' rows; arguments as of `decide`."""
    decided = decide(duel, launches, tolerances, watch)
    found = decided.found

    def judge_times(comparison: Comparison) -> Iterator[Verdict]:
        yield from judge_pairs(comparison, decided.first, decided.second, decided.alarms, tolerances)

    return gate(found.baseline, found.candidate, tolerances, judge_times), found.baseline, found.candidate
