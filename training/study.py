"""Task of the study: brain slices with or without a tumour, behind the functions that the harness calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from sparsemark.errors import UserError
from sparsemark.specs import Metric
from sparsemark.study.task import REPORT, SELECT
from training.batches import TrainingBatches
from training.data import load_slices
from training.device import choose_device
from training.initialization import initialize
from training.provenance import describe_data, describe_training
from training.recipe import load_recipe, with_epochs
from training.scoring import BATCH, THRESHOLD, score, tumour_probability
from training.slices import to_input
from training.split import BY_PATIENT, split_slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.batches import Batch
    from training.recipe import Recipe
    from training.slices import Slices
    from training.split import Split

DEFAULT_RECIPE = "better"


def open_task(
    model_name: str,
    seed: int,
    fold: int | None = None,
    data: str | Path | None = None,
    *,
    recipe: str = DEFAULT_RECIPE,
    split: str = BY_PATIENT,
    device: str = "auto",
    epochs: int | None = None,
) -> StudyTask:
    """Load the data, split them and read the recipe.

    Args:
        model_name: goes into the header of checkpoints.
        seed: of the split where there is no fold; goes into the header of checkpoints.
        fold: number of the patient fold to test, 0 to 4; None lets the seed draw the split.
        data: folder of the LGG set; None for the one that `LGG_DATA` names, or the phantom.
        recipe: a name in `training/recipes`, or a path.
        split: `patient`, or `slice` for the paper's leaky one.
        device: `auto`, `cpu` or `cuda`.
        epochs: of training, in place of the recipe's.

    Raises:
        UserError: one line that names the file or option and what was expected.
    """
    choose_device(device)
    if seed < 0:
        raise UserError(f"--seed {seed}: expected a whole number from 0")
    chosen = load_recipe(recipe, epochs).on(device)
    slices = load_slices(data)
    try:
        parts = split_slices(slices, split, seed, fold)
    except UserError as error:
        raise UserError(f"{data or slices.origin}: {error}") from error
    return StudyTask(model_name, slices, parts, recipe=chosen, seed=seed, device=device)


class StudyTask:
    """Classification of slices on one split: choices on validation slices, reports on test slices."""

    METRICS: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric(higher_is_better=True, tolerance=0.01),
        "f1": Metric(higher_is_better=True, tolerance=None),
        "recall": Metric(higher_is_better=True, tolerance=None),
        "precision": Metric(higher_is_better=True, tolerance=None),
        "roc_auc": Metric(higher_is_better=True, tolerance=None),
    }

    def __init__(
        self, model_name: str, slices: Slices, split: Split, *, recipe: Recipe, seed: int, device: str
    ) -> None:
        self.slices = slices
        self.split = split
        self._model_name = model_name
        self._recipe = recipe
        self._seed = seed
        self._device = device

    def images(self, part: str) -> NDArray[np.float32]:
        """Return the images of a part, float32 in [0, 1], shape (n, 3, 128, 128), contiguous."""
        images = to_input(self.slices.images[self._indices(part)])
        return np.ascontiguousarray(images.numpy())

    def score(self, outputs: Sequence[NDArray[Any]], part: str) -> dict[str, float]:
        """Score the logits in `outputs[0]`, shape (n, 2), against the labels of a part.

        Raises:
            UserError: the output has another shape, or is not finite.
        """
        scores = score(self._probabilities(outputs, part), self.slices.labels[self._indices(part)])
        # A split whose parts hold one class only is refused, so no score is None.
        return {name: value for name, value in scores.items() if value is not None}

    def per_group(self, outputs: Sequence[NDArray[Any]], part: str) -> dict[str, tuple[float, int]]:
        """Return each patient's accuracy and number of slices: slices of one patient depend on each other."""
        indices = self._indices(part)
        correct = (self._probabilities(outputs, part) > THRESHOLD) == self.slices.labels[indices]
        patients, owners = np.unique(np.asarray(self.slices.patients)[indices], return_inverse=True)
        slices = np.bincount(owners)
        hits = np.bincount(owners, weights=correct)
        return {str(patient): (float(h / n), int(n)) for patient, h, n in zip(patients, hits, slices, strict=True)}

    def batches(self, seed: int) -> Iterable[Batch]:
        """Return one epoch of training images and labels, shuffled, not augmented."""
        return TrainingBatches(self.slices, self.split.train, BATCH, None, seed)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the cross entropy of logits, shape (n, 2), and labels, shape (n,)."""
        return F.cross_entropy(outputs, targets)

    def train(self, module: torch.nn.Module, epochs: int | None, seed: int, work: Path) -> dict[str, Any]:
        """Train in place by a phase of the recipe; attached masks stay attached.

        Args:
            module: the network.
            epochs: of fine-tuning, from the weights given; None draws new weights and trains them by the recipe.
            seed: of new weights, order and augmentation.
            work: folder for what is needed to resume.

        Returns:
            `epochs`, with the scores of each epoch.
        """
        if epochs is None:
            phase = self._recipe.train
            initialize(module, phase.initialization, seed)
        else:
            phase = with_epochs(self._recipe.finetune, epochs)
        from training.loop import fit  # Lightning takes seconds to import, and a finished study does not train

        return {"epochs": fit(module, self.slices, self.split, phase, seed=seed, work=work, device=self._device)}

    def describe(self) -> dict[str, Any]:
        """Return the data in words, with caveat and key."""
        return describe_data(self.slices, self.split)

    def provenance(self) -> dict[str, Any]:
        """Return the rest of a checkpoint's header."""
        return describe_training(self._model_name, self._recipe, self.slices, self.split, seed=self._seed)

    def _indices(self, part: str) -> NDArray[np.intp]:
        return {SELECT: self.split.validation, REPORT: self.split.test}[part]

    def _probabilities(self, outputs: Sequence[NDArray[Any]], part: str) -> NDArray[np.float32]:
        logits = np.asarray(outputs[0], np.float32)
        expected = (len(self._indices(part)), 2)
        if logits.shape != expected:
            raise UserError(f"{self._model_name}: output of shape {logits.shape}; expected logits {expected}")
        if not np.isfinite(logits).all():
            raise UserError(f"{self._model_name}: output holds NaN or infinities; expected finite logits")
        probabilities: NDArray[np.float32] = tumour_probability(torch.from_numpy(logits)).numpy()
        return probabilities
