"""Best mix: what is the fastest within a point, from scores by patient and timed cells of five folds."""

from __future__ import annotations

import dataclasses

import pytest

from bench.best_mix import answer, document, mixes
from bench.tables import Study
from sparsemark.records.run import Run
from sparsemark.records.scores import Score
from tests.synthetic import MACHINE, cell

FOLDS = range(5)
PATIENTS = 8


class Invented(Study):
    """A study of prunings, each with its accuracy, and cells of theirs."""

    def __init__(self, accuracies, cells):
        names = {pruning: pruning.replace(":", "").replace("0.", "") + "0" * (":" in pruning) for pruning in accuracies}
        variants = {
            f"toy-{'dense' if pruning == 'none' else names[pruning]}-seed0-fold{fold}": (pruning, fold)
            for pruning in accuracies
            for fold in FOLDS
        }
        self.rows = {
            name: {
                "name": name,
                "model": "toy",
                "pruning": pruning,
                "fold": str(fold),
                "accuracy": str(accuracies[pruning]),
            }
            for name, (pruning, fold) in variants.items()
        }
        self.rows["majority-seed0"] = {"name": "majority-seed0", "model": "", "pruning": "", "fold": "0"}
        self.groups = {
            name: {"accuracy": {f"p{fold}-{i}": [accuracies[pruning] + 0.001 * i, 1.0] for i in range(PATIENTS)}}
            for name, (pruning, fold) in variants.items()
        }
        self.runs = [Run(tuple(cells), MACHINE)]


def timed(pruning, speedup, accuracy, precision="fp32", folds=FOLDS):
    for fold in folds:
        row = cell(fold, ms=15.0 / speedup, name=f"{pruning}-{precision}-{fold}", pruning=pruning, engine="direct-csr")
        score = {"accuracy": Score(accuracy)}
        ratio = speedup * (1 + fold / 100)
        ends = {"speedup": ratio, "speedup_low": 0.99 * ratio, "speedup_high": 1.01 * ratio}
        yield dataclasses.replace(row, **ends, precision=precision, fold=fold, scores=score)


ACCURACIES = {"none": 0.95, "all-ones": 0.94, "magnitude:0.9": 0.935, "channels:0.9": 0.92, "block4:0.9": 0.941}


@pytest.fixture
def study():
    cells = [
        *timed("magnitude:0.9", 3.0, 0.935),
        *timed("channels:0.9", 9.0, 0.92),
        *timed("block4:0.9", 20.0, 0.90, "int8"),  # quantising costs more than its float32 network lost
        *timed("none", 2.0, 0.938, "int8"),
    ]
    return Invented(ACCURACIES, cells)


def test_the_fastest_within_a_point_is_named_for_each_precision(study):
    found = mixes(study)
    assert answer(found, "fp32").pruning == "magnitude:0.9"
    assert answer(found, "int8").pruning == "none"
    page = document(study)
    assert "**float32**: the fastest that is not more than 1 point below is `magnitude:0.9`" in page
    assert "3.06 times dense ONNX Runtime, 93.5 % (-0.5)" in page


def test_speed_is_the_geometric_mean_of_the_folds_and_accuracy_that_of_the_engine(study):
    quantised = next(mix for mix in mixes(study) if mix.pruning == "block4:0.9")
    assert quantised.speedup.estimate == pytest.approx((20 * 20.2 * 20.4 * 20.6 * 20.8) ** 0.2)
    assert quantised.accuracy == pytest.approx(90.0)
    assert quantised.change.points == pytest.approx(0.1)  # of the networks in float32
    assert quantised.change.patients == 5 * PATIENTS


def test_a_mix_that_was_not_timed_on_every_fold_has_no_speed(study):
    study.runs = [Run(tuple(timed("magnitude:0.9", 3.0, 0.935, folds=range(4))), MACHINE)]
    assert all(mix.speedup is None for mix in mixes(study))
    assert "nothing timed is within 1 point" in document(study)


def test_baselines_without_a_network_are_no_mix(study):
    assert {mix.pruning for mix in mixes(study)} == set(ACCURACIES)
