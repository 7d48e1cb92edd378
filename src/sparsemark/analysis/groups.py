"""Interval of a score over groups: patients, users, videos, or single inputs; also of several networks together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike

    from sparsemark.records.scores import Groups

RESAMPLES = 2000
"""Of the bootstrap: each end of a 95 % interval then stands on 50 resamples."""


GROUPS_NEEDED = 6
"""Below this even the whole range of differences covers their median with less than 95 %: 1 - 2^(1-n)."""


def grouped_interval(scores: ArrayLike, weights: ArrayLike, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a weighted mean, by resampling whole groups: inputs of a group depend on each other.

    Args:
        scores: one value a group, shape (n,).
        weights: its weight, such as the number of its inputs, shape (n,).
        seed: of the resampling.
    """
    value, weight = np.asarray(scores, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(value), size=(RESAMPLES, len(value)))
    totals = weight[drawn].sum(axis=1)
    # A resample without any weight has no mean.
    sums = (value * weight)[drawn].sum(axis=1)[totals > 0]
    low, high = np.quantile(sums / totals[totals > 0], [0.025, 0.975])
    return float(low), float(high)


def interval_of(groups: Groups) -> tuple[float, float]:
    """Return the 95 % interval of the weighted mean over groups, by resampling them."""
    scores, weights = zip(*groups.values(), strict=True)
    return grouped_interval(scores, weights)


def loss_interval(dense: Groups, pruned: Groups, *, higher_is_better: bool) -> tuple[float, float] | None:
    """Return the 95 % interval of what a network loses against the dense one, by resampling their groups in pairs.

    Args:
        dense: groups of the dense network.
        pruned: groups of the other.
        higher_is_better: direction of the metric; a loss above 0 is always for the worse.

    Returns:
        None where the two have other groups, fewer than `GROUPS_NEEDED`, or the same score in every one: differences
        that were never seen have no spread to resample.
    """
    if dense.keys() != pruned.keys() or len(dense) < GROUPS_NEEDED:
        return None
    pairs = np.array([[*dense[group], *pruned[group]] for group in dense], dtype=np.float64)
    values, weights = pairs[:, 0::2], pairs[:, 1::2]
    if np.array_equal(values[:, 0], values[:, 1]):
        return None
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
    return float(low), float(high)


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
