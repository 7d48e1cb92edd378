"""The phantom: reproducible, in the layout of the real set, and not to be solved without looking."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.tiny import write_set
from training import phantom
from training.baselines import fit_baselines, score_baselines
from training.data import DATA_VARIABLE, load_slices
from training.slices import SIZE


@pytest.fixture(scope="module")
def volumes():
    return phantom.generate(20, 6, 0)


def test_layout_is_that_of_the_real_set(volumes):
    assert volumes.images.shape == (20 * 6, SIZE, SIZE, 3)
    assert volumes.images.dtype == volumes.masks.dtype == np.uint8
    assert set(np.unique(volumes.masks)) == {0, 1}
    np.testing.assert_array_equal(volumes.labels, volumes.masks.any(axis=(1, 2)))
    assert len(volumes.patient_ids) == 20
    assert {patient.split("_")[1] for patient in volumes.patient_ids} == set(phantom.SITES)


def test_same_seed_same_images_and_patients_do_not_depend_on_each_other(volumes):
    fewer = phantom.generate(2, 6, 0)
    np.testing.assert_array_equal(fewer.images, volumes.images[:12])
    assert phantom.generate(2, 6, 1).digest != fewer.digest


def test_slices_with_tumour_are_contiguous(volumes):
    for patient in volumes.patient_ids:
        shown = np.flatnonzero(volumes.labels[volumes.of([patient])])
        assert len(shown) == 0 or shown[-1] - shown[0] + 1 == len(shown)


def test_position_alone_says_little(volumes):
    everything = np.arange(len(volumes))
    half = everything[: len(everything) // 2]
    fitted = fit_baselines(volumes, half)
    scores = score_baselines(fitted, volumes, everything[len(half) :])
    assert abs(scores["position"]["roc_auc"] - 0.5) < 0.2
    assert 0.3 < volumes.labels.mean() < 0.7


def test_brightness_alone_does_not_tell_but_lesions_are_bright(volumes):
    flair = volumes.images[..., 1].reshape(len(volumes), -1)
    brightest = np.quantile(flair, 0.999, axis=1)
    tumour, none = brightest[volumes.labels], brightest[~volumes.labels]
    wins = (tumour[:, None] > none[None, :]).mean()
    assert wins < 0.8
    inside = volumes.images[..., 1][volumes.masks == 1].mean()
    assert inside > 1.2 * volumes.images[..., 1][volumes.masks == 0].mean()


def test_used_where_no_folder_is_named_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(phantom.load_phantom, "__defaults__", (3, 2, 0))
    made, mapped = load_slices(None), load_slices(None)
    for slices in (made, mapped):
        assert "PHANTOM" in slices.origin
        assert slices.caveat == "PHANTOM"
    monkeypatch.setenv(DATA_VARIABLE, str(write_set(tmp_path / "set")))
    real = load_slices(None)
    assert "PHANTOM" not in real.origin
    assert real.caveat is None
