"""Exact bounds of an observed share."""

from __future__ import annotations

from scipy.stats import binomtest


def bounds(count: int, of: int) -> tuple[float, float]:
    """Return the exact 95 % bounds of a share (Clopper and Pearson); none of n is one-sided, below about 3 / n."""
    interval = binomtest(count, of).proportion_ci(0.95 if 0 < count < of else 0.90, method="exact")
    return float(interval.low), float(interval.high)
