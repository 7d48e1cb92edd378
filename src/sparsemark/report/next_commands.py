"""Commands that a failed gate leads to."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.analysis.verdicts import LATENCY, Outcome
from sparsemark.report.harmless import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sparsemark.analysis.verdicts import Verdict
    from sparsemark.records.run import Run

_EXPLAINED = "direct-csr"
"""Engine whose plan `sparsemark explain` shows."""

_FAILED = {Outcome.PARITY_FAILURE, Outcome.REGRESSION}
_UNDECIDED = {Outcome.INCONCLUSIVE, Outcome.CONTAMINATED}


@dataclass(frozen=True)
class NextCommand:
    """A command line of sparsemark, quoted for a shell, and what it shows; both harmless."""

    command: str
    shows: str


def next_commands(verdicts: Sequence[Verdict], run: Run, baseline: Path, candidate: Path) -> list[NextCommand]:
    """Return what to type after a gate that did not end in 0, the most urgent first.

    Args:
        verdicts: of the gate.
        run: the candidate, whose rows say which engine ran a cell.
        baseline: file of the baseline, as it was named.
        candidate: file of the candidate.
    """
    return list(_commands(verdicts, run, str(baseline), str(candidate)))


def _commands(verdicts: Sequence[Verdict], run: Run, baseline: str, candidate: str) -> Iterator[NextCommand]:
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.PARITY_FAILURE in outcomes:
        yield _command("report", candidate, shows="which rows fail parity, and by how much")
    if Outcome.REGRESSION in outcomes:
        yield _command("compare", baseline, candidate, shows="every cell of both runs, and what else differs")
    slower = {v.cell: v.change.estimate for v in verdicts if _is_slower(v) and v.change}
    explained = [m.name for m in run.measurements if m.name in slower and m.engine == _EXPLAINED]
    if explained:
        slowest = max(explained, key=lambda cell: slower[cell])
        file = f"{slowest.partition(f'-{_EXPLAINED}')[0]}.csr"
        yield _command("explain", file, shows="its layers; sparsemark bench --artifacts DIR keeps the file")
    if outcomes & _UNDECIDED and not outcomes & _FAILED:
        yield _command("doctor", shows="what disturbs this machine; then measure both runs again, with more --rounds")


def _is_slower(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.REGRESSION and verdict.quantity == LATENCY


def _command(*words: str, shows: str) -> NextCommand:
    return NextCommand(harmless(shlex.join(["sparsemark", *words])), shows)
