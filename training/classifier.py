"""Lightning module of a classifier in training: loss, optimiser, scores of each epoch, and the weights to keep.

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
from torch.nn import functional as F

from training.batches import Batch, TrainingBatches, steps_per_epoch
from training.device import BF16
from training.recipe import BEST, ONE_CYCLE
from training.scoring import predict, score, tumour_probability

if TYPE_CHECKING:
    from training.recipe import Phase
    from training.slices import Slices
    from training.split import Split

log = logging.getLogger(__name__)

BETA2 = 0.999
WARMUP_SHARE = 0.25
"""Part of a one-cycle schedule in which the learning rate rises."""


class Classifier(lightning.LightningModule):
    """Train `network` on `split.train` of `slices` under a phase; score `split.validation` after each epoch."""

    def __init__(
        self,
        network: torch.nn.Module,
        slices: Slices,
        split: Split,
        phase: Phase,
        *,
        seed: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.history: list[dict[str, float]] = []
        self._slices = slices
        self._split = split
        self._phase = phase
        self._seed = seed
        self._kept: dict[str, torch.Tensor] = {}
        self._best = -math.inf
        self._outputs: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._started = 0.0

    def keep(self) -> None:
        """Load the weights that the phase selects (of the last epoch, or the best) into the network."""
        if self._kept:
            self.network.load_state_dict(self._kept)

    def train_dataloader(self) -> TrainingBatches:
        """Return the batches of the current epoch; Lightning reloads them every epoch."""
        phase = self._phase
        return TrainingBatches(self._slices, self._split.train, phase.batch, phase.augmentation, self._epoch_seed())

    def configure_optimizers(self) -> Any:
        """Return Adam, its decoupled decay on convolution and linear weights only, and the phase's schedule."""
        phase = self._phase
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": phase.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=phase.learning_rate, betas=(phase.beta1, BETA2), fused=True)
        if phase.schedule != ONE_CYCLE:
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            phase.learning_rate,
            total_steps=phase.epochs * steps_per_epoch(len(self._split.train), phase.batch),
            pct_start=WARMUP_SHARE,
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Seed dropout and start the clock."""
        torch.manual_seed(self._epoch_seed())
        self._outputs = []
        self._started = time.perf_counter()

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """Return the loss of one batch, and keep its predictions for the metrics at the end of the epoch."""
        images, labels = batch
        logits = self.network(images).float()
        loss = F.cross_entropy(logits, labels)
        self._outputs.append((loss.detach(), tumour_probability(logits.detach()), labels))
        return loss

    def on_train_epoch_end(self) -> None:
        """Append the epoch to the history: running scores on training slices, and scores on validation slices."""
        seconds = time.perf_counter() - self._started
        losses, probabilities, labels = zip(*self._outputs, strict=True)
        training = score(torch.cat(probabilities).cpu().numpy(), torch.cat(labels).cpu().numpy() > 0)
        validation = self._validate()
        entry = {
            "epoch": self.current_epoch + 1,
            "seconds": seconds,
            "slices_per_second": len(self._split.train) / seconds,
            "train_loss": float(torch.stack(losses).mean()),
            **{f"train_{name}": value for name, value in training.items() if value is not None},
            **{f"validation_{name}": value for name, value in validation.items() if value is not None},
        }
        self.history.append(entry)
        if self._phase.select == BEST and entry["validation_roc_auc"] > self._best:
            self._best = entry["validation_roc_auc"]
            self._kept = self._state()
        log.info(
            "epoch %d/%d: loss %.4f, accuracy %.4f; validation accuracy %.4f, ROC AUC %.4f; %.0f slices/s",
            *(entry["epoch"], self._phase.epochs, entry["train_loss"], entry["train_accuracy"]),
            *(entry["validation_accuracy"], entry["validation_roc_auc"], entry["slices_per_second"]),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the history and the selected weights to Lightning's state."""
        checkpoint["sparsemark"] = {"history": self.history, "kept": self._kept, "best": self._best}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` added."""
        own = checkpoint["sparsemark"]
        self.history, self._kept, self._best = own["history"], own["kept"], own["best"]

    def _epoch_seed(self) -> int:
        return int(np.random.SeedSequence([self._seed, self.current_epoch]).generate_state(1)[0])

    def _state(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def _validate(self) -> dict[str, float | None]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._phase.precision == BF16):
            probabilities = predict(self.network, self._slices, self._split.validation)
        return score(probabilities, self._slices.labels[self._split.validation])
