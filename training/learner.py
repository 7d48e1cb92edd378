"""Lightning module of a network in training: losses, optimisers, scores of each epoch, and the weights to keep.

Everything random in an epoch follows from the seed and the epoch's number, so that a run that was killed and resumed
gives the same weights as an uninterrupted one.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch

from sparsemark.errors import UserError
from sparsemark.networks.outputs import output_tensors
from training.batches import Batch, TrainingBatches, steps_per_epoch
from training.device import BF16, device_name
from training.gradients import ANGLE_EVERY, Angles, gradients
from training.prediction import joined, summarise_slices
from training.recipe import BEST, ONE_CYCLE
from training.slices import SIZE
from training.tasks.base import total

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from training.gradients import Gradients
    from training.recipe import Phase
    from training.slices import Slices
    from training.split import Split
    from training.tasks.base import PerSlice, SliceTask

log = logging.getLogger(__name__)

BETA2 = 0.999
ADAM = "adam"
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], float, float], torch.optim.Optimizer]] = {
    ADAM: lambda groups, rate, beta1: torch.optim.AdamW(groups, lr=rate, betas=(beta1, BETA2), fused=True),
    "sgd": lambda groups, rate, momentum: torch.optim.SGD(groups, lr=rate, momentum=momentum, fused=True),
    "rmsprop": lambda groups, rate, momentum: torch.optim.RMSprop(groups, lr=rate, momentum=momentum),
}
"""Optimisers by name, of groups of parameters, learning rate and momentum. Only Adam's decay is decoupled."""

WARMUP_SHARE = 0.25
"""Part of a one-cycle schedule in which the learning rate rises."""


class Learner(lightning.LightningModule):
    """Train a network on `split.train` of `slices` under a phase; score `split.validation` after each epoch.

    Args:
        network: in training mode.
        task: its losses and scores.
        slices: the whole set.
        split: indices of the parts.
        phase: of a recipe.
        seed: of order, augmentation and dropout.
        separate: a step for each loss of the task, each with its optimiser, in place of one for their sum. Layers that
            both losses reach take both steps, each at the full learning rate.
        optimizer: a name in `OPTIMIZERS`.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        task: SliceTask,
        slices: Slices,
        split: Split,
        phase: Phase,
        *,
        seed: int,
        separate: bool = False,
        optimizer: str = ADAM,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.history: list[dict[str, Any]] = []
        self._task = task
        self._slices = slices
        self._split = split
        self._phase = phase
        self._seed = seed
        self._separate = separate
        self._make_optimizer = OPTIMIZERS[optimizer]
        self._kept: dict[str, torch.Tensor] = {}
        self._best = -math.inf
        self._order = split.train
        self._losses: list[dict[str, torch.Tensor]] = []
        self._tables: list[PerSlice] = []
        self._angles = Angles()
        self._started = 0.0

    def keep(self) -> None:
        """Load the weights that the phase selects (of the last epoch, or the best) into the network."""
        if self._kept:
            self.network.load_state_dict(self._kept)

    def train_dataloader(self) -> TrainingBatches:
        """Return the batches of the current epoch; Lightning reloads them every epoch."""
        phase = self._phase
        batches = TrainingBatches(
            self._slices,
            self._split.train,
            self._task,
            batch=phase.batch,
            augmentation=phase.augmentation,
            seed=self._epoch_seed(),
            half_resolution=self._half_resolution,
        )
        self._order = batches.order
        return batches

    def configure_optimizers(self) -> Any:
        """Return an optimiser for each step of a batch, with the phase's schedule.

        Decay is decoupled, on convolution and linear weights only, and shared among the optimisers, since a weight that
        all losses reach decays in each of them.
        """
        return [self._optimizer(share=1 / self._steps) for _ in range(self._steps)]

    def _optimizer(self, share: float) -> dict[str, Any]:
        phase = self._phase
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim <= 1]
        decay = share * phase.weight_decay
        groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = self._make_optimizer(groups, phase.learning_rate, phase.beta1)
        steps = phase.epochs * steps_per_epoch(len(self._split.train), phase.batch)
        if phase.schedule != ONE_CYCLE or steps < 3:
            return {"optimizer": optimizer}
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            phase.learning_rate,
            total_steps=steps,
            # torch divides by the steps of the rise less one, and by those of the fall: two and one are the least.
            pct_start=max(WARMUP_SHARE, 2 / steps),
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_start(self) -> None:
        """Seed dropout and start the clock."""
        torch.manual_seed(self._epoch_seed())
        self._losses, self._tables = [], []
        self._angles = Angles()
        self._started = time.perf_counter()

    def training_step(self, batch: Batch, index: int) -> None:
        """Take one step for the sum of the losses, or one for each, and keep what the epoch's metrics need."""
        images, targets = batch
        outputs = output_tensors(self.network(images))
        # First, since it checks what the losses rely on.
        try:
            self._tables.append(self._task.summarise([output.detach() for output in outputs], targets))
        except UserError as error:
            raise UserError(f"epoch {self.current_epoch + 1}: {error}") from error
        losses = self._task.losses(outputs, targets)
        # All at the weights before the first step.
        steps = self._gradients(losses, index)
        for optimizer, found in zip(self._optimizers(), steps, strict=True):
            for parameter, gradient in zip(self.network.parameters(), found, strict=True):
                parameter.grad = gradient
            optimizer.step()
        for schedule in self._schedules():
            schedule.step()
        self._losses.append({name: loss.detach() for name, (_, loss) in losses.items()} | {"": total(losses).detach()})

    def on_train_epoch_end(self) -> None:
        """Append the epoch to the history: running scores on training slices, and scores on validation slices."""
        trained_at = time.perf_counter()
        seconds = trained_at - self._started
        trained = [self._slices.patients[i] for i in self._order]
        validated = [self._slices.patients[i] for i in self._split.validation]
        training = self._task.score(joined(self._tables), trained)
        validation = self._task.score(self._validate(), validated)
        validation_seconds = time.perf_counter() - trained_at
        means = {name: float(torch.stack([loss[name] for loss in self._losses]).mean()) for name in self._losses[0]}
        parts = {f"train_loss_{name}": mean for name, mean in means.items() if name} if len(means) > 2 else {}
        entry: dict[str, Any] = {
            "epoch": self.current_epoch + 1,
            "image_size": SIZE // 2 if self._half_resolution else SIZE,
            "device": device_name(self.device),
            "seconds": seconds,
            "validation_seconds": validation_seconds,
            "slices_per_second": len(self._split.train) / seconds,
            "train_loss": means[""],
            **parts,
            **self._angles.describe(),
            **{f"train_{name}": value for name, value in training.items() if value is not None},
            **{f"validation_{name}": value for name, value in validation.items() if value is not None},
        }
        self.history.append(entry)
        selected = validation[self._task.selects]
        # Scores at half resolution say little about full size.
        chosen = self._phase.select == BEST and not self._half_resolution
        if chosen and selected is not None and selected > self._best:
            self._best = selected
            self._kept = self._state()
        shown = dict.fromkeys([*list(self._task.metrics)[:1], "accuracy", self._task.selects])
        log.info(
            "epoch %d/%d: loss %.4f; validation %s; %.0f slices/s",
            *(entry["epoch"], self._phase.epochs, entry["train_loss"]),
            ", ".join(f"{name} {entry[f'validation_{name}']:.4f}" for name in shown),
            entry["slices_per_second"],
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the history and the selected weights to Lightning's state."""
        checkpoint["sparsemark"] = {"history": self.history, "kept": self._kept, "best": self._best}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` added."""
        own = checkpoint["sparsemark"]
        self.history, self._kept, self._best = own["history"], own["kept"], own["best"]

    @property
    def _half_resolution(self) -> bool:
        return self.current_epoch < self._phase.half_resolution_epochs

    @property
    def _steps(self) -> int:
        """Optimiser steps a batch."""
        return 2 if self._separate else 1

    def _optimizers(self) -> Sequence[Any]:
        found = self.optimizers()
        return found if isinstance(found, list) else [found]

    def _schedules(self) -> Sequence[Any]:
        found = self.lr_schedulers()
        if found is None:
            return []
        return found if isinstance(found, list) else [found]

    def _gradients(self, losses: dict[str, tuple[float, torch.Tensor]], index: int) -> list[Gradients]:
        """Return the gradients of each step; of two losses, measure their angle now and then."""
        parameters = list(self.network.parameters())
        alone = [loss for _, loss in losses.values()]
        measured = len(alone) > 1 and index % ANGLE_EVERY == 0
        of_each = gradients(alone, parameters, keep_graph=not self._separate) if measured or self._separate else []
        if measured:
            self._angles.add(*of_each)
        return of_each if self._separate else gradients([total(losses)], parameters)

    def _epoch_seed(self) -> int:
        return int(np.random.SeedSequence([self._seed, self.current_epoch]).generate_state(1)[0])

    def _state(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def _validate(self) -> PerSlice:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._phase.precision == BF16):
            return summarise_slices(
                self.network,
                self._task,
                self._slices,
                self._split.validation,
                half_resolution=self._half_resolution,
            )
