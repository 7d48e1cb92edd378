"""A split by patient keeps patients apart, sites in proportion, and depends on the seed alone."""

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
from training.split import BY_PATIENT, BY_SLICE, PARTS, split_slices


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
