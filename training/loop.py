"""Training loop for one phase of a recipe: Lightning's trainer with device, precision and a state to resume from."""

from __future__ import annotations

import ctypes
import logging
import pickle
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from sparsemark.errors import UserError
from sparsemark.files import key_of, replacing
from sparsemark.networks.checkpoint import state_digest
from sparsemark.study.interrupts import raised_again
from training.device import choose_device
from training.learner import ADAM, Learner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from training.recipe import Phase
    from training.slices import Slices
    from training.split import Split
    from training.tasks.base import SliceTask


_LOG = logging.getLogger(__name__)


def fit(
    network: torch.nn.Module,
    task: SliceTask,
    slices: Slices,
    split: Split,
    phase: Phase,
    *,
    seed: int,
    work: Path,
    device: str = "auto",
    separate: bool = False,
    optimizer: str = ADAM,
) -> list[dict[str, Any]]:
    """Train `network` in place and return the scores of each epoch.

    The state after each epoch goes to `work`, in a file named after all that decides the outcome: starting weights,
    data, split, task, phase and seed. If that file exists, training resumes from it. Attached pruning masks are buffers
    like any other, and stay. `separate` takes a step for each loss of the task, in place of one for their sum;
    `optimizer` is a name in `training.learner.OPTIMIZERS`.

    Raises:
        UserError: no such device, or the state is damaged or cannot be written.
    """
    accelerator = choose_device(device)
    start = state_digest(network.state_dict())
    data = (slices.digest, slices.masks_digest) if task.uses_masks else (slices.digest,)
    other = () if optimizer == ADAM else (optimizer,)  # states of before there was a choice are found
    path = work / f"{key_of(start, *data, split.describe(slices), repr(task), separate, phase, seed, *other)}.ckpt"
    network.train()
    if phase.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub lacks it
    learner = Learner(network, task, slices, split, phase, seed=seed, separate=separate, optimizer=optimizer)
    with quiet(), memory_kept():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=phase.precision,  # type: ignore[arg-type]  # checked by the recipe
            max_epochs=phase.epochs,
            reload_dataloaders_every_n_epochs=1,
            callbacks=[StateOnDisk(path)],
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            enable_checkpointing=True,
            logger=False,
        )
        state = find_state(path)
        if state is not None:
            _LOG.info("training goes on after epoch %d of %d, from %s", _epochs_done(state), phase.epochs, state)
        with raised_again() as raise_if_interrupted:
            try:
                trainer.fit(learner, ckpt_path=state, weights_only=True)
            except SystemExit:
                raise_if_interrupted()  # Lightning ends the process with code 1
                raise
    learner.keep()
    network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above
    network.eval()
    return learner.history


def find_state(path: Path) -> Path | None:
    """Return the path if there is a state to resume from.

    Raises:
        UserError: the state holds something other than tensors, numbers and text, or is damaged.
    """
    if not path.exists():
        return None
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: damaged; remove it to train from the start") from error
    return path


def _epochs_done(path: Path) -> int:
    return len(torch.load(path, map_location="cpu", weights_only=True)["sparsemark"]["history"])


class StateOnDisk(Checkpoint):
    """Trainer's state in one file, replaced whole after each epoch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Write the state; Lightning calls this after the module's own hook, so the epoch's scores are in it."""
        with replacing(self._path) as target:
            trainer.save_checkpoint(target)


@contextmanager
def memory_kept() -> Iterator[None]:
    """Let glibc keep freed memory; without glibc, do nothing.

    Otherwise it maps every large tensor anew, and the kernel clears each page: a third of the time of a float32 step of
    cnn9 on two cores, a tenth in bfloat16. On leaving, thresholds go to where glibc's own adjustment ends, and the
    memory is returned.
    """
    glibc = ctypes.CDLL(None)
    if sys.platform != "linux" or not hasattr(glibc, "mallopt"):
        yield
        return
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    megabyte = 1 << 20
    glibc.mallopt(mmap_threshold, 1024 * megabyte)
    glibc.mallopt(trim_threshold, 2047 * megabyte)
    try:
        yield
    finally:
        glibc.mallopt(mmap_threshold, 32 * megabyte)
        glibc.mallopt(trim_threshold, 64 * megabyte)
        glibc.malloc_trim(0)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's notices on accelerators, worker processes and its vendor's services."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
