"""Checked cells: all that a launch in a fresh process needs, and the row that its raw seconds complete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemark.machine.fingerprint import commit
from sparsemark.measurement.launch import Job, Side

if TYPE_CHECKING:
    from sparsemark.formats.base import Artifact
    from sparsemark.measurement.launch import Launch
    from sparsemark.measurement.parity import Verified
    from sparsemark.records.measurement import Measurement
    from sparsemark.specs import Cell, Protocol


@dataclass(frozen=True)
class Baseline:
    """The dense network that a cell is timed against.

    Args:
        cell: network, format and engine.
        artifact: the file.
        verified: the engine.
    """

    cell: Cell
    artifact: Artifact
    verified: Verified


@dataclass(frozen=True)
class Checked:
    """A cell that can be timed, or the row that says why not.

    Args:
        row: all that is known without a latency.
        job: for launches; None where the cell cannot be timed.
        reference: name of the cell that it is timed against.
        patience: seconds after which a launch counts as hung.
    """

    row: Measurement
    job: Job | None = None
    reference: str | None = None
    patience: float = 0.0

    def with_launch(self, launch: Launch) -> Measurement:
        """Return the row of one launch."""
        if self.reference is None or self.job is None:
            raise ValueError(f"{self.row.name}: nothing to time")
        from sparsemark.study import rows  # with torch, which a worker that only times does not need

        return rows.with_launch(self.row, launch, self.reference, self.job.reference, **moment())


def job(cell: Cell, artifact: Artifact, baseline: Baseline, data: Path, protocol: Protocol) -> Job:
    """Describe a launch of a cell beside its baseline."""
    return Job(_side(cell, artifact, data), _side(baseline.cell, baseline.artifact, data), protocol)


def _side(cell: Cell, artifact: Artifact, data: Path) -> Side:
    path, data = artifact.path.absolute(), data.absolute()
    return Side(cell.engine, str(path), artifact.format, artifact.sha256, str(data), cell.file_name)


def moment() -> dict[str, Any]:
    """Return when and at which commit something is measured."""
    return {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "measured_commit": _commit_of(Path.cwd())}


@cache
def _commit_of(_: Path) -> str | None:
    """Return the commit at the first call: what is committed later is not what runs."""
    return commit().get("id")
