"""Normalisation takes away what a scanner adds, and nothing that a patient has."""

from __future__ import annotations

import numpy as np

from training.intensity import HEAD, MIDDLE, normalize_patients


def volume(scale: float, seed: int = 0) -> np.ndarray:
    """Air around a head with a lesion twice as bright, as a scanner of this gain sees it; shape (4, 16, 16, 3)."""
    rng = np.random.default_rng(seed)
    images = np.zeros((4, 16, 16, 3))
    images[:, 3:13, 3:13] = rng.uniform(50, 70, (4, 10, 10, 3))
    images[2, 5:8, 5:8] *= 2
    return (scale * images).round().astype(np.uint8)


def test_gain_of_the_scanner_disappears():
    images = np.concatenate([volume(0.6), volume(1.4)])
    scaled = normalize_patients(images, ["a"] * 4 + ["b"] * 4).astype(int)
    assert (
        np.abs(scaled[:4] - scaled[4:]).max() <= 5
    )  # grey levels: half a level before scaling is one and a half after


def test_median_of_the_head_goes_to_the_middle_in_every_channel():
    images = volume(1.0)
    images[..., 1] //= 2
    scaled = normalize_patients(images, ["a"] * 4)
    for channel in range(3):
        assert abs(np.median(scaled[..., channel][images[..., channel] > HEAD]) - MIDDLE) <= 1


def test_a_patient_is_scaled_as_a_whole():
    """A lesion must stay twice as bright as the brain, in its own slice and against the others."""
    scaled = normalize_patients(volume(1.0), ["a"] * 4)
    lesion, brain = scaled[2, 5:8, 5:8].mean(), scaled[0, 5:8, 5:8].mean()
    assert 1.8 < lesion / brain < 2.2


def test_one_patient_does_not_change_another():
    images = np.concatenate([volume(0.6), volume(1.4)])
    both = normalize_patients(images, ["a"] * 4 + ["b"] * 4)
    np.testing.assert_array_equal(both[:4], normalize_patients(images[:4], ["a"] * 4))


def test_air_stays_air_and_a_black_channel_stays_black():
    images = volume(1.0)
    images[..., 2] = HEAD
    scaled = normalize_patients(images, ["a"] * 4)
    assert (scaled[..., 2] == HEAD).all()
    assert (scaled[:, 0, 0, :2] == 0).all()


def test_bright_pixels_are_clipped_not_wrapped_and_the_input_is_left_alone():
    images = volume(1.0)
    images[0, 5, 5] = 255
    before = images.copy()
    scaled = normalize_patients(images, ["a"] * 4)
    assert (scaled[0, 5, 5] == 255).all()
    np.testing.assert_array_equal(images, before)
