"""Segmentation and classification by one network: a mask Y and a label Z, as in the paper's figure 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from training.tasks.base import PatientScores, PerSlice, check_outputs
from training.tasks.classification import CLASSIFICATION_METRICS, REPORTED, Classification
from training.tasks.segmentation import Segmentation, mask_targets, summarise_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from sparsemark.specs import Metric

    Targets = tuple[torch.Tensor, torch.Tensor]


_MASK, _LABEL = Segmentation(), Classification()


@dataclass(frozen=True)
class Both:
    """Joint loss, theta times that of the mask plus one minus theta times that of the label.

    Targets are masks, float32, shape (n, 1, height, width), and labels, int64, shape (n,).

    Args:
        theta: weight of the mask's loss, in [0, 1].
    """

    metrics: ClassVar[Mapping[str, Metric]] = {
        **CLASSIFICATION_METRICS,
        **{
            metric: found if metric == Segmentation.selects else REPORTED
            for metric, found in Segmentation.metrics.items()
            if metric not in CLASSIFICATION_METRICS
        },
    }
    selects: ClassVar[str] = Segmentation.selects
    uses_masks: ClassVar[bool] = True
    theta: float

    def targets(self, labels: NDArray[np.bool_], masks: NDArray[np.uint8] | None) -> Targets:
        """Return masks and labels."""
        return mask_targets(masks), _LABEL.targets(labels, None)

    def losses(self, outputs: Sequence[torch.Tensor], targets: Targets) -> dict[str, tuple[float, torch.Tensor]]:
        """Return the losses of `outputs[0]`, the mask's logits, and of `outputs[1]`, the label's."""
        masks, labels = targets
        ((_, of_mask),) = _MASK.losses(outputs[:1], masks).values()
        ((_, of_label),) = _LABEL.losses(outputs[1:], labels).values()
        return {"mask": (self.theta, of_mask), "label": (1 - self.theta, of_label)}

    def summarise(self, outputs: Sequence[torch.Tensor], targets: Targets) -> PerSlice:
        """Return what both tasks need of each slice.

        Raises:
            UserError: there is another number of outputs, of another shape, or not finite.
        """
        masks, labels = targets
        check_outputs(outputs, [tuple(masks.shape), (len(labels), 2)])
        of_mask = summarise_mask(outputs[0].float(), masks)
        # The label last: it is that of the mask at its original size, where one pixel may be a tumour.
        return {**of_mask, **_LABEL.summarise(outputs[1:], labels)}

    def score(self, table: PerSlice, patients: Sequence[str]) -> dict[str, float | None]:
        """Return the head's scores, both Dice coefficients, and the accuracy of "any pixel predicted"."""
        of_mask = _MASK.score(table, patients)
        own = _LABEL.score(table, patients)
        return {metric: own[metric] if metric in own else of_mask[metric] for metric in self.metrics}

    def by_patient(self, table: PerSlice, patients: Sequence[str]) -> PatientScores:
        """Return each patient's Dice coefficients and both its accuracies."""
        found = _MASK.by_patient(table, patients)
        for patient, scores in _LABEL.by_patient(table, patients).items():
            found[patient].update(scores)
        return found
