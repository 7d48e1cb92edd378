"""Fitting learns, keeps masks, picks up where it was killed, and runs nothing that lies on disk."""

from __future__ import annotations

import pickle
import signal

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from sparsemark.errors import UserError
from tests.training.tiny import draw_slices, tiny_network
from training import loop
from training.device import choose_device
from training.initialization import INITIALIZATIONS, initialize
from training.prediction import summarise_slices
from training.recipe import Phase
from training.split import BY_PATIENT, split_slices
from training.tasks.classification import Classification

TASK = Classification()
PHASE = Phase(epochs=3, learning_rate=0.02, batch=8, schedule="one-cycle", weight_decay=0.01, channels_last=True)


@pytest.fixture(scope="module")
def slices():
    return draw_slices(patients=8, height=6)


@pytest.fixture(scope="module")
def split(slices):
    return split_slices(slices, BY_PATIENT, 0)


@pytest.fixture
def fit(slices, split, tmp_path):
    def run(network, phase=PHASE, seed=0, work="work", task=TASK, **options):
        return loop.fit(network, task, slices, split, phase, seed=seed, work=tmp_path / work, device="cpu", **options)

    return run


def started(width: int = 5, seed: int = 0):
    network = tiny_network(width)
    initialize(network, "kaiming", seed)
    return network


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_loss_falls_and_history_tells_every_epoch(fit, split):
    history = fit(started(), Phase(epochs=6, learning_rate=0.02, batch=4))
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    for part in ("train", "validation"):
        for name in ("accuracy", "f1", "recall", "precision", "roc_auc"):
            assert 0 <= history[-1][f"{part}_{name}"] <= 1
    last = history[-1]
    assert last["slices_per_second"] * last["seconds"] == pytest.approx(len(split.train))
    assert last["device"] == "cpu"


@pytest.mark.parametrize(("epochs", "batch"), [(1, 100), (2, 100), (2, 18), (5, 100)])
def test_one_cycle_of_a_few_steps_is_possible(fit, epochs, batch):
    phase = Phase(epochs=epochs, learning_rate=0.01, batch=batch, schedule="one-cycle")
    assert len(fit(started(), phase)) == epochs


def test_same_seed_same_network_other_seed_another(fit):
    networks = [started() for _ in range(3)]
    for number, (network, seed) in enumerate(zip(networks, (0, 0, 1), strict=True)):
        fit(network, seed=seed, work=f"work{number}")
    assert same(networks[0], networks[1])
    assert not same(networks[0], networks[2])


@pytest.mark.parametrize("select", ["last", "best"])
def test_killed_and_resumed_is_as_if_never_killed(fit, monkeypatch, select):
    phase = Phase(epochs=3, learning_rate=0.02, batch=8, schedule="one-cycle", select=select)
    whole, killed = started(), started()
    history = fit(whole, phase, work="whole")

    write = loop.StateOnDisk.on_train_epoch_end

    def write_and_die(self, trainer, pl_module):
        write(self, trainer, pl_module)
        if trainer.current_epoch == 1:
            raise ConnectionAbortedError

    monkeypatch.setattr(loop.StateOnDisk, "on_train_epoch_end", write_and_die)
    with pytest.raises(ConnectionAbortedError):
        fit(killed, phase)
    monkeypatch.setattr(loop.StateOnDisk, "on_train_epoch_end", write)
    resumed = started()
    again = fit(resumed, phase)
    assert same(whole, resumed)
    scores = [{k: v for k, v in entry.items() if "second" not in k} for entry in (*history, *again)]
    assert scores[:3] == scores[3:]


def test_another_start_does_not_resume_from_this_one(fit):
    first, second, alone = started(seed=0), started(seed=1), started(seed=1)
    fit(first)
    fit(second)
    fit(alone, work="elsewhere")
    assert same(second, alone)


def test_masks_survive(fit):
    network = started()
    layer = network[3]
    prune.l1_unstructured(layer, "weight", 0.7)
    zeros = layer.weight_mask == 0
    before = layer.weight_orig.detach().clone()
    fit(network)
    assert prune.is_pruned(layer)
    assert (layer.weight[zeros] == 0).all()
    assert not torch.equal(layer.weight_orig[~zeros], before[~zeros])
    prune.remove(layer, "weight")
    assert int((layer.weight == 0).sum()) == int(zeros.sum())


def test_best_epoch_is_the_one_that_validation_chose(fit, slices, split):
    network = started()
    phase = Phase(epochs=4, learning_rate=0.3, batch=8, select="best")
    history = fit(network, phase)
    best = max(entry["validation_roc_auc"] for entry in history)
    probabilities = loop_scores(network, slices, split)
    assert probabilities == pytest.approx(best)


def loop_scores(network, slices, split):
    return TASK.score(summarise_slices(network, TASK, slices, split.validation), [])["roc_auc"]


def test_bfloat16_leaves_float32_weights_contiguous_in_eval_mode(fit):
    network = started()
    fit(network, Phase(epochs=1, learning_rate=0.01, batch=8, precision="bf16-mixed", channels_last=True))
    assert not network.training
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in network.parameters())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickle_on_disk_is_refused_not_run(fit, tmp_path, monkeypatch):
    fit(started())
    (state,) = (tmp_path / "work").iterdir()

    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").write_text, ("x",))

    state.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(UserError, match="ckpt: damaged; remove it"):
        fit(started())
    assert not (tmp_path / "ran").exists()


def test_unknown_or_absent_device_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(UserError, match=r"--device cuda: .* expected one, or --device cpu"):
        choose_device("cuda")
    with pytest.raises(UserError, match="--device 'tpu': expected one of auto, cpu, cuda"):
        choose_device("tpu")


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_initial_weights_follow_the_seed_alone(name):
    first, again, other = tiny_network(), tiny_network(), tiny_network()
    for network, seed in ((first, 0), (again, 0), (other, 1)):
        initialize(network, name, seed)
    assert same(first, again)
    assert not same(first, other)


def test_paper_draws_from_a_normal_distribution_of_standard_deviation_a_tenth():
    layer = torch.nn.Conv2d(64, 64, 3)
    initialize(layer, "normal", 0)
    assert float(layer.weight.detach().std()) == pytest.approx(0.1, rel=0.02)
    assert float(layer.weight.detach().mean()) == pytest.approx(0, abs=0.002)
    assert not layer.bias.any()
    assert np.isfinite(layer.weight.detach().numpy()).all()


def test_resumed_training_says_from_where(fit, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="training")
    phase = Phase(epochs=3, learning_rate=0.02, batch=8)
    write = loop.StateOnDisk.on_train_epoch_end

    def write_and_die(self, trainer, pl_module):
        write(self, trainer, pl_module)
        if trainer.current_epoch == 1:
            raise ConnectionAbortedError

    monkeypatch.setattr(loop.StateOnDisk, "on_train_epoch_end", write_and_die)
    with pytest.raises(ConnectionAbortedError):
        fit(started(), phase)
    assert "goes on" not in caplog.text
    monkeypatch.setattr(loop.StateOnDisk, "on_train_epoch_end", write)
    fit(started(), phase)
    (state,) = tmp_path.rglob("*.ckpt")
    assert f"training goes on after epoch 2 of 3, from {state}" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_an_interrupt_and_no_exit_code_of_lightnings(number, fit, monkeypatch, interruptible):
    def interrupted(self, trainer, pl_module):
        signal.raise_signal(number)

    monkeypatch.setattr(loop.StateOnDisk, "on_train_epoch_end", interrupted)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        fit(started())
    assert signal.getsignal(number) == before
