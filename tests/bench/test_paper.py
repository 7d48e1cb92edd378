"""Verdicts on the paper's claims: what the tables say, no more, and by which word."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from bench.paper import document
from bench.paper_answers import NETWORKS, answer_rows
from bench.paper_claims import CLAIMS
from bench.paper_study import Study
from bench.paper_verdicts import FAILS, HOLDS, OPEN
from sparsemark.records.run import Run
from sparsemark.records.scores import Score
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
        self.runs = [Run(tuple(timed), MACHINE)]
        self.everything, self.mixes = {}, None


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
    assert (verdict.word, verdict.why) == (OPEN, f"not trained yet: `{ITERATIVE}-seed2`")
    empty = Invented({})
    known = {"14a"}  # of the set of images, not of a network
    assert {claim.judge(empty).word for claim in CLAIMS if claim.number not in known} == {OPEN}


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
    assert evidence.endswith("cnn9 18 s [18, 18], 1 epochs; ResNet3 86 s [86, 86], 1 epochs; not on a processor: U-Net")


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


SPARSE = "sparse matrix"


@pytest.mark.parametrize(("direct", "width", "word"), [(2.0, 0.01, HOLDS), (0.9, 0.01, FAILS), (1.0, 0.3, OPEN)])
def test_sparse_storage_fails_only_where_no_engine_gains_by_it(direct, width, word):
    """An engine built for it that is not told from dense leaves the claim open, whatever SciPy does."""
    fast = dataclasses.replace(
        timed(1, "direct-csr", "magnitude", direct), speedup_low=(1 - width) * direct, speedup_high=(1 + width) * direct
    )
    assert judged(SPARSE, Invented({}, timed=[timed(0, "scipy-csr", "magnitude", 0.2), fast])).word == word


def test_lighter_names_the_files_that_are():
    def file(engine, method, size, form):
        return dataclasses.replace(timed(0, engine, method, 1.0), artifact_bytes=size, format=form)

    dense = file("onnxruntime", "none", 1000, "onnx")
    rows = [file("onnxruntime", "magnitude", 1000, "onnx"), file("direct-csr", "magnitude", 900, "csr"),
            file("onnxruntime", "channels", 200, "onnx")]  # fmt: skip
    verdict = judged("lighter", Invented({}, timed=[dense, *rows]))
    assert (verdict.word, verdict.why) == (
        HOLDS, "under half of the bytes: channels 90 % as ONNX; magnitude 90 % as ONNX saves none"
    )  # fmt: skip
    verdict = judged("lighter", Invented({}, timed=[dense, *rows[1:2]]))
    assert (verdict.word, verdict.why) == (FAILS, "no file has under half of the bytes")


@pytest.mark.parametrize(("maximum", "found"), [(0.95, "better"), (0.8, "worse"), (0.9, "not told apart from it")])
def test_what_maximum_pooling_makes_of_resnet3_follows_from_its_interval(maximum, found):
    networks = {"cnn9-dense": around(0.9), "resnet3-dense": around(0.85), "resnet3_max-dense": around(maximum)[::-1]}
    assert judged("best of all", Invented(on_seeds(**networks))).why.endswith(
        f"with maximum pooling ResNet3 is {found}"
    )


def test_intervals_that_do_not_meet_are_not_said_to_overlap():
    scores = {"cnn9-dense-seed0": around(0.95), "cnn9_slice-dense-seed0": around(0.9)}
    verdict = judged("split decides", Invented(scores))
    assert (verdict.word, verdict.why) == (FAILS, "by slice is lower, and their intervals do not meet")


@pytest.mark.parametrize(
    ("chance", "word", "why"),
    [
        (around(0.6), HOLDS, "above a half"),
        (around(0.4), FAILS, "below a half"),
        ([0.0, 1.0] * 20, OPEN, "holds a half"),
    ],
)
def test_chance_is_held_against_a_half_by_its_interval(chance, word, why):
    verdict = judged("misleads", Invented({"majority-seed0": chance, "position-seed0": around(0.7)}))
    assert verdict.word == word
    assert why in verdict.why


def test_what_was_trained_in_which_precision_is_read_from_the_networks():
    study = Invented({})
    study.epochs = {f"{model}-dense-seed0": [{"seconds": "18"}] for model in ("cnn9", "resnet3")}
    study.precisions = {"cnn9-dense-seed0": "32-true", "resnet3-dense-seed0": "bf16-mixed"}
    assert "cnn9 in float32 and ResNet3 in bfloat16" in judged("too much time", study).why
    study.precisions["cnn9-dense-seed0"] = "bf16-mixed"
    assert "float" not in judged("too much time", study).why


def test_a_gain_that_one_process_alone_shows_is_said_to_be():
    cells = [timed(0, "torch", "none", 0.5), timed(1, "torch", "magnitude", 0.75),
             timed(2, "onnxruntime", "none", 1.0), timed(3, "onnxruntime", "magnitude", 1.0)]  # fmt: skip
    assert "shown by that of 1, of a single process" in judged("figure 10", Invented({}, timed=cells)).why
    several = [dataclasses.replace(m, launches=3) for m in cells]
    assert "single process" not in judged("figure 10", Invented({}, timed=several)).why


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


def test_every_verdict_has_a_reason_and_those_about_time_say_where_they_hold():
    verdicts = {claim.number: claim.judge(Study()) for claim in CLAIMS}
    assert all(verdict.why for verdict in verdicts.values())
    assert all("on these processors" in verdicts[number].why for number in ("1", "2", "4", "12"))
    assert all(verdicts[number].beyond for number in ("1", "2", "4", "12")), "int8 stands beside what is said of time"


def test_two_precisions_are_said_in_the_reason_of_a_verdict():
    study = Invented(on_seeds(**{ONE_SHOT: [0.9] * PATIENTS, ITERATIVE: around(0.901)}))
    study.precisions = {
        f"{name}-seed{seed}": "32-true" if (name, seed) == (ITERATIVE, 0) else "bf16-mixed"
        for name in (ONE_SHOT, ITERATIVE)
        for seed in range(3)
    }
    assert "1 of 3 pairs compare float32 with bfloat16" in judged(ALIKE, study).why


@pytest.mark.parametrize(("average", "word"), [(0.95, HOLDS), (0.85, FAILS)])
def test_resnet3_is_judged_with_average_pooling_as_the_paper_has_it(average, word):
    networks = {"cnn9-dense": [0.9] * PATIENTS, "resnet3-dense": around(average), "resnet3_max-dense": around(0.901)}
    assert judged("best of all", Invented(on_seeds(**networks))).word == word


@pytest.mark.parametrize(
    ("later", "word"), [([0.8, 0.79, 0.81], FAILS), ([0.6, 0.61, 0.59], HOLDS), ([0.6, 0.9, 0.7], OPEN)]
)
def test_the_fall_of_the_unet_is_judged_by_the_interval_over_seeds(later, word):
    study = Invented({})
    study.epochs = {
        f"unet-dense-seed{seed}": [
            {"epoch": "20", "validation_accuracy": "0.7"},
            {"epoch": "30", "validation_accuracy": f"{score}"},
        ]
        for seed, score in enumerate(later)
    }
    assert judged("falls after epoch 20", study).word == word


def test_every_network_has_an_answer_or_is_said_not_to_be_timed():
    assert answer_rows(Invented({})) == [
        (f"`{network}`", "-", "not timed yet", "not timed yet") for network in NETWORKS
    ]


def scored(row, accuracy, precision="fp32"):
    return dataclasses.replace(row, precision=precision, scores={"accuracy": Score(accuracy)}, seed=0)


def test_an_answer_is_the_fastest_within_a_point_of_the_dense_network_by_precision():
    cells = [
        scored(timed(0, "onnxruntime", "none", 1.0), 0.9),
        scored(timed(1, "direct-csr", "magnitude", 3.0), 0.895),
        scored(timed(2, "direct-csr", "block4", 5.0), 0.88),
        scored(timed(3, "onnxruntime", "none", 2.0), 0.899, precision="int8"),
    ]
    study = Invented({})
    study.everything = {"a-machine/cnn9": Run(tuple(cells), MACHINE)}
    (network, run, float32, int8), *_ = answer_rows(study)
    assert (network, run) == ("`cnn9`", "a-machine, `cnn9`")
    assert float32.startswith("magnitude 90 % in direct CSR: 3.00x [2.97, 3.03], 89.5 % (-0.5 points)")
    assert int8.startswith("dense in ONNX Runtime int8: 2.00x")


def test_an_answer_that_the_reported_inputs_contradict_is_none():
    def with_select(row, value, select):
        return dataclasses.replace(row, scores={"accuracy": Score(value, select=select)}, seed=0)

    cells = [
        with_select(timed(0, "onnxruntime", "none", 1.0), 0.9, 0.9),
        with_select(timed(1, "direct-csr", "magnitude", 3.0), 0.8, 0.9),
        with_select(timed(2, "direct-csr", "block4", 2.0), 0.895, 0.9),
    ]
    study = Invented({})
    study.everything = {"a-machine/cnn9": Run(tuple(cells), MACHINE)}
    assert answer_rows(study)[0][2].startswith("block4 90 % in direct CSR: 2.00x")


def test_every_picture_on_the_committed_page_is_there():
    page = Path("results/paper.md").read_text()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert pictures
    assert all((Path("results") / picture).exists() for picture in pictures)
