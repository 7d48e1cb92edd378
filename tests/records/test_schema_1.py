"""Results of schema 1 give the numbers they always gave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsemark.analysis.contamination import contamination_of, in_words
from sparsemark.analysis.gate import gate
from sparsemark.analysis.verdicts import Outcome, exit_code
from sparsemark.errors import UserError
from sparsemark.records.benchmark_json import extra_info, from_benchmark
from sparsemark.records.run import Run
from sparsemark.records.schema_1 import METRICS
from sparsemark.records.scores import DataNote, Score
from sparsemark.specs import Pruning

COMMITTED = [
    path
    for path in sorted((Path(__file__).parents[2] / "results").glob("*/*.json"))
    if json.loads(path.read_text()).get("benchmarks")  # a file of scores has none
]
RENAMED = {"agreement": "engine_agreement"}
GONE = {"schema", "cell", "contaminated", "accuracy_source", "agreement_source", *METRICS} | {
    f"accuracy_{part}" for part in ("low", "high", "raw", "recalibrated")
}


def entries(path):
    return json.loads(path.read_text())["benchmarks"]


def old(path):
    return [entry for entry in entries(path) if entry["extra_info"]["schema"] == 1]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_results_load_and_give_the_same_numbers(path):
    """Every field of the file, by its own name or its new one."""
    rows = {m.name: m for m in Run.load(path).measurements}
    assert len(rows) >= len(entries(path)) > 0
    for entry in old(path):
        info, row = entry["extra_info"], rows[entry["extra_info"]["cell"]]
        for field in info.keys() - GONE:
            assert getattr(row, RENAMED.get(field, field)) == info[field], field
        assert {metric: score.value for metric, score in row.scores.items()} == {
            metric: info[metric] for metric in METRICS if info[metric] is not None
        }
        if info["accuracy"] is not None:
            assert row.headline == (
                "accuracy",
                Score(
                    *(info[f"accuracy{end}"] for end in ("", "_low", "_high", "_raw", "_recalibrated")), tolerance=0.01
                ),
            )
        assert (row.data and row.data.words) == info["accuracy_source"]
        assert (row.parity_data and row.parity_data.words) == info["agreement_source"]
        assert (in_words(contamination_of(row)) or None) == info["contaminated"]
        assert row.samples_s == tuple(entry["stats"]["data"])
        assert row.reference_s == tuple(entry["sparsemark"]["reference_data"])
        assert (row.precision, row.launches) == ("fp32", 1)
        asked = Pruning.parse(row.pruning)
        assert (asked.method, asked.sparsity, asked.round_to) == (row.method, row.sparsity_target, row.round_to)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_results_are_the_same_after_they_were_written_anew(path, tmp_path):
    run = Run.load(path)
    run.save(tmp_path / "run.json")
    assert Run.load(tmp_path / "run.json") == run
    verdicts = gate(run, Run.load(tmp_path / "run.json"))
    assert {v.outcome for v in verdicts} == {Outcome.OK}
    assert exit_code(verdicts, strict=True) == 0


def entry(**info):
    return {
        "name": "net-magnitude90-seed0-torch",
        "extra_info": {
            "schema": 1, "cell": "net-magnitude90-seed0-torch", "status": "measured", "method": "magnitude",
            "sparsity_target": 0.9, "round_to": 1, "engine": "torch", "accuracy": 0.9, "accuracy_low": 0.8,
            "precision": 0.7, "f1": None, "agreement": 0.99, "accuracy_source": "LGG, 14 patients",
            "agreement_source": "490 x LGG", "samples": 2, "reference_drift": 0.05,
        } | info,
        "stats": {"data": [0.1, 0.2]},
        "sparsemark": {"reference_data": [0.3]},
    }  # fmt: skip


def test_metrics_become_scores_and_the_engines_precision_is_none_of_them():
    row = from_benchmark(entry())
    assert row.scores == {"accuracy": Score(0.9, low=0.8, tolerance=0.01), "precision": Score(0.7)}
    assert (row.precision, row.engine_agreement, row.pruning) == ("fp32", 0.99, "magnitude:0.9")
    assert row.samples_s == (0.1, 0.2)
    assert extra_info(row)["score_precision"] == 0.7
    assert from_benchmark(entry(accuracy=None)).headline == ("precision", Score(0.7))


@pytest.mark.parametrize(
    ("words", "caveat"),
    [
        ("LGG, 14 patients", None),
        ("Phantom slices, seed 0: not patients", "PHANTOM"),
        ("LGG, leaky split by slice", "LEAKY"),
        ("leaky phantom", "PHANTOM"),
    ],
)
def test_the_caveat_is_the_word_that_the_sentence_on_the_images_holds(words, caveat):
    row = from_benchmark(entry(accuracy_source=words, agreement_source=f"12 x {words}"))
    assert row.data == DataNote(words, caveat)
    assert row.parity_data == DataNote(f"12 x {words}", caveat)
    assert from_benchmark(entry(accuracy_source=None)).data is None


def test_stored_prose_on_contamination_is_dropped():
    row = from_benchmark(entry(contaminated="the fan stopped", steal=0.1))
    assert in_words(contamination_of(row)) == (
        "the reference moved 5.0 % within the run; other tenants took 10.0 % of the processor"
    )


@pytest.mark.parametrize(
    ("info", "pruning"),
    [
        ({"method": "none", "sparsity_target": 0.0}, "none"),
        ({"method": "all-ones", "sparsity_target": 0.0}, "all-ones"),
        ({"method": "channels", "sparsity_target": 0.5, "round_to": 16}, "channels:0.5:16"),
        ({"method": None, "sparsity_target": None, "round_to": None}, None),
        ({"method": "magnitude", "sparsity_target": 1.0}, None),
    ],
)
def test_the_pruning_is_put_together_from_its_parts(info, pruning):
    assert from_benchmark(entry(**info)).pruning == pruning


def test_rows_without_samples_have_no_launch_and_those_without_an_engine_no_precision():
    row = from_benchmark(entry(status="unsupported", reason="Det", samples=None, engine=None) | {"stats": {"data": []}})
    assert (row.launches, row.precision) == (None, None)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"accuracy": "high"}, "extra_info.accuracy is 'high', expected a number or null"),
        ({"precision": "fp32"}, "extra_info.precision is 'fp32', expected a number or null"),
        ({"agreement": True}, "extra_info.agreement is True, expected a number or null"),
        ({"agreement": float("nan")}, "extra_info.agreement is nan, expected a finite number or null"),
        ({"accuracy_source": 3}, "extra_info.accuracy_source is 3, expected text or null"),
        ({"agreement_source": []}, "extra_info.agreement_source is [], expected text or null"),
        ({"method": 3}, "extra_info.method is 3, expected text or null"),
        ({"sparsity_target": "half"}, "extra_info.sparsity_target is 'half', expected a number or null"),
        ({"round_to": 1.5}, "extra_info.round_to is 1.5, expected a whole number or null"),
        ({"samples": "many"}, "extra_info.samples is 'many', expected a whole number or null"),
        ({"status": "fine"}, "extra_info.status is 'fine', expected one of measured"),
    ],
)
def test_damage_is_named_by_the_fields_own_name(info, said, tmp_path):
    (tmp_path / "old.json").write_text(json.dumps({"benchmarks": [entry(**info)]}))
    with pytest.raises(UserError) as error:
        Run.load(tmp_path / "old.json")
    assert f"old.json: benchmarks[0]: {said}" in str(error.value)
