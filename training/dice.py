"""Dice coefficient of masks, from counts of pixels a slice.

Two masks without a tumour agree for free, so neither a patient nor a slice without one counts. A tumour predicted on a
healthy slice lowers its patient's volume.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.scoring import weighted_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from training.tasks.base import PatientScores, PerSlice

    Pixels = NDArray[np.float64]

LOGIT = 0.0
"""Above this a pixel is tumour: probability one half."""

VOLUME, TUMOUR_SLICES = "dice_volume", "dice_tumour_slices"


def count_pixels(logits: torch.Tensor, masks: torch.Tensor) -> PerSlice:
    """Return predicted pixels, tumour pixels and pixels that are both, of each slice.

    Args:
        logits: shape (n, 1, height, width).
        masks: 1 where there is tumour, same shape.
    """
    predicted, tumour = logits.flatten(1) > LOGIT, masks.flatten(1) > 0
    return {
        "predicted": predicted.sum(dim=1),
        "tumour_pixels": tumour.sum(dim=1),
        "both": (predicted & tumour).sum(dim=1),
    }


def dice_by_patient(table: PerSlice, patients: Sequence[str]) -> PatientScores:
    """Return of each patient with a tumour `dice_volume`, of weight 1, and `dice_tumour_slices`, by tumour slices.

    Args:
        table: of `count_pixels`.
        patients: id of each slice.
    """
    owners = np.asarray(patients)
    names = ("predicted", "tumour_pixels", "both")
    predicted, tumour, both = (table[name].numpy().astype(np.float64) for name in names)
    found: PatientScores = {}
    for patient in np.unique(owners):
        own = owners == patient
        shown = own & (tumour > 0)
        if not shown.any():
            continue
        slices = _dice(both[shown], predicted[shown], tumour[shown])
        volume = _dice(both[own].sum(), predicted[own].sum(), tumour[own].sum())
        found[str(patient)] = {
            VOLUME: (float(volume), 1.0),
            TUMOUR_SLICES: (float(slices.mean()), float(len(slices))),
        }
    return found


def dice_scores(table: PerSlice, patients: Sequence[str]) -> dict[str, float | None]:
    """Return both coefficients over all patients; None where no slice shows a tumour."""
    by_patient = dice_by_patient(table, patients)
    return {metric: weighted_mean(by_patient, metric) for metric in (VOLUME, TUMOUR_SLICES)}


def _dice(both: Pixels, predicted: Pixels, tumour: Pixels) -> Pixels:
    return 2 * both / (predicted + tumour)
