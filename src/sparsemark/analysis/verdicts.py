"""Verdicts of a gate, the tolerances that they are judged by, and the exit code that follows from them.

The first match decides the exit code: 2 usage or unreadable input, 4 no baseline, 5 parity failure, 1 regression, 3
inconclusive or contaminated (strict, or where not one latency could be compared), 0 ok. 2 and 4 mean that nothing was
judged; a wrong answer (5) is worse than a slow one (1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.analysis.statistics import Interval

EXIT_OK = 0
EXIT_REGRESSION = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_NO_BASELINE = 4
EXIT_PARITY = 5

LATENCY, SPEEDUP = "latency", "speedup"
"""Quantities of a verdict on time; all others hold on every machine."""

_NAMED = ("latency", "floor_ms", "agreement", "size", "memory", "level")
"""Tolerances that are no metrics."""


class Outcome(StrEnum):
    """Verdict on one quantity of one cell."""

    OK = "ok"
    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    INCONCLUSIVE = "inconclusive"
    CONTAMINATED = "contaminated"
    INCOMPARABLE = "incomparable"
    PARITY_FAILURE = "parity failure"


class NoBaselineError(UserError):
    """There is nothing to judge the candidate against; the command line turns it into exit code 4."""

    exit_code = EXIT_NO_BASELINE


@dataclass(frozen=True)
class Tolerances:
    """Losses up to which a candidate passes, and the level of the tests.

    Args:
        latency: fraction of the time; 2 % is what fresh processes of one binary differ by through memory layout alone.
        floor_ms: milliseconds below which no change of latency matters.
        scores: by metric, in its unit, in place of the tolerance that the score carries.
        agreement: as a fraction of the decisions; half a point leaves room for a few borderline images that flip with a
            library's rounding.
        size: fraction of the bytes; exporters write their version and names into the file.
        memory: fraction of the peak; pages are taken a little differently by each process.
        cells: latency by pattern of a cell's name (`cnn9-*-direct-csr`), the first that fits in place of the one above.
        level: of the tests over all latencies together.
    """

    latency: float = 0.02
    floor_ms: float = 0.05
    scores: Mapping[str, float] = field(default_factory=dict)
    agreement: float = 0.005
    size: float = 0.01
    memory: float = 0.1
    cells: Mapping[str, float] = field(default_factory=dict)
    level: float = 0.01

    def __post_init__(self) -> None:
        own = {name: getattr(self, name) for name in ("latency", "floor_ms", "agreement", "size", "memory")}
        for name, value in (*own.items(), *self.scores.items(), *self.cells.items()):
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"tolerance {name} {value}: expected a number from 0")
        if not 0 < self.level < 1:
            raise UserError(f"tolerance level {self.level}: expected a number between 0 and 1")

    @classmethod
    def named(cls, numbers: Mapping[str, float], cells: Mapping[str, float]) -> Tolerances:
        """Return tolerances by the names that study files and the command line use; any other name is a metric.

        Raises:
            UserError: one is out of range.
        """
        own = {name: value for name, value in numbers.items() if name in _NAMED}
        scores = {name: value for name, value in numbers.items() if name not in _NAMED}
        return cls(**own, scores=scores, cells=cells)

    def replaced(self, numbers: Mapping[str, float], cells: Mapping[str, float]) -> Tolerances:
        """Return these with others, as `named` takes them, in their place."""
        asked = Tolerances.named(numbers, cells)
        own = {name: getattr(asked if name in numbers else self, name) for name in _NAMED}
        return Tolerances(**own, scores={**self.scores, **asked.scores}, cells={**asked.cells, **self.cells})

    def latency_of(self, cell: str) -> float:
        """Return the tolerance of one cell's time."""
        return next((value for pattern, value in self.cells.items() if fnmatchcase(cell, pattern)), self.latency)


@dataclass(frozen=True)
class Verdict:
    """Verdict on one quantity of one cell, with its reason.

    Args:
        cell: its name.
        quantity: `status`, `latency` (the cell's own time), `speedup` (over the dense network of its own run), the name
            of a metric, `agreement`, `agreement with dense`, `size` or `memory`.
        outcome: the verdict.
        reason: one line for people.
        change: fraction by which the time grew, with its interval; latency only.
        detectable: smallest slowdown, as a fraction, that these samples could have shown; latency only.
    """

    cell: str
    quantity: str
    outcome: Outcome
    reason: str
    change: Interval | None = None
    detectable: float | None = None


def exit_code(verdicts: Sequence[Verdict], *, strict: bool = False) -> int:
    """Turn verdicts into 0, 1, 3 or 5; under `strict` what cannot be compared in a shared cell is inconclusive too.

    A gate that compared no latency at all has nothing to say of latency, strict or not.
    """
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.PARITY_FAILURE in outcomes:
        return EXIT_PARITY
    if Outcome.REGRESSION in outcomes:
        return EXIT_REGRESSION
    if strict and any(map(_is_undecided, verdicts)):
        return EXIT_INCONCLUSIVE
    return EXIT_OK if _has_compared(verdicts) else EXIT_INCONCLUSIVE


def _has_compared(verdicts: Sequence[Verdict]) -> bool:
    """Return whether any latency was compared, or there is none."""
    latencies = [verdict for verdict in verdicts if verdict.quantity == LATENCY]
    return not latencies or any(v.outcome is Outcome.OK or v.change is not None for v in latencies)


def _is_undecided(verdict: Verdict) -> bool:
    if verdict.outcome is Outcome.INCOMPARABLE:
        return verdict.quantity != "status"
    return verdict.outcome in (Outcome.INCONCLUSIVE, Outcome.CONTAMINATED)
