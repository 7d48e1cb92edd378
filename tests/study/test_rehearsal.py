"""Rehearsal of a task's score on one batch: what no batch could mend is refused, everything else is left to the run."""

from __future__ import annotations

import numpy as np
import pytest

from sparsemark.errors import TaskError
from sparsemark.specs import InputSpec, ModelSpec
from sparsemark.study.rehearsal import try_score, try_score_of_file
from sparsemark.study.task import Task
from tests.small_networks import artifact

MODEL = ModelSpec("net", "net.py:build", (InputSpec.parse("1,2"),))
IMAGES = np.eye(2, dtype=np.float32)


class Scored:
    """Two inputs, of which the network calls the first class 0 and the second class 1."""

    def __init__(self, score):
        self.score = lambda outputs, part: score(outputs[0].argmax(1))

    def images(self, part):
        return IMAGES


def tried(score):
    """Batches that the network was asked for."""
    asked = []

    def answer(batch):
        asked.append(batch[0])
        return [batch[0]]

    try_score(Task(Scored(score), "task.py"), MODEL, answer)
    return asked


def count_of(predicted, known):
    """How often a class was predicted; an error where it never was."""
    return int(dict(zip(*np.unique(predicted, return_counts=True), strict=True))[known])


def test_the_score_is_tried_on_every_part_with_one_batch_in_place_of_all():
    seen = []
    asked = tried(lambda predicted: seen.append(predicted.tolist()) or 1.0)
    assert seen == [[0, 0], [0, 0]]
    assert [batch.tolist() for batch in asked] == [[[1.0, 0.0]]] * 2


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (lambda predicted: predicted.no_such, "score: failed: AttributeError"),
        (lambda predicted: {}["labelz"], "score: failed: KeyError: 'labelz'"),
        (lambda predicted: len(predicted, 1), "score: failed: TypeError"),
        (lambda predicted: "good", "score: score is str; expected a number"),
        (lambda predicted: np.zeros(3), "score: score has shape"),
    ],
)
def test_what_no_batch_could_mend_is_refused(score, said):
    with pytest.raises(TaskError, match=f"^task.py: {said}"):
        tried(score)


@pytest.mark.parametrize(
    "score",
    [
        lambda predicted: count_of(predicted, 1),  # KeyError: 1
        lambda predicted: float("nan") if predicted.std() == 0 else 1.0,
        lambda predicted: 1 // int(predicted.sum()),
    ],
)
def test_what_only_one_batch_may_lack_is_left_to_the_run(score):
    with np.errstate(all="ignore"):
        assert len(tried(score)) == 2


def test_the_score_of_an_onnx_file_is_tried_without_a_reference_in_float64(monkeypatch):
    pytest.importorskip("onnxruntime")
    file = artifact("mlp", "none", "onnx")
    shape = tuple(file_shape(file.path))
    model = ModelSpec("mlp", str(file.path), (InputSpec.parse(",".join(map(str, shape))),))

    class Fails:
        def images(self, part):
            return np.ones((3, *shape[1:]), np.float32)

        def score(self, outputs, part):
            return outputs[0].no_such

    with pytest.raises(TaskError, match=r"score: failed: AttributeError: .* \(test_rehearsal.py, line \d+\)$"):
        try_score_of_file(Task(Fails(), "task.py"), model)


def file_shape(path):
    """Sizes of the file's input, one a call."""
    import onnx

    (one,) = onnx.load(path).graph.input
    return [max(1, size.dim_value) for size in one.type.tensor_type.shape.dim]
