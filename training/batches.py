"""Batches of one epoch: shuffled, augmented where asked, and reproducible from a seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.augmentation import Augmentation
from training.slices import to_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from training.slices import Slices

Batch = tuple[torch.Tensor, torch.Tensor]


def steps_per_epoch(slices: int, batch: int) -> int:
    """Return the number of batches that hold every slice once; the last may be smaller."""
    return math.ceil(slices / batch)


class TrainingBatches:
    """Images and labels of one epoch.

    Augmentation runs in this process: it takes about a tenth of the time of a step, and worker processes would take the
    cores that the step needs.

    Args:
        slices: the whole set.
        indices: the training slices.
        batch: slices in a batch.
        augmentation: a name in `training.augmentation.AUGMENTATIONS`, or None for the images as stored.
        seed: of order and augmentation.
    """

    def __init__(
        self, slices: Slices, indices: NDArray[np.intp], batch: int, augmentation: str | None, seed: int
    ) -> None:
        self._slices = slices
        self._batch = batch
        self._order = np.random.default_rng(seed).permutation(indices)
        self._augment = None if augmentation is None else Augmentation(augmentation, seed)

    def __len__(self) -> int:
        return steps_per_epoch(len(self._order), self._batch)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._order), self._batch):
            chosen = self._order[start : start + self._batch]
            images, labels = self._slices.images[chosen], self._slices.labels[chosen]
            if self._augment is not None:
                images = self._augment(images)
            yield to_input(images), torch.from_numpy(labels.astype(np.int64))
