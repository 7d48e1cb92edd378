"""Slices in memory: the form in which every source of images delivers them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIZE = 128
"""Height and width of every slice, in pixels."""


@dataclass(frozen=True, eq=False)
class Slices:
    """Axial slices of several patients, each patient's in anatomical order.

    Args:
        images: uint8, shape (n, 128, 128, 3); may be mapped from disk.
        masks: uint8, 1 where there is tumour, shape (n, 128, 128).
        labels: whether there is tumour, bool, shape (n,); from the mask at its original size, so that one pixel counts.
        patients: id of the patient of each slice, `<set>_<site>_<number>`.
        digest: SHA-256 over pixels, labels and ids, in hex. Masks have one that a task with masks adds to it.
        origin: the set in words, with its licence where it has one.
        ignored: files found in the folder that are not part of the layout.
        caveat: one word that stands beside every number from these images, or None.
    """

    images: NDArray[np.uint8] = field(repr=False)
    masks: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.bool_] = field(repr=False)
    patients: tuple[str, ...] = field(repr=False)
    digest: str
    origin: str
    ignored: int = 0
    caveat: str | None = None

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def passed_over(self) -> str:
        """Words on the files that were ignored, to stand behind the set; empty where there are none."""
        return f"; other files ignored: {self.ignored}" if self.ignored else ""

    @cached_property
    def patient_ids(self) -> tuple[str, ...]:
        """The patients, sorted, each once."""
        return tuple(sorted(set(self.patients)))

    @cached_property
    def positions(self) -> NDArray[np.float64]:
        """Place of each slice in its patient, from 0 (first) to 1 (last)."""
        patients = np.asarray(self.patients)
        positions = np.empty(len(self))
        for patient in self.patient_ids:
            (own,) = np.nonzero(patients == patient)
            positions[own] = np.linspace(0.0, 1.0, len(own)) if len(own) > 1 else 0.5
        return positions

    @cached_property
    def masks_digest(self) -> str:
        """SHA-256 over the masks, in hex."""
        return hashlib.sha256(np.packbits(self.masks > 0).tobytes()).hexdigest()

    def of(self, patients: Sequence[str]) -> NDArray[np.intp]:
        """Return the indices of the slices of these patients, in order."""
        return np.flatnonzero(np.isin(np.asarray(self.patients), list(patients)))

    def only(self, patients: Sequence[str]) -> Slices:
        """Return the slices of these patients; the digest stays that of the whole set."""
        kept = self.of(patients)
        return replace(
            self,
            images=self.images[kept],
            masks=self.masks[kept],
            labels=self.labels[kept],
            patients=tuple(self.patients[i] for i in kept),
        )


def digest_of(images: NDArray[np.uint8], labels: NDArray[np.bool_], patients: Sequence[str]) -> str:
    """Return the SHA-256 of decoded pixels, labels and ids, which no folder and no compression changes."""
    sha = hashlib.sha256()
    sha.update(np.ascontiguousarray(images).data)
    sha.update(np.packbits(labels).tobytes())
    sha.update("\n".join(patients).encode())
    return sha.hexdigest()


def to_input(images: NDArray[np.uint8]) -> torch.Tensor:
    """Return images as network input: float32 in [0, 1], shape (n, 3, height, width), channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)


def halved(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the rounded mean of each 2 x 2 pixels, shape (n, height, width, ...); of a mask, the majority."""
    n, height, width, *rest = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, *rest)
    halved: NDArray[np.uint8] = ((blocks.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)
    return halved
