"""What a checkpoint's header says about its training, as JSON values."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from training.baselines import fit_baselines, score_baselines
from training.data import describe_source

if TYPE_CHECKING:
    from training.recipe import Recipe
    from training.slices import Slices
    from training.split import Split

LIBRARIES = ("torch", "lightning", "torchmetrics", "albumentations", "numpy")


def describe_training(model_name: str, recipe: Recipe, slices: Slices, split: Split, *, seed: int) -> dict[str, Any]:
    """Recipe, data, split with its lists of patients, fitted baselines with their test scores, versions."""
    baselines = fit_baselines(slices, split.train)
    scores = score_baselines(baselines, slices, split.test)
    return {
        "model": model_name,
        "recipe": recipe.describe(),
        "seed": seed,
        "data": {
            "source": describe_source(slices, split),
            "hash": slices.digest,
            "slices": len(slices),
            "patients": len(slices.patient_ids),
            "split": split.words,
        },
        "split": split.describe(slices),
        "baselines": {name: {**fitted, "test": scores[name]} for name, fitted in baselines.items()},
        "origin": f"trained on the {slices.origin}",
        "versions": {name: version(name) for name in LIBRARIES},
    }
