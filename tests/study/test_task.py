"""A task is checked at every call: what it lacks or returns is one line that names the file and the function."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from sparsemark import Metric
from sparsemark.analysis.groups import grouped_interval
from sparsemark.errors import TaskError, UserError
from sparsemark.records.scores import SingleInputs
from sparsemark.specs import InputSpec, ModelSpec
from sparsemark.study.task import REPORT, SCORE, SELECT, Task, load_task, opener

MODEL = ModelSpec("net", "net.py:build", (1, 3))
LABELS = {SELECT: np.array([0, 1]), REPORT: np.array([0, 1, 1, 0])}


class Full:
    """Two outputs, two metrics, groups, and a way to fine-tune."""

    METRICS: ClassVar = {"distance": Metric(higher_is_better=False, tolerance=0.5), "accuracy": Metric()}

    def images(self, part):
        return np.arange(3.0 * len(LABELS[part])).reshape(-1, 3)

    def score(self, outputs, part):
        first, second = outputs
        return {"accuracy": first.argmax(axis=1) == LABELS[part], "distance": float(second.mean())}

    def per_group(self, outputs, part):
        return {"a": (1.0, 3.0), "b": (2.0, 1.0)}

    def batches(self, seed):
        yield torch.ones(2, 3), torch.tensor([0, 1])

    def loss(self, outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets)

    def describe(self):
        return {"data": "four points", "caveat": "TOY", "key": "k", "site": ["x"]}


OUTPUTS = (np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32), np.full((4, 2), 1.25, np.float32))


def with_(**changes):
    return Task(type("Changed", (Full,), changes)(), "my_task.py")


def scored(task):
    inputs = task.images(REPORT, MODEL)
    return task.scores(OUTPUTS, REPORT, inputs)


def test_scores_carry_direction_tolerance_and_interval_the_headline_first():
    scores = scored(with_())
    assert list(scores) == ["distance", "accuracy"]
    distance, accuracy = scores["distance"], scores["accuracy"]
    assert (distance.value, distance.higher_is_better, distance.tolerance) == (1.25, False, 0.5)
    assert (distance.low, distance.high) == (1.0, 2.0), "of the two groups' weighted mean"
    assert accuracy.value == 0.75, "an array is scored by its mean"
    assert 0 <= accuracy.low <= 0.75 <= accuracy.high <= 1, "and its single inputs are resampled"


def test_groups_of_several_metrics_give_each_its_interval_and_are_kept():
    def per_group(self, outputs, part):
        return {"a": {"accuracy": (1.0, 3.0), "distance": (1.5, 1.0)}, "b": {"accuracy": (0.5, 1.0)}}

    scores = scored(with_(per_group=per_group))
    assert scores["accuracy"].groups == {"a": (1.0, 3.0), "b": (0.5, 1.0)}
    assert (scores["accuracy"].low, scores["accuracy"].high) == grouped_interval([1.0, 0.5], [3.0, 1.0])
    assert scores["distance"].low is None, "one group, of a metric without bounds"
    assert (scores["accuracy"].input_count, scores["accuracy"].group_count) == (4, 2)
    assert scored(with_())["distance"].groups == {"a": (1.0, 3.0), "b": (2.0, 1.0)}


def test_an_array_of_scores_is_its_own_groups():
    groups = scored(with_())["accuracy"].groups
    assert isinstance(groups, SingleInputs)
    assert list(groups.values()) == [(1.0, 1.0), (1.0, 1.0), (0.0, 1.0), (1.0, 1.0)]


def test_a_score_that_all_inputs_reach_is_not_certain():
    def score(self, outputs, part):
        return {"accuracy": np.ones(4, bool), "distance": 1.0}

    accuracy = scored(with_(score=score, per_group=None))["accuracy"]
    assert accuracy.value == accuracy.high == 1
    assert accuracy.low == pytest.approx(binomtest(4, 4).proportion_ci(method="wilson").low)
    assert (accuracy.input_count, accuracy.group_count) == (4, None)


def test_a_bare_number_is_the_metric_score_without_an_interval():
    scores = scored(with_(score=lambda self, outputs, part: 3, METRICS={}, per_group=None))
    assert list(scores) == [SCORE]
    assert (scores[SCORE].value, scores[SCORE].low) == (3.0, None)


def test_a_metric_that_nobody_declared_is_reported_and_not_gated():
    scores = scored(with_(METRICS={"accuracy": Metric(tolerance=0.2)}, per_group=None))
    assert (scores["accuracy"].tolerance, scores["distance"].tolerance) == (0.2, None)


@pytest.mark.parametrize("wrong", [{"tolerance": float("inf")}, {"tolerance": -1}, {"higher_is_better": "yes"}])
def test_a_metric_with_a_number_that_is_none_is_refused(wrong):
    with pytest.raises(UserError, match="expected"):
        Metric(**wrong)


def test_images_come_in_batches_of_the_models_size_with_the_digest_of_their_content():
    task = with_()
    pairs = task.images(REPORT, ModelSpec("net", "m:f", (2, 3)))
    assert [batch.shape for (batch,) in pairs.batches] == [(2, 3), (2, 3)]
    singles = task.images(REPORT, MODEL)
    assert singles.digest == pairs.digest != task.images(SELECT, MODEL).digest
    assert {batch.dtype for (batch,) in singles.batches} == {np.dtype("float32")}


def test_one_input_may_be_given_by_its_name():
    task = with_(images=lambda self, part: {"image": np.zeros((2, 3))})
    assert len(task.images(REPORT, MODEL).batches) == 2


def test_the_data_are_described_with_caveat_and_key():
    assert with_().note.words == "four points"
    assert (with_().note.caveat, with_().note.key) == ("TOY", "k")
    assert with_(describe=None).note.words == "the inputs of my_task.py"


SIMPLE = """
import numpy as np
images = lambda: np.eye(3, dtype=np.float32)
def score(predict):
    first, = predict(images()[1:])
    alone, = predict(images()[:1])
    return float(first.sum() + 10 * alone.sum())
"""


def test_the_simple_form_reads_outputs_that_the_engine_gave(tmp_path):
    (tmp_path / "task.py").write_text(SIMPLE)
    task = load_task(tmp_path / "task.py")
    inputs = task.images(REPORT, MODEL)
    assert task.scores([np.array([[1], [2], [4]])], REPORT, inputs)[SCORE].value == 16.0
    assert task.note.words.endswith("chosen on the inputs that it reports")
    assert not task.can_finetune


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"score": None}, "score: missing, expected a function"),
        ({"images": None}, "images: missing, expected a function"),
        ({"loss": None}, "loss: missing, expected with batches"),
        ({"batches": None}, "batches: missing, expected with loss"),
        ({"METRICS": {"accuracy": True}}, "METRICS: "),
        ({"METRICS": {"my metric": Metric()}}, "metric 'my metric': expected letters"),
    ],
)
def test_a_task_of_the_wrong_form_is_refused_before_anything_runs(changes, words):
    with pytest.raises(UserError) as caught:
        with_(**changes)
    assert str(caught.value).startswith(f"my_task.py: {words}")


def raises(*_):
    raise ZeroDivisionError("no\nweights")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"score": raises}, "score: failed: ZeroDivisionError: no weights"),
        ({"images": raises}, "images: failed: ZeroDivisionError: no weights"),
        ({"per_group": raises}, "per_group: failed: ZeroDivisionError"),
        ({"describe": raises}, "describe: failed"),
        ({"describe": lambda self: "words"}, "describe: returned str; expected a mapping"),
        ({"describe": lambda self: {"data": 3}}, "describe: data is 3; expected text"),
        ({"describe": lambda self: {"more": object()}}, "describe: TypeError"),
        ({"images": lambda self, part: np.zeros((4, 5))}, "images: shape (4, 5); expected (n, 3)"),
        ({"images": lambda self, part: np.zeros((0, 3))}, "images: shape (0, 3)"),
        ({"images": lambda self, part: "file.png"}, "images: dtype <U8; expected an array of real numbers"),
        ({"images": lambda self, part: [["1", "2", "3"]]}, "images: dtype <U1; expected an array of real numbers"),
        ({"images": lambda self, part: np.zeros((4, 3), complex)}, "images: dtype complex128; expected"),
        ({"images": lambda self, part: [[1, 2, 3], [4]]}, "images: ValueError"),
        ({"images": lambda self, part: np.full((4, 3), 1e300)}, "images: NaN or infinities"),
        ({"images": lambda self, part: np.full((4, 3), np.nan)}, "images: NaN or infinities"),
        ({"images": lambda self, part: {"a": 1, "b": 2}}, "images: 2 inputs (a, b); expected one array"),
        ({"score": lambda self, outputs, part: "good"}, "score: score is str; expected a number"),
        ({"score": lambda self, outputs, part: None}, "score: score is NoneType; expected a number"),
        ({"score": lambda self, outputs, part: "0.5"}, "score: score is str; expected a number"),
        ({"score": lambda self, outputs, part: [[1], [1, 2]]}, "score: score is list; expected a number"),
        ({"score": lambda self, outputs, part: torch.ones((), requires_grad=True)}, "score: score is Tensor; expected"),
        ({"score": lambda self, outputs, part: {"distance": np.inf}}, "score: distance is inf; expected a finite"),
        ({"score": lambda self, outputs, part: {}}, "score: returned an empty mapping"),
        ({"score": lambda self, outputs, part: {"distance": np.nan}}, "score: distance is nan; expected a finite"),
        ({"score": lambda self, outputs, part: {"distance": [1, 2]}}, "score: distance has shape (2,); expected"),
        ({"score": lambda self, outputs, part: {"accuracy": 1.0}}, "score: returned no distance"),
        ({"per_group": lambda self, outputs, part: {"a": 3}}, "per_group: TypeError"),
        ({"per_group": lambda self, outputs, part: {"a": (1, -1)}}, "per_group: a score or weight"),
        ({"per_group": lambda self, outputs, part: {}}, "per_group: "),
        (
            {"per_group": lambda self, outputs, part: {"a": {"acuracy": (1, 1)}}},
            "per_group: metric 'acuracy'; expected",
        ),
        ({"per_group": lambda self, outputs, part: {"a": {"accuracy": 1}}}, "per_group: TypeError"),
    ],
)
def test_what_a_task_does_wrong_is_one_line_that_names_file_and_function(changes, words):
    with pytest.raises(UserError) as caught:
        scored(with_(**changes))
    line = str(caught.value)
    assert line.startswith(f"my_task.py: {words}"), line
    assert "\n" not in line


def test_a_loss_that_is_no_finite_number_is_refused():
    for value in (torch.tensor(float("nan")), torch.ones(2), 3.0):
        task = with_(loss=lambda self, outputs, targets, value=value: value)
        with pytest.raises(UserError, match=r"^my_task.py: loss: "):
            task.loss(None, None)


INTEGERS = ModelSpec("net", "m:f", (InputSpec((1, 3), "int8"),))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.full((2, 3), 0.5), "values of dtype float64 that int8 does not hold; expected int8"),
        (np.full((2, 3), 300), "values of dtype int64 that int8 does not hold; expected int8"),
        (np.full((2, 3), np.nan), "values of dtype float64 that int8 does not hold; expected int8"),
    ],
)
def test_images_of_another_dtype_are_not_cut_to_it(images, words):
    task = with_(images=lambda self, part: images)
    with pytest.raises(TaskError) as caught:
        task.images(REPORT, INTEGERS)
    assert str(caught.value) == f"my_task.py: images: {words}"


def test_integers_in_another_dtype_are_taken():
    task = with_(images=lambda self, part: np.ones((2, 3)))
    assert task.images(REPORT, INTEGERS).batches[0][0].dtype == np.int8


def test_images_say_what_a_network_takes():
    def declared(given):
        return [one.text for one in with_(images=lambda self, part: given).declared_inputs()]

    assert declared(np.zeros((4, 3, 8, 6))) == ["1,3,8,6"]
    assert declared({"image": np.zeros((4, 3))}) == ["1,3"], "one input needs no name"
    assert declared({"ids": np.zeros((4, 7), np.int64), "mask": np.ones((4, 7), bool)}) == [
        "ids=1,7:int64",
        "mask=1,7:bool",
    ]
    for given in (np.float32(1), np.zeros((2, 3), np.uint64)):
        with pytest.raises(TaskError, match=r"^my_task.py: images: shape .* or say the sizes with --input"):
            declared(given)


def test_a_mended_loss_leaves_what_was_scored_and_another_score_does_not(tmp_path):
    """Comments and code that trains decide no score."""
    trains = "def batches(seed):\n    yield 1, 2\ndef loss(outputs, targets):\n    return {}\n"

    def digests(text):
        path = tmp_path / f"task{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        task = load_task(path)
        return task.scoring_digest, task.digest

    first, mended = digests(SIMPLE + trains.format(1)), digests("# why\n" + SIMPLE + trains.format(2))
    other = digests(SIMPLE.replace("10 *", "20 *") + trains.format(1))
    assert first[0] == mended[0] != other[0]
    assert len({first[1], mended[1], other[1]}) == 3


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        (lambda self, seed: 3, "returned int; expected something to iterate over"),
        (lambda self, seed: iter([1]), "yields int; expected pairs of inputs and targets"),
        (lambda self, seed: iter([(1, 2, 3)]), "yields tuple; expected pairs of inputs and targets"),
        (lambda self, seed: (1 / 0 for _ in "a"), "failed: ZeroDivisionError"),
        (lambda self, seed: 1 / 0, "failed: ZeroDivisionError"),
    ],
)
def test_batches_are_checked_one_by_one(batches, words):
    with pytest.raises(TaskError) as caught:
        list(with_(batches=batches).batches(0))
    assert str(caught.value).startswith(f"my_task.py: batches: {words}")


def test_batches_that_do_not_fit_the_models_batch_are_refused():
    with pytest.raises(UserError, match=r"images: 4 inputs; expected a multiple of the batch of net, 3"):
        with_().images(REPORT, ModelSpec("net", "m:f", (3, 3)))


def test_a_studys_tasks_are_opened_once_for_each_model_seed_and_fold(tmp_path, monkeypatch):
    (tmp_path / "hooks.py").write_text(
        "import numpy as np\nopened = []\n"
        "class Task:\n    images = lambda self, part: np.zeros((1, 3))\n    score = lambda self, outputs, part: 0\n"
        "def open_task(*asked):\n    opened.append(asked)\n    return Task()\n"
    )
    from sparsemark.references import resolve
    from sparsemark.specs import Pruning, Variant

    hooks = f"{tmp_path / 'hooks.py'}:open_task"
    open_task = opener(hooks, tmp_path)
    first = open_task(Variant(MODEL))
    assert open_task(Variant(MODEL, Pruning.of("magnitude", 0.5))) is first
    assert open_task(Variant(MODEL, fold=2)) is not first
    assert open_task(Variant(MODEL, seed=1)) is not first
    opened = resolve(hooks).__globals__["opened"]
    assert opened == [("net", 0, None, tmp_path), ("net", 0, 2, tmp_path), ("net", 1, None, tmp_path)]
    assert opener(None, None)(Variant(MODEL)) is None
