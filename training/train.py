"""Train a network of the study and write its checkpoint.

`python -m training.train --recipe better --data DIR --seed 0`

A recipe that is for one network names it, and the checkpoint is called after the recipe: `unet_head_theta20` is a way
to train `unet_head`. With any other recipe the checkpoint is called after the network.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import INPUT_SHAPE, NETWORKS
from sparsemark import paths
from sparsemark.cli import exits
from sparsemark.errors import UserError
from sparsemark.machine.locks import only_process
from sparsemark.networks.checkpoint import read_header
from sparsemark.report.progress import waiting
from sparsemark.specs import ModelSpec, Variant
from sparsemark.study.prepare import train_dense
from sparsemark.study.task import Task
from training.data import DATA_VARIABLE
from training.device import DEVICES
from training.recipe import DEFAULT, load_recipe, recipe_of
from training.split import BY_PATIENT, FOLDS, KINDS
from training.study import open_task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sparsemark.records.scores import DataNote

WORK = paths.WORK / "training"
MODEL = "cnn9"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, as `sparsemark.cli.exits` defines it; 2 where the input is wrong."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return exits.run("training.train", lambda: _train(options))


def _train(options: argparse.Namespace) -> int:
    recipe = options.recipe or recipe_of(options.model or MODEL)
    model = _model(options.model, recipe)
    variant = Variant(model, seed=options.seed, fold=options.fold)
    path, work = paths.checkpoint(options.out, variant.name), WORK / variant.name
    study = open_task(
        model.name,
        options.seed,
        options.fold,
        options.data,
        recipe=recipe,
        split=options.split,
        device=options.device,
        epochs=options.epochs,
    )
    task = Task(study, "training.study")
    print(f"{task.note.words}{study.slices.passed_over}")  # noqa: T201 - a command
    _check_unlike(path, task.note, recipe=study.recipe.describe())
    with only_process(paths.lock(work), f"training.train of {variant.name}"), _progress(variant.name):
        train_dense(variant, task, path, work)
    print(f"{summarise(read_header(path).provenance)}\n{path}")  # noqa: T201 - a command
    return 0


def _check_unlike(path: Path, data: DataNote, *, recipe: dict[str, Any]) -> None:
    """Check that no checkpoint of other data or another recipe would be overwritten.

    Raises:
        UserError: there is one, or a file that is no checkpoint.
    """
    if not path.exists():
        return
    made = read_header(path).provenance
    differences = [
        name
        for name, one, other in (("data", made.get("key"), data.key), ("recipe", made.get("recipe"), recipe))
        if one != other
    ]
    if differences:
        raise UserError(
            f"{path}: holds a network of other {' and '.join(differences)} ({made.get('data', 'unknown images')}); "
            "expected another folder with --out, or that you delete it"
        )


@contextmanager
def _progress(name: str) -> Iterator[None]:
    """Write lines where there is no terminal; on one, Lightning shows its own bar."""
    if sys.stderr.isatty():
        yield
        return
    with waiting(f"training {name}"):
        yield


def _model(network: str | None, recipe_name: str) -> ModelSpec:
    """Return the network, under the name of its checkpoint.

    Raises:
        UserError: the recipe is for another network.
    """
    recipe = load_recipe(recipe_name)
    if recipe.network is None:
        name = network or MODEL
        return ModelSpec(name, NETWORKS[name], INPUT_SHAPE)
    if network not in (None, recipe.network):
        raise UserError(f"--recipe {recipe_name}: for {recipe.network}; expected with --model {network} another recipe")
    if recipe.name in NETWORKS and recipe.name != recipe.network:
        raise UserError(
            f"--recipe {recipe_name}: for {recipe.network}, called like {recipe.name}; expected another name"
        )
    return ModelSpec(recipe.name, NETWORKS[recipe.network], INPUT_SHAPE)


def summarise(provenance: Mapping[str, Any]) -> str:
    """Format the scores of a training in a few lines, with those of the baselines on the same slices."""
    last = provenance["history"]["epochs"][-1]
    speeds = [epoch["slices_per_second"] for epoch in provenance["history"]["epochs"]]
    scores = provenance["scores"]
    validated = [f"{name} {last[key]:.4f}" for name in scores if (key := f"validation_{name}") in last]
    lines = [
        f"{statistics.median(speeds):.0f} training slices per second, the median over {len(speeds)} epochs",
        f"validation, last epoch: {', '.join(validated)}",
        f"test, with bootstrap by patient: {', '.join(map(_written, scores, scores.values()))}",
    ]
    for name, baseline in provenance["baselines"].items():
        test = baseline["test"]
        lines.append(f"test, {name} baseline: accuracy {test['accuracy']:.4f}, ROC AUC {test['roc_auc']:.4f}")
    return "\n".join(lines)


def _written(name: str, score: Mapping[str, Any]) -> str:
    interval = "" if score["low"] is None else f" ({score['low']:.4f} to {score['high']:.4f})"
    return f"{name} {score['value']:.4f}{interval}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="training.train", description="Train a network of the study and write its checkpoint."
    )
    parser.add_argument(
        "--recipe", help=f"name in training/recipes, or path (the one called like the model, or {DEFAULT})"
    )
    parser.add_argument("--data", help=f"folder of the LGG set; else {DATA_VARIABLE}, else a generated phantom")
    parser.add_argument(
        "--seed", type=int, default=0, help="of weights, order, and the split without a fold (%(default)s)"
    )
    parser.add_argument("--out", type=Path, default=paths.WEIGHTS, help="folder of the checkpoint (%(default)s)")
    parser.add_argument("--model", choices=NETWORKS, help=f"network (the recipe's, or {MODEL})")
    parser.add_argument("--split", choices=KINDS, help=f"slice leaks (the recipe's, or {BY_PATIENT})")
    parser.add_argument("--fold", type=int, help=f"test this fold of the patients, 0 to {FOLDS - 1}")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    parser.add_argument("--epochs", type=int, help="of training, in place of the recipe's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
