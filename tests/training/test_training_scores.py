"""Scores and baselines, where the truth is known by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tests.training.tiny import draw_slices, tiny_network
from training.baselines import fit_baselines, score_baselines
from training.prediction import summarise_slices
from training.scoring import score
from training.tasks.classification import Classification

LABELS = np.array([True, True, True, False, False, False, False, False])


def test_scores_by_hand():
    found = score(np.array([0.9, 0.8, 0.2, 0.7, 0.1, 0.1, 0.3, 0.4]), LABELS)
    assert found["accuracy"] == pytest.approx(6 / 8)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    # Of 15 pairs of a tumour and none, 0.2 loses to 0.7, 0.3 and 0.4.
    assert found["roc_auc"] == pytest.approx(12 / 15)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_has_no_roc_auc(label):
    found = score(np.array([0.9, 0.2]), np.array([label, label]))
    assert found["roc_auc"] is None
    assert found["accuracy"] == pytest.approx(0.5)
    json.dumps(found, allow_nan=False)


def probabilities(network, slices, indices):
    return summarise_slices(network, Classification(), slices, indices)["tumour"].numpy()


def test_predictions_do_not_depend_on_batches_or_mode(monkeypatch):
    slices = draw_slices(3)
    network = tiny_network().train()
    everything = np.arange(len(slices))
    together = probabilities(network, slices, everything)
    assert network.training
    monkeypatch.setattr("training.prediction.BATCH", 5)
    np.testing.assert_allclose(probabilities(network, slices, everything), together, atol=1e-6)
    np.testing.assert_allclose(probabilities(network, slices, everything[::-1])[::-1], together, atol=1e-6)


def test_position_baseline_learns_position_and_survives_json():
    slices = draw_slices(patients=6, height=40)
    labels = slices.positions > 0.6
    slices = dataclasses.replace(slices, labels=labels)
    training, new = slices.of(slices.patient_ids[:3]), slices.of(slices.patient_ids[3:])
    fitted = json.loads(json.dumps(fit_baselines(slices, training)))
    scores = score_baselines(fitted, slices, new)
    assert scores["position"]["accuracy"] > 0.9
    assert scores["position"]["roc_auc"] > 0.95
    assert scores["majority"]["accuracy"] == pytest.approx(float(1 - labels.mean()))
    assert scores["majority"]["roc_auc"] == pytest.approx(0.5)


def test_position_of_a_patient_with_one_slice_is_the_middle():
    assert draw_slices(patients=1, height=1).positions.tolist() == [0.5]
