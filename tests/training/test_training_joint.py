"""Networks with two outputs in training: joint and separate losses, half-size epochs, and a kill that costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from models.unet_head import unet_head
from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import load_checkpoint
from tests.training.tiny import draw_slices
from training import loop, phantom
from training.batches import TrainingBatches
from training.initialization import initialize
from training.recipe import Phase
from training.split import BY_PATIENT, split_slices
from training.tasks.both import Both
from training.tasks.classification import Classification
from training.tasks.segmentation import Segmentation
from training.train import main as train

PHASE = Phase(epochs=2, learning_rate=0.01, batch=6, schedule="one-cycle", weight_decay=0.01, half_resolution=0.5)


class Small(nn.Module):
    """A mask at full size and a label, from one strided convolution."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.ReLU())
        self.mask = nn.ConvTranspose2d(4, 1, 4, stride=4)
        self.pool, self.flatten, self.label = nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)

    def forward(self, images):
        features = self.shared(images)
        return self.mask(features), self.label(self.flatten(self.pool(features)))


@pytest.fixture(scope="module")
def slices():
    return draw_slices(patients=8, height=4)


@pytest.fixture
def fit(slices, tmp_path):
    split = split_slices(slices, BY_PATIENT, 0)

    def run(task, phase=PHASE, *, separate=False, network=None, work="work"):
        network = network or Small()
        initialize(network, "kaiming", 0)
        options = {"seed": 0, "work": tmp_path / work, "device": "cpu", "separate": separate}
        return network, loop.fit(network, task, slices, split, phase, **options)

    return run


@pytest.mark.parametrize("separate", [False, True])
def test_history_holds_both_losses_every_metric_and_the_angle(fit, separate):
    task = Both(0.3)
    _, history = fit(task, separate=separate)
    assert [entry["epoch"] for entry in history] == [1, 2]
    for entry in history:
        assert {f"validation_{name}" for name in task.metrics} <= set(entry)
        assert {f"train_{name}" for name in task.metrics} <= set(entry)
        joint = 0.3 * entry["train_loss_mask"] + 0.7 * entry["train_loss_label"]
        assert entry["train_loss"] == pytest.approx(joint, rel=1e-4)
        assert 0 <= entry["gradient_angle_mean"] <= 180
    json.dumps(history, allow_nan=False)


def test_both_outputs_learn(fit):
    _, history = fit(Both(0.5), Phase(epochs=12, learning_rate=0.03, batch=6))
    for loss in ("train_loss_mask", "train_loss_label"):
        assert history[-1][loss] < 0.7 * history[0][loss]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_separate_losses_take_two_steps_of_two_optimisers(slices, tmp_path, channels_last, masked):
    """One batch, against the same two steps by hand, unfused."""
    phase = Phase(epochs=1, learning_rate=0.01, batch=100, weight_decay=0.5, channels_last=channels_last)
    split, task = split_slices(slices, BY_PATIENT, 0), Both(0.5)
    trained, by_hand = Small(), Small()
    for network in (trained, by_hand):
        initialize(network, "kaiming", 0)
        if masked:
            prune.l1_unstructured(network.shared[0], "weight", 0.5)
    seed = int(np.random.SeedSequence([0, 0]).generate_state(1)[0])
    ((images, targets),) = TrainingBatches(slices, split.train, task, batch=100, augmentation="paper", seed=seed)
    optimisers = [
        torch.optim.AdamW(
            [
                {"params": [p for p in by_hand.parameters() if p.ndim > 1], "weight_decay": 0.25},
                {"params": [p for p in by_hand.parameters() if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=0.01,
        )
        for _ in range(2)
    ]
    found = []
    for index in range(2):
        by_hand.zero_grad()
        tuple(task.losses(by_hand.train()(images), targets).values())[index][1].backward()
        found.append([p.grad for p in by_hand.parameters()])
    for optimiser, of_loss in zip(optimisers, found, strict=True):
        for parameter, gradient in zip(by_hand.parameters(), of_loss, strict=True):
            parameter.grad = gradient
        optimiser.step()
    loop.fit(trained, task, slices, split, phase, seed=0, work=tmp_path, device="cpu", separate=True)
    for a, b in zip(trained.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)


def test_separate_steps_are_another_training_than_the_joint_one(fit):
    joint, _ = fit(Both(0.5), work="joint")
    separate, _ = fit(Both(0.5), separate=True, work="separate")
    assert not torch.equal(joint.shared[0].weight, separate.shared[0].weight)


def test_theta_is_part_of_what_a_state_belongs_to(fit):
    """A training with another theta in the same folder starts anew."""
    first, _ = fit(Both(0.1))
    second, _ = fit(Both(0.9))
    alone, _ = fit(Both(0.9), work="elsewhere")
    assert torch.equal(second.mask.weight, alone.mask.weight)
    assert not torch.equal(first.mask.weight, second.mask.weight)


def test_theta_one_and_zero_leave_the_other_output_alone(fit):
    phase = Phase(epochs=1, learning_rate=0.01, batch=6)
    fresh = Small()
    initialize(fresh, "kaiming", 0)
    mask_only, _ = fit(Both(1.0), phase, work="mask")
    label_only, _ = fit(Both(0.0), phase, work="label")
    assert torch.equal(mask_only.label.weight, fresh.label.weight)
    assert torch.equal(label_only.mask.weight, fresh.mask.weight)
    assert not torch.equal(mask_only.mask.weight, fresh.mask.weight)


def test_only_the_first_epochs_are_at_half_size(fit):
    sizes = []

    class Watched(Small):
        def forward(self, images):
            if self.training:
                sizes.append(images.shape[-1])
            return super().forward(images)

    phase = Phase(epochs=4, learning_rate=0.01, batch=100, half_resolution=0.6)
    _, history = fit(Both(0.5), phase, network=Watched())
    assert sizes == [64, 64, 128, 128]
    assert [entry["image_size"] for entry in history] == sizes


@pytest.mark.parametrize("separate", [False, True])
def test_killed_and_resumed_is_as_if_never_killed(fit, monkeypatch, separate):
    whole, history = fit(Both(0.5), separate=separate, work="whole")
    write = loop.StateOnDisk.on_train_epoch_end

    def write_and_die(self, trainer, pl_module):
        write(self, trainer, pl_module)
        raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr(loop.StateOnDisk, "on_train_epoch_end", write_and_die)
        with pytest.raises(ConnectionAbortedError):
            fit(Both(0.5), separate=separate)
    resumed, again = fit(Both(0.5), separate=separate)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    timeless = [[{k: v for k, v in e.items() if "second" not in k} for e in run] for run in (history, again)]
    assert timeless[0] == timeless[1]


def test_unet_with_a_head_is_trained_by_the_task_that_it_is_for(fit):
    _, history = fit(Both(0.5), Phase(epochs=1, learning_rate=0.01, batch=12), network=unet_head((2, 2, 2, 2)))
    assert "validation_dice_volume" in history[0]


def test_a_network_with_other_outputs_is_one_line(fit):
    for task in (Segmentation(), Classification()):
        with pytest.raises(UserError, match=r"output of shape .*; expected logits"):
            fit(task, network=unet_head((2, 2, 2, 2)))


TRAIN = """
import sys
from training import phantom
import training.data
training.data.load_phantom = lambda: phantom.generate(6, 2, 3)
from training.train import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_kill_on_the_phantom_gives_the_same_weights(tmp_path, monkeypatch):
    """SIGKILL of the command, then the command again, against the command left alone; these in this process."""
    recipe = tmp_path / "quick.toml"
    recipe.write_text('extends = "unet_head_separate"\n[train]\nepochs = 2\n')
    arguments = ["--recipe", str(recipe), "--device", "cpu"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}", "OMP_NUM_THREADS": "1"}
    environment.pop("LGG_DATA", None)

    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "models").symlink_to(root / "models")
    command = [sys.executable, "-c", TRAIN, *arguments, "--out", "out"]
    killed = subprocess.Popen(command, cwd=tmp_path / "killed", env=environment, stderr=subprocess.DEVNULL)
    states = tmp_path / "killed" / ".sparsemark" / "training"
    while killed.poll() is None and not list(states.rglob("*.ckpt")):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert list(states.rglob("*.ckpt")), "ended before it could be killed"
    assert not (tmp_path / "killed" / "out").exists()
    monkeypatch.setattr("training.data.load_phantom", lambda: phantom.generate(6, 2, 3))
    for name in ("killed", "whole"):
        monkeypatch.chdir(tmp_path / name)
        assert train([*arguments, "--out", "out"]) == 0
    file = "out/quick-dense-seed0.safetensors"
    weights = [load_checkpoint(tmp_path / name / file) for name in ("killed", "whole")]
    for a, b in zip(weights[0].state.values(), weights[1].state.values(), strict=True):
        assert torch.equal(a, b)
    assert len(weights[0].provenance["history"]["epochs"]) == 2
