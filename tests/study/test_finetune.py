"""Fine-tuning holds masks, resumes where it was stopped, and is the same for every schedule in total."""

from __future__ import annotations

import re
import shutil
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from sparsemark import Metric
from sparsemark.errors import TaskError, UserError
from sparsemark.machine.at_work import step
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.pruning import prune
from sparsemark.pruning.base import Request
from sparsemark.specs import ModelSpec, PruneStep, Pruning, Variant
from sparsemark.study.finetune import finetune, recalibrate
from sparsemark.study.prepare import Places, prepare
from sparsemark.study.task import Task, load_task

FACTORY = """
import torch
from torch import nn
def build():
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))
"""
SHAPE = (1, 1, 8, 8)


class Points:
    """Random images in three classes."""

    METRICS: ClassVar = {"accuracy": Metric()}
    epochs_seen: list[int]

    def __init__(self):
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, 3, 24)
        self.x = rng.standard_normal((24, *SHAPE[1:]), dtype=np.float32) + self.labels[:, None, None, None].astype(
            np.float32
        )
        self.epochs_seen = []

    def images(self, part):
        return self.x[16:] if part == "report" else self.x[8:16]

    def score(self, outputs, part):
        labels = self.labels[16:] if part == "report" else self.labels[8:16]
        return {"accuracy": outputs[0].argmax(1) == labels}

    def batches(self, seed):
        self.epochs_seen.append(seed)
        order = np.random.default_rng(seed).permutation(16)
        for start in range(0, 16, 6):
            chosen = order[start : start + 6]
            yield torch.from_numpy(self.x[chosen]), torch.from_numpy(self.labels[chosen])

    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "net.py").write_text(FACTORY)
    return ModelSpec("net", f"{tmp_path / 'net.py'}:build", SHAPE)


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))
    return module, prune(module, Request(PruneStep("magnitude", 0.6), (torch.zeros(SHAPE),))).masks


def with_task(points):
    """A masked network, its task and its masks, as `finetune` takes them."""
    module, masks = network()
    return module, Task(points, "points"), masks


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_masked_weights_stay_zero_and_others_learn(tmp_path):
    (module, masks), task = network(), Task(Points(), "points")
    before = [layer.weight.detach().clone() for layer in (module[0], module[4])]
    history = finetune(module, task, masks, epochs=2, seed=0, work=tmp_path)
    for layer, weight in zip((module[0], module[4]), before, strict=True):
        assert torch.equal(layer.weight == 0, weight == 0)
        assert not torch.equal(layer.weight, weight)
    assert [entry["epoch"] for entry in history["epochs"]] == [1, 2]
    assert not module.training


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path):
    (whole, masks), (parted, _) = network(), network()
    finetune(whole, Task(Points(), "points"), masks, epochs=3, seed=4, work=tmp_path / "whole")

    class Dies(Points):
        def batches(self, seed):
            if len(self.epochs_seen) == 2:
                raise KeyboardInterrupt
            return super().batches(seed)

    with pytest.raises(KeyboardInterrupt):
        finetune(parted, Task(Dies(), "points"), masks, epochs=3, seed=4, work=tmp_path / "parted")
    (again, masks), points = network(), Points()
    history = finetune(again, Task(points, "points"), masks, epochs=3, seed=4, work=tmp_path / "parted")
    assert len(points.epochs_seen) == 1, "two epochs are not done again"
    assert len(history["epochs"]) == 3
    for name, value in state_of(whole).items():
        assert torch.equal(value, state_of(again)[name]), name


def test_another_mask_of_the_same_size_is_not_resumed_from(tmp_path):
    """Sums of weights and counts of ones are the same for both."""
    (first, masks), (second, _) = network(), network()
    flipped = {name: kept.flip(1) if name == "4.weight" else kept for name, kept in masks.items()}
    second[4].weight.data = second[4].weight.data.flip(1)
    finetune(first, Task(Points(), "points"), masks, epochs=1, seed=0, work=tmp_path)
    points = Points()
    finetune(second, Task(points, "points"), flipped, epochs=1, seed=0, work=tmp_path)
    assert points.epochs_seen, "trained, not resumed"
    assert torch.equal(second[4].weight != 0, flipped["4.weight"])


def test_each_round_draws_other_batches(tmp_path):
    seen = []
    for done in (0, 1, 2):
        points = Points()
        finetune(*with_task(points), epochs=1, seed=5, work=tmp_path / str(done), done=done)
        seen += points.epochs_seen
    assert len(set(seen)) == 3
    assert seen[0] == 5


def test_a_damaged_state_is_named(tmp_path):
    finetune(*with_task(Points()), epochs=1, seed=0, work=tmp_path)
    (state,) = tmp_path.glob("*.state")
    state.write_bytes(b"damaged")
    with pytest.raises(UserError, match=rf"{state.name}: damaged; remove it"):
        finetune(*with_task(Points()), epochs=1, seed=0, work=tmp_path)


def test_a_state_with_other_weights_is_named(tmp_path):
    """One bit of them, in a file that is otherwise whole."""
    finetune(*with_task(Points()), epochs=1, seed=0, work=tmp_path)
    (state,) = tmp_path.glob("*.state")
    content = state.read_bytes()
    state.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(UserError, match=rf"{state.name}: damaged; remove it"):
        finetune(*with_task(Points()), epochs=1, seed=0, work=tmp_path)


def test_what_goes_on_says_from_where(tmp_path, caplog):
    caplog.set_level("INFO", logger="sparsemark")
    finetune(*with_task(Points()), epochs=2, seed=0, work=tmp_path)
    assert not caplog.records
    finetune(*with_task(Points()), epochs=2, seed=0, work=tmp_path)
    (state,) = tmp_path.glob("*.state")
    assert f"fine-tuning goes on after epoch 2, from {state}" in caplog.text


def widens(module):
    module[4] = nn.Linear(6 * 36, 4)


def fills(module):
    module[4].weight.data += 1


def breaks(module):
    module[0].bias.data[0] = torch.nan


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (widens, "changed shapes or dtypes; expected new values of the weights only"),
        (lambda module: module.double(), "changed shapes or dtypes"),
        (fills, "4.weight has values where its mask has zeros"),
        (breaks, "leaves NaN or infinities in 0.bias; expected finite weights"),
        (lambda module: 1 / 0, "failed: ZeroDivisionError"),
    ],
)
def test_a_train_that_spoils_the_network_is_refused(spoil, reason, tmp_path):
    class Spoils(Points):
        def train(self, module, epochs, seed, work):
            spoil(module)

    with pytest.raises(TaskError) as caught:
        finetune(*with_task(Spoils()), epochs=1, seed=0, work=tmp_path)
    assert str(caught.value).startswith(f"points: train: {reason}")


def test_every_call_of_train_is_checked(model, tmp_path):
    """The second round of three spoils the masks."""
    calls = []

    class Spoils(Points):
        def train(self, module, epochs, seed, work):
            calls.append(epochs)
            if len(calls) == 2:
                fills(module)

    task, places = Task(Spoils(), "points"), Places(None, tmp_path)
    dense = prepare(Variant(model), None, task, places, 3)
    with pytest.raises(TaskError, match=r"points: train: 4\.weight has values .* \(net-iterative-magnitude80-seed0\)$"):
        prepare(Variant(model, Pruning.parse("iterative-magnitude:0.8")), dense, task, places, 3)
    assert len(calls) == 2


def test_a_loss_without_a_gradient_is_refused(tmp_path):
    class Detaches(Points):
        def loss(self, outputs, targets):
            return super().loss(outputs, targets).detach()

    with pytest.raises(TaskError, match=r"^points: loss: no gradients flow from it: RuntimeError"):
        finetune(*with_task(Detaches()), epochs=1, seed=0, work=tmp_path)


def test_batches_that_yield_nothing_are_refused(tmp_path):
    class Empty(Points):
        def batches(self, seed):
            return iter(())

    with pytest.raises(UserError, match=r"^points: batches: yields nothing"):
        finetune(*with_task(Empty()), epochs=1, seed=0, work=tmp_path)


def test_inputs_that_the_network_does_not_take_are_one_line(tmp_path):
    class Doubles(Points):
        def batches(self, seed):
            return ((images.double(), labels) for images, labels in super().batches(seed))

    with pytest.raises(UserError, match=r"^points: batches: inputs that the network does not take: RuntimeError"):
        finetune(*with_task(Doubles()), epochs=1, seed=0, work=tmp_path)


def test_recalibration_takes_the_mean_over_whole_batches_and_touches_nothing_else():
    (module, _), points = network(), Points()
    weights = state_of(module)
    assert recalibrate(module, Task(points, "points"), seed=3)
    with torch.no_grad():
        means = [module[0](images).mean(dim=(0, 2, 3)) for images, _ in Points().batches(3) if len(images) == 6]
    torch.testing.assert_close(module[1].running_mean, torch.stack(means).mean(dim=0))
    assert module[1].momentum == 0.1
    for name, value in state_of(module).items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, weights[name])


# --- schedules, from the variant to its checkpoint


def prepared(model, text, tmp_path, points=None, epochs=4):
    task = Task(points or Points(), "points")
    places = Places(tmp_path / "weights", tmp_path / "work")
    dense = prepare(Variant(model), None, task, places, epochs)
    return prepare(Variant(model, Pruning.parse(text)), dense, task, places, epochs)


@pytest.mark.parametrize("text", ["magnitude:0.8", "iterative-magnitude:0.8", "gradual-magnitude:0.8"])
def test_every_schedule_has_the_same_total_of_fine_tuning_and_ends_at_the_target(text, model, tmp_path):
    points = Points()
    made = prepared(model, text, tmp_path, points)
    fine_tuning = list(points.epochs_seen)
    rounds = 1 if text.startswith("magnitude") else 3 if text.startswith("iterative") else 4
    assert len(fine_tuning) == 4 + rounds, "four epochs, and one pass for each recalibration"
    weights = [v for n, v in load_checkpoint(made.source.path).state.items() if n.endswith("weight") and v.ndim > 1]
    zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
    assert zeros == pytest.approx(0.8, abs=0.002)
    score = made.scores["accuracy"]
    assert None not in (score.raw, score.recalibrated, score.low, score.high)


@pytest.mark.parametrize("schedule", ["iterative", "gradual"])
def test_channels_by_rounds_leave_as_many_as_one_shot(schedule, model, tmp_path):
    """Shares of one network, not of what each round finds; a round too small for a channel is passed over."""
    widths = []
    for text in ("channels:0.5", f"{schedule}-channels:0.5"):
        made = prepared(model, text, tmp_path / schedule, epochs=9)
        widths.append(load_checkpoint(made.source.path).build()[0].out_channels)
    assert widths == [3, 3]
    rounds = made.provenance["history"]["rounds"]
    assert [len(one["epochs"]) for one in rounds] == ([3, 3, 3] if schedule == "iterative" else [1] * 7 + [2])


def test_channels_then_zeros_are_composed_with_fine_tuning_between(model, tmp_path):
    made = prepared(model, "channels:0.5+magnitude:0.5", tmp_path)
    module = load_checkpoint(made.source.path).build()
    assert module[0].out_channels < 6
    zeros = int((module[4].weight == 0).sum()) + int((module[0].weight == 0).sum())
    assert zeros / (module[4].weight.numel() + module[0].weight.numel()) == pytest.approx(0.5, abs=0.02)
    assert len(made.provenance["history"]["rounds"]) == 2


def test_zeros_of_an_earlier_step_are_held_through_the_fine_tuning_of_a_later_one(model, tmp_path):
    made = prepared(model, "magnitude:0.5+filters:0.3", tmp_path)
    module = load_checkpoint(made.source.path).build()
    weights = torch.cat([module[0].weight.flatten(), module[4].weight.flatten()])
    assert float((weights == 0).float().mean()) >= 0.5


def test_what_was_fine_tuned_is_taken_again_where_nothing_changed(model, tmp_path):
    prepared(model, "magnitude:0.5", tmp_path)
    points = Points()
    prepared(model, "magnitude:0.5", tmp_path, points)
    assert points.epochs_seen == []
    prepared(model, "magnitude:0.5", tmp_path, points, epochs=5)
    assert points.epochs_seen, "another budget is another network"


def test_a_task_whose_code_changed_fine_tunes_anew(model, tmp_path):
    """Its loss may be another."""
    (tmp_path / "task.py").write_text(TASK_FILE)
    dense_and_tuned(model, tmp_path)
    before = (tmp_path / "log").read_text()
    dense_and_tuned(model, tmp_path)
    assert (tmp_path / "log").read_text() == before, "the same code is taken as it was"
    (tmp_path / "task.py").write_text(TASK_FILE.replace("cross_entropy(outputs", "cross_entropy(-outputs"))
    dense_and_tuned(model, tmp_path)
    assert len((tmp_path / "log").read_text()) > len(before)


TASK_FILE = """
from pathlib import Path
import numpy as np, torch
LOG = Path(__file__).with_name("log")
images = lambda part: np.ones((4, 1, 8, 8), np.float32)
score = lambda outputs, part: 0.5
def batches(seed):
    LOG.open("a").write("epoch\\n")
    yield torch.ones(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
def loss(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets)
"""


def dense_and_tuned(model, tmp_path):
    for name in [
        n for n, module in sys.modules.items() if getattr(module, "__file__", None) == str(tmp_path / "task.py")
    ]:
        del sys.modules[name]  # as in the next process
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    task, places = load_task(tmp_path / "task.py"), Places(None, tmp_path / "work")
    dense = prepare(Variant(model), None, task, places, 2)
    return prepare(Variant(model, Pruning.parse("magnitude:0.5")), dense, task, places, 2)


def test_a_users_task_with_train_never_trains_the_users_own_network(model, tmp_path):
    class Wipes(Points):
        def train(self, module, epochs, seed, work):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.zero_()

    dense = prepare(Variant(model), None, Task(Wipes(), "points"), Places(None, tmp_path / "work"), 1)
    state = load_checkpoint(dense.source.path).state
    assert all(bool(value.any()) for name, value in state.items() if name.endswith("weight"))


def test_a_kept_checkpoint_of_another_budget_is_refused(model, tmp_path):
    class Trains(Points):
        def train(self, module, epochs, seed, work):
            pass

    task, places = Task(Trains(), "points"), Places(tmp_path / "weights", tmp_path / "work")
    dense = prepare(Variant(model), None, task, places, 3)
    pruned = Variant(model, Pruning.parse("magnitude:0.5"))
    prepare(pruned, dense, task, places, 3)
    with pytest.raises(UserError, match=r"fine-tuned for 3 epochs, now 4 are asked for"):
        prepare(pruned, dense, task, places, 4)


def test_a_schedule_without_a_way_to_fine_tune_is_refused(model, tmp_path):
    places = Places(tmp_path, tmp_path)
    dense = prepare(Variant(model), None, None, places, 4)
    with pytest.raises(UserError, match=r"^gradual-magnitude:0.5: a schedule fine-tunes between its rounds"):
        prepare(Variant(model, Pruning.parse("gradual-magnitude:0.5")), dense, None, places, 4)


def test_each_epoch_is_named_while_it_is_at_work(tmp_path):
    """Wherever networks are fine-tuned: progress shows what is named here."""
    seen = []

    class Watched(Points):
        def loss(self, outputs, targets):
            seen.append(step())
            return super().loss(outputs, targets)

    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    finetune(module, Task(Watched(), "points"), {}, epochs=2, seed=0, work=tmp_path)
    first, second = dict.fromkeys(seen)
    assert first == "fine-tuning, epoch 1 of 2"
    assert re.fullmatch(r"fine-tuning, epoch 2 of 2, about \d+ s left of this network", second)
    assert step() == ""


def test_a_loop_of_the_tasks_own_is_named_too(tmp_path):
    seen = []

    class Trains(Points):
        def train(self, module, epochs, seed, work):
            seen.append(step())

    finetune(nn.Linear(2, 2), Task(Trains(), "points"), {}, epochs=3, seed=0, work=tmp_path)
    assert seen == ["fine-tuning by the task's train, 3 epochs"]


def test_a_tasks_own_training_goes_on_from_no_other_ones_state(tmp_path):
    """It is handed a folder, and whatever lies there it may go on from."""
    folders = []

    class Trains(Points):
        def train(self, module, epochs, seed, work):
            assert work.is_dir()
            folders.append(work)

    def train(weight=0.0, epochs=3, seed=0, masks=None):
        module = nn.Linear(2, 2)
        for parameter in module.parameters():
            nn.init.constant_(parameter, weight)
        finetune(module, Task(Trains(), "points"), masks or {}, epochs=epochs, seed=seed, work=tmp_path)
        return folders[-1]

    again = train()
    kept = {"weight": torch.zeros(2, 2, dtype=torch.bool)}
    others = [train(weight=1.0), train(epochs=4), train(seed=1), train(masks=kept)]
    assert train() == again
    assert len({again, *others}) == len(others) + 1
