"""Verdicts on the paper's claims: what the tables say, no more, and by which word."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.paper.answers import NETWORKS, answer_rows, untimed
from bench.paper.claims import CLAIMS
from bench.paper.page import document
from bench.paper.times import TIMES, runs
from bench.paper.verdicts import ABOVE, FAILS, HOLDS, OPEN, Part, judged, verdict
from bench.tables import Study
from sparsemark.records.run import Run
from sparsemark.records.scores import Score
from sparsemark.report import wording
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

    def recipe(self, name):
        return {}


def judge(number, study):
    (claim,) = (claim for claim in CLAIMS if claim.number == number)
    return claim.judge(study)


def around(mean, spread=0.004):
    return [mean + spread * (-1) ** i for i in range(PATIENTS)]


ALIKE = "6"
ONE_SHOT, ITERATIVE = "cnn9-magnitude90", "cnn9-iterative-magnitude90"
AT_FIFTY = {"cnn9-magnitude50-seed0": [0.9] * PATIENTS, "cnn9-iterative-magnitude50-seed0": [0.9, *[0.901] * 39]}
"""Two networks with half of their weights zero that are alike."""


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
    verdict = judge(ALIKE, Invented({**AT_FIFTY, **on_seeds(**{ONE_SHOT: [0.9] * PATIENTS, ITERATIVE: other})}))
    assert verdict.word == word
    assert f"{PATIENTS} patients" in verdict.evidence


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("32-true", "32-true", ""),
        ("32-true", "bf16-mixed", " (float32 against bfloat16 in 3 of 3)"),
        ("bf16-mixed", None, " (number format not recorded in 3 of 3)"),
    ],
)
def test_a_difference_names_how_many_of_its_pairs_were_trained_in_two_precisions(one, other, said):
    study = Invented({**AT_FIFTY, **on_seeds(**{ONE_SHOT: [0.9] * PATIENTS, ITERATIVE: around(0.901)})})
    study.precisions = on_seeds(**{ONE_SHOT: one, **({ITERATIVE: other} if other else {})})
    assert judge(ALIKE, study).evidence.endswith(f"3 pairs of networks{said}")


def test_a_claim_about_a_network_that_is_not_trained_says_which():
    trained = on_seeds(**{ONE_SHOT: [0.9] * PATIENTS, ITERATIVE: [0.9] * PATIENTS})
    trained.pop(f"{ITERATIVE}-seed2")
    verdict = judge(ALIKE, Invented(trained | AT_FIFTY))
    assert verdict.word == OPEN
    assert f"90 % zeros: not trained yet: `{ITERATIVE}-seed2`" in verdict.why
    empty = Invented({})
    known = {"14a"}  # of the set of images, not of a network
    assert {claim.judge(empty).word for claim in CLAIMS if claim.number not in known} == {OPEN}


@pytest.mark.parametrize(
    ("change", "kept", "drops", "rises"),
    [
        ([-0.05, -0.051], FAILS, HOLDS, FAILS),
        ([0.03, 0.031], HOLDS, FAILS, HOLDS),
        ([-0.06, 0.06], OPEN, OPEN, OPEN),
        ([-0.004, -0.005], HOLDS, HOLDS, FAILS),  # below dense, but by less than a point
    ],
)
def test_accuracy_is_kept_drops_and_rises_by_the_margin_of_each_claim(change, kept, drops, rises):
    dense = around(0.8)
    pruned = [one + change[i % 2] for i, one in enumerate(dense)]
    shares = (30, 50, 70, 90)
    study = Invented({"cnn9-all-ones-seed0": dense, **{f"cnn9-magnitude{share}-seed0": pruned for share in shares}})
    assert [judge(number, study).word for number in ("5a", "5b", "15")] == [kept, drops, rises]


def test_epochs_on_another_device_are_not_compared_with_those_on_a_processor():
    study = Invented({})
    study.epochs = {
        "cnn9-dense-seed0": [{"seconds": "18", "device": ""}],
        "resnet3-dense-seed0": [{"seconds": "86", "device": "cpu"}],
        "unet-dense-seed0": [{"seconds": "5", "device": "NVIDIA H200"}],
    }
    known, other = judge("12", study).evidence.rsplit("; ", 1)
    assert known.endswith("cnn9 18 s [18, 18], 1 epochs; ResNet3 86 s [86, 86], 1 epochs")
    assert other == "not trained on a processor: U-Net"


def test_folds_stand_in_place_of_a_seed_where_all_are_there():
    folds = {
        f"cnn9-{pruning}-seed0-fold{fold}": around(0.9 - fold / 100 - loss)
        for pruning, loss in (("all-ones", 0), ("magnitude90", 0.05))
        for fold in range(5)
    }
    study = Invented({**folds, "cnn9-all-ones-seed0": around(0.9), "cnn9-magnitude90-seed0": around(0.9)})
    evidence = judge("15", study).evidence
    assert "90 % zeros -5.0" in evidence
    assert "5 pairs of networks" in evidence


def timed(seed, engine, method, ratio):
    asked = {"sparsity_target": 0.0, "pruning": "none"}
    if method != "none":
        asked = {"sparsity_target": 0.9, "pruning": f"{method}:0.9"}
    row = cell(seed, ms=15.0 / ratio, name=f"{engine}-{method}", model="cnn9", method=method, engine=engine, **asked)
    return dataclasses.replace(row, speedup=ratio, speedup_low=0.99 * ratio, speedup_high=1.01 * ratio)


def timings(ratios):
    """Cells by engine and method, each with its ratio over dense ONNX Runtime, of several processes."""
    return [
        dataclasses.replace(timed(i, engine, method, ratio), launches=3)
        for i, ((engine, method), ratio) in enumerate(ratios.items())
    ]


@pytest.mark.parametrize(("ratio", "word"), [(1.0, FAILS), (1.5, HOLDS), (1.05, OPEN)])
@pytest.mark.parametrize(("claim", "engine"), [("1a", "torch"), ("1b", "onnxruntime")])
def test_masks_are_judged_in_each_engine_against_the_dense_network_of_it(claim, engine, ratio, word):
    other = {"1a": "onnxruntime", "1b": "torch"}[claim]
    speeds = {("torch", "none"): 0.5, ("onnxruntime", "none"): 1.0}
    pruned = {(engine, "magnitude"): ratio * speeds[engine, "none"], (other, "magnitude"): 9.0}
    assert judge(claim, Invented({}, timed=timings(speeds | pruned))).word == word


def test_one_process_is_judged_by_a_wider_interval_than_several():
    cells = timings({("onnxruntime", "none"): 1.0, ("onnxruntime", "magnitude"): 1.1})
    assert judge("1b", Invented({}, timed=cells)).word == HOLDS
    alone = judge("1b", Invented({}, timed=[dataclasses.replace(m, launches=1) for m in cells]))
    assert alone.word == OPEN
    assert "judged as [0.99, 1.22]" in alone.evidence


def test_machines_that_disagree_deny_a_claim_of_speed():
    study = Invented({}, timed=timings({("onnxruntime", "none"): 1.0, ("onnxruntime", "magnitude"): 2.0}))
    slow = timings({("onnxruntime", "none"): 1.0, ("onnxruntime", "magnitude"): 1.0})
    study.runs = [*study.runs, Run(tuple(slow), MACHINE)]
    assert judge("1b", study).word == FAILS


@pytest.mark.parametrize(("pruned", "itself", "word"), [(2.0, 1.0, HOLDS), (2.0, 2.0, FAILS), (0.9, 0.5, FAILS)])
def test_a_sparse_engine_must_beat_dense_and_itself_without_zeros(pruned, itself, word):
    speeds = {("onnxruntime", "none"): 1.0, ("direct-csr", "none"): itself, ("direct-csr", "magnitude"): pruned}
    assert judge("2b", Invented({}, timed=timings(speeds))).word == word


@pytest.mark.parametrize(("ratio", "word"), [(0.2, FAILS), (2.0, HOLDS), (1.05, OPEN)])
def test_sparse_matrices_are_judged_over_dense_onnx_runtime(ratio, word):
    found = judge("2a", Invented({}, timed=timings({("onnxruntime", "none"): 1.0, ("torch-csr", "magnitude"): ratio})))
    assert found.word == word
    assert ("dense is 5.0 to 5.0 times as fast" in found.why) == (ratio == 0.2)


@pytest.mark.parametrize(("stored", "word"), [(100, FAILS), (51, FAILS), (49, HOLDS)])
def test_a_file_is_lighter_below_half_of_the_bytes(stored, word):
    cells = timings({("onnxruntime", "none"): 1.0, ("onnxruntime", "magnitude"): 1.0, ("direct-csr", "magnitude"): 2.0})
    sizes = (100, 100, stored)
    study = Invented(
        {}, timed=[dataclasses.replace(m, artifact_bytes=size) for m, size in zip(cells, sizes, strict=True)]
    )
    assert [judge(number, study).word for number in ("3a", "3b")] == [FAILS, word]


PAPERS = {"optimizer": "adam", "learning_rate": 1e-3, "momentum": 0.9, "initialization": "normal"}


@pytest.mark.parametrize(
    ("papers", "others", "word"),
    [(0.9, [0.85, 0.86], HOLDS), (0.8, [0.9], FAILS), (0.8, [0.9, 0.91], OPEN), (0.9, [0.91, 0.85], OPEN)],
)
def test_the_best_of_a_search_denies_the_claim_only_where_it_was_not_picked(papers, others, word):
    def trial(settings, value):
        of = {f"p{i}": [one, 1.0] for i, one in enumerate(around(value, 0.001 + value / 1000))}
        return {**settings, "validation_roc_auc": value, "patients": of}

    trials = [trial(PAPERS, papers), *(trial({**PAPERS, "optimizer": "sgd"}, value) for value in others)]
    study = Invented({})
    study.search = {"trials": trials, "epochs": 5, "paper": PAPERS}
    assert judge("13", study).word == word


@pytest.mark.parametrize(
    ("raw", "recall", "word"), [(0.65, "0.0", HOLDS), (0.65, "0.2", OPEN), (0.85, "0.6", OPEN), (0.651, "0.0", OPEN)]
)
def test_a_collapse_is_told_from_totals_only_where_every_answer_is_the_same(raw, recall, word):
    scores = {"accuracy_raw": f"{raw}", "recall_raw": recall}
    study = Invented({}, {"majority-seed0": {"accuracy": "0.65"}, "cnn9-magnitude70-seed0": scores})
    found = judge("7a", study)
    assert found.word == word
    assert f"{100 * (raw - 0.65):+.1f} points" in found.evidence


@pytest.mark.parametrize(("leaky", "word"), [(0.99, HOLDS), (0.7, FAILS), (0.9, OPEN)])
def test_two_splits_are_judged_by_the_ends_of_both_intervals(leaky, word):
    study = Invented({"cnn9-dense-seed0": around(0.9), "cnn9_slice-dense-seed0": around(leaky)})
    assert judge("11", study).word == word


@pytest.mark.parametrize(("chance", "word"), [(0.7, HOLDS), (0.3, FAILS), (0.5, OPEN)])
def test_an_answer_without_an_image_misleads_above_a_half(chance, word):
    study = Invented({"majority-seed0": around(chance), "position-seed0": around(0.75)})
    assert judge("10", study).word == word


@pytest.mark.parametrize(
    ("interval", "word"),
    [((0.1, 2), HOLDS), ((-2, 0), FAILS), ((-1, 1), OPEN), (None, OPEN), ((3, 3), HOLDS), ((0, 0), FAILS)],
)
def test_one_rule_judges_every_number(interval, word):
    assert judged(interval, ABOVE) == word


def test_verdicts_of_parts_are_joined_by_what_the_claim_says():
    parts = {word: Part(word, "x", ends, ABOVE) for word, ends in ((HOLDS, (1, 2)), (FAILS, (-2, -1)), (OPEN, (-1, 1)))}
    both = {(a, b): verdict([parts[a], parts[b]]).word for a in parts for b in parts}
    some = {(a, b): verdict([parts[a], parts[b]], some=True).word for a in parts for b in parts}
    assert {pair for pair, word in both.items() if word == HOLDS} == {(HOLDS, HOLDS)}
    assert {pair for pair, word in both.items() if word == FAILS} == {pair for pair in both if FAILS in pair}
    assert {pair for pair, word in some.items() if word == HOLDS} == {pair for pair in some if HOLDS in pair}
    assert {pair for pair, word in some.items() if word == FAILS} == {(FAILS, FAILS)}
    assert verdict([parts[OPEN], parts[FAILS]]).why.startswith(FAILS), "what decides comes first"


def test_figure_10_as_a_table_has_each_share_of_zeros_in_its_column():
    cells = timings({("onnxruntime", "none"): 1.0, ("onnxruntime", "magnitude"): 2.0})
    columns, rows = TIMES[0].rows(Invented({}, timed=cells))
    dense, pruned = (wording.milliseconds(m.p50_ms) for m in cells)
    (row,) = (row for row in rows if row[0].startswith("ONNX Runtime"))
    assert dict(zip(columns[1:], row[1:], strict=True)) == {
        "no zeros": f"{dense} (1.00x)", "30 %": "-", "50 %": "-", "70 %": "-", "90 %": f"{pruned} (2.00x)",
    }  # fmt: skip


def test_runs_are_listed_with_how_many_of_their_cells_were_disturbed():
    cells = timings({("onnxruntime", "none"): 1.0, ("onnxruntime", "magnitude"): 2.0})
    cells[0] = dataclasses.replace(cells[0], steal=0.5)
    study = Invented({}, timed=cells)
    study.everything = {"any/figure10": Run(tuple(cells[1:]), MACHINE)}
    of_cnn9, of_others = runs(study)[1]
    assert (of_cnn9[1], *of_cnn9[-2:]) == ("`cnn9`", "3", "1 of 2")
    assert (of_others[1], *of_others[-2:]) == ("`figure10`", "3", "0 of 1")


def test_the_settings_of_training_are_those_of_the_committed_networks():
    study = Study()
    column = dict(zip(*[[row[i] for row in TIMES[1].rows(study)[1]] for i in (0, 2)], strict=True))
    recipe = study.recipe("cnn9-dense-seed0")["train"]
    assert (column["batch"], column["epochs"]) == (f"{recipe['batch']}", f"{recipe['epochs']}")
    assert column["learning rate"].startswith(f"{recipe['learning_rate']}")


def test_the_verdicts_are_counted_on_the_page():
    words = [claim.judge(Study()).word for claim in CLAIMS]
    said = f"{words.count(HOLDS)} hold, {words.count(FAILS)} do not hold, and on {words.count(OPEN)} we can't tell"
    assert said in Path("results/paper.md").read_text()


def is_changed_here():
    """Whether a study was run in this folder since, quick looks aside: its page is written by another command."""
    try:
        found = subprocess.run(
            ["git", "status", "--porcelain", "--", "results"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    known = {path.stem for path in Path("bench").glob("*.toml")}
    return any(Path(line[3:]).suffix == ".json" and Path(line[3:]).stem in known for line in found.splitlines())


def test_a_quick_look_is_no_run_of_the_page(tmp_path, monkeypatch):
    place = tmp_path / "machine"
    place.mkdir()
    for name in ("cnn9", "cnn9-quick", "my"):
        shutil.copy("results/amd-epyc-2cpu-avx512f/cnn9.json", place / f"{name}.json")
    monkeypatch.setattr("sparsemark.paths.RESULTS", tmp_path)
    assert list(Study().everything) == ["machine/cnn9"]


@pytest.mark.skipif(is_changed_here(), reason="a study was run here since: python -m bench.paper writes its page")
def test_the_committed_page_is_what_the_committed_tables_say():
    assert document(Study()) == Path("results/paper.md").read_text()


def test_every_verdict_has_a_reason_and_int8_stands_beside_those_about_time():
    verdicts = {claim.number: claim.judge(Study()) for claim in CLAIMS}
    assert all(verdict.why for verdict in verdicts.values())
    assert all(verdicts[number].beyond for number in ("1b", "2b", "4", "12"))


def test_two_precisions_are_said_in_the_reason_of_a_verdict():
    study = Invented({**AT_FIFTY, **on_seeds(**{ONE_SHOT: [0.9] * PATIENTS, ITERATIVE: around(0.901)})})
    study.precisions = {
        f"{name}-seed{seed}": "32-true" if (name, seed) == (ITERATIVE, 0) else "bf16-mixed"
        for name in (ONE_SHOT, ITERATIVE)
        for seed in range(3)
    }
    assert "the number format differs in 1 of 4 pairs" in judge(ALIKE, study).why


@pytest.mark.parametrize(("average", "word"), [(0.95, HOLDS), (0.85, FAILS)])
def test_resnet3_is_judged_with_average_pooling_as_the_paper_has_it(average, word):
    others = {f"{other}-dense": [0.9] * PATIENTS for other in ("cnn3", "cnn4", "cnn9", "unet")}
    networks = {**others, "resnet3-dense": around(average), "resnet3_max-dense": around(0.901)}
    assert judge("8b", Invented(on_seeds(**networks))).word == word


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
    assert judge("9a", study).word == word


def test_networks_without_an_answer_are_named():
    assert answer_rows(Invented({})) == []
    said = untimed([(f"`{network}`", "") for network in NETWORKS[2:]])
    assert said == f"Not timed with trained weights yet: `{NETWORKS[0]}` and `{NETWORKS[1]}`."
    assert not untimed([(f"`{network}`", "") for network in NETWORKS])


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


def test_every_picture_on_the_committed_page_is_there():
    page = Path("results/paper.md").read_text()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert pictures
    assert all((Path("results") / picture).exists() for picture in pictures)
