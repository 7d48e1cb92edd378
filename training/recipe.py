"""Recipe of a training, as a TOML file: one table for training, one for fine-tuning after pruning."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from sparsemark.errors import UserError
from sparsemark.files import convert_document
from sparsemark.references import nearest
from training.augmentation import AUGMENTATIONS
from training.device import BF16, FP32, native_precision
from training.initialization import INITIALIZATIONS

RECIPES = Path(__file__).parent / "recipes"

CONSTANT = "constant"
ONE_CYCLE = "one-cycle"
AUTO = "auto"
LAST = "last"
BEST = "best"
_CHOICES = {
    "schedule": (CONSTANT, ONE_CYCLE),
    "select": (LAST, BEST),
    "precision": (FP32, BF16, AUTO),
    "augmentation": tuple(AUGMENTATIONS),
    "initialization": tuple(INITIALIZATIONS),
}


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stretch of training.

    Args:
        epochs: passes over the training slices.
        learning_rate: of Adam (AdamW where there is weight decay); the peak where the schedule is one-cycle.
        batch: slices in a step.
        beta1: Adam's decay of the first moment, which the paper calls momentum.
        weight_decay: decoupled, on convolution and linear weights only.
        schedule: `constant` or `one-cycle`.
        augmentation: a name in `training.augmentation.AUGMENTATIONS`.
        initialization: a name in `training.initialization.INITIALIZATIONS`; fine-tuning starts from the weights given.
        select: the epoch to keep: `last`, or `best` by validation ROC AUC.
        precision: `32-true`, `bf16-mixed` for bfloat16 autocast, or `auto` for what the device computes natively.
        channels_last: memory format of the convolutions.

    Raises:
        ValueError: a value is out of range, or a name unknown.
    """

    epochs: int
    learning_rate: float
    batch: int = 32
    beta1: float = 0.9
    weight_decay: float = 0.0
    schedule: str = CONSTANT
    augmentation: str = "paper"
    initialization: str = "kaiming"
    select: str = LAST
    precision: str = FP32
    channels_last: bool = False

    def __post_init__(self) -> None:
        """Check ranges and names; msgspec adds the table to a ValueError, so it is none of ours here."""
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(nearest(value, known, name))
        for name in ("epochs", "batch", "learning_rate"):
            if not 0 < (value := getattr(self, name)) < math.inf:  # written so that NaN fails
                raise ValueError(f"{name}: {value!r}, expected a number above 0")
        if not 0 <= self.beta1 < 1:
            raise ValueError(f"beta1: {self.beta1!r}, expected a fraction in [0, 1)")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay: {self.weight_decay!r}, expected a number from 0")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    train: Phase
    finetune: Phase


class Recipe(msgspec.Struct, frozen=True):
    """A recipe file, validated."""

    name: str
    train: Phase
    finetune: Phase

    def on(self, device: str) -> Recipe:
        """Return the recipe with precision `auto` resolved for a device: what a header records and a rerun repeats."""
        phases = {
            name: msgspec.structs.replace(phase, precision=native_precision(device))
            for name in ("train", "finetune")
            if (phase := getattr(self, name)).precision == AUTO
        }
        return msgspec.structs.replace(self, **phases)

    def describe(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        described: dict[str, Any] = msgspec.to_builtins(self)
        return described


def load_recipe(name: str, epochs: int | None = None) -> Recipe:
    """Load a recipe by its name in `training/recipes` or by its path; `epochs` of training override the file's.

    Raises:
        UserError: naming the file, the field and what was expected.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        raise UserError(f"--recipe {name!r}: {nearest(name, (p.stem for p in RECIPES.glob('*.toml')), 'recipe')}")
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error
    file = convert_document(document, _File, str(path))
    return Recipe(path.stem, file.train if epochs is None else with_epochs(file.train, epochs), file.finetune)


def with_epochs(phase: Phase, epochs: int) -> Phase:
    """Return a phase with another number of epochs.

    Raises:
        UserError: the number is below 1.
    """
    try:
        return msgspec.structs.replace(phase, epochs=epochs)
    except ValueError as error:
        raise UserError(str(error)) from error
