"""Provenance of a training, for a checkpoint's header, as JSON values."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sparsemark.files import key_of
from training.data import describe_source

if TYPE_CHECKING:
    from training.recipe import Recipe
    from training.slices import Slices
    from training.split import Split

LIBRARIES = ("torch", "lightning", "torchmetrics", "albumentations", "numpy")


def describe_data(slices: Slices, split: Split, *, with_masks: bool = False) -> dict[str, Any]:
    """Return the data in words, their caveat, and a key of pixels, labels, patients and split (no seed, no recipe).

    Masks are part of the key of a task that learns them.
    """
    masks = (slices.masks_digest,) if with_masks else ()
    return {
        "data": describe_source(slices, split),
        "caveat": slices.caveat or split.caveat,
        "key": key_of(slices.digest, split.describe(slices), *masks),
    }


def describe_training(model_name: str, recipe: Recipe, slices: Slices, split: Split, *, seed: int) -> dict[str, Any]:
    """Return recipe, data, split with its lists of patients, fitted baselines with their test scores, and versions."""
    from training.baselines import (  # torchmetrics, which a finished study can spare
        baseline_groups,
        fit_baselines,
        score_baselines,
    )

    baselines = fit_baselines(slices, split.train)
    scores, groups = (of(baselines, slices, split.test) for of in (score_baselines, baseline_groups))
    return {
        "model": model_name,
        "recipe": recipe.describe(),
        "seed": seed,
        "fold": split.fold,
        "hash": slices.digest,
        "slices": len(slices),
        "patients": len(slices.patient_ids),
        "split": split.describe(slices),
        "baselines": {
            name: {**fitted, "test": scores[name], "groups": groups[name]} for name, fitted in baselines.items()
        },
        "origin": f"trained on the {slices.origin}",
        "versions": {name: version(name) for name in LIBRARIES},
    }
