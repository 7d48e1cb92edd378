"""Baselines without a network: the majority class, and the position of a slice in its patient.

A network's score means little if a baseline reaches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.scoring import score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from training.slices import Slices

BINS = 20
"""Of relative position: about 100 training slices each, so that a bin's share of tumours is known to 5 points."""


def fit_baselines(slices: Slices, training: NDArray[np.intp]) -> dict[str, Any]:
    """Fit both on the training slices; the JSON values are stored with a network to score other patients later."""
    labels = slices.labels[training]
    bins = _bin(slices.positions[training])
    tumours = np.bincount(bins, weights=labels, minlength=BINS)
    counts = np.bincount(bins, minlength=BINS)
    prior = float(labels.mean())
    # A prior of one slice per bin, at the overall share: an empty bin predicts that share.
    shares = (tumours + prior) / (counts + 1)
    return {"majority": {"tumour": prior > 0.5}, "position": {"tumour_by_bin": shares.tolist()}}


def score_baselines(
    baselines: Mapping[str, Any], slices: Slices, indices: NDArray[np.intp]
) -> dict[str, dict[str, float | None]]:
    """Score both on these slices, as `training.scoring.score` does."""
    labels = slices.labels[indices]
    constant = np.full(len(indices), float(baselines["majority"]["tumour"]))
    shares = np.asarray(baselines["position"]["tumour_by_bin"])
    return {"majority": score(constant, labels), "position": score(shares[_bin(slices.positions[indices])], labels)}


def _bin(positions: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.minimum((positions * BINS).astype(np.intp), BINS - 1)
