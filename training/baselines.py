"""Baselines without a network: the majority class, and the position of a slice in its patient.

A network's score means little if a baseline reaches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.scoring import patient_accuracies, score

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
    return {name: score(found, labels) for name, found in _probabilities(baselines, slices, indices).items()}


def baseline_groups(
    baselines: Mapping[str, Any], slices: Slices, indices: NDArray[np.intp]
) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Return accuracy and number of slices of each patient, by baseline and metric."""
    labels = torch.from_numpy(slices.labels[indices])
    patients = [slices.patients[i] for i in indices]
    groups = {}
    for name, probabilities in _probabilities(baselines, slices, indices).items():
        by_patient = patient_accuracies("accuracy", torch.from_numpy(probabilities), labels, patients)
        groups[name] = {"accuracy": {patient: scores["accuracy"] for patient, scores in by_patient.items()}}
    return groups


def _probabilities(
    baselines: Mapping[str, Any], slices: Slices, indices: NDArray[np.intp]
) -> dict[str, NDArray[np.float32]]:
    shares = np.asarray(baselines["position"]["tumour_by_bin"], np.float32)
    return {
        "majority": np.full(len(indices), float(baselines["majority"]["tumour"]), np.float32),
        "position": shares[_bin(slices.positions[indices])],
    }


def _bin(positions: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.minimum((positions * BINS).astype(np.intp), BINS - 1)
