"""A split by patient keeps patients apart and sites in proportion; the seed decides it, or a fold does."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemark.errors import UserError
from tests.training.tiny import draw_slices
from training.data import describe_source
from training.slices import Slices
from training.split import BY_PATIENT, BY_SLICE, FOLDS, PARTS, deal_folds, split_slices


def slices_of(sites: dict[str, int], height: int = 2) -> Slices:
    ids = tuple(f"TCGA_{site}_{i:03d}" for site, n in sites.items() for i in range(n) for _ in range(height))
    labels = np.arange(len(ids)) % 2 == 0
    empty = np.zeros((len(ids), 1, 1), np.uint8)
    return Slices(np.zeros((len(ids), 1, 1, 3), np.uint8), empty, labels, ids, "digest", "set")


@settings(max_examples=50, deadline=None)
@given(
    sites=st.dictionaries(st.sampled_from(["DU", "HT", "CS", "FG", "EZ"]), st.integers(1, 45), min_size=1),
    seed=st.integers(0, 2**31),
)
def test_no_patient_is_on_two_sides_and_none_is_lost(sites, seed):
    if sum(sites.values()) < 3:
        sites = {**sites, "XX": 3}
    slices = slices_of(sites)
    split = split_slices(slices, BY_PATIENT, seed)
    described = split.describe(slices)
    patients = [patient for part in PARTS for patient in described[part]]
    assert sorted(patients) == list(slices.patient_ids)
    indices = np.concatenate([getattr(split, part) for part in PARTS])
    assert sorted(indices.tolist()) == list(range(len(slices)))
    for part in PARTS:
        assert {slices.patients[i] for i in getattr(split, part)} == set(described[part])


def test_about_seventy_fifteen_fifteen_with_every_site_in_proportion():
    sites = {"CS": 13, "DU": 37, "EZ": 1, "FG": 11, "HT": 28}
    slices = slices_of(sites)
    for seed in range(20):
        described = split_slices(slices, BY_PATIENT, seed).describe(slices)
        assert [len(described[part]) for part in PARTS] == [62, 14, 14]
        for part, share in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
            found = Counter(patient.split("_")[1] for patient in described[part])
            assert all(abs(found[site] - share * n) < 2 for site, n in sites.items())


@pytest.mark.parametrize("kind", [BY_PATIENT, BY_SLICE])
def test_seed_decides(kind):
    slices = slices_of({"DU": 30})
    first, again, other = (split_slices(slices, kind, seed).describe(slices) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_every_patient_is_tested_under_some_seed():
    slices = slices_of({"DU": 10, "EZ": 1})
    tested = {p for seed in range(60) for p in split_slices(slices, BY_PATIENT, seed).describe(slices)["test"]}
    assert tested == set(slices.patient_ids)


def test_slice_split_says_that_it_leaks_wherever_it_is_named():
    slices = draw_slices(patients=4, height=20)
    split = split_slices(slices, BY_SLICE, 0)
    assert "leaky slice split" in describe_source(slices, split)
    assert split.describe(slices)["words"] == "leaky slice split"
    assert split.caveat == "LEAKY"
    assert split_slices(slices, BY_PATIENT, 0).caveat is None
    sides = [{slices.patients[i] for i in getattr(split, part)} for part in ("train", "test")]
    assert sides[0] & sides[1]


def test_fewer_patients_than_parts_are_refused():
    with pytest.raises(UserError, match=r"2 patients cannot be split .* expected at least 3"):
        split_slices(slices_of({"DU": 2}), BY_PATIENT, 0)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_is_refused(label):
    slices = slices_of({"DU": 9})
    slices = dataclasses.replace(slices, labels=np.full(len(slices), label))
    with pytest.raises(UserError, match="of one class only: expected some with tumour and some without"):
        split_slices(slices, BY_PATIENT, 0)


def test_unknown_kind_is_refused():
    with pytest.raises(UserError, match="expected patient or slice"):
        split_slices(slices_of({"DU": 9}), "random", 0)


SITES = st.dictionaries(st.sampled_from(["DU", "HT", "CS", "FG", "EZ"]), st.integers(1, 45), min_size=1).filter(
    lambda sites: sum(sites.values()) >= FOLDS
)


@settings(max_examples=50, deadline=None)
@given(sites=SITES, seed=st.integers(0, 2**31))
def test_folds_test_every_patient_once_and_keep_patients_apart(sites, seed):
    slices = slices_of(sites)
    tested = []
    for fold in range(FOLDS):
        split = split_slices(slices, BY_PATIENT, seed, fold)
        described = split.describe(slices)
        assert sorted(patient for part in PARTS for patient in described[part]) == list(slices.patient_ids)
        indices = np.concatenate([getattr(split, part) for part in PARTS])
        assert sorted(indices.tolist()) == list(range(len(slices)))
        others = len(slices.patient_ids) - len(described["test"])
        assert len(described["validation"]) == max(1, round(0.15 * others))
        tested += described["test"]
    assert sorted(tested) == list(slices.patient_ids)


@settings(max_examples=50, deadline=None)
@given(sites=SITES)
def test_folds_differ_by_one_patient_at_most_in_size_and_at_every_site(sites):
    folds = deal_folds(slices_of(sites).patient_ids)
    assert len(folds) == FOLDS
    assert spread(map(len, folds)) <= 1
    for site in sites:
        assert spread(sum(patient.split("_")[1] == site for patient in fold) for fold in folds) <= 1


def spread(counts) -> int:
    counts = list(counts)
    return max(counts) - min(counts)


def test_validation_patients_of_a_fold_are_in_proportion_to_the_sites():
    sites = {"CS": 13, "DU": 37, "EZ": 1, "FG": 11, "HT": 28}
    slices = slices_of(sites)
    for fold in range(FOLDS):
        described = split_slices(slices, BY_PATIENT, 0, fold).describe(slices)
        assert [len(described[part]) for part in PARTS] == [61, 11, 18]
        found = Counter(patient.split("_")[1] for patient in described["validation"])
        assert all(abs(found[site] - 0.12 * n) < 2 for site, n in sites.items())


def test_seed_does_not_move_a_fold_and_each_fold_validates_on_others():
    slices = slices_of({"DU": 30, "HT": 11})
    splits = [
        [split_slices(slices, BY_PATIENT, seed, fold).describe(slices) for fold in range(FOLDS)] for seed in (0, 1)
    ]
    assert splits[0] == splits[1]
    assert len({tuple(split["validation"]) for split in splits[0]}) == FOLDS


def test_a_fold_is_named_where_its_numbers_appear_and_a_drawn_split_says_what_it_always_said():
    slices = slices_of({"DU": 10})
    assert "split by patient, fold 3 of 0 to 4;" in describe_source(slices, split_slices(slices, BY_PATIENT, 0, 3))
    assert "split by patient;" in describe_source(slices, split_slices(slices, BY_PATIENT, 0))


@pytest.mark.parametrize("fold", [-1, FOLDS, 100])
def test_a_fold_out_of_range_is_refused(fold):
    with pytest.raises(UserError, match=rf"^fold {fold}: expected a whole number from 0 to 4$"):
        split_slices(slices_of({"DU": 10}), BY_PATIENT, 0, fold)


def test_a_fold_of_slices_is_refused():
    with pytest.raises(UserError, match=r"^fold 1: expected none with --split slice"):
        split_slices(slices_of({"DU": 10}), BY_SLICE, 0, 1)


def test_fewer_patients_than_folds_are_refused():
    with pytest.raises(UserError, match=r"^4 patients cannot be split into 5 folds: expected at least 5$"):
        split_slices(slices_of({"DU": 4}), BY_PATIENT, 0, 0)


def test_a_fold_without_tumours_is_refused():
    slices = slices_of({"DU": 10})
    healthy = slices.of(deal_folds(slices.patient_ids)[2])
    labels = slices.labels.copy()
    labels[healthy] = False
    slices = dataclasses.replace(slices, labels=labels)
    with pytest.raises(UserError, match=r"^fold 2: 4 slices for test of one class only: expected some with tumour"):
        split_slices(slices, BY_PATIENT, 0, 2)
