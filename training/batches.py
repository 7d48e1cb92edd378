"""Batches of one epoch: shuffled, augmented where asked, and reproducible from a seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.augmentation import Augmentation
from training.slices import halved, to_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from training.slices import Slices
    from training.tasks.base import SliceTask

Batch = tuple[torch.Tensor, Any]
"""Images, shape (n, 3, height, width), and the targets of a task."""


def steps_per_epoch(slices: int, batch: int) -> int:
    """Return the number of batches that hold every slice once; the last may be smaller."""
    return math.ceil(slices / batch)


class TrainingBatches:
    """Images and targets of one epoch.

    Augmentation runs in this process: it takes about a tenth of the time of a step, and worker processes would take the
    cores that the step needs.

    Args:
        slices: the whole set.
        indices: the training slices.
        task: makes the targets.
        batch: slices in a batch.
        augmentation: a name in `training.augmentation.AUGMENTATIONS`, or None for the images as stored.
        seed: of order and augmentation.
        half_resolution: images and masks at half their height and width.
    """

    def __init__(
        self,
        slices: Slices,
        indices: NDArray[np.intp],
        task: SliceTask,
        *,
        batch: int,
        augmentation: str | None,
        seed: int,
        half_resolution: bool = False,
    ) -> None:
        self._slices = slices
        self._task = task
        self._batch = batch
        self.order = np.random.default_rng(seed).permutation(indices)
        self._augment = None if augmentation is None else Augmentation(augmentation, seed)
        self._half_resolution = half_resolution

    def __len__(self) -> int:
        return steps_per_epoch(len(self.order), self._batch)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.order), self._batch):
            chosen = self.order[start : start + self._batch]
            images, labels = self._slices.images[chosen], self._slices.labels[chosen]
            masks = self._slices.masks[chosen] if self._task.uses_masks else None
            if self._augment is not None and masks is not None:
                images, masks = self._augment.with_masks(images, masks)
            elif self._augment is not None:
                images = self._augment(images)
            if self._half_resolution:
                images, masks = halved(images), None if masks is None else halved(masks)
            yield to_input(images), self._task.targets(labels, masks)
