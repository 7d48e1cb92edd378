"""Fitness of a machine: the smallest effect that a gate can be trusted with on it, from an A/A measurement.

Each of n launches (fresh processes) times one piece of work against itself and gives r_i, the median log ratio of its
paired blocks. Their standard deviation s, with n - 1 degrees of freedom, is what the machine adds to a log ratio from
one process to the next. A constant difference between the two sides costs nothing.

A gate takes m = 10 launches a side and compares the means of their log ratios. The difference d of these means has the
standard error

    e = s sqrt(2 / m)

and a 95 % interval of half-width t(0.975, f) e. With the tolerance T, on the log scale, the gate calls a change

    ok           where d + t(0.975, f) e <= T
    a regression where d - t(0.975, f) e >  T

and inconclusive in between. In four gates of five an unchanged program (d scatters around 0) is ok where T is at least

    margin = (t(0.975, f) + t(0.8, f)) e

and a slowdown is a regression where it exceeds T by as much. So the tolerance needs one margin, the effect another:

    smallest effect = exp(2 margin) - 1

f is the lesser of n - 1, by which s is known here, and 2 (m - 1), by which the gate knows its own. Few launches
thus make the answer larger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.contamination import contamination, in_words
from sparsemark.analysis.statistics import INTERVAL_CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

LAUNCHES_A_SIDE = 10
"""Of the gate whose smallest effect is computed."""

FIT_UP_TO = 0.02
"""Smallest effect on a fit machine: the gate's own tolerance."""

NOISY_UP_TO = 0.20
"""Smallest effect above which a machine is unfit: most slowdowns that a review would discuss are smaller."""

_POWER = 0.8
"""Share of gates that call an unchanged program ok, and as slow a one as the smallest effect a regression."""


class Fitness(StrEnum):
    """Whether a machine is fit to measure on."""

    FIT = "fit"
    NOISY = "noisy"
    UNFIT = "unfit"


@dataclass(frozen=True)
class Noise:
    """What an A/A measurement shows.

    Args:
        launches: fresh processes that it took.
        spread: standard deviation of their log ratios.
        margin: least tolerance that a gate needs, as a fraction, and by how much an effect must exceed a larger one.
        smallest_effect: that the gate can be trusted with, as a fraction.
    """

    launches: int
    spread: float
    margin: float
    smallest_effect: float


@dataclass(frozen=True)
class Disturbance:
    """What others took of the time of an A/A measurement, None where that is not counted.

    Args:
        steal: share that other guests of the hypervisor took.
        waited: share in which other processes had the processor.
        throttled: periods in which the control group's limit stopped it.
    """

    steal: float | None = None
    waited: float | None = None
    throttled: int | None = None


@dataclass(frozen=True)
class Judgement:
    """Verdict on a machine.

    Args:
        fitness: the verdict.
        noise: of the A/A measurement; None where it was not made.
        reasons: why it is unfit, in words; else empty.
    """

    fitness: Fitness
    noise: Noise | None
    reasons: tuple[str, ...] = ()


def noise_of(log_ratios: Sequence[float]) -> Noise:
    """Compute the smallest effect from the log ratio of each launch; the module gives the formula.

    Raises:
        ValueError: there are fewer than two launches.
    """
    if len(log_ratios) < 2:
        raise ValueError(f"{len(log_ratios)} launches have no spread, expected at least 2")
    spread = float(np.std(log_ratios, ddof=1))
    freedom = min(len(log_ratios) - 1, 2 * (LAUNCHES_A_SIDE - 1))
    quantiles = sum(_t_quantile(share, freedom) for share in ((1 + INTERVAL_CONFIDENCE) / 2, _POWER))
    margin = quantiles * spread * math.sqrt(2 / LAUNCHES_A_SIDE)
    return Noise(len(log_ratios), spread, math.expm1(margin), math.expm1(2 * margin))


def judge(noise: Noise, disturbance: Disturbance) -> Judgement:
    """Judge a machine by its A/A measurement, and by what happened meanwhile."""
    # The limits from which every cell would be contaminated.
    contaminated = contamination(None, disturbance.steal, disturbance.waited)
    reasons = [in_words(contaminated)] if contaminated else []
    if disturbance.throttled:
        times = "once" if disturbance.throttled == 1 else f"{disturbance.throttled} times"
        reasons.append(f"the control group's CPU limit stopped the measurement {times}")
    if noise.smallest_effect > NOISY_UP_TO:
        reasons.append(f"effects below {in_percent(noise.smallest_effect)} cannot be told from noise")
    if reasons:
        return Judgement(Fitness.UNFIT, noise, tuple(reasons))
    return Judgement(Fitness.FIT if noise.smallest_effect <= FIT_UP_TO else Fitness.NOISY, noise)


def too_few_processors(threads: int, cpus: int) -> Judgement | None:
    """Return the verdict where threads would take turns, so that nothing can be measured; None where they do not."""
    if threads <= cpus:
        return None
    return Judgement(Fitness.UNFIT, None, (f"{threads} threads on {cpus} processor{'s' if cpus > 1 else ''}",))


def in_percent(fraction: float) -> str:
    """Return a fraction in tenths of a percent, rounded up: what is trusted must not be less than what was computed."""
    return f"{math.ceil(round(1000 * fraction, 6)) / 10:.1f} %"


def _t_quantile(share: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))
