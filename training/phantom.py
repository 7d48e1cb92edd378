"""Generated slices in the layout of the real ones, so that everything runs where the real ones are not.

A patient is a head outline with scalp and skull, grey matter folded around white, and ventricles, all bent by a smooth warp of its own. A lesion
is one soft, irregular body in three dimensions; small spots and thin bands of the same brightness carry no label, so that
brightness alone does not win. Its height is drawn so that every slice is as likely as any other to show it: position alone scores about one half.
Then come a bias field of 20 to 40 % and Rician noise of 1 to 9 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sparsemark.files import key_of
from training.cache import load_cached
from training.slices import SIZE, Slices, digest_of

ORIGIN = "PHANTOM (generated images, no patient's)"
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


def load_phantom(patients: int = 40, height: int = 25, seed: int = 0) -> Slices:
    """Make the phantom, or map it from the cache: `patients` volumes of `height` slices."""
    key = key_of("phantom", _GENERATOR, SIZE, patients, height, seed)
    return load_cached(key, lambda: generate(patients, height, seed))


def generate(patients: int, height: int, seed: int) -> Slices:
    """Draw the volumes; each patient's follows from the seed and its number alone."""
    volumes = [_patient(np.random.default_rng([seed, number]), height) for number in range(patients)]
    images = np.concatenate([image for image, _ in volumes])
    masks = np.concatenate([mask for _, mask in volumes])
    labels: NDArray[np.bool_] = masks.any(axis=(1, 2))
    ids = tuple(f"PHANTOM_{'ABCD'[number % 4]}_{number:04d}" for number in range(patients) for _ in range(height))
    return Slices(images, masks, labels, ids, digest_of(images, labels, ids), ORIGIN)


def _patient(rng: np.random.Generator, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    shape = (height, SIZE, SIZE)
    z, y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32),
        *[np.linspace(-1, 1, SIZE, dtype=np.float32)] * 2,
        indexing="ij",
    )
    x = x + 0.06 * _smooth_noise(rng, shape, 0.3)
    y = y + 0.06 * _smooth_noise(rng, shape, 0.3)
    # Slices stop short of the poles of the head.
    girth = np.sqrt(1 - (0.72 * z) ** 2)
    radius = np.hypot(x / (rng.uniform(0.66, 0.78) * girth), y / (rng.uniform(0.80, 0.92) * girth))
    tissues = _anatomy(rng, x, y, z, radius)
    lesion, extent = _lesion(rng, x, y, z, radius)
    bright = np.maximum(lesion, _distractors(rng, x, y, radius, shape))
    image = np.stack(
        [_contrast(rng, tissues, bright, channel) for channel in ("before", "flair", "after")], axis=-1
    )
    image *= (1 + rng.uniform(0.2, 0.4) * _smooth_noise(rng, shape, 0.8) / 2)[..., None]
    noise = rng.uniform(0.01, 0.09)
    real = image + noise * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(image.shape, dtype=np.float32)
    magnitude = np.hypot(real, imaginary) * rng.uniform(0.75, 1.1)
    if rng.random() < 0.15:  # noqa: PLR2004 - as in the real set, a missing sequence is replaced by FLAIR
        magnitude[..., rng.choice([0, 2])] = magnitude[..., 1]
    return (255 * magnitude.clip(0, 1)).astype(np.uint8), extent.astype(np.uint8)


def _anatomy(rng: np.random.Generator, x: Field, y: Field, z: Field, radius: Field) -> list[tuple[Tissue, Field]]:
    """Tissues from the outside in, each with the volume it replaces what was there in, 0 to 1."""
    folds = 0.07 * np.sin(rng.integers(14, 22) * np.arctan2(y, x) + 3 * _smooth_noise(rng, x.shape, 0.15) + rng.uniform(0, 6))
    opening = np.hypot(x / 0.9, y / 0.5) * rng.uniform(2.2, 3.2) + 2.5 * np.abs(z - rng.uniform(-0.2, 0.2))
    ventricle = opening + 4 * np.exp(-((x / 0.03) ** 2))
    return [
        (SCALP, _inside(radius, 1.0)),
        (SKULL, _inside(radius, 0.94)),
        (FLUID, _inside(radius, 0.87)),
        (GREY, _inside(radius + 0.4 * folds, 0.84)),
        (WHITE, _inside(radius + 1.5 * folds, 0.68)),
        (FLUID, _inside(ventricle, 1.3)),
    ]


def _lesion(
    rng: np.random.Generator, x: Field, y: Field, z: Field, radius: Field
) -> tuple[Field, NDArray[np.bool_]]:
    """Brightness of the lesion, 0 to 1, and the voxels that the mask counts as its own."""
    # A body of length L whose lower end is uniform on [-1 - L, 1] covers each height with the same probability, L / (2 + L).
    length = rng.uniform(1.6, 2.4)
    centre = rng.uniform(-1 - length, 1) + length / 2
    along = ((z - centre) / (length / 2)) ** 2
    size = rng.uniform(0.14, 0.26)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.5)
    across = np.hypot(x - 0.7 * distance * np.cos(angle), y - 0.85 * distance * np.sin(angle))
    irregular = across / size + 0.25 * _smooth_noise(rng, x.shape, 0.12)
    reach = np.sqrt((1 - along).clip(0.0))
    body = np.where((along < 1) & (radius < 0.84), 1.2 * (0.3 + 0.7 * reach) - irregular, -1)  # noqa: PLR2004
    soft = (body / 0.5).clip(0, 1) * rng.uniform(0.6, 0.95)
    return soft.astype(np.float32), soft > 0.25  # noqa: PLR2004


def _distractors(rng: np.random.Generator, x: Field, y: Field, radius: Field, shape: tuple[int, ...]) -> Field:
    """Bright spots and thin bands that mean nothing, as often where there is a lesion as where there is none."""
    spots = _smooth_noise(rng, shape, 0.035)
    bands = np.abs(_smooth_noise(rng, shape, 0.16)) / 0.10 + 2.5 * (_smooth_noise(rng, shape, 0.2) < rng.uniform(0.5, 1.0))
    found = np.maximum((spots - rng.uniform(2.2, 2.8)).clip(0, 0.5) * 2, (1 - bands).clip(0, 1))
    return (found * (radius < 0.84) * rng.uniform(0.6, 0.95)).astype(np.float32)  # noqa: PLR2004


def _contrast(rng: np.random.Generator, tissues: list[tuple[Tissue, Field]], bright: Field, channel: str) -> Field:
    image = np.full(bright.shape, getattr(AIR, channel), np.float32)
    for tissue, share in [*tissues, (LESION, bright)]:
        level = getattr(tissue, channel) * rng.uniform(0.92, 1.08)
        image += share * (level - image)
    return image


def _inside(distance: Field, boundary: float) -> Field:
    """1 inside the boundary, 0 outside, over a border of about two pixels."""
    return ((boundary - distance) / 0.03 + 0.5).clip(0, 1)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Field:
    """Gaussian noise of variance 1 that varies over `scale`, where the image is 2 wide; drawn coarsely and interpolated."""
    coarse = [max(4, int(np.ceil(2 / scale)) + 3)] * 3
    noise = rng.standard_normal(coarse, dtype=np.float32)
    zoomed: Field = ndimage.zoom(noise, [s / c for s, c in zip(shape, coarse, strict=True)], order=1, grid_mode=True, mode="nearest")
    return (zoomed - zoomed.mean()) / zoomed.std()
