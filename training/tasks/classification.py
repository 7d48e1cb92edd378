"""Classification of slices: two logits, no tumour and tumour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional as F

from sparsemark.specs import Metric
from training.scoring import patient_accuracies, score, tumour_probability
from training.tasks.base import PatientScores, PerSlice, check_outputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

REPORTED = Metric(higher_is_better=True, tolerance=None)
CLASSIFICATION_METRICS = {
    "accuracy": Metric(higher_is_better=True, tolerance=0.01),
    **dict.fromkeys(("f1", "recall", "precision", "roc_auc"), REPORTED),
}


@dataclass(frozen=True)
class Classification:
    """Cross entropy of the logits; targets are labels, int64, shape (n,)."""

    metrics: ClassVar[Mapping[str, Metric]] = CLASSIFICATION_METRICS
    selects: ClassVar[str] = "roc_auc"
    uses_masks: ClassVar[bool] = False

    def targets(self, labels: NDArray[np.bool_], masks: NDArray[np.uint8] | None) -> torch.Tensor:  # noqa: ARG002
        """Return the labels."""
        return torch.from_numpy(labels).long()

    def losses(self, outputs: Sequence[torch.Tensor], targets: torch.Tensor) -> dict[str, tuple[float, torch.Tensor]]:
        """Return the cross entropy of `outputs[0]`, shape (n, 2)."""
        return {"label": (1.0, F.cross_entropy(outputs[0].float(), targets))}

    def summarise(self, outputs: Sequence[torch.Tensor], targets: torch.Tensor) -> PerSlice:
        """Return the probability of a tumour, and the label.

        Raises:
            UserError: there is another number of outputs, of another shape, or not finite.
        """
        check_outputs(outputs, [(len(targets), 2)])
        return {"tumour": tumour_probability(outputs[0].float()), "label": targets}

    def score(self, table: PerSlice, patients: Sequence[str]) -> dict[str, float | None]:  # noqa: ARG002
        """Return accuracy, F1, recall, precision and ROC AUC."""
        return score(table["tumour"].numpy(), table["label"].numpy() > 0)

    def by_patient(self, table: PerSlice, patients: Sequence[str]) -> PatientScores:
        """Return each patient's accuracy, weighted by its slices."""
        return patient_accuracies("accuracy", table["tumour"], table["label"], patients)
