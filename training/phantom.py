"""Generated slices in the layout of the LGG set, for machines without it.

A patient is a head outline with scalp and skull, grey matter folded around white, and ventricles, all bent by a smooth
warp. A lesion is one soft, irregular body in three dimensions. Small spots and thin bands of the same
brightness carry no label, so that brightness alone does not win; the lesion's height is drawn so that every slice is as
likely as any other to show it, so that position alone scores about one half. Then come a bias field of 20 to 40 % and
Rician noise of 1 to 9 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sparsemark.files import key_of
from training.cache import load_cached
from training.slices import SIZE, Slices, digest_of

CAVEAT = "PHANTOM"
ORIGIN = f"{CAVEAT} (generated images, no patient's)"
SITES = "ABCD"
BRAIN = 0.84
"""End of the grey matter, as a share of the head's radius."""

_GENERATOR = 1
"""Raised when the same seed gives other images, so that caches are made again."""

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Tissue:
    """Brightness before contrast, in FLAIR and after contrast, 0 to 1."""

    before: float
    flair: float
    after: float


AIR = Tissue(0.01, 0.01, 0.01)
SCALP = Tissue(0.70, 0.55, 0.75)
SKULL = Tissue(0.08, 0.06, 0.08)
FLUID = Tissue(0.16, 0.08, 0.16)
GREY = Tissue(0.42, 0.50, 0.44)
WHITE = Tissue(0.55, 0.40, 0.57)
LESION = Tissue(0.36, 0.80, 0.42)


@dataclass(frozen=True)
class Head:
    """Coordinates of every voxel of a patient, from -1 to 1, and its distance from the axis of the head.

    Args:
        x: across, warped.
        y: front to back, warped.
        z: height.
        radius: 1 on the skin.
    """

    x: Field
    y: Field
    z: Field
    radius: Field


def load_phantom(patients: int = 40, height: int = 25, seed: int = 0) -> Slices:
    """Generate the phantom, or map it from the cache: `patients` volumes of `height` slices."""
    key = key_of("phantom", _GENERATOR, SIZE, patients, height, seed)
    return load_cached(key, lambda: generate(patients, height, seed))


def generate(patients: int, height: int, seed: int) -> Slices:
    """Draw the volumes; each patient's follows from the seed and its number alone."""
    volumes = [_patient(np.random.default_rng([seed, number]), height) for number in range(patients)]
    images = np.concatenate([image for image, _ in volumes])
    masks = np.concatenate([mask for _, mask in volumes])
    labels = masks.reshape(len(masks), -1).max(axis=1) > 0
    ids = tuple(
        f"PHANTOM_{SITES[number % len(SITES)]}_{number:04d}" for number in range(patients) for _ in range(height)
    )
    return Slices(images, masks, labels, ids, digest_of(images, labels, ids), ORIGIN, caveat=CAVEAT)


def _patient(rng: np.random.Generator, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    head = _head(rng, height)
    tissues = _anatomy(rng, head)
    lesion = _lesion(rng, head)
    bright = np.maximum(lesion, _distractors(rng, head))
    image = np.stack([_contrast(rng, tissues, bright, channel) for channel in ("before", "flair", "after")], axis=-1)
    bias = rng.uniform(0.2, 0.4) * _smooth_noise(rng, head.x.shape, 0.8) / 2  # two standard deviations reach the bound
    image *= (1 + bias)[..., None]
    noise = rng.uniform(0.01, 0.09) * rng.standard_normal((2, *image.shape), dtype=np.float32)
    magnitude = np.hypot(image + noise[0], noise[1]) * rng.uniform(0.75, 1.1)
    if rng.random() < 0.15:  # as in the real set, a missing sequence is replaced by FLAIR
        magnitude[..., rng.choice([0, 2])] = magnitude[..., 1]
    visible = lesion > 0.25  # fainter borders would not be outlined
    return (255 * magnitude.clip(0, 1)).astype(np.uint8), visible.astype(np.uint8)


def _head(rng: np.random.Generator, height: int) -> Head:
    z, y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32),
        *[np.linspace(-1, 1, SIZE, dtype=np.float32)] * 2,
        indexing="ij",
    )
    x = x + 0.035 * _smooth_noise(rng, x.shape, 0.5)
    y = y + 0.035 * _smooth_noise(rng, x.shape, 0.5)
    girth = np.sqrt(1 - (0.72 * z) ** 2)  # the slices stop short of the poles
    radius = np.hypot(x / (rng.uniform(0.66, 0.78) * girth), y / (rng.uniform(0.80, 0.92) * girth))
    return Head(x, y, z, radius)


def _anatomy(rng: np.random.Generator, head: Head) -> list[tuple[Tissue, Field]]:
    """Return tissues from the outside in, each with its share of every voxel, 0 to 1; it replaces those before it."""
    waves = rng.integers(14, 22) * np.arctan2(head.y, head.x) + 3 * _smooth_noise(rng, head.x.shape, 0.15)
    folds = np.sin(waves + rng.uniform(0, 2 * np.pi))
    opening = np.hypot(head.x / 0.9, head.y / 0.5) * rng.uniform(2.2, 3.2)
    septum = 4 * np.exp(-((head.x / 0.03) ** 2))
    ventricles = opening + septum + 2.5 * np.abs(head.z - rng.uniform(-0.2, 0.2))
    return [
        (SCALP, _inside(head.radius, 1.0)),
        (SKULL, _inside(head.radius, 0.94)),
        (FLUID, _inside(head.radius, 0.87)),
        (GREY, _inside(head.radius + 0.03 * folds, BRAIN)),
        (WHITE, _inside(head.radius + 0.10 * folds, 0.68)),
        (FLUID, _inside(ventricles, 1.3)),
    ]


def _lesion(rng: np.random.Generator, head: Head) -> Field:
    """Return the share of each voxel that is lesion, 0 to 1."""
    # A body of length L whose lower end is uniform on [-1 - L, 1] covers each height with the same chance, L / (2 + L).
    length = rng.uniform(1.6, 2.4)
    centre = rng.uniform(-1 - length, 1) + length / 2
    along = ((head.z - centre) / (length / 2)) ** 2
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.5)
    size = rng.uniform(0.12, 0.26)
    across = np.hypot(head.x - 0.7 * distance * np.cos(angle), head.y - 0.85 * distance * np.sin(angle)) / size
    edge = 0.4 + 0.6 * np.sqrt((1 - along).clip(0)) - across + 0.18 * _smooth_noise(rng, head.x.shape, 0.2)
    found = np.where((along < 1) & (head.radius < BRAIN), edge, 0)
    return (found / 0.4).clip(0, 1) * np.float32(rng.uniform(0.5, 0.9))


def _distractors(rng: np.random.Generator, head: Head) -> Field:
    """Return spots and thin bands as bright as a lesion, in slices with and without one."""
    spots = _smooth_noise(rng, head.x.shape, 0.05) - rng.uniform(1.9, 2.4)
    bands = 1 - np.abs(_smooth_noise(rng, head.x.shape, 0.2)) / 0.12
    patchy = _smooth_noise(rng, head.x.shape, 0.25) > rng.uniform(0.4, 1.0)
    found = np.maximum((2 * spots).clip(0, 1), bands.clip(0, 1) * patchy) * (head.radius < BRAIN)
    bright: Field = found * np.float32(rng.uniform(0.5, 0.9))
    return bright


def _contrast(rng: np.random.Generator, tissues: list[tuple[Tissue, Field]], bright: Field, channel: str) -> Field:
    image = np.full(bright.shape, getattr(AIR, channel), np.float32)
    for tissue, share in [*tissues, (LESION, bright)]:
        level = np.float32(getattr(tissue, channel) * rng.uniform(0.92, 1.08))
        image += share * (level - image)
    return image


def _inside(distance: Field, boundary: float) -> Field:
    """Return 1 inside the boundary and 0 outside, over a border of two pixels."""
    return ((boundary - distance) / np.float32(4 / SIZE) + np.float32(0.5)).clip(0, 1)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Field:
    """Return noise of mean 0 and variance 1 that varies over `scale`; the image is 2 wide."""
    coarse = [max(4, int(np.ceil(2 / scale)) + 3)] * 3
    zoom = [fine / few for fine, few in zip(shape, coarse, strict=True)]
    drawn = rng.standard_normal(coarse, dtype=np.float32)
    noise: Field = ndimage.zoom(drawn, zoom, order=1, grid_mode=True, mode="nearest")
    noise -= noise.mean()
    noise /= noise.std()
    return noise
