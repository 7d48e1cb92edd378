"""Interval of a score over groups: patients, users, videos, or single inputs; also of several networks together.

A bootstrap of equal values has no width and knows nothing of values that were not drawn, so it is used only where
groups differ:

- Groups of equal weight that are right or wrong, such as single images of a classifier: Wilson's interval, from SciPy.
  Of a loss, in pairs: the share of groups that only the dense network gets right, less the share that only the other
  one does. Their Wilson intervals are combined by square and add (Newcombe 1998; Zou and Donner 2008), with the
  correlation of two shares of one sample.
- Groups whose bootstrap has no width, since all that count show the same: the share of groups that differ is at most
  `unseen`, and such a group may score anything that a fraction can be. Other metrics have no such bound, and no
  interval.
- Any others: groups are resampled.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.analysis.statistics import INTERVAL_CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from sparsemark.records.scores import Groups

RESAMPLES = 2000
"""Of the bootstrap: each end of a 95 % interval then stands on 50 resamples."""

GROUPS_NEEDED = 6
"""Below this even the whole range of differences covers their median with less than 95 %: 1 - 2^(1-n)."""

_SQUARED = NormalDist().inv_cdf((1 + INTERVAL_CONFIDENCE) / 2) ** 2
"""Square of the normal quantile of a 95 % interval."""

_ROUNDING = 1e-12
"""Width up to which an interval has none."""


def unseen(units: float) -> float:
    """Return the largest share of units that a sample may show none of: Wilson's upper limit of 0 of n, about 4 / n.

    Args:
        units: groups or inputs of the sample.
    """
    return _SQUARED / (units + _SQUARED)


def units_needed(share: float) -> int:
    """Return the number of units from which a sample without a difference excludes more than a share, above 0."""
    return math.ceil(_SQUARED * (1 - share) / share)


def grouped_interval(scores: ArrayLike, weights: ArrayLike, seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % interval of a weighted mean over whole groups: inputs of a group depend on each other.

    Args:
        scores: one value a group, shape (n,).
        weights: its weight, such as the number of its inputs, shape (n,).
        seed: of the resampling.

    Returns:
        By the method that the module names; None where all groups score the same and that is no fraction.
    """
    value, weight = np.asarray(scores, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if _are_answers(value, weight):
        return _wilson(int(value.sum()), len(value))
    drawn = np.random.default_rng(seed).integers(0, len(value), size=(RESAMPLES, len(value)))
    totals = weight[drawn].sum(axis=1)
    # A resample without any weight has no mean.
    sums = (value * weight)[drawn].sum(axis=1)[totals > 0]
    low, high = np.quantile(sums / totals[totals > 0], [0.025, 0.975])
    if high - low > _ROUNDING:
        return float(low), float(high)
    if not _are_fractions(value):
        return None
    score, differ = float(low), unseen(_equal_weights(weight))
    return score * (1 - differ), score + (1 - score) * differ


def interval_of(groups: Groups) -> tuple[float, float] | None:
    """Return the 95 % interval of the weighted mean over groups; None as in `grouped_interval`."""
    scores, weights = zip(*groups.values(), strict=True)
    return grouped_interval(scores, weights)


def loss_interval(dense: Groups, pruned: Groups, *, higher_is_better: bool) -> tuple[float, float] | None:
    """Return the 95 % interval of what a network loses against the dense one, from their groups in pairs.

    Args:
        dense: groups of the dense network.
        pruned: groups of the other.
        higher_is_better: direction of the metric; a loss above 0 is always for the worse.

    Returns:
        By the method that the module names; None where the two have other groups, fewer than `GROUPS_NEEDED`, or the
        same difference in every one and a metric that is no fraction.
    """
    if dense.keys() != pruned.keys() or len(dense) < GROUPS_NEEDED:
        return None
    pairs = np.array([[*dense[group], *pruned[group]] for group in dense], dtype=np.float64)
    values, weights = pairs[:, 0::2], pairs[:, 1::2]
    if _are_answers(values, weights):
        differences = values[:, 0] - values[:, 1] if higher_is_better else values[:, 1] - values[:, 0]
        return _square_and_add(int((differences > 0).sum()), int((differences < 0).sum()), len(pairs))
    weighted = values * weights
    generator = np.random.default_rng(0)
    sums = np.empty((RESAMPLES, 2))
    totals = np.empty((RESAMPLES, 2))
    for index in range(RESAMPLES):  # one at a time: inputs can be a hundred thousand
        drawn = generator.integers(0, len(pairs), len(pairs))
        sums[index], totals[index] = weighted[drawn].sum(axis=0), weights[drawn].sum(axis=0)
    known = (totals > 0).all(axis=1)
    means = sums[known] / totals[known]
    losses = means[:, 0] - means[:, 1] if higher_is_better else means[:, 1] - means[:, 0]
    low, high = np.quantile(losses, [0.025, 0.975])
    if high - low > _ROUNDING:
        return float(low), float(high)
    if not _are_fractions(values):
        return None
    differ = unseen(min(_equal_weights(weights[:, side]) for side in (0, 1)))
    return float(low) * (1 - differ) - differ, float(low) * (1 - differ) + differ


def _are_answers(scores: NDArray[np.float64], weights: NDArray[np.float64]) -> bool:
    """Return whether each group is wholly right or wrong, and all count alike."""
    return bool(np.ptp(weights) <= _ROUNDING * weights.max() and np.isin(scores, (0.0, 1.0)).all())


def _are_fractions(scores: NDArray[np.float64]) -> bool:
    return bool(((scores >= 0) & (scores <= 1)).all())


def _equal_weights(weights: NDArray[np.float64]) -> float:
    """Return the number of groups of equal weight that tell as much as these (Kish's effective sample size)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _wilson(found: int, count: int) -> tuple[float, float]:
    from scipy.stats import binomtest  # slow to import, and no report of a result file needs it

    low, high = binomtest(found, count).proportion_ci(INTERVAL_CONFIDENCE, method="wilson")
    return float(low), float(high)


def _square_and_add(worse: int, better: int, count: int) -> tuple[float, float]:
    """Return the interval of `worse` less `better`, as shares of `count` pairs."""
    down, up = worse / count, better / count
    (down_low, down_high), (up_low, up_high) = _wilson(worse, count), _wilson(better, count)
    # A pair that got worse did not get better: each share takes from the other.
    product = (1 - down) * (1 - up)
    correlated = 2 * math.sqrt(down * up / product) if product else 0.0

    def half(first: float, second: float) -> float:
        return math.sqrt(first**2 + second**2 + correlated * first * second)

    return down - up - half(down - down_low, up_high - up), down - up + half(down_high - down, up - up_low)


def pooled(of_networks: Iterable[Groups]) -> Groups:
    """Return the groups of several networks as one set, whose weighted mean is the mean over the networks.

    Weights are normalised within each network, so that all count alike. A patient that several networks were tested on
    is still one patient: its score is the weighted mean of theirs.
    """
    totals: dict[str, tuple[float, float]] = {}
    for groups in of_networks:
        whole = sum(weight for _, weight in groups.values())
        for group, (score, weight) in groups.items():
            scored, weighed = totals.get(group, (0.0, 0.0))
            totals[group] = scored + score * weight / whole, weighed + weight / whole
    return {group: (scored / weighed, weighed) for group, (scored, weighed) in totals.items() if weighed > 0}
