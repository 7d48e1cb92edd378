"""Cells in int8: calibrated on what is not reported, checked against their own graph, scored beside their float32."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsemark import engines
from sparsemark.analysis.cells import float32_twin, is_dense, is_reference
from sparsemark.analysis.comparison import compare
from sparsemark.records.measurement import MEASURED, PARITY_FAILED, UNSUPPORTED
from sparsemark.records.run import Run
from sparsemark.report import wording
from sparsemark.report.deployment import Deployment
from sparsemark.report.document import content_of
from sparsemark.report.figures.series import by_way
from sparsemark.report.finding import QUANTISING
from sparsemark.report.renderers.csv import as_csv
from sparsemark.report.renderers.html import as_fragment
from sparsemark.report.renderers.markdown import as_markdown
from sparsemark.report.renderers.terminal import as_terminal
from sparsemark.specs import FP32, INT8, Cell, Protocol, Pruning, Variant
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from sparsemark.study.quantising import calibration_inputs
from sparsemark.study.task import REPORT, SELECT, Task
from tests.small_networks import NETWORKS

pytestmark = pytest.mark.usefixtures("exported_once")
DENSE = Variant(NETWORKS["plain"])
MASKED = Variant(NETWORKS["plain"], Pruning.parse("magnitude:0.5"))
FEW = Protocol(pairs=6, block=2, warmup_calls=1, warmup_seconds=0.0, images=4)
IMAGES = {part: np.random.default_rng(n).standard_normal((40, 3, 16, 12)).astype(np.float32)
          for n, part in enumerate((SELECT, REPORT))}  # fmt: skip
LABELS = np.random.default_rng(4).integers(0, 3, 40)


def confidence(outputs):
    """Probability that each image is given for its label."""
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True))[np.arange(len(LABELS)), LABELS]


class Chosen:
    """Probability of the label on forty images of each part; no training data."""

    def __init__(self):
        self.asked, self.seen = [], []

    def images(self, part):
        self.asked.append(part)
        return IMAGES[part]

    def score(self, outputs, part):
        self.seen.append((part, outputs[0]))
        return {"confidence": confidence(outputs[0])}


class Trained(Chosen):
    """The same with training data of its own."""

    def batches(self, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(3):
            yield 3 * torch.randn(10, 3, 16, 12, generator=generator), torch.zeros(10, dtype=torch.long)

    def loss(self, outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets)


class Simple:
    """One part, which is reported."""

    def images(self):
        return IMAGES[REPORT]

    def score(self, predict):
        return 0.5


def cell(variant=DENSE, engine="onnxruntime", precision=INT8):
    return Cell(variant, engines.ENGINES[engine].formats[0], engine, precision)


@pytest.fixture
def make(tmp_path):
    def make(task=None):
        return Pipeline(lambda _: task, FEW, Places(None, tmp_path), 0)

    return make


@pytest.fixture(scope="module")
def measured(tmp_path_factory, exported_once):
    """Rows of both networks in both precisions, and the pipeline and task that they come from."""
    user = Chosen()
    task = Task(user, "chosen")
    pipeline = Pipeline(lambda _: task, FEW, Places(None, tmp_path_factory.mktemp("work")), 0)
    cells = [cell(variant, precision=precision) for variant in (DENSE, MASKED) for precision in (FP32, INT8)]
    return {(one.variant.pruning.method, one.precision): pipeline.measure(one) for one in cells}, pipeline, user


# --- calibration


def test_training_inputs_come_first_then_those_of_choices_then_random_ones():
    trained, chosen = Task(Trained(), "trained"), Task(Chosen(), "chosen")
    found = calibration_inputs(DENSE, trained)
    assert found.words == "30 training inputs of the task"
    assert np.concatenate([batch[0] for batch in found.batches]).std() == pytest.approx(3, rel=0.1)
    found = calibration_inputs(DENSE, chosen)
    assert found.words == "40 inputs that the task makes choices on"
    assert np.array_equal(np.concatenate([batch[0] for batch in found.batches]), IMAGES[SELECT])
    found = calibration_inputs(DENSE, None)
    assert found.words == "32 random inputs"


def test_reported_inputs_are_never_asked_for():
    user = Trained()
    calibration_inputs(DENSE, Task(user, "trained"))
    assert user.asked == []
    user = Chosen()
    calibration_inputs(DENSE, Task(user, "chosen"))
    assert user.asked == [SELECT]
    found = calibration_inputs(DENSE, Task(Simple(), "simple"))
    assert found.words == "32 random inputs: the task has none but those that it reports"
    assert not any(np.array_equal(batch[0][0], image) for batch in found.batches for image in IMAGES[REPORT])


def test_random_calibration_inputs_are_not_those_that_are_timed(make):
    timed = make().inputs(DENSE).batches
    found = calibration_inputs(DENSE, None)
    assert not any(np.array_equal(one[0], other[0]) for one in found.batches for other in timed)


def test_training_on_other_sizes_leaves_the_inputs_of_choices():
    class Crops(Trained):
        def batches(self, seed):
            yield torch.zeros(8, 3, 8, 8), torch.zeros(8, dtype=torch.long)

    assert calibration_inputs(DENSE, Task(Crops(), "crops")).words == "40 inputs that the task makes choices on"


def test_other_calibration_inputs_make_another_key(make):
    trained, chosen = make(Task(Trained(), "trained")), make(Task(Chosen(), "chosen"))
    assert trained.key(cell()) != chosen.key(cell())
    assert trained.key(cell()) == make(Task(Trained(), "trained")).key(cell())


# --- a row


def test_a_quantised_row_says_so_in_all_that_names_it(measured):
    rows, _, _ = measured
    row = rows["none", INT8]
    assert (row.status, row.precision, row.name) == (MEASURED, INT8, "plain-dense-seed0-onnxruntime-int8")
    assert "int8 by ONNX Runtime's static quantiser (QDQ, per channel)" in row.notes
    assert "int8 is calibrated on 40 inputs that the task makes choices on" in row.notes
    assert row.speedup_reference == "plain-dense-seed0-onnxruntime"
    assert not is_reference(row)
    assert not is_dense(row)
    assert rows["none", FP32].notes is None or "int8" not in rows["none", FP32].notes


def test_its_file_is_smaller_and_sparsity_is_what_pruning_did(measured):
    rows, _, _ = measured
    for method in ("none", "magnitude"):
        assert rows[method, INT8].sparsity == rows[method, FP32].sparsity
        assert rows[method, INT8].compressed_bytes is None
    assert rows["none", INT8].sparsity == 0


def test_the_score_is_the_engines_own_and_the_float32_one_stands_beside_it(measured):
    rows, pipeline, _ = measured
    for variant, method in ((DENSE, "none"), (MASKED, "magnitude")):
        row, plain = rows[method, INT8].scores["confidence"], rows[method, FP32].scores["confidence"]
        verified = pipeline.verify(cell(variant), pipeline.artifact(cell(variant)))
        for part, value in ((REPORT, row.value), (SELECT, row.select)):
            outputs = np.concatenate([verified.predict(image[None])[0] for image in IMAGES[part]])
            assert value == pytest.approx(confidence(outputs).mean())
        assert row.float32 == plain.value
        assert plain.float32 is None
        assert row.value != plain.value
        assert row.loss_low <= row.loss_high, "against the dense network in float32"


def test_parity_is_with_the_quantised_graph_not_with_float32(measured):
    rows, pipeline, _ = measured
    row = rows["none", INT8]
    assert row.parity_max_rel < 1e-5
    plain, quantised = (
        pipeline.verify(cell(precision=precision), pipeline.artifact(cell(precision=precision))).predict
        for precision in (FP32, INT8)
    )
    image = IMAGES[REPORT][:1]
    (one,), (other,) = plain(image), quantised(image)
    assert np.abs(one - other).max() > 1e-3 * np.abs(one).max(), "rounding to int8 changes the outputs"


def test_an_engine_that_is_two_steps_off_fails(make, monkeypatch):
    pipeline = make()
    step = pipeline._expected.of_cell(cell(), pipeline.artifact(cell()), pipeline.inputs(DENSE), 1.0).steps[0]
    engine = engines.ENGINES["onnxruntime"]

    def off_by(steps):
        def load(path, threads):
            predict = engine.load(path, threads)
            return lambda image: tuple(output + np.float32(steps * step) for output in predict(image))

        monkeypatch.setitem(engines.ENGINES, "onnxruntime", dataclasses.replace(engine, load=load))
        return make().measure(cell(), None)

    assert off_by(0.99).status == MEASURED
    row = off_by(2)
    assert (row.status, row.p50_ms) == (PARITY_FAILED, None)
    assert row.reason.startswith("max |d| is 2 steps of the output's scale, allowed 1")


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("torch", "torch: no int8: it computes in fp32 here; int8 runs in ONNX Runtime, OpenVINO"),
        ("ncnn", "ncnn: no int8: its Python packages bring no quantiser (ncnn2table and ncnn2int8); int8 runs in "),
    ],
)
def test_an_engine_without_int8_is_a_row_that_says_so(engine, reason, make):
    row = make().measure(cell(engine=engine))
    assert (row.status, row.precision) == (UNSUPPORTED, INT8)
    assert row.reason.startswith(reason)


# --- what is said of it


@pytest.fixture(scope="module")
def run(measured):
    rows, _, _ = measured
    return Run(tuple(rows.values()))


def test_precisions_are_told_apart_in_tables_and_sentences(run):
    content = content_of(run)
    column = content.columns.index("precision")
    assert sorted(row.texts[column] for row in content.rows) == [FP32, FP32, INT8, INT8]
    assert [row.is_reference for row in content.rows if row.texts[column] == INT8] == [False, False]
    said = [one for one in content.findings if one.what == QUANTISING]
    assert [(one.runner, one.example) for one in said] == [
        ("ONNX Runtime int8", "dense"),
        ("ONNX Runtime int8", "magnitude 50 %"),
    ]
    score = run.measurements[1].scores["confidence"]
    assert f"confidence {100 * score.float32:.1f} -> {100 * score.value:.1f} (" in said[0].sentence
    assert all(one.over_own is not None and wording.ratio(one.over_own) in one.sentence for one in said)


def test_precisions_are_told_apart_in_every_format(run):
    (row,) = [
        row
        for row in csv.DictReader(io.StringIO(as_csv(run.measurements)))
        if row["name"].endswith("seed0-onnxruntime-int8") and row["method"] == "none"
    ]
    score = run.measurements[1].scores["confidence"]
    assert (row["precision"], float(row["confidence_float32"])) == (INT8, score.float32)
    content = content_of(run)
    for text in (as_markdown(content), as_fragment(content), as_terminal(content, width=200, colour=False)):
        assert "int8" in text.partition("What it says")[0]
    assert [way.label({}) for way in by_way(run.measurements)] == ["ONNX Runtime", "ONNX Runtime int8"]


def test_a_comparison_never_pairs_a_precision_with_another(run):
    names = [m.name for m in run.measurements]
    assert len(set(names)) == len(names) == 4
    plain, quantised = (
        Run(tuple(m for m in run.measurements if (m.precision == INT8) is is_int8)) for is_int8 in (False, True)
    )
    assert all(pair.baseline is None or pair.candidate is None for pair in compare(plain, quantised))


def test_the_file_to_deploy_is_the_quantised_one(run):
    _, dense, _, masked = run.measurements
    assert Deployment(folder=Path("out")).of(dense) == "out/plain-dense-seed0-int8.onnx"
    made = Deployment("net.py:build", ("--input", "1,3,16,12"), ("--task", "t.py")).of(masked)
    assert "--prune magnitude:0.5 --precision int8 --task t.py --format onnx" in made
    assert "--precision int8 --task t.py" in Deployment("net.py:build", (), ("--task", "t.py")).of(dense)


def test_a_quantised_cell_is_held_against_its_own_float32(run):
    dense, dense_int8, masked, masked_int8 = run.measurements
    assert float32_twin(masked_int8, run.measurements) is masked
    assert float32_twin(dense_int8, run.measurements) is dense
    assert float32_twin(dense_int8, [masked, masked_int8]) is None
