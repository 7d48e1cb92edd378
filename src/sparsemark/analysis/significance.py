"""Tests of a difference between blocks, and their correction for the number of cells.

Pure functions on numpy arrays. The unit that is tested is the block, as in `statistics`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.statistics import INTERVAL_CONFIDENCE, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_EXACT_RANKS = 50
"""Blocks a side up to which the rank-sum distribution is counted; beyond, the normal one fits to 3 digits."""


def rank_sum_p(larger: ArrayLike, smaller: ArrayLike) -> float:
    """Test whether `larger` tends to exceed `smaller`: one-sided Wilcoxon rank-sum test of two independent samples.

    Exact (every assignment of ranks counted) up to 50 a side, normal with continuity correction beyond. Ties count for
    the null.

    Args:
        larger: shape (m,), at least one value.
        smaller: shape (n,), at least one value.
    """
    high, low = np.asarray(larger, dtype=np.float64), np.sort(np.asarray(smaller, dtype=np.float64))
    wins = int(np.searchsorted(low, high, side="left").sum())
    m, n = len(high), len(low)
    if max(m, n) <= _EXACT_RANKS:
        return float(_rank_sum_tail(m, n)[wins])
    spread = math.sqrt(m * n * (m + n + 1) / 12)
    return 0.5 * math.erfc((wins - 0.5 - m * n / 2) / spread / math.sqrt(2))


def sign_test_p(differences: ArrayLike) -> float:
    """Test whether paired differences lie above 0: one-sided sign test, exact; zeros count for the null.

    Five pairs cannot show 1 %: the smallest p is 2^-n.
    """
    values = np.asarray(differences, dtype=np.float64)
    n, above = len(values), int((values > 0).sum())
    return math.ldexp(sum(math.comb(n, k) for k in range(above, n + 1)), -n)


def signed_rank_interval(differences: ArrayLike) -> Interval:
    """Return the pseudomedian of paired differences and its 95 % interval, exact under Wilcoxon's signed-rank test.

    The estimate is the median of the means of all pairs of values, each also with itself (Hodges and Lehmann, 1963);
    the interval holds every shift that the two-sided test does not reject (Hollander and Wolfe, 1999). Up to 29 % of
    the values may lie anywhere. Below six values no test can reject at 5 %, and the interval is that of the values.

    Args:
        differences: shape (n,), at least one value.
    """
    values = np.asarray(differences, dtype=np.float64)
    rows, columns = np.triu_indices(len(values))
    means = np.sort((values[rows] + values[columns]) / 2)
    chances = np.ones(1)
    for rank in range(1, len(values) + 1):
        with_rank = np.concatenate([np.zeros(rank), chances])
        chances = (np.pad(chances, (0, rank)) + with_rank) / 2
    outside = max(0, int(np.searchsorted(np.cumsum(chances), (1 - INTERVAL_CONFIDENCE) / 2, side="right")) - 1)
    return Interval(float(np.median(means)), float(means[outside]), float(means[-1 - outside]))


@lru_cache(maxsize=64)
def _rank_sum_tail(m: int, n: int) -> NDArray[np.float64]:
    """P(at least u wins) for u = 0 .. m * n, from the recursion of Mann and Whitney (1947)."""
    previous = [np.ones(1)] * (n + 1)
    for i in range(1, m + 1):
        row = [np.ones(1)]
        for j in range(1, n + 1):
            # The largest of all i + j values is one of the m (and beats the j), or one of the n.
            p = np.zeros(i * j + 1)
            p[j:] += i / (i + j) * previous[j]
            p[: i * (j - 1) + 1] += j / (i + j) * row[j - 1]
            row.append(p)
        previous = row
    tail: NDArray[np.float64] = np.cumsum(previous[n][::-1])[::-1]
    return tail


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm, 1979), in the order given: reject where they are at most the level."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
