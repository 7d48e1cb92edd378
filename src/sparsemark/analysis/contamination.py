"""Contamination: signs that a machine changed under a measurement, so that its latency is not trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

from sparsemark.machine.noise import STEAL_LIMIT
from sparsemark.records.measurement import MEASURED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sparsemark.records.measurement import Measurement

DRIFT_LIMIT = 0.03
"""Movement of the reference within a run, as a fraction, above which the machine has changed."""


class Cause(StrEnum):
    """Sign of a contaminated latency."""

    REFERENCE_MOVED = "reference moved"
    RATIO_MOVED = "ratio moved"
    TENANTS = "other tenants"
    PROCESSES = "other processes"
    REFERENCES_APART = "references apart"


@dataclass(frozen=True)
class Contamination:
    """One cause, and how large it was.

    Args:
        cause: the sign.
        size: fraction by which something moved, or share of the processor that others took.
        run: `baseline` or `candidate` where two runs are compared; None for a cell alone, and for what lies between
            two runs.
    """

    cause: Cause
    size: float
    run: str | None = None


_WORDS = {
    Cause.REFERENCE_MOVED: "the reference moved {:.1f} % within the run",
    Cause.RATIO_MOVED: "the ratio to the reference moved {:.1f} % within the run",
    Cause.TENANTS: "other tenants took {:.1f} % of the processor",
    Cause.PROCESSES: "other processes had the processor for {:.1f} % of the time",
}


def contamination(
    reference_drift: float | None, steal: float | None, waited: float | None = None
) -> tuple[Contamination, ...]:
    """Return why a cell's latency cannot be trusted; empty where it can.

    Args:
        reference_drift: how much the reference moved within the cell, as a fraction.
        steal: share of the processor that other guests took.
        waited: share of the time that other processes had the processor.
    """
    signs = (
        (Cause.REFERENCE_MOVED, reference_drift, DRIFT_LIMIT),
        (Cause.TENANTS, steal, STEAL_LIMIT),
        (Cause.PROCESSES, waited, STEAL_LIMIT),
    )
    return tuple(Contamination(cause, size) for cause, size, limit in signs if size is not None and size > limit)


def contamination_of(measurement: Measurement) -> tuple[Contamination, ...]:
    """Return why the latency of one cell cannot be trusted; empty where it can."""
    return contamination(measurement.reference_drift, measurement.steal, measurement.waited)


@dataclass(frozen=True)
class Disturbance:
    """Timed cells whose latency cannot be trusted, among all timed cells of a run or of one network.

    Controls count, and each fold is a cell. Whatever says how many cells were disturbed says it by this.

    Args:
        cells: those that were disturbed, in the order of the rows.
        timed: number of all timed cells.
    """

    cells: tuple[Measurement, ...]
    timed: int

    @classmethod
    def of(cls, rows: Iterable[Measurement]) -> Disturbance:
        """Count the disturbed cells among rows of any status."""
        timed = [m for m in rows if m.status == MEASURED and m.p50_ms is not None]
        return cls(tuple(m for m in timed if contamination_of(m)), len(timed))

    @property
    def is_most(self) -> bool:
        """Whether more than half were disturbed: then the machine was never quiet."""
        return 2 * len(self.cells) > self.timed

    @property
    def words(self) -> str:
        """The count and what it counts: `73 of 117 timed cells disturbed`."""
        return f"{len(self.cells)} of {self.timed} timed cells disturbed"


def in_words(contaminations: Iterable[Contamination]) -> str:
    """Write causes in one line, those of each run behind its name; empty for none."""
    parts = []
    for run, group in groupby(contaminations, lambda contamination: contamination.run):
        said = "; ".join(map(_one_in_words, group))
        parts.append(f"{run}: {said}" if run else said)
    return "; ".join(parts)


def _one_in_words(contamination: Contamination) -> str:
    if contamination.cause is Cause.REFERENCES_APART:
        return f"the reference took {1 + contamination.size:.1f} times as long in one run as in the other"
    return _WORDS[contamination.cause].format(100 * contamination.size)
