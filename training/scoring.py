"""Predictions and their scores: accuracy, F1, recall, precision and ROC AUC of the probability of a tumour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from training.slices import to_input

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.slices import Slices

BATCH = 64
THRESHOLD = 0.5
"""Of the probability of a tumour: the larger of two logits wins."""


def tumour_probability(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability of a tumour, shape (n,), from logits of shape (n, 2)."""
    return logits.softmax(dim=1)[:, 1]


def predict(network: torch.nn.Module, slices: Slices, indices: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the probability of a tumour in each slice, in eval mode and the caller's precision.

    The network's mode is restored.
    """
    training = network.training
    device = next(network.parameters()).device
    network.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(indices), BATCH):
            images = to_input(slices.images[indices[start : start + BATCH]]).to(device)
            found.append(tumour_probability(network(images).float()).cpu())
    network.train(training)
    probabilities: NDArray[np.float32] = torch.cat(found).numpy()
    return probabilities


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
    metrics.update(torch.as_tensor(np.asarray(probabilities, np.float32)), torch.as_tensor(labels.astype(np.int64)))
    scores: dict[str, float | None] = {name: float(value) for name, value in metrics.compute().items()}
    return scores | {"roc_auc": None} if one_class else scores
