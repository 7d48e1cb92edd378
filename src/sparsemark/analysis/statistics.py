"""Statistics of raw samples, as far as their number supports them: percentiles, paired ratios, intervals, drift.

Pure functions on numpy arrays. The unit that is resampled and tested is the block, never the call: calls inside a block
are correlated, and a block of the candidate has a block of the reference beside it that felt the same machine (the duet
method, Bulej et al., ICPE 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

PERCENTILE_CONFIDENCE = 0.99
"""Confidence that a sample reaches beyond the percentile asked for; MLPerf's early stopping uses the same."""

INTERVAL_CONFIDENCE = 0.95

BLOCKS_NEEDED = 6
"""Below this even the whole range of n blocks covers their median with less than 95 %: 1 - 2^(1-n) is 93.8 % at 5."""

RESAMPLES = 2000
"""Enough that the ends of an interval move by a tenth of its width between seeds."""

_SEED = 20200420
_RESAMPLED_AT_ONCE = 2_000_000  # numbers held in memory by one step of the resampling: 16 MB
_DRIFT_PARTS = 3  # thirds: a trend, a step and a bump in the middle all show, and one odd block does not


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def exp(self) -> Interval:
        """Return the interval of ratios of an interval of logarithms."""
        return Interval(math.exp(self.estimate), math.exp(self.low), math.exp(self.high))


@dataclass(frozen=True)
class Summary:
    """Statistics of one cell, named as in `Measurement`; None below a floor."""

    samples: int
    p50_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    reference_p50_ms: float | None
    reference_drift: float | None


def summarise(samples_s: Sequence[float], reference_s: Sequence[float], block: int) -> Summary:
    """Derive percentiles, speedup and drift of one cell.

    Args:
        samples_s: seconds of the candidate's calls, in order.
        reference_s: seconds of the reference's calls, in order.
        block: calls in one block.

    Raises:
        ValueError: there is no sample, or `block` is below 1.
    """
    if not samples_s:
        raise ValueError("samples_s is empty: a cell without samples has no summary")
    speedup = speedup_interval(samples_s, reference_s, block)
    ratios = log_time_ratios(samples_s, reference_s, block)
    return Summary(
        samples=len(samples_s),
        p50_ms=1e3 * float(np.median(samples_s)),
        p90_ms=_in_ms(percentile(samples_s, 90)),
        p95_ms=_in_ms(percentile(samples_s, 95)),
        p99_ms=_in_ms(percentile(samples_s, 99)),
        speedup=math.exp(-float(np.median(ratios))) if ratios.size else None,
        speedup_low=speedup.low if speedup else None,
        speedup_high=speedup.high if speedup else None,
        reference_p50_ms=1e3 * float(np.median(reference_s)) if reference_s else None,
        reference_drift=drift(reference_s, block),
    )


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


@lru_cache
def percentile_floor(percent: float) -> int:
    """Return the number of samples that a percentile above the median needs: 64 for p90, 130 for p95, 662 for p99.

    With that many, at least two lie beyond the true percentile with 99 % confidence (binomial). Source: early stopping
    in the MLPerf inference rules, whose least query counts for p90 and p99 these are.
    """
    beyond = 1 - percent / 100
    n = 2
    while (1 - beyond) ** n + n * beyond * (1 - beyond) ** (n - 1) > 1 - PERCENTILE_CONFIDENCE:
        n += 1
    return n


def percentile(samples: Sequence[float], percent: float) -> float | None:
    """Estimate a percentile above the median by linear interpolation, or None where the sample does not support it."""
    if len(samples) < percentile_floor(percent):
        return None
    return float(np.percentile(samples, percent))


def block_medians(samples: Sequence[float], block: int) -> NDArray[np.float64]:
    """Reduce calls to one median per block, shape (len(samples) // block,).

    Calls of an unfinished last block are left out.

    Raises:
        ValueError: `block` is below 1.
    """
    if block < 1:
        raise ValueError(f"block is {block}, expected calls in a block, from 1")
    blocks = len(samples) // block
    medians: NDArray[np.float64] = np.median(
        np.asarray(samples[: blocks * block], dtype=np.float64).reshape(blocks, block), axis=1
    )
    return medians


def log_time_ratios(samples_s: Sequence[float], reference_s: Sequence[float], block: int) -> NDArray[np.float64]:
    """Pair the blocks: ln(candidate / reference) of their medians, shape (pairs,).

    Above 0 the candidate is slower. A block without a partner is left out.
    """
    candidate, reference = block_medians(samples_s, block), block_medians(reference_s, block)
    pairs = min(len(candidate), len(reference))
    ratios: NDArray[np.float64] = np.log(candidate[:pairs]) - np.log(reference[:pairs])
    return ratios


def speedup_interval(samples_s: Sequence[float], reference_s: Sequence[float], block: int) -> Interval | None:
    """Estimate reference time / candidate time, or None below `BLOCKS_NEEDED` pairs.

    Above 1 the candidate is faster. The estimate is the median of the paired log-ratios, the interval comes from
    resampling the pairs.
    """
    ratios = -log_time_ratios(samples_s, reference_s, block)
    if len(ratios) < BLOCKS_NEEDED:
        return None
    return percentile_interval(float(np.median(ratios)), resampled_medians(ratios)).exp()


def resampled_medians(blocks: ArrayLike, stream: int = 0) -> NDArray[np.float64]:
    """Draw `RESAMPLES` bootstrap medians of `blocks`; the same input and stream give the same draws in every process.

    Args:
        blocks: shape (n,).
        stream: two arms that are compared need draws that do not depend on each other, so each has its own number.
    """
    values = np.asarray(blocks, dtype=np.float64)
    rng = np.random.default_rng([_SEED, stream])
    rows = max(1, _RESAMPLED_AT_ONCE // len(values))
    draws = [
        np.median(values[rng.integers(0, len(values), (min(rows, RESAMPLES - start), len(values)))], axis=1)
        for start in range(0, RESAMPLES, rows)
    ]
    return np.concatenate(draws)


def percentile_interval(estimate: float, draws: NDArray[np.float64]) -> Interval:
    """Bound an estimate by the 2.5 and 97.5 percentiles of its bootstrap draws (Efron's percentile method)."""
    tail = 50 * (1 - INTERVAL_CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(estimate, float(low), float(high))


def quotient(numerator: Interval, denominator: Interval) -> Interval:
    """Divide two ratios that were measured apart; the half-widths of their logarithms add in quadrature."""
    estimate = math.log(numerator.estimate / denominator.estimate)
    below = math.hypot(math.log(numerator.estimate / numerator.low), math.log(denominator.high / denominator.estimate))
    above = math.hypot(math.log(numerator.high / numerator.estimate), math.log(denominator.estimate / denominator.low))
    return Interval(estimate, estimate - below, estimate + above).exp()


def drift(samples_s: Sequence[float], block: int) -> float | None:
    """Return how far a series of calls moved, as a fraction; None below 3 blocks."""
    return moved(np.log(block_medians(samples_s, block)))


def spread_of_ends(seconds: Sequence[float]) -> float | None:
    """Return how far the two halves of a series are apart, as a fraction of the faster; None for an empty one."""
    if len(seconds) < 2:
        return None
    middle = len(seconds) // 2
    halves = [float(np.median(half)) for half in (seconds[:middle], seconds[middle:])]
    return max(halves) / min(halves) - 1


def moved(log_blocks: ArrayLike) -> float | None:
    """Return how far blocks moved: highest over lowest median of their thirds, less 1; None below 3 blocks.

    Args:
        log_blocks: logarithms of times or of ratios, in order, shape (n,).
    """
    values = np.asarray(log_blocks, dtype=np.float64)
    if len(values) < _DRIFT_PARTS:
        return None
    parts = [float(np.median(part)) for part in np.array_split(values, _DRIFT_PARTS)]
    return math.expm1(max(parts) - min(parts))
