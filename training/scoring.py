"""Scores of the probability of a tumour: accuracy, F1, recall, precision and ROC AUC; accuracy by patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.tasks.base import PatientScores

THRESHOLD = 0.5
"""Of the probability of a tumour: the larger of two logits wins."""


def tumour_probability(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability of a tumour, shape (n,), from logits of shape (n, 2)."""
    return logits.softmax(dim=1)[:, 1]


def score(probabilities: NDArray[np.floating], labels: NDArray[np.bool_]) -> dict[str, float | None]:
    """Score the probability of a tumour against the labels.

    `roc_auc` is None where only one class occurs; F1, recall and precision are 0 where their denominator is.
    """
    # Imported late: it takes a second, and a finished study scores nothing.
    from torchmetrics import MetricCollection
    from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score, BinaryPrecision, BinaryRecall

    one_class = len(np.unique(labels)) < 2
    metrics = MetricCollection(
        {
            "accuracy": BinaryAccuracy(THRESHOLD),
            "f1": BinaryF1Score(THRESHOLD),
            "recall": BinaryRecall(THRESHOLD),
            "precision": BinaryPrecision(THRESHOLD),
            **({} if one_class else {"roc_auc": BinaryAUROC()}),
        }
    )
    metrics.update(torch.as_tensor(np.asarray(probabilities)), torch.as_tensor(labels.astype(np.int64)))
    scores: dict[str, float | None] = {name: float(value) for name, value in metrics.compute().items()}
    return scores | {"roc_auc": None} if one_class else scores


def patient_accuracies(
    metric: str, probabilities: torch.Tensor, labels: torch.Tensor, patients: Sequence[str]
) -> PatientScores:
    """Return the accuracy of each patient, under the name of a metric, weighted by its slices.

    Args:
        metric: its name.
        probabilities: of a tumour, shape (n,).
        labels: above 0 where there is one, shape (n,).
        patients: id of each slice.
    """
    correct = ((probabilities > THRESHOLD) == (labels > 0)).numpy()
    names, owners = np.unique(np.asarray(patients), return_inverse=True)
    slices = np.bincount(owners)
    hits = np.bincount(owners, weights=correct)
    return {str(name): {metric: (float(h / n), float(n))} for name, h, n in zip(names, hits, slices, strict=True)}


def weighted_mean(by_patient: PatientScores, metric: str) -> float | None:
    """Return the mean of a metric over patients by their weights; None where no patient has it."""
    pairs = [scores[metric] for scores in by_patient.values() if metric in scores]
    if not pairs:
        return None
    values, weights = zip(*pairs, strict=True)
    return float(np.average(values, weights=weights))
