"""Random augmentation of slices that keeps their labels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import albumentations
    from numpy.typing import NDArray


def _albumentations() -> Any:
    """Import albumentations late: it takes a second, and a finished study augments nothing."""
    # On import it would look for a newer release online; nothing here is fetched at run time.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations
    import cv2

    # OpenCV's own threads would fight torch's for the same cores over images this small.
    cv2.setNumThreads(1)
    return albumentations


def paper() -> Sequence[albumentations.BasicTransform]:
    """Return the paper's transforms: flips and a random rotation."""
    library = _albumentations()
    return [library.HorizontalFlip(p=0.5), library.VerticalFlip(p=0.5), library.Rotate(limit=90, p=0.5)]


def strong() -> Sequence[albumentations.BasicTransform]:
    """Return flips, one affine warp over all rotations, then contrast and noise, in which scanners differ."""
    library = _albumentations()
    return [
        library.HorizontalFlip(p=0.5),
        library.VerticalFlip(p=0.5),
        library.Affine(scale=(0.85, 1.15), translate_percent=(-0.06, 0.06), rotate=(-180, 180), shear=(-8, 8), p=0.9),
        library.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.25, p=0.7),
        library.RandomGamma(gamma_limit=(75, 135), p=0.4),
        library.GaussNoise(std_range=(0.01, 0.04), per_channel=True, p=0.2),
    ]


AUGMENTATIONS: dict[str, Callable[[], Sequence[albumentations.BasicTransform]]] = {"paper": paper, "strong": strong}


class Augmentation:
    """An augmentation pipeline with its own random state, so that an epoch's images follow from its seed."""

    def __init__(self, name: str, seed: int) -> None:
        self._pipeline = _albumentations().Compose(list(AUGMENTATIONS[name]()), seed=seed)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Augment each image independently; the shape stays (n, height, width, 3)."""
        return np.stack([self._pipeline(image=image)["image"] for image in images])

    def with_masks(
        self, images: NDArray[np.uint8], masks: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment each image independently, and move its mask, shape (n, height, width), with it."""
        pairs = [self._pipeline(image=image, mask=mask) for image, mask in zip(images, masks, strict=True)]
        return np.stack([pair["image"] for pair in pairs]), np.stack([pair["mask"] for pair in pairs])
