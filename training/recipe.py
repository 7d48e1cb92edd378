"""How a network is trained, as a TOML file: one table for training, one for fine-tuning after pruning."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from sparsemark.errors import UserError
from sparsemark.references import nearest
from training.augmentation import AUGMENTATIONS
from training.initialization import INITIALIZATIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

RECIPES = Path(__file__).parent / "recipes"

_TABLES = ("train", "finetune")
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}

CONSTANT = "constant"
ONE_CYCLE = "one-cycle"
BF16 = "bf16-mixed"
LAST = "last"
BEST = "best"
_CHOICES = {
    "schedule": (CONSTANT, ONE_CYCLE),
    "select": (LAST, BEST),
    "precision": ("32-true", BF16),
    "augmentation": tuple(AUGMENTATIONS),
    "initialization": tuple(INITIALIZATIONS),
}


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Args:
        epochs: passes over the training slices.
        learning_rate: of Adam (AdamW where there is weight decay); the peak where the schedule is one-cycle.
        batch: slices in a step.
        beta1: Adam's decay of the first moment, which the paper calls momentum.
        weight_decay: decoupled, on convolution and linear weights only.
        schedule: `constant` or `one-cycle`.
        augmentation: a name in `training.augmentation.AUGMENTATIONS`.
        initialization: a name in `training.initialization.INITIALIZATIONS`; fine-tuning starts from what it is given.
        select: the epoch to keep: `last`, or `best` by validation ROC AUC.
        precision: `32-true`, or `bf16-mixed` for bfloat16 autocast.
        channels_last: memory format of the convolutions.
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
    precision: str = "32-true"
    channels_last: bool = False

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise UserError(nearest(str(value), known, name))
        for name in ("epochs", "batch", "learning_rate"):
            if not 0 < (value := getattr(self, name)) < math.inf:  # written so that NaN fails
                raise UserError(f"{name}: {value!r}; expected a number above 0")
        if not 0 <= self.beta1 < 1:
            raise UserError(f"beta1: {self.beta1!r}; expected a fraction in [0, 1)")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"weight_decay: {self.weight_decay!r}; expected a number from 0")


@dataclass(frozen=True)
class Recipe:
    """A recipe file, validated."""

    name: str
    train: Phase
    finetune: Phase

    def describe(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return dataclasses.asdict(self)


def load_recipe(name: str, epochs: int | None = None) -> Recipe:
    """Read a recipe by its name in `training/recipes` or by its path; `epochs` of training override the file's.

    Raises:
        UserError: naming the file, the field and what was expected.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        raise UserError(f"--recipe {name!r}: {nearest(name, (p.stem for p in RECIPES.glob('*.toml')), 'recipe')}")
    try:
        document = tomllib.loads(path.read_text())
        _check_fields(document, _TABLES, "table")
        train, finetune = (_phase(table, document.get(table)) for table in _TABLES)
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{path}: {error}") from error
    return Recipe(path.stem, train if epochs is None else dataclasses.replace(train, epochs=epochs), finetune)


def _phase(table: str, values: Any) -> Phase:
    if not isinstance(values, dict):
        raise UserError(f"{table}: missing; expected a table [{table}]")
    kinds = get_type_hints(Phase)
    _check_fields(values, kinds, f"field of {table}")
    for name, value in values.items():
        accepted = (int, float) if kinds[name] is float else (kinds[name],)
        if not isinstance(value, accepted) or isinstance(value, bool) != (kinds[name] is bool):
            raise UserError(f"{table}.{name}: {value!r}; expected {_WORDS[kinds[name]]}")
    for name in ("epochs", "learning_rate"):
        if name not in values:
            raise UserError(f"{table}.{name}: missing; expected {_WORDS[kinds[name]]}")
    try:
        return Phase(**values)
    except UserError as error:
        raise UserError(f"{table}.{error}") from error


def _check_fields(found: Iterable[str], known: Collection[str], kind: str) -> None:
    for name in found:
        if name not in known:
            raise UserError(nearest(name, known, kind))
