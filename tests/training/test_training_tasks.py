"""Tasks on slices: Dice by hand, losses that carry gradients, scores that patients' shares add up to."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from sparsemark.errors import UserError
from tests.training.tiny import draw_slices
from training.dice import count_pixels, dice_by_patient, dice_scores
from training.prediction import summarise_slices
from training.scoring import weighted_mean
from training.tasks import TASKS
from training.tasks.base import total
from training.tasks.both import Both
from training.tasks.segmentation import Segmentation, mask_loss

PATIENTS = ["a", "a", "b", "b", "c"]


def masks_of(*counts):
    """Masks of 4 x 4 pixels whose first pixels are tumour."""
    masks = torch.zeros(len(counts), 16)
    for mask, count in zip(masks, counts, strict=True):
        mask[:count] = 1
    return masks.reshape(-1, 1, 4, 4)


def logits_of(*counts):
    """Logits that mark the first pixels."""
    return 8 * masks_of(*counts) - 4


@pytest.fixture
def table():
    """a: 4 of 8 found and nothing on the other slice. b: 2 of 2 found, 6 more on a healthy slice. c is healthy."""
    return count_pixels(logits_of(4, 0, 2, 6, 3), masks_of(8, 0, 2, 0, 0))


def test_dice_by_hand(table):
    found = dice_scores(table, PATIENTS)
    volume_a, volume_b = 2 * 4 / (4 + 8), 2 * 2 / (8 + 2)
    assert found["dice_volume"] == pytest.approx((volume_a + volume_b) / 2)
    assert found["dice_tumour_slices"] == pytest.approx((2 * 4 / 12 + 1.0) / 2)


def test_empty_masks_count_nothing(table):
    """Neither the healthy patient nor a healthy slice is an agreement for free."""
    assert set(dice_by_patient(table, PATIENTS)) == {"a", "b"}
    alone = count_pixels(logits_of(0, 5), masks_of(0, 0))
    assert dice_scores(alone, ["a", "b"]) == {"dice_volume": None, "dice_tumour_slices": None}


def test_tumour_slices_weigh_alike_however_they_are_spread_over_patients():
    table = count_pixels(logits_of(1, 2, 4), masks_of(4, 4, 4))
    expected = np.mean([2 * 1 / 5, 2 * 2 / 6, 1.0])
    for patients in (["a", "a", "b"], ["a", "b", "b"], ["a", "b", "c"]):
        assert dice_scores(table, patients)["dice_tumour_slices"] == pytest.approx(expected)


@pytest.fixture(scope="module")
def slices():
    return draw_slices(patients=5, height=6)


class Guess(nn.Module):
    """Outputs of a task's shapes: a convolution for the mask, its mean for the label."""

    def __init__(self, task):
        super().__init__()
        torch.manual_seed(0)
        self.mask = nn.Conv2d(3, 1, 3, padding=1)
        self.task = task

    def forward(self, images):
        mask = self.mask(images) - self.mask(images).mean()
        label = torch.stack([-mask.mean(dim=(1, 2, 3)), mask.amax(dim=(1, 2, 3)) - 1], dim=1)
        return {"classification": label, "segmentation": mask, "both": (mask, label)}[self.task]


@pytest.fixture(params=TASKS)
def name(request):
    return request.param


def test_every_metric_is_scored_and_is_the_mean_of_its_patients(name, slices):
    task = TASKS[name](0.3)
    table = summarise_slices(Guess(name), task, slices, np.arange(len(slices)))
    scores = task.score(table, slices.patients)
    assert set(scores) == set(task.metrics)
    assert task.selects in scores
    json.dumps(scores, allow_nan=False)
    by_patient = task.by_patient(table, slices.patients)
    assert set(by_patient) == set(slices.patient_ids)
    for metric in next(iter(by_patient.values())):
        assert weighted_mean(by_patient, metric) == pytest.approx(scores[metric], rel=1e-6)
    assert next(iter(task.metrics)) in next(iter(by_patient.values()))


def test_a_patient_alone_scores_what_it_does_among_others(name, slices):
    task = TASKS[name](0.5)
    table = summarise_slices(Guess(name), task, slices, np.arange(len(slices)))
    by_patient = task.by_patient(table, slices.patients)
    own = slices.of([slices.patient_ids[2]])
    alone = task.score({key: values[own] for key, values in table.items()}, [slices.patient_ids[2]] * len(own))
    for metric, (value, _) in by_patient[slices.patient_ids[2]].items():
        assert alone[metric] == pytest.approx(value)


def test_any_pixel_decides_without_a_head(slices):
    table = Segmentation().summarise([logits_of(0, 1)], masks_of(3, 0))
    assert Segmentation().score(table, ["a", "a"])["accuracy"] == 0
    table = Segmentation().summarise([logits_of(1, 0)], masks_of(3, 0))
    scores = Segmentation().score(table, ["a", "a"])
    assert scores["accuracy"] == scores["accuracy_any_pixel"] == 1


def test_sure_pixels_still_rank():
    """Logits far above 17 are all 1 in float32; the ROC AUC must tell them apart."""
    logits = torch.tensor([18.0, 30.0, 25.0, -3.0]).reshape(4, 1, 1, 1).expand(4, 1, 4, 4)
    table = Segmentation().summarise([logits], masks_of(0, 3, 3, 0))
    assert Segmentation().score(table, list("abcd"))["roc_auc"] == 1


def test_head_and_any_pixel_are_two_accuracies():
    """Every pixel right, every label wrong."""
    masks, labels = masks_of(3, 0), torch.tensor([1, 0])
    wrong = torch.tensor([[3.0, -3.0], [-3.0, 3.0]])
    scores = Both(0.5).score(Both(0.5).summarise([logits_of(3, 0), wrong], (masks, labels)), ["a", "a"])
    assert scores["accuracy"] == 0
    assert scores["accuracy_any_pixel"] == scores["dice_volume"] == 1


@pytest.mark.parametrize("theta", [0.0, 0.2, 1.0])
def test_theta_weighs_mask_against_label(theta):
    outputs = [torch.randn(4, 1, 8, 8), torch.randn(4, 2)]
    targets = (torch.rand(4, 1, 8, 8).round(), torch.tensor([0, 1, 1, 0]))
    mask, label = (loss for _, loss in Both(0.5).losses(outputs, targets).values())
    torch.testing.assert_close(total(Both(theta).losses(outputs, targets)), theta * mask + (1 - theta) * label)


def test_mask_loss_falls_as_the_mask_gets_better_and_is_small_without_any_tumour():
    masks = masks_of(6, 2)
    losses = [float(mask_loss(4 * logits_of(*found), masks)) for found in ((0, 0), (3, 2), (6, 2))]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.01
    empty = masks_of(0, 0)
    assert float(mask_loss(4 * logits_of(0, 0), empty)) < 0.01 < float(mask_loss(4 * logits_of(1, 0), empty))


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([torch.zeros(2, 2)], r"output of shape \(2, 2\); expected logits \(2, 1, 4, 4\)"),
        ([torch.zeros(2, 1, 2, 2)], r"output of shape \(2, 1, 2, 2\); expected logits \(2, 1, 4, 4\)"),
        ([torch.zeros(2, 1, 4, 4), torch.zeros(2, 2)], r"\(2, 1, 4, 4\) and \(2, 2\); expected logits \(2, 1, 4, 4\)$"),
        ([torch.full((2, 1, 4, 4), torch.nan)], "output holds NaN or infinities"),
    ],
)
def test_outputs_of_another_network_are_refused(outputs, words):
    with pytest.raises(UserError, match=words):
        Segmentation().summarise(outputs, masks_of(1, 0))
