"""Small sets in the Kaggle layout, drawn here: a bright square is a tumour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import nn

from training.slices import SIZE, Slices, digest_of

if TYPE_CHECKING:
    from pathlib import Path

PATIENTS = tuple(f"TCGA_{site}_{number}_19990101" for site in ("CS", "DU") for number in range(4))


def write_slice(folder: Path, number: int, *, tumour: bool, grey: int = 40, size: int = 32) -> Path:
    """Write an image and its mask, and return the image's path."""
    folder.mkdir(parents=True, exist_ok=True)
    image = np.full((size, size, 3), grey, np.uint8)
    mask = np.zeros((size, size), np.uint8)
    if tumour:
        image[8:20, 8:20] = 250
        mask[8:20, 8:20] = 255
    path = folder / f"{folder.name}_{number}.tif"
    Image.fromarray(image).save(path)
    Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.tif"))
    return path


def write_set(folder: Path, patients: tuple[str, ...] = PATIENTS, slices: int = 4, *, first_tumour: int = 3) -> Path:
    """Write patients whose slices from `first_tumour` on show a tumour."""
    for i, patient in enumerate(patients):
        for number in range(1, slices + 1):
            write_slice(folder / patient, number, tumour=number >= first_tumour, grey=30 + 2 * i + number)
    return folder


def draw_slices(patients: int = 8, height: int = 4, seed: int = 0) -> Slices:
    """Draw slices in memory: noise, and a bright square in every second slice."""
    rng = np.random.default_rng(seed)
    images = rng.integers(20, 90, (patients * height, SIZE, SIZE, 3), dtype=np.uint8)
    masks = np.zeros(images.shape[:3], np.uint8)
    masks[1::2, 40:80, 40:80] = 1
    images[masks == 1] = 250
    labels = masks.any(axis=(1, 2))
    ids = tuple(f"TCGA_{'AB'[i % 2]}_{i:04d}" for i in range(patients) for _ in range(height))
    return Slices(images, masks, labels, ids, digest_of(images, labels, ids), "squares")


def tiny_network(width: int = 5) -> nn.Module:
    """Make a network that trains in no time: two strided convolutions, an odd number of channels, dropout."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=8, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 7, 3, stride=2),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(7, 2),
    )
