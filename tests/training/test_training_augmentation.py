"""Augmentation follows its seed, keeps the shape, and leaves the cached images alone."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.training.tiny import draw_slices
from training.augmentation import AUGMENTATIONS, Augmentation
from training.batches import TrainingBatches
from training.slices import to_input


@pytest.fixture(params=AUGMENTATIONS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def slices():
    return draw_slices(3)


def test_seed_decides_every_image(name, slices):
    first, again, other = (Augmentation(name, seed)(slices.images) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first != slices.images).any()


def test_shape_type_and_source_stay(name, slices):
    before = slices.images.copy()
    changed = Augmentation(name, 0)(slices.images)
    assert changed.shape == before.shape
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(slices.images, before)


def test_tumour_stays_in_the_picture(name, slices):
    """The square is the only thing this bright: the label must stay true of every augmented image."""
    bright = (Augmentation(name, 0)(slices.images) > 180).all(axis=-1).sum(axis=(1, 2))
    assert (bright[slices.labels] > 400).all()
    assert (bright[~slices.labels] < 100).all()


def test_importing_asks_nothing_of_the_network():
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


def test_an_epoch_holds_every_training_slice_once_and_no_other(slices, monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "none", list)
    indices = np.arange(2, 12)
    batches = TrainingBatches(slices, indices, 4, "none", seed=0)
    images, labels = (joined(part) for part in zip(*batches, strict=True))
    assert len(batches) == 3
    expected = to_input(slices.images[indices]).numpy()
    assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in expected)
    assert labels.sum() == slices.labels[indices].sum()


def test_order_changes_with_the_seed(slices, monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "none", list)
    first, again, other = (
        joined([images for images, _ in TrainingBatches(slices, np.arange(12), 5, "none", seed)]) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def joined(tensors):
    return np.concatenate([tensor.numpy() for tensor in tensors])
