"""Recipe of a training, as a TOML file: the task, one table for training, one for fine-tuning after pruning.

A recipe may extend another one, whose fields it replaces one by one.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from models import NETWORKS
from sparsemark.errors import UserError
from sparsemark.files import convert_document
from sparsemark.references import nearest
from training.augmentation import AUGMENTATIONS
from training.device import BF16, FP32, native_precision
from training.initialization import INITIALIZATIONS
from training.split import BY_PATIENT, KINDS
from training.tasks import BOTH, CLASSIFICATION, TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

RECIPES = Path(__file__).parent / "recipes"

CONSTANT = "constant"
ONE_CYCLE = "one-cycle"
DEFAULT = "better"
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
        select: the epoch to keep: `last`, or `best` by a validation score (ROC AUC, or Dice where masks are learnt).
        precision: `32-true`, `bf16-mixed` for bfloat16 autocast, or `auto` for what the device computes natively.
        channels_last: memory format of the convolutions.
        half_resolution: share of the epochs, from the first on, that train and validate on images of half their height
            and width, in a quarter of the time.

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
    half_resolution: float = 0.0

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
        if not 0 <= self.half_resolution < 1:
            raise ValueError(f"half_resolution: {self.half_resolution!r}, expected a fraction in [0, 1)")

    @property
    def half_resolution_epochs(self) -> int:
        """Epochs at half size."""
        return int(self.half_resolution * self.epochs)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    train: Phase
    finetune: Phase
    network: str | None = None
    task: str = CLASSIFICATION
    split: str = BY_PATIENT
    theta: float | None = None
    separate: bool = False

    def __post_init__(self) -> None:
        """Check names, and that the weights of two losses are given where there are two."""
        for name, value, known in (
            ("network", self.network, NETWORKS),
            ("task", self.task, TASKS),
            ("split", self.split, KINDS),
        ):
            if value is not None and value not in known:
                raise ValueError(nearest(value, known, name))
        if self.theta is not None and not 0 <= self.theta <= 1:  # written so that NaN fails
            raise ValueError(f"theta: {self.theta!r}, expected a fraction in [0, 1]")
        if self.task != BOTH and (self.theta is not None or self.separate):
            raise ValueError(f"theta and separate: expected with task {BOTH!r} only, which has two losses")
        if self.task == BOTH and (self.theta is None) != self.separate:
            raise ValueError(f"task {BOTH!r}: expected either theta or separate = true")


class Recipe(_File, frozen=True, kw_only=True):
    """A recipe file, validated.

    Args:
        name: the file's stem.
        train: from new weights.
        finetune: after pruning.
        network: name of the one network that it is for, or None.
        task: a name in `training.tasks.TASKS`.
        split: `patient` or `slice`.
        theta: weight of the mask's loss in the joint loss of task `both`, or None.
        separate: each loss of task `both` has steps, in place of the joint loss.
    """

    name: str

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
        raise UserError(f"--recipe {name!r}: {nearest(name, _names(), 'recipe')}")
    file = convert_document(_extended(path), _File, str(path))
    fields = {field: getattr(file, field) for field in file.__struct_fields__}
    if epochs is not None:
        fields["train"] = with_epochs(file.train, epochs)
    return Recipe(name=path.stem, **fields)


def recipe_of(model: str) -> str:
    """Return the name of the recipe by which a network is trained where none is named: its own, or `better`."""
    return model if model in _names() else DEFAULT


def _names() -> list[str]:
    return [path.stem for path in RECIPES.glob("*.toml")]


def _extended(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the document of a recipe on top of the one that it extends."""
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error
    base = document.pop("extends", None)
    if base is None:
        return document
    below = RECIPES / f"{base}.toml"
    if base not in _names():
        raise UserError(f"{path}: extends: {nearest(str(base), _names(), 'recipe')}")
    if below in (*above, path):
        raise UserError(f"{path}: extends: {below.name} extends it in turn")
    return _merged(_extended(below, (*above, path)), document)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the fields of `own`, table by table."""
    merged = dict(base)
    for name, value in own.items():
        before = base.get(name)
        merged[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def with_epochs(phase: Phase, epochs: int) -> Phase:
    """Return a phase with another number of epochs.

    Raises:
        UserError: the number is below 1.
    """
    try:
        return msgspec.structs.replace(phase, epochs=epochs)
    except ValueError as error:
        raise UserError(str(error)) from error
