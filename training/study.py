"""The study's hook: data, split and recipe behind the harness's `Trainer` protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from sparsemark.errors import UserError
from training.data import describe_source, load_slices
from training.initialization import initialize
from training.loop import choose_device, fit
from training.provenance import describe_training
from training.recipe import load_recipe
from training.scoring import THRESHOLD, bootstrap_accuracy, predict, score
from training.slices import to_input
from training.split import BY_PATIENT, split_slices

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from training.recipe import Recipe
    from training.slices import Slices
    from training.split import Split

DEFAULT_RECIPE = "better"
RECALIBRATION_BATCH = 64


def open_trainer(
    model_name: str,
    seed: int,
    data: str | Path | None = None,
    *,
    recipe: str = DEFAULT_RECIPE,
    split: str = BY_PATIENT,
    device: str = "auto",
    epochs: int | None = None,
) -> StudyTrainer:
    """Open the data, split them and read the recipe.

    Args:
        model_name: goes into the header of checkpoints.
        seed: of split, initial weights and order of the data.
        data: folder of the LGG set; None for the one that `LGG_DATA` names, or the phantom.
        recipe: a name in `training/recipes`, or a path.
        split: `patient`, or `slice` for the paper's leaky one.
        device: `auto`, `cpu` or `cuda`.
        epochs: of training, in place of the recipe's.

    Raises:
        UserError: one line that names the file or option and what was expected.
    """
    choose_device(device)
    chosen = load_recipe(recipe, epochs)
    slices = load_slices(data)
    try:
        parts = split_slices(slices, split, seed)
    except UserError as error:
        raise UserError(f"{data or slices.origin}: {error}") from error
    return StudyTrainer(model_name, slices, parts, recipe=chosen, seed=seed, device=device)


class StudyTrainer:
    """Train, recalibrate, fine-tune and evaluate networks on one split of one set of slices."""

    def __init__(
        self, model_name: str, slices: Slices, split: Split, *, recipe: Recipe, seed: int, device: str
    ) -> None:
        self.slices = slices
        self.split = split
        self.source = describe_source(slices, split)
        self.provenance: Mapping[str, Any] = describe_training(model_name, recipe, slices, split, seed=seed)
        self._recipe = recipe
        self._seed = seed
        self._device = device

    def has_trained(self, provenance: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with this header was trained on these very images and this split."""
        own = self.provenance
        return bool(
            provenance.get("data", {}).get("hash") == own["data"]["hash"] and provenance.get("split") == own["split"]
        )

    def test_images(self) -> NDArray[np.float32]:
        """Test images, float32 in [0, 1], shape (n, 3, 128, 128), contiguous."""
        images = to_input(self.slices.images[self.split.test])
        return np.ascontiguousarray(images.numpy())

    def train(self, module: nn.Module, work: Path) -> Mapping[str, Any]:
        """Draw new weights and fit them in place; `epochs` of the history holds one entry each."""
        phase = self._recipe.train
        initialize(module, phase.initialization, self._seed)
        return {"epochs": fit(module, self.slices, self.split, phase, seed=self._seed, work=work, device=self._device)}

    def finetune(self, module: nn.Module, work: Path) -> Mapping[str, Any]:
        """Train in place from the weights given, under the recipe's fine-tuning phase; attached masks stay attached."""
        phase = self._recipe.finetune
        return {"epochs": fit(module, self.slices, self.split, phase, seed=self._seed, work=work, device=self._device)}

    def recalibrate(self, module: nn.Module) -> None:
        """Estimate BatchNorm's statistics again, in place, as the mean over batches of training images as they are.

        Only BatchNorm is put in training mode, so no dropout disturbs the estimate. A last, smaller batch is left out
        where there are others, since it would count as much as they do.
        """
        norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        momenta = [layer.momentum for layer in norms]
        module.eval()
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # torch's name for a cumulative mean
            layer.train()
        device = next(module.parameters()).device
        # Shuffled: a batch of one patient's slices would understate the variance.
        order = np.random.default_rng(self._seed).permutation(self.split.train)
        whole = max(len(order) // RECALIBRATION_BATCH, 1)
        with torch.no_grad():
            for batch in range(whole):
                chosen = order[batch * RECALIBRATION_BATCH : (batch + 1) * RECALIBRATION_BATCH]
                module(to_input(self.slices.images[chosen]).to(device))
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        module.eval()

    def evaluate(self, module: nn.Module) -> Mapping[str, float]:
        """Metrics on the test slices in float32, with the 95 % interval of accuracy by patient."""
        test = self.split.test
        probabilities = predict(module, self.slices, test)
        labels = self.slices.labels[test]
        correct = (probabilities > THRESHOLD) == labels
        low, high = bootstrap_accuracy(correct, [self.slices.patients[i] for i in test])
        # A split whose parts hold one class only is refused, so no score is None.
        scores = {name: value for name, value in score(probabilities, labels).items() if value is not None}
        return scores | {"accuracy_low": low, "accuracy_high": high}
