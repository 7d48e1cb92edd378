"""Random augmentation of slices that keeps their labels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# On import, albumentations would look for a newer release online; nothing here is fetched at run time.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# OpenCV's own threads would fight torch's for the same cores over images this small.
cv2.setNumThreads(1)


def paper() -> Sequence[A.BasicTransform]:
    """Return the paper's transforms: flips and a random rotation."""
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), A.Rotate(limit=90, p=0.5)]


def strong() -> Sequence[A.BasicTransform]:
    """Return flips, one affine warp over all rotations, then contrast and noise, in which scanners differ."""
    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.Affine(scale=(0.85, 1.15), translate_percent=(-0.06, 0.06), rotate=(-180, 180), shear=(-8, 8), p=0.9),
        A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.25, p=0.7),
        A.RandomGamma(gamma_limit=(75, 135), p=0.4),
        A.GaussNoise(std_range=(0.01, 0.04), per_channel=True, p=0.2),
    ]


AUGMENTATIONS: dict[str, Callable[[], Sequence[A.BasicTransform]]] = {"paper": paper, "strong": strong}


class Augmentation:
    """An augmentation pipeline with its own random state, so that an epoch's images follow from its seed."""

    def __init__(self, name: str, seed: int) -> None:
        self._pipeline = A.Compose(list(AUGMENTATIONS[name]()), seed=seed)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Augment each image independently; the shape stays (n, height, width, 3)."""
        return np.stack([self._pipeline(image=image)["image"] for image in images])
