"""Verdicts on the paper's claims: what the tables say, no more, and by which word."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench.paper import Study, document
from bench.paper_claims import CLAIMS, FAILS, HOLDS, OPEN
from sparsemark.records.run import Run
from tests.synthetic import MACHINE, cell

PATIENTS = 40


class Invented(Study):
    """A study of the given rows: patients' scores by variant, and more fields of its row."""

    def __init__(self, patients, fields=None, timed=()):
        self.rows = {
            name: {"status": "measured", **(fields or {}).get(name, {})} for name in {**patients, **(fields or {})}
        }
        self.groups = {
            name: {"accuracy": {f"p{i}": [value, 1.0] for i, value in enumerate(values)}}
            for name, values in patients.items()
        }
        self.epochs, self.search, self.precisions = {}, None, {}
        self.run = Run(tuple(timed), MACHINE)


def judged(text, study):
    (claim,) = (claim for claim in CLAIMS if text in claim.text)
    return claim.judge(study)


def around(mean, spread=0.004):
    return [mean + spread * (-1) ** i for i in range(PATIENTS)]


ALIKE = "One-shot and iterative"
ONE_SHOT, ITERATIVE = "cnn9-magnitude90", "cnn9-iterative-magnitude90"


def on_seeds(**networks):
    """Scores of networks that came out alike on three seeds."""
    return {f"{name}-seed{seed}": scores for name, scores in networks.items() for seed in range(3)}


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (around(0.901), HOLDS),
        (around(0.95), FAILS),
        (around(0.85), FAILS),
        ([0.9 + 0.1 * (-1) ** (i // 2) for i in range(PATIENTS)], OPEN),  # no room in the spread
    ],
)
def test_two_networks_are_alike_where_the_whole_interval_is_within_a_point(other, word):
    verdict = judged(ALIKE, Invented(on_seeds(**{ONE_SHOT: [0.9] * PATIENTS, ITERATIVE: other})))
    assert verdict.word == word
    assert f"{PATIENTS} patients" in verdict.evidence


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("32-true", "32-true", ""),
        ("32-true", "bf16-mixed", " (float32 against bfloat16 in 3 of 3)"),
        ("bf16-mixed", None, " (precision not recorded in 3 of 3)"),
    ],
)
def test_a_difference_names_how_many_of_its_pairs_were_trained_in_two_precisions(one, other, said):
    study = Invented(on_seeds(**{ONE_SHOT: [0.9] * PATIENTS, ITERATIVE: around(0.901)}))
    study.precisions = on_seeds(**{ONE_SHOT: one, **({ITERATIVE: other} if other else {})})
    assert judged(ALIKE, study).evidence.endswith(f"3 pairs of networks{said}")


def test_a_claim_about_a_network_that_is_not_trained_says_which():
    trained = on_seeds(**{ONE_SHOT: [0.9] * PATIENTS, ITERATIVE: [0.9] * PATIENTS})
    trained.pop(f"{ITERATIVE}-seed2")
    verdict = judged(ALIKE, Invented(trained))
    assert (verdict.word, verdict.evidence) == (OPEN, f"not trained yet: `{ITERATIVE}-seed2`")
    empty = Invented({})
    assert {claim.judge(empty).word for claim in CLAIMS} == {OPEN}


@pytest.mark.parametrize(("at_ninety", "word"), [(0.9, FAILS), (0.8, HOLDS)])
def test_a_score_that_does_not_drop_at_ninety_denies_the_claim(at_ninety, word):
    patients = {
        "cnn9-all-ones-seed0": around(0.9),
        "cnn9-magnitude70-seed0": [one + 0.001 * (i % 2) for i, one in enumerate(around(0.9))],
        "cnn9-magnitude90-seed0": [one + 0.001 * (i % 2) for i, one in enumerate(around(at_ninety))],
    }
    assert judged("kept up to 70 %", Invented(patients)).word == word


def test_epochs_on_another_device_are_not_compared_with_those_on_a_processor():
    study = Invented({})
    study.epochs = {
        "cnn9-dense-seed0": [{"seconds": "18", "device": ""}],
        "resnet3-dense-seed0": [{"seconds": "86", "device": "cpu"}],
        "unet-dense-seed0": [{"seconds": "5", "device": "NVIDIA H200"}],
    }
    evidence = judged("too much time for training", study).evidence
    assert evidence.endswith("cnn9 18 s, ResNet3 86 s; not on a processor: U-Net")


def test_folds_stand_in_place_of_a_seed_where_all_are_there():
    folds = {
        f"cnn9-{pruning}-seed0-fold{fold}": around(0.9 - fold / 100 - loss)
        for pruning, loss in (("all-ones", 0), ("magnitude90", 0.05))
        for fold in range(5)
    }
    study = Invented({**folds, "cnn9-all-ones-seed0": around(0.9), "cnn9-magnitude90-seed0": around(0.9)})
    evidence = judged("regularises", study).evidence
    assert "90 % zeros -5.0" in evidence
    assert "5 pairs of networks" in evidence


def timed(seed, engine, method, ratio):
    asked = {"sparsity_target": 0.0, "pruning": "none"}
    if method != "none":
        asked = {"sparsity_target": 0.9, "pruning": f"{method}:0.9"}
    row = cell(seed, ms=15.0 / ratio, name=f"{engine}-{method}", model="cnn9", method=method, engine=engine, **asked)
    return dataclasses.replace(row, speedup=ratio, speedup_low=0.99 * ratio, speedup_high=1.01 * ratio)


@pytest.mark.parametrize(
    ("torch", "onnx", "word"), [(1.0, 1.0, FAILS), (1.5, 1.6, HOLDS), (1.5, 1.0, OPEN), (1.05, 1.05, OPEN)]
)
def test_masks_are_judged_against_the_dense_network_of_the_same_engine(torch, onnx, word):
    cells = [
        timed(0, "torch", "none", 0.5), timed(1, "torch", "magnitude", 0.5 * torch),
        timed(2, "onnxruntime", "none", 1.0), timed(3, "onnxruntime", "magnitude", onnx),
    ]  # fmt: skip
    assert judged("figure 10", Invented({}, timed=cells)).word == word


PAPERS = {"optimizer": "adam", "learning_rate": 1e-3, "momentum": 0.9, "initialization": "normal"}


@pytest.mark.parametrize(
    ("papers", "others", "word"),
    [(0.9, 0.85, HOLDS), (0.8, 0.9, FAILS), (0.899, [0.9 + 0.1 * (-1) ** (i // 2) for i in range(PATIENTS)], OPEN)],
)
def test_the_settings_that_a_search_finds_better_deny_the_claim_where_patients_agree(papers, others, word):
    def trial(settings, values):
        values = values if isinstance(values, list) else around(values)
        of = {f"p{i}": [value, 1.0] for i, value in enumerate(values)}
        return {**settings, "validation_roc_auc": sum(values) / len(values), "patients": of}

    trials = [trial(PAPERS, papers), trial({**PAPERS, "optimizer": "sgd"}, others)]
    study = Invented({})
    study.search = {"trials": sorted(trials, key=lambda t: -t["validation_roc_auc"]), "epochs": 5, "paper": PAPERS}
    assert judged("Adam", study).word == word


def test_the_committed_page_is_what_the_committed_tables_say():
    assert document(Study()) == Path("results/paper.md").read_text()
