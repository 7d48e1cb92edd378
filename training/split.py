"""Training, validation and test: by patient, stratified by site; or over slices, as the paper did, which leaks.

Neighbouring slices of one patient are nearly the same image. A random split over slices puts them on both sides: one
nearest neighbour on 16 x 16 pixels then scores .92 where it scores .74 on patients it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sparsemark.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.slices import Slices

BY_PATIENT = "patient"
BY_SLICE = "slice"
_T = TypeVar("_T")

KINDS = (BY_PATIENT, BY_SLICE)

PARTS = ("train", "validation", "test")
HELD_OUT = 0.15
"""Share of the patients (or slices) that goes to validation, and again to test."""


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the slices of each part. `words` says how they were split wherever a number appears."""

    kind: str
    train: NDArray[np.intp] = field(repr=False)
    validation: NDArray[np.intp] = field(repr=False)
    test: NDArray[np.intp] = field(repr=False)

    @property
    def words(self) -> str:
        """The split in words, for tables."""
        return "split by patient" if self.kind == BY_PATIENT else "leaky slice split"

    def describe(self, slices: Slices) -> dict[str, Any]:
        """The split as JSON values: lists of patients, or slice indices where patients stand on both sides."""
        members: dict[str, Any] = {}
        for part in PARTS:
            indices: NDArray[np.intp] = getattr(self, part)
            by_patient = self.kind == BY_PATIENT
            members[part] = sorted({slices.patients[i] for i in indices}) if by_patient else indices.tolist()
        return {"kind": self.kind, "words": self.words, **members}


def split_slices(slices: Slices, kind: str, seed: int) -> Split:
    """Split into about 70, 15 and 15 per cent; the same seed and data give the same split.

    Raises:
        UserError: fewer patients than parts, or a part that holds one class only.
    """
    if kind not in KINDS:
        raise UserError(f"--split {kind!r}: expected {' or '.join(KINDS)}")
    rng = np.random.default_rng(seed)
    if kind == BY_PATIENT:
        patients = slices.patient_ids
        if len(patients) < len(PARTS):
            raise UserError(
                f"{len(patients)} patients cannot be split into {', '.join(PARTS)}: expected at least {len(PARTS)}"
            )
        parts = [slices.of(part) for part in _deal(_interleave_sites(patients, rng))]
    else:
        order = rng.permutation(len(slices)).tolist()
        parts = [np.sort(np.array(part, np.intp)) for part in _deal(order)]
    for name, part in zip(PARTS, parts, strict=True):
        if len(np.unique(slices.labels[part])) < 2:  # noqa: PLR2004 - tumour and no tumour
            raise UserError(
                f"{len(part)} slices for {name} of one class only: expected some with tumour and some without"
            )
    train, validation, test = parts
    return Split(kind, train, validation, test)


def _interleave_sites(patients: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Order patients so that every stretch holds each site in its share of the whole."""
    by_site: dict[str, list[str]] = {}
    for patient in patients:
        by_site.setdefault(patient.split("_")[1], []).append(patient)
    placed: list[tuple[float, str]] = []
    for site in sorted(by_site):
        members = by_site[site]
        offset = rng.random()
        placed += [((rank + offset) / len(members), members[i]) for rank, i in enumerate(rng.permutation(len(members)))]
    return [patient for _, patient in sorted(placed)]


def _deal(ordered: list[_T]) -> tuple[list[_T], list[_T], list[_T]]:
    held = max(1, round(HELD_OUT * len(ordered)))
    return ordered[2 * held :], ordered[:held], ordered[held : 2 * held]
