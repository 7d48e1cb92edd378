"""Predictions and their scores: accuracy, F1, recall, precision, ROC AUC, and an interval that respects patients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score, BinaryPrecision, BinaryRecall

from training.slices import to_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.slices import Slices

BATCH = 64
THRESHOLD = 0.5
"""Of the probability of a tumour: the larger of two logits wins."""

RESAMPLES = 2000
"""Of the bootstrap: each end of a 95 % interval then stands on 50 resamples."""


def predict(network: torch.nn.Module, slices: Slices, indices: NDArray[np.intp]) -> NDArray[np.float32]:
    """Probability of a tumour in each slice, in eval mode and the caller's precision; the mode is left as it was."""
    training = network.training
    device = next(network.parameters()).device
    network.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(indices), BATCH):
            images = to_input(slices.images[indices[start : start + BATCH]]).to(device)
            found.append(network(images).float().softmax(dim=1)[:, 1].cpu())
    network.train(training)
    probabilities: NDArray[np.float32] = torch.cat(found).numpy()
    return probabilities


def score(probabilities: NDArray[np.floating], labels: NDArray[np.bool_]) -> dict[str, float | None]:
    """Score the probability of a tumour against the labels.

    `roc_auc` is None where only one class occurs; F1, recall and precision are 0 where their denominator is.
    """
    one_class = len(np.unique(labels)) < 2  # noqa: PLR2004 - tumour and no tumour
    metrics = MetricCollection(
        {
            "accuracy": BinaryAccuracy(THRESHOLD),
            "f1": BinaryF1Score(THRESHOLD),
            "recall": BinaryRecall(THRESHOLD),
            "precision": BinaryPrecision(THRESHOLD),
            **({} if one_class else {"roc_auc": BinaryAUROC()}),
        }
    )
    metrics.update(torch.as_tensor(np.asarray(probabilities, np.float32)), torch.as_tensor(labels.astype(np.int64)))
    scores: dict[str, float | None] = {name: float(value) for name, value in metrics.compute().items()}
    return scores | {"roc_auc": None} if one_class else scores


def bootstrap_accuracy(correct: NDArray[np.bool_], patients: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """Bounds of the 95 % interval of accuracy, resampling patients: slices of one patient depend on each other."""
    _, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    slices = np.bincount(patient_of)
    hits = np.bincount(patient_of, weights=correct)
    drawn = np.random.default_rng(seed).integers(0, len(slices), size=(RESAMPLES, len(slices)))
    accuracies = hits[drawn].sum(axis=1) / slices[drawn].sum(axis=1)
    low, high = np.quantile(accuracies, [0.025, 0.975])
    return float(low), float(high)
