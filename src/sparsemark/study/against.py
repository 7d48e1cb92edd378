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
from sparsemark.analysis.launches import blocks_of, merged, with_intervals
from sparsemark.analysis.paired_launches import Batch, PairedChange, alarms_of, judge_pairs
from sparsemark.analysis.verdicts import NoBaselineError
from sparsemark.errors import UserError
from sparsemark.measurement.launch import LEAST_PAIRS, NOTICE, launch
from sparsemark.records.benchmark_json import from_benchmark
from sparsemark.records.measurement import ERROR, Measurement
from sparsemark.records.run import Run
from sparsemark.references import one_line
from sparsemark.study import rows
from sparsemark.study.arm import Answer, Request
from sparsemark.study.interrupts import raised_again

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sparsemark.analysis.comparison import Comparison
    from sparsemark.analysis.verdicts import Tolerances, Verdict
    from sparsemark.measurement.launch import Job
    from sparsemark.study.arm import CheckedCell
    from sparsemark.study.revision import Arm
    from sparsemark.study.watch import Watch

_LOG = logging.getLogger(__name__)


@dataclass
class _Timed:
    """A cell in both arms: its jobs, rows of the launches so far, and what kept one from running."""

    name: str
    jobs: tuple[Job, Job]
    cells: tuple[CheckedCell, CheckedCell]
    launches: tuple[list[Measurement], list[Measurement]] = field(default_factory=lambda: ([], []))
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
        before = {one.name: len(one.launches[0]) for one in cells}
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
                for which in (turn.first, 1 - turn.first):
                    self._launch_one(turn.cell, which)
                    raise_if_interrupted()
        return self._found(cells, before)

    def _launch_one(self, cell: _Timed, which: int) -> None:
        if cell.failed is not None:
            return
        arm, job = self._arms[which], cell.jobs[which]
        try:
            made = launch(job, cell.cells[which].patience, _LOG.info, arm.place)
        except Exception as error:
            cell.failed = which, one_line(error)[:500]
            return
        row = from_benchmark(cell.cells[which].row)
        reference = cell.cells[0].reference or ""
        cell.launches[which].append(rows.with_launch(row, made, reference, job.reference))

    def _found(self, cells: Sequence[_Timed], before: dict[str, int]) -> Found:
        added = {one.name: tuple(launches[before[one.name] :] for launches in one.launches) for one in cells}
        runs = [self._run(which, {name: launches[which] for name, launches in added.items()}) for which in (0, 1)]
        changes = {}
        for one in cells:
            if one.failed is None:
                changes[one.name] = _change(*added[one.name])
        dense = {one.name: self._answers[1].cells[one.name].reference or "" for one in cells}
        return Found(runs[0], runs[1], changes, dense)

    def _run(self, which: int, launches: dict[str, list[Measurement]]) -> Run:
        answer = self._answers[which]
        failures = {one.name: one.failed for one in self._timed if one.failed is not None}
        found = []
        for name, cell in answer.cells.items():
            row, failed = from_benchmark(cell.row), failures.get(name)
            if failed is not None and failed[0] == which:
                row = replace(row, status=ERROR, reason=failed[1])
            elif launches.get(name):
                row = merged(launches[name], len(launches[name]))
            found.append(row)
        return Run(tuple(with_intervals(found)), answer.conditions)


def _change(before: Sequence[Measurement], after: Sequence[Measurement]) -> PairedChange:
    logs = [[float(np.median(blocks_of(row)[0])) for row in launches] for launches in (before, after)]
    differences = tuple(b - a for a, b in zip(*logs, strict=True))
    after_ms = float(np.median([row.p50_ms for row in after if row.p50_ms is not None]))
    return PairedChange(differences, after_ms * -float(np.expm1(-np.mean(differences))))


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


def judge(duel: Duel, launches: int, tolerances: Tolerances, watch: Watch) -> tuple[list[Verdict], Run, Run]:
    """Launch both arms in turn, what alarms a second time, and return the verdicts with both arms' rows.

    Args:
        duel: two arms, checked.
        launches: of each arm, in each batch.
        tolerances: what the candidate may lose.
        watch: shows progress.
    """
    found = duel.launch(launches, watch)
    first, second = Batch.of(found.changes, found.dense), None
    alarms = alarms_of(first, tolerances)
    alarmed = {name for cells in alarms.values() for name in cells}
    if alarmed:
        again = duel.launch(launches, watch, only=[*alarmed, *(found.dense[name] for name in alarmed)])
        second = Batch.of(again.changes, again.dense)

    def judge_times(comparison: Comparison) -> Iterator[Verdict]:
        yield from judge_pairs(comparison, first, second, alarms, tolerances)

    return gate(found.baseline, found.candidate, tolerances, judge_times), found.baseline, found.candidate
