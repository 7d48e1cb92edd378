"""Task of the study: brain slices, their tumours and masks, behind the functions that the harness calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sparsemark.errors import UserError
from sparsemark.networks.outputs import output_tensors
from sparsemark.study.task import REPORT, SELECT
from training.batches import TrainingBatches
from training.data import load_slices
from training.device import choose_device
from training.initialization import initialize
from training.prediction import BATCH
from training.provenance import describe_data, describe_training
from training.recipe import load_recipe, recipe_of, with_epochs
from training.slices import to_input
from training.split import split_slices
from training.tasks import EQUAL, TASKS
from training.tasks.base import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.specs import Metric
    from training.batches import Batch
    from training.recipe import Phase, Recipe
    from training.slices import Slices
    from training.split import Split
    from training.tasks.base import PatientScores, PerSlice, SliceTask


def open_task(
    model_name: str,
    seed: int,
    fold: int | None = None,
    data: str | Path | None = None,
    *,
    recipe: str | None = None,
    split: str | None = None,
    device: str = "auto",
    epochs: int | None = None,
) -> StudyTask:
    """Load the data, split them and read the recipe.

    Args:
        model_name: goes into the header of checkpoints.
        seed: of the split where there is no fold; goes into the header of checkpoints.
        fold: number of the patient fold to test, 0 to 4; None lets the seed draw the split.
        data: folder of the LGG set; None for the one that `LGG_DATA` names, or the phantom.
        recipe: a name in `training/recipes`, or a path; None for the one that is called like the model, or `better`.
        split: `patient`, or `slice` for the paper's leaky one; None for what the recipe says.
        device: `auto`, `cpu` or `cuda`.
        epochs: of training, in place of the recipe's.

    Raises:
        UserError: one line that names the file or option and what was expected.
    """
    choose_device(device)
    if seed < 0:
        raise UserError(f"--seed {seed}: expected a whole number from 0")
    chosen = load_recipe(recipe or recipe_of(model_name), epochs).on(device)
    slices = load_slices(data)
    try:
        parts = split_slices(slices, split or chosen.split, seed, fold)
    except UserError as error:
        where = data or slices.origin
        raise UserError(f"{where}: {error}" if fold is None else f"{error} ({where})") from error
    return StudyTask(model_name, slices, parts, recipe=chosen, seed=seed, device=device)


class StudyTask:
    """A task of a recipe on one split: choices on validation slices, reports on test slices."""

    def __init__(
        self, model_name: str, slices: Slices, split: Split, *, recipe: Recipe, seed: int, device: str
    ) -> None:
        self.slices = slices
        self.split = split
        self.task: SliceTask = task_of(recipe)
        self._model_name = model_name
        self.recipe = recipe
        self._seed = seed
        self._device = device

    @property
    def METRICS(self) -> Mapping[str, Metric]:  # noqa: N802 - the harness's name
        """Metrics of the task, the headline first."""
        return self.task.metrics

    def images(self, part: str) -> NDArray[np.float32]:
        """Return the images of a part, float32 in [0, 1], shape (n, 3, 128, 128), contiguous."""
        images = to_input(self.slices.images[self._indices(part)])
        return np.ascontiguousarray(images.numpy())

    def score(self, outputs: Sequence[NDArray[Any]], part: str) -> dict[str, float]:
        """Score a network's logits against labels and masks of a part.

        Raises:
            UserError: the outputs have other shapes, or are not finite.
        """
        scores = self.task.score(self._summary(outputs, part), self._patients(part))
        # A split whose parts hold one class only is refused, so no score is None.
        return {name: value for name, value in scores.items() if value is not None}

    def per_group(self, outputs: Sequence[NDArray[Any]], part: str) -> PatientScores:
        """Return each patient's scores with their weights: slices of one patient depend on each other."""
        return self.task.by_patient(self._summary(outputs, part), self._patients(part))

    def batches(self, seed: int) -> Iterable[Batch]:
        """Return one epoch of training images and targets, shuffled, not augmented."""
        return TrainingBatches(self.slices, self.split.train, self.task, batch=BATCH, augmentation=None, seed=seed)

    def loss(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Return the weighted sum of the task's losses."""
        return total(self.task.losses(output_tensors(outputs), targets))

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
            phase = self.recipe.train
            initialize(module, phase.initialization, seed)
        else:
            phase = with_epochs(self.recipe.finetune, epochs)
        try:
            history = self._fit(module, phase, seed, work)
        except UserError as error:
            raise UserError(f"{self._model_name}, recipe {self.recipe.name}: {error}") from error
        return {"epochs": history}

    def _fit(self, module: torch.nn.Module, phase: Phase, seed: int, work: Path) -> list[dict[str, Any]]:
        from training.loop import fit  # Lightning takes seconds to import, and a finished study does not train

        return fit(
            module,
            self.task,
            self.slices,
            self.split,
            phase,
            seed=seed,
            work=work,
            device=self._device,
            separate=self.recipe.separate,
        )

    def describe(self) -> dict[str, Any]:
        """Return the data in words, with caveat and key."""
        return describe_data(self.slices, self.split, with_masks=self.task.uses_masks)

    def provenance(self) -> dict[str, Any]:
        """Return the rest of a checkpoint's header."""
        return describe_training(self._model_name, self.recipe, self.slices, self.split, seed=self._seed)

    def _indices(self, part: str) -> NDArray[np.intp]:
        return {SELECT: self.split.validation, REPORT: self.split.test}[part]

    def _patients(self, part: str) -> list[str]:
        return [self.slices.patients[i] for i in self._indices(part)]

    def _summary(self, outputs: Sequence[NDArray[Any]], part: str) -> PerSlice:
        indices = self._indices(part)
        targets = self.task.targets(self.slices.labels[indices], self.slices.masks[indices])
        try:
            return self.task.summarise(
                [torch.from_numpy(np.asarray(output, np.float32)) for output in outputs], targets
            )
        except UserError as error:
            raise UserError(f"{self._model_name}: {error}") from error


def task_of(recipe: Recipe) -> SliceTask:
    """Return the task of a recipe."""
    return TASKS[recipe.task](EQUAL if recipe.theta is None else recipe.theta)
