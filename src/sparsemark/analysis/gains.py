"""Gain of a change that was timed in pairs: its interval, its rank, and whether it is above noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.statistics import BLOCKS_NEEDED, Interval, percentile_interval, resampled_medians

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sparsemark.records.explanation import Advice

LEAST_SHARE = 0.01
"""Share of a call that a change must gain to be worth a line: pairs on a shared machine differ by 0.3 %."""


@dataclass(frozen=True)
class Ranked:
    """Advice with the seconds that it gains per call.

    Args:
        advice: what was timed.
        gain_s: seconds saved, with 95 % interval; None below `BLOCKS_NEEDED` pairs.
        pays: whether the whole interval is above zero, and the gain at least `LEAST_SHARE` of a call.
    """

    advice: Advice
    gain_s: Interval | None
    pays: bool


def rank(advice: Iterable[Advice], call_s: float) -> list[Ranked]:
    """Return advice by what it gains, most first.

    Args:
        advice: with pairs of seconds.
        call_s: seconds of a call of the whole network.
    """
    ranked = [_ranked(one, call_s) for one in advice]
    return sorted(ranked, key=lambda one: -one.gain_s.estimate if one.gain_s else 0.0)


def _ranked(advice: Advice, call_s: float) -> Ranked:
    differences = np.asarray(advice.before_s) - np.asarray(advice.after_s)
    if len(differences) < BLOCKS_NEEDED:
        return Ranked(advice, None, pays=False)
    gain = percentile_interval(float(np.median(differences)), resampled_medians(differences))
    return Ranked(advice, gain, pays=gain.low > 0 and gain.estimate >= LEAST_SHARE * call_s)
