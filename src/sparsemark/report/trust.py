"""Grade of trust in a cell's speedup: how narrow its interval is, and what speaks against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.contamination import contamination_of, in_words

if TYPE_CHECKING:
    from sparsemark.analysis.statistics import Interval
    from sparsemark.records.measurement import Measurement

GRADES = "ABCD"

COLUMN = "trust"
"""Column of the grade."""

NARROW, WIDE = 0.03, 0.1
"""Half widths of an interval, relative to its estimate, up to which it counts as narrow, and beyond which as wide."""

_LAUNCHES = 3
"""Fresh processes whose spread an interval can hold."""

LEGEND = (
    f"trust: A interval within {100 * NARROW:g} %, B within {100 * WIDE:g} %, C wider, D: do not use; one grade "
    f"less for a disturbed cell, (!), one less below {_LAUNCHES} processes"
)


def grade(m: Measurement) -> str:
    """Return how far the speedup of a cell can be trusted, `A` to `D`; D where it has no interval."""
    speedup = speedup_of(m)
    if speedup is None:
        return GRADES[-1]
    half = _half_width(speedup)
    lost = (half > NARROW) + (half > WIDE) + bool(contamination_of(m)) + ((m.launches or 1) < _LAUNCHES)
    return GRADES[min(lost, len(GRADES) - 1)]


def reasons(m: Measurement) -> str:
    """Return what the grade of a cell was lowered by; empty for an A."""
    speedup = speedup_of(m)
    if speedup is None:
        return "no interval"
    half = _half_width(speedup)
    found = [f"interval of {100 * half:.1f} % to a side"] if half > NARROW else []
    if causes := contamination_of(m):
        found.append(in_words(causes))
    if (m.launches or 1) < _LAUNCHES:
        found.append("one process" if (m.launches or 1) == 1 else f"{m.launches} processes")
    return "; ".join(found)


def _half_width(speedup: Interval) -> float:
    """Return how far an interval reaches to its longer side, relative to its estimate."""
    return max(speedup.high / speedup.estimate - 1, 1 - speedup.low / speedup.estimate)
