"""How a network is trained, as a TOML file: one table for training, one for fine-tuning after pruning."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsemark.errors import UserError
from sparsemark.references import nearest
from training.augmentation import AUGMENTATIONS
from training.initialization import INITIALIZATIONS

RECIPES = Path(__file__).parent / "recipes"

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
        label_smoothing: share of the target given to the other class.
        localization: weight of the auxiliary loss on where the tumour is; 0 leaves it out.
        average: decay per step of an exponential moving average of the weights, which is then what is kept; 0 leaves it out.
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
    label_smoothing: float = 0.0
    localization: float = 0.0
    average: float = 0.0
    augmentation: str = "paper"
    initialization: str = "kaiming"
    select: str = LAST
    precision: str = "32-true"
    channels_last: bool = False

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise UserError(f"{name}: {nearest(str(value), known, 'value')}")
        if self.epochs < 1 or self.batch < 1 or self.learning_rate <= 0:
            raise UserError("epochs, batch and learning_rate: expected positive numbers")
        if not all(0 <= getattr(self, name) < 1 for name in ("beta1", "label_smoothing", "average")):
            raise UserError("beta1, label_smoothing and average: expected fractions in [0, 1)")


@dataclass(frozen=True)
class Recipe:
    """A recipe file, validated."""

    name: str
    train: Phase
    finetune: Phase

    def describe(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return dataclasses.asdict(self)


def load_recipe(name: str) -> Recipe:
    """Read a recipe by its name in `training/recipes` or by its path.

    Raises:
        UserError: naming the file, the field and what was expected.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        raise UserError(f"--recipe {name!r}: {nearest(name, (p.stem for p in RECIPES.glob('*.toml')), 'recipe')}")
    try:
        document = tomllib.loads(path.read_text())
        unknown = set(document) - {"train", "finetune"}
        if unknown:
            raise UserError(f"{min(unknown)}: not a table of a recipe; expected train and finetune")
        return Recipe(path.stem, _phase(document["train"]), _phase(document["finetune"]))
    except (UserError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: {error}") from error
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]}: missing") from error
    except TypeError as error:
        raise UserError(f"{path}: a field is missing or of another type: {error}") from error


def _phase(table: dict[str, Any]) -> Phase:
    known = [field.name for field in dataclasses.fields(Phase)]
    for name in table:
        if name not in known:
            raise UserError(nearest(name, known, "field"))
    return Phase(**table)
