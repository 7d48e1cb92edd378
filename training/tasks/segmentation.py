"""Segmentation of slices: the logits of a mask.

A slice counts as one with a tumour where any pixel of the mask is predicted: that is what `accuracy` and its kin mean
for a network without a classification head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional as F

from sparsemark.specs import Metric
from training.dice import TUMOUR_SLICES, VOLUME, count_pixels, dice_by_patient, dice_scores
from training.scoring import patient_accuracies, score
from training.tasks.base import PatientScores, PerSlice, check_outputs
from training.tasks.classification import CLASSIFICATION_METRICS, REPORTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

ANY_PIXEL = "accuracy_any_pixel"
"""Accuracy of "any pixel predicted" as an answer to "a tumour anywhere?"."""

SMOOTH = 1.0
"""Pixels added to both terms of the Dice loss, so that a batch without a tumour has one."""


def mask_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of each pixel, plus one minus the Dice coefficient of the batch.

    The batch as a whole, not each slice: a slice without a tumour has no Dice coefficient. Source of the sum: Isensee
    et al., nnU-Net, 2021.

    Args:
        logits: shape (n, 1, height, width).
        masks: between 0 and 1, same shape.
    """
    probabilities = logits.sigmoid()
    both = (probabilities * masks).sum()
    dice = (2 * both + SMOOTH) / (probabilities.sum() + masks.sum() + SMOOTH)
    return F.binary_cross_entropy_with_logits(logits, masks) + 1 - dice


def mask_targets(masks: NDArray[np.uint8] | None) -> torch.Tensor:
    """Return masks as float32, shape (n, 1, height, width)."""
    if masks is None:
        raise ValueError("segmentation needs masks")
    return torch.from_numpy(masks).unsqueeze(1).float()


@dataclass(frozen=True)
class Segmentation:
    """Cross entropy and Dice loss of a mask; targets are masks, float32, shape (n, 1, height, width)."""

    metrics: ClassVar[Mapping[str, Metric]] = {
        VOLUME: Metric(higher_is_better=True, tolerance=0.01),
        TUMOUR_SLICES: REPORTED,
        **dict.fromkeys((*CLASSIFICATION_METRICS, ANY_PIXEL), REPORTED),
    }
    selects: ClassVar[str] = VOLUME
    uses_masks: ClassVar[bool] = True

    def targets(self, labels: NDArray[np.bool_], masks: NDArray[np.uint8] | None) -> torch.Tensor:  # noqa: ARG002
        """Return the masks."""
        return mask_targets(masks)

    def losses(self, outputs: Sequence[torch.Tensor], targets: torch.Tensor) -> dict[str, tuple[float, torch.Tensor]]:
        """Return the loss of `outputs[0]`, shape (n, 1, height, width)."""
        return {"mask": (1.0, mask_loss(outputs[0].float(), targets))}

    def summarise(self, outputs: Sequence[torch.Tensor], targets: torch.Tensor) -> PerSlice:
        """Return counts of pixels, the probability of the likeliest pixel, and the label.

        Raises:
            UserError: there is another number of outputs, of another shape, or not finite.
        """
        check_outputs(outputs, [tuple(targets.shape)])
        return summarise_mask(outputs[0].float(), targets)

    def score(self, table: PerSlice, patients: Sequence[str]) -> dict[str, float | None]:
        """Return both Dice coefficients, and the scores of "any pixel predicted"."""
        found = score(table["any_pixel"].numpy(), table["label"].numpy() > 0)
        return {**dice_scores(table, patients), **found, ANY_PIXEL: found["accuracy"]}

    def by_patient(self, table: PerSlice, patients: Sequence[str]) -> PatientScores:
        """Return each patient's Dice coefficients, and its accuracy, weighted by its slices."""
        found = dice_by_patient(table, patients)
        for metric in ("accuracy", ANY_PIXEL):
            for patient, scores in patient_accuracies(metric, table["any_pixel"], table["label"], patients).items():
                found.setdefault(patient, {}).update(scores)
        return found


def summarise_mask(logits: torch.Tensor, masks: torch.Tensor) -> PerSlice:
    """Return counts of pixels, the probability of the likeliest pixel, and whether there is a tumour, of each slice."""
    counts = count_pixels(logits, masks)
    return {
        **counts,
        "any_pixel": logits.flatten(1).amax(dim=1).double().sigmoid(),  # float32 ties above a logit of 17
        "label": counts["tumour_pixels"].gt(0).long(),
    }
