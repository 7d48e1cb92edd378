"""Augmentation follows its seed, keeps the shape, and leaves the cached images alone."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from tests.training.tiny import draw_slices
from training.augmentation import AUGMENTATIONS, Augmentation
from training.batches import TrainingBatches
from training.slices import to_input
from training.tasks.both import Both
from training.tasks.classification import Classification


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
    batches = TrainingBatches(slices, indices, Classification(), batch=4, augmentation="none", seed=0)
    images, labels = (joined(part) for part in zip(*batches, strict=True))
    assert len(batches) == 3
    expected = to_input(slices.images[indices]).numpy()
    assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in expected)
    assert labels.sum() == slices.labels[indices].sum()


def test_order_changes_with_the_seed(slices, monkeypatch):
    monkeypatch.setitem(AUGMENTATIONS, "none", list)
    first, again, other = (
        TrainingBatches(slices, np.arange(12), Classification(), batch=5, augmentation="none", seed=seed)
        for seed in (0, 0, 1)
    )
    first, again, other = (joined([images for images, _ in batches]) for batches in (first, again, other))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_masks_move_with_their_images(name, slices):
    """The square is the only thing this bright: wherever it went, its mask went too."""
    images, masks = Augmentation(name, 0).with_masks(slices.images, slices.masks)
    bright = (images > 180).all(axis=-1)
    assert set(np.unique(masks)) <= {0, 1}
    assert (masks != slices.masks).any()
    tumours = slices.labels
    overlap = (bright & (masks > 0)).sum(axis=(1, 2)) / (bright | (masks > 0)).sum(axis=(1, 2)).clip(1)
    assert (overlap[tumours] > 0.8).all()
    assert not masks[~tumours].any()


def test_masks_change_nothing_about_the_images(name, slices):
    alone = Augmentation(name, 0)(slices.images)
    np.testing.assert_array_equal(Augmentation(name, 0).with_masks(slices.images, slices.masks)[0], alone)


def test_batches_at_half_resolution_are_means_of_four_pixels_and_masks_majorities(slices):
    indices = np.arange(12)
    whole, half = (
        list(
            TrainingBatches(
                slices, indices, Both(0.5), batch=12, augmentation=None, seed=0, half_resolution=half_resolution
            )
        )
        for half_resolution in (False, True)
    )
    (images, (masks, labels)), (small, (small_masks, small_labels)) = whole[0], half[0]
    assert small.shape == (12, 3, 64, 64)
    assert small_masks.shape == (12, 1, 64, 64)
    assert (labels == small_labels).all()
    pooled = torch.nn.functional.avg_pool2d(images, 2)
    assert float((small - pooled).abs().max()) <= 0.5 / 255 + 1e-6
    torch.testing.assert_close(small_masks, (torch.nn.functional.avg_pool2d(masks, 2) >= 0.5).float())


def joined(tensors):
    return np.concatenate([tensor.numpy() for tensor in tensors])
