"""Training, validation and test parts: by patient, stratified by site; or over slices, which leaks.

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
KINDS = (BY_PATIENT, BY_SLICE)

LEAKY = "LEAKY"
"""Caveat of every number from a split over slices."""

PARTS = ("train", "validation", "test")
HELD_OUT = 0.15
"""Share of the patients (or slices) for validation, and again for test. With folds: share of those not tested."""

FOLDS = 5
_FOLDS_SEED = 0
"""Of the draw of the folds. Not a network's seed: every network has the same folds."""

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the slices of each part.

    Args:
        kind: `patient` or `slice`.
        train: indices, in order.
        validation: indices, in order.
        test: indices, in order.
        fold: which of the five was tested, or None where the seed drew the split.
    """

    kind: str
    train: NDArray[np.intp] = field(repr=False)
    validation: NDArray[np.intp] = field(repr=False)
    test: NDArray[np.intp] = field(repr=False)
    fold: int | None = None

    @property
    def words(self) -> str:
        """The split in words, for tables."""
        if self.kind == BY_SLICE:
            return "leaky slice split"
        return "split by patient" if self.fold is None else f"split by patient, fold {self.fold} of 0 to {FOLDS - 1}"

    @property
    def caveat(self) -> str | None:
        """`LEAKY` where a patient may be on both sides."""
        return LEAKY if self.kind == BY_SLICE else None

    def describe(self, slices: Slices) -> dict[str, Any]:
        """Return the split as JSON values: lists of patients, or slice indices where patients are on both sides."""
        members: dict[str, Any] = {}
        for part in PARTS:
            indices: NDArray[np.intp] = getattr(self, part)
            by_patient = self.kind == BY_PATIENT
            members[part] = sorted({slices.patients[i] for i in indices}) if by_patient else indices.tolist()
        return {"kind": self.kind, "words": self.words, **members}


def split_slices(slices: Slices, kind: str, seed: int, fold: int | None = None) -> Split:
    """Split into training, validation and test slices; the same arguments give the same split.

    Args:
        slices: the whole set.
        kind: `patient` or `slice`.
        seed: draws about 70, 15 and 15 per cent where there is no fold.
        fold: number of the fold to test, from 0. The five folds are drawn once and test every patient exactly once;
            15 per cent of the other patients validate. The seed then decides nothing here.

    Raises:
        UserError: an unknown kind or fold, too few patients, or a part that holds one class only.
    """
    if kind not in KINDS:
        raise UserError(f"--split {kind!r}: expected {' or '.join(KINDS)}")
    if fold is not None:
        parts = _parts_of_fold(slices, kind, fold)
    elif kind == BY_PATIENT:
        _check_count(slices.patient_ids, len(PARTS), ", ".join(PARTS))
        parts = [slices.of(part) for part in _deal(_interleave_sites(slices.patient_ids, np.random.default_rng(seed)))]
    else:
        order = np.random.default_rng(seed).permutation(len(slices)).tolist()
        parts = [np.sort(np.array(part, np.intp)) for part in _deal(order)]
    where = "" if fold is None else f"fold {fold}: "
    for name, part in zip(PARTS, parts, strict=True):
        if len(np.unique(slices.labels[part])) < 2:
            raise UserError(
                f"{where}{len(part)} slices for {name} of one class only: expected some with tumour and some without"
            )
    train, validation, test = parts
    return Split(kind, train, validation, test, fold)


def deal_folds(patients: Sequence[str]) -> list[list[str]]:
    """Return five folds of the patients; sizes, and each site's share of them, differ by one patient at most."""
    rng = np.random.default_rng(_FOLDS_SEED)
    # Dealt in turn from site to site, so that no fold is the first to be served at every site.
    ordered = [patient for members in _by_site(patients) for patient in rng.permutation(members).tolist()]
    return [sorted(ordered[fold::FOLDS]) for fold in range(FOLDS)]


def _parts_of_fold(slices: Slices, kind: str, fold: int) -> list[NDArray[np.intp]]:
    if kind != BY_PATIENT:
        raise UserError(f"fold {fold}: expected none with --split {kind}, since folds hold whole patients")
    if fold not in range(FOLDS):
        raise UserError(f"fold {fold}: expected a whole number from 0 to {FOLDS - 1}")
    _check_count(slices.patient_ids, FOLDS, f"{FOLDS} folds")
    test = deal_folds(slices.patient_ids)[fold]
    rest = [patient for patient in slices.patient_ids if patient not in test]
    rng = np.random.default_rng([_FOLDS_SEED, fold])
    ordered = _interleave_sites(rest, rng)
    held = _held_out(len(ordered))
    return [slices.of(part) for part in (ordered[held:], ordered[:held], test)]


def _check_count(patients: Sequence[str], least: int, into: str) -> None:
    if len(patients) < least:
        raise UserError(f"{len(patients)} patients cannot be split into {into}: expected at least {least}")


def _by_site(patients: Sequence[str]) -> list[list[str]]:
    """Return the patients of each site, sites in order of their names."""
    sites: dict[str, list[str]] = {}
    for patient in patients:
        sites.setdefault(patient.split("_")[1], []).append(patient)
    return [sites[site] for site in sorted(sites)]


def _interleave_sites(patients: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Order patients so that every stretch holds each site in its share of the whole."""
    placed: list[tuple[float, str]] = []
    for members in _by_site(patients):
        offset = rng.random()
        placed += [((rank + offset) / len(members), members[i]) for rank, i in enumerate(rng.permutation(len(members)))]
    return [patient for _, patient in sorted(placed)]


def _deal(ordered: list[_T]) -> tuple[list[_T], list[_T], list[_T]]:
    held = _held_out(len(ordered))
    return ordered[2 * held :], ordered[:held], ordered[held : 2 * held]


def _held_out(count: int) -> int:
    return max(1, round(HELD_OUT * count))
