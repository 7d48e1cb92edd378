"""Launches of a cell: fresh processes whose ratios are the sample, since processes of one program differ.

One process tells how its own calls scatter, and nothing of what the next one would find: memory lies elsewhere, and a
mask that zeroes nothing comes out "1.12x [1.04, 1.16] faster". So the estimate is the mean over launches, each the
median of its paired blocks, and its interval is Student's. Three launches show too little of their own spread, so that
is pooled over all cells of an engine; a cell whose blocks scatter more than that, or whose launches lie further apart
than chance puts them, has its own. What was timed against
itself is pooled apart: where memory lies in a process, both of its sides feel.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.cells import is_against_itself
from sparsemark.analysis.contamination import contamination_of
from sparsemark.analysis.statistics import (
    INTERVAL_CONFIDENCE,
    Interval,
    drift,
    log_time_ratios,
    moved,
    summarise,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from sparsemark.records.measurement import Measurement

_MEDIAN_GAINS = (1.3, 0.48)
"""What a median of n normal values gains on its variance for large n, pi / (2 n), by whether n is odd: as if there were
so many values more. Within 1 % of the exact variance from n = 3."""

_MAD_TO_DEVIATION, _MAD_FREEDOM = 1.4826, 0.4
"""Standard deviation of normal values over their median distance from the median, and for each distance the degrees of
freedom of its square, by simulation of three launches of 3 to 40 blocks. Some blocks are far out: they move the median
little, and a standard deviation by sums of squares much, so that intervals came out twice too wide."""

_NOISIER = 1.5
"""How many times the pooled variance a cell's own must be to replace it: below that the two differ by chance as well,
and taking the larger would widen most intervals for nothing."""


_APART = 0.99
"""Confidence that the launches of a cell lie further apart than those of the others of its engine, from which on its
interval is as wide as they say. Without it, one cell of eight whose processes differ by 5 %, where those of the others
do by 0.2, was covered in 55 % of simulations, with it in 87; where all differ alike, intervals are 3 % wider."""


def blocks_of(measurement: Measurement) -> list[NDArray[np.float64]]:
    """Return ln(candidate / reference) of the pairs of blocks of each launch; empty without raw samples."""
    if not measurement.block:
        return []
    return [log_time_ratios(samples, reference, measurement.block) for samples, reference in _parts_of(measurement)]


def _parts_of(measurement: Measurement) -> Iterator[tuple[Sequence[float], Sequence[float]]]:
    start = 0
    for pairs in measurement.pairs_of_launches:
        end = start + pairs * (measurement.block or 0)
        yield measurement.samples_s[start:end], measurement.reference_s[start:end]
        start = end


def reference_drift_of(measurement: Measurement) -> float | None:
    """Return how far the reference moved within the launch where it moved most; None where too short to tell.

    From launch to launch it may lie elsewhere in memory, which is no sign of a machine that changed.
    """
    block = measurement.block
    found = [drift(reference, block) for _, reference in _parts_of(measurement)] if block else []
    return max((one for one in found if one is not None), default=None)


def ratio_drift_of(measurement: Measurement) -> float | None:
    """Return the same of the ratio to the reference."""
    found = [moved(blocks) for blocks in blocks_of(measurement)]
    return max((one for one in found if one is not None), default=None)


def merged(rows: Sequence[Measurement], wanted: int) -> Measurement:
    """Return one cell from the rows of its launches.

    Where enough launches are clean, those that are contaminated are set aside, whatever they show; else all count, and
    the cell is contaminated.

    Args:
        rows: of launches of the same cell, in the order in which they ran; each may itself hold several.
        wanted: number of launches that are enough.
    """
    clean = [row for row in rows if not contamination_of(row)]
    used = clean if len(clean) >= wanted else list(rows)
    aside = [row for row in rows if row not in used]
    last = used[-1]
    samples = tuple(s for row in used for s in row.samples_s)
    reference = tuple(s for row in used for s in row.reference_s)
    summary = summarise(samples, reference, last.block or 1)
    row = replace(
        last,
        samples_s=samples,
        reference_s=reference,
        launch_pairs=tuple(pairs for row in used for pairs in row.pairs_of_launches),
        aside_samples_s=tuple(s for row in aside for s in row.samples_s),
        aside_reference_s=tuple(s for row in aside for s in row.reference_s),
        samples=summary.samples,
        p50_ms=summary.p50_ms,
        p90_ms=summary.p90_ms,
        p95_ms=summary.p95_ms,
        p99_ms=summary.p99_ms,
        speedup=summary.speedup,
        speedup_low=summary.speedup_low,
        speedup_high=summary.speedup_high,
        reference_p50_ms=summary.reference_p50_ms,
        steal=_most(row.steal for row in used),
        waited=_most(row.waited for row in used),
        yardstick_ms=_middle([row.yardstick_ms for row in used]),
        yardstick_spread=_yardstick_spread(used),
        lock_wait_s=sum(row.lock_wait_s or 0.0 for row in rows),
        held_from_s=min((row.held_from_s for row in used if row.held_from_s is not None), default=None),
        held_until_s=max((row.held_until_s for row in used if row.held_until_s is not None), default=None),
        peak_rss_bytes=max((row.peak_rss_bytes for row in used if row.peak_rss_bytes is not None), default=None),
    )
    return replace(row, launches=len(row.launch_pairs), reference_drift=reference_drift_of(row))


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _yardstick_spread(rows: Sequence[Measurement]) -> float | None:
    """Return how far the yardstick moved within a launch or from one to another."""
    times = [row.yardstick_ms for row in rows if row.yardstick_ms is not None]
    within = [row.yardstick_spread for row in rows if row.yardstick_spread is not None]
    return max([max(times) / min(times) - 1, *within]) if times else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def with_intervals(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return rows with their speedups and intervals over launches; a row of one launch keeps what it has."""
    by_engine = defaultdict(list)
    for row in rows:
        if len(row.launch_pairs) > 1:
            by_engine[row.engine, row.threads, row.batch, is_against_itself(row)].append(row)
    found = {}
    for together in by_engine.values():
        for row, interval in zip(together, log_ratio_intervals(list(map(blocks_of, together))), strict=True):
            ratio = Interval(-interval.estimate, -interval.high, -interval.low).exp()
            found[row.name] = replace(row, speedup=ratio.estimate, speedup_low=ratio.low, speedup_high=ratio.high)
    return [found.get(row.name, row) for row in rows]


def log_ratio_intervals(cells: Sequence[Sequence[NDArray[np.float64]]]) -> list[Interval]:
    """Estimate each cell's logarithm of a ratio, with its 95 % interval, from the spread of all of them.

    Args:
        cells: of one engine, all against itself or none, at least one of them with two launches: for each cell the
            blocks of each launch.

    Returns:
        An interval a cell: Student's on the launches' medians, with the standard deviation between launches pooled over
        the cells; wider where the cell's own blocks or launches ask for more.
    """
    medians = [np.array([np.median(blocks) for blocks in launches]) for launches in cells]
    squares = [float(((values - values.mean()) ** 2).sum()) for values in medians]
    total, freedom = sum(squares), sum(len(values) - 1 for values in medians)
    found = []
    for launches, values, square in zip(cells, medians, squares, strict=True):
        spreads: list[tuple[float, float]] = [(total / freedom, freedom)]
        within = _variance_within(launches)
        if within[0] > _NOISIER * total / freedom:
            spreads.append(within)
        own = len(values) - 1
        if _is_apart(square, own, total - square, freedom - own):
            spreads.append((square / own, own))
        # The widest: launches that agree by chance show little spread and little of it is certain.
        half = max(student_quantile(of) * math.sqrt(variance / len(values)) for variance, of in spreads)
        estimate = float(values.mean())
        found.append(Interval(estimate, estimate - half, estimate + half))
    return found


def _is_apart(square: float, own: int, others: float, freedom: int) -> bool:
    """Return whether a variance exceeds that of others by more than chance, from sums of squares and their freedom."""
    from scipy.special import fdtri

    return own > 0 and freedom > 0 and square / own > float(fdtri(own, freedom, _APART)) * others / freedom


def _variance_within(launches: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the variance of a launch's median that the scatter of its blocks alone makes, with its freedom."""
    # Of an odd number of blocks the median is one, at no distance; of an even number two are equally far.
    distances = [np.sort(np.abs(blocks - np.median(blocks)))[1:] for blocks in launches if len(blocks) > 1]
    if not distances:
        return 0.0, 0.0
    together = np.concatenate(distances)
    scatter = (_MAD_TO_DEVIATION * float(np.median(together))) ** 2
    counts = [len(one) + 1 for one in distances]
    of_medians = [math.pi / 2 / (count + _MEDIAN_GAINS[count % 2]) for count in counts]
    return scatter * sum(of_medians) / len(of_medians), _MAD_FREEDOM * len(together)


def student_quantile(freedom: float, confidence: float = INTERVAL_CONFIDENCE) -> float:
    """Return how many standard errors lie on each side of a mean in its interval."""
    from scipy.special import stdtrit  # 0.1 s, where scipy.stats takes a second

    return float(stdtrit(freedom, 0.5 + confidence / 2))
