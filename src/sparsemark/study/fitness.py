"""Fitness of this machine: an A/A measurement, and the judgement on it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from sparsemark.analysis.fitness import Disturbance, Judgement, judge, noise_of, too_few_processors
from sparsemark.analysis.statistics import log_time_ratios
from sparsemark.machine.placement import allowed_cpus
from sparsemark.measurement.aa import launches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.measurement.aa import Launch, Watch


def fitness(seconds: float, threads: int, watch: Watch) -> Judgement:
    """Measure this machine's noise for about `seconds` and judge it.

    Args:
        seconds: of timing; nothing is timed where there are fewer processors than threads.
        threads: that will be measured with.
        watch: shows progress.

    Raises:
        UserError: a process cannot be started, or fails.
    """
    too_few = too_few_processors(threads, len(allowed_cpus()))
    return too_few or judge_launches(list(launches(seconds, threads, watch)))


def judge_launches(made: Sequence[Launch]) -> Judgement:
    """Judge the launches of an A/A measurement, at least two."""
    ratios = [statistics.median(log_time_ratios(one.samples_s, one.reference_s, one.block).tolist()) for one in made]
    disturbance = Disturbance(
        _mean(one.steal for one in made),
        _mean(one.waited for one in made),
        sum(one.throttled or 0 for one in made),
    )
    return judge(noise_of(ratios), disturbance)


def _mean(shares: Iterable[float | None]) -> float | None:
    counted = [share for share in shares if share is not None]
    return statistics.fmean(counted) if counted else None
