"""A masked network has the same score in every engine, or its row names the images on which it decides otherwise."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sparsemark.specs import Cell, Protocol, Pruning, Variant
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.prepare import Places
from sparsemark.study.task import Task
from tests.small_networks import NETWORKS

IMAGES = np.random.default_rng(3).standard_normal((40, 3, 16, 12)).astype(np.float32)
LABELS = np.random.default_rng(4).integers(0, 3, len(IMAGES))
ENGINES = {"torch": "dense", "onnxruntime": "onnx", "direct-csr": "csr"}


class Labelled:
    """Accuracy on forty images, with the outputs that it was given."""

    def __init__(self):
        self.seen = []

    def images(self, part):
        return IMAGES

    def score(self, outputs, part):
        self.seen.append(outputs[0])
        return {"accuracy": outputs[0].argmax(axis=1) == LABELS}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Rows of the masked network by engine, the score that torch gave it when it was made, and all outputs."""
    pytest.importorskip("numba")
    labelled = Labelled()
    task = Task(labelled, "labelled")
    places = Places(None, tmp_path_factory.mktemp("work"))
    pipeline = Pipeline(lambda _: task, Protocol(), places, 0)
    variant = Variant(NETWORKS["plain"], Pruning.parse("magnitude:0.8"))
    made = pipeline.prepare(variant).scores["accuracy"].value
    outputs, rows = {"made": labelled.seen[-1]}, {}
    for engine, form in ENGINES.items():
        rows[engine] = pipeline.measure(Cell(variant, form, engine), None)
        outputs[engine] = labelled.seen[-1]
    return made, rows, outputs


@pytest.mark.parametrize("engine", ENGINES)
def test_the_score_is_that_of_the_network_to_the_last_image_or_the_row_names_the_images(engine, measured):
    made, rows, outputs = measured
    row = rows[engine]
    assert row.parity_data.words.startswith(f"all {len(IMAGES)} inputs"), "all images were compared"
    decided = {name: of.argmax(axis=1) for name, of in outputs.items()}
    differing = np.flatnonzero(decided[engine] != decided["made"])
    named = [int(number) for number in re.findall(r"(\d+) \(margin", row.disagreements or "")]
    assert named == list(differing)
    assert row.scores["accuracy"].value == np.mean(decided[engine] == LABELS)
    if not named:
        assert row.scores["accuracy"].value == made


def test_an_engine_that_turns_two_images_over_says_which(measured):
    """Within parity: the two classes are as good as equal there."""
    from sparsemark.measurement.parity import check
    from sparsemark.networks.reference import Reference

    _, _, outputs = measured
    exact = outputs["made"].astype(np.float64)
    for image in (7, 31):
        exact[image] = [1.0, 1.0 + 1e-7, 0.0]
    answers = exact.copy()
    answers[[7, 31]] = [1.0 + 1e-7, 1.0, 0.0]
    given = iter(answers)
    found = check(
        lambda _: (next(given)[None],),
        [(image[None],) for image in IMAGES],
        Reference((exact,), tuple(range(len(exact)))),
    )
    assert re.findall(r"(\d+) \(margin", found.parity.disagreements) == ["7", "31"]
    assert found.parity.agreement == 1 - 2 / len(IMAGES)
