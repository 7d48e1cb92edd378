"""Words of a verdict, and what the rules behind them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsemark.report import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.paper_study import Change, Study

HOLDS, FAILS, OPEN = "holds", "does not hold", "can't tell"

POINT = 1.0
"""Points of accuracy within which a score counts as kept."""

HERE = "on these processors"


@dataclass(frozen=True)
class Verdict:
    """A word of the three with its reason.

    Args:
        word: of the three.
        why: one sentence, without a full stop.
        evidence: numbers with how many cases and which interval; empty where there are none.
        beyond: what the paper did not ask; empty where there is nothing.
    """

    word: str
    why: str
    evidence: str = ""
    beyond: str = ""


@dataclass(frozen=True)
class Claim:
    """What the paper says, and the rule that judges it.

    Args:
        number: in the ledger, with a letter where one of its claims has several parts.
        text: what is claimed.
        judge: returns the verdict.
    """

    number: str
    text: str
    judge: Callable[[Study], Verdict]


def absent(study: Study, names: Iterable[str]) -> str:
    """Return which variants a verdict lacks; empty where all are there."""
    missing = study.missing(*names)
    return f"not trained yet: {wording.listed(f'`{name}`' for name in missing)}" if missing else ""


def kept(change: Change) -> str:
    """Return whether a score is kept within a point: the whole interval says so, or the whole of it does not."""
    if change.low >= -POINT:
        return HOLDS
    return FAILS if change.high < -POINT else OPEN


def percent(value: float | None) -> str:
    """Return a fraction as `92.4 %`."""
    return wording.percent(value, 1)
