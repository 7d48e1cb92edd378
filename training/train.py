"""Train a network of the study and write its checkpoint.

`python -m training.train --recipe better --data DIR --seed 0`
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import INPUT_SHAPE, NETWORKS
from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.specs import ModelSpec, Variant
from sparsemark.study.prepare import train
from training.data import DATA_VARIABLE
from training.loop import DEVICES
from training.split import BY_PATIENT, KINDS
from training.study import DEFAULT_RECIPE, open_trainer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WORK = paths.WORK / "training"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 after one line on standard error where the input is wrong."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    variant = Variant(ModelSpec(options.model, NETWORKS[options.model], INPUT_SHAPE), seed=options.seed)
    path = paths.checkpoint(options.out, variant.name)
    try:
        trainer = open_trainer(
            options.model,
            options.seed,
            options.data,
            recipe=options.recipe,
            split=options.split,
            device=options.device,
            epochs=options.epochs,
        )
        print(f"{trainer.source}\n{trainer.slices.ignored} other files ignored")  # noqa: T201 - a command
        train(variant, trainer, path, WORK / variant.name)
        print(f"{summarise(load_checkpoint(path).provenance)}\n{path}")  # noqa: T201 - a command
    except UserError as error:
        print(f"training.train: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 2
    return 0


def summarise(provenance: Mapping[str, Any]) -> str:
    """Say in a few lines what a training gave, beside the baselines on the same slices."""
    last = provenance["history"]["epochs"][-1]
    speeds = [epoch["slices_per_second"] for epoch in provenance["history"]["epochs"]]
    test = provenance["metrics"]["trained"]
    lines = [
        f"{statistics.median(speeds):.0f} training slices per second, the median over {len(speeds)} epochs",
        f"validation, last epoch: accuracy {last['validation_accuracy']:.4f}, ROC AUC {last['validation_roc_auc']:.4f}",
        f"test: accuracy {test['accuracy']:.4f} ({test['accuracy_low']:.4f} to {test['accuracy_high']:.4f}, bootstrap "
        f"by patient), F1 {test['f1']:.4f}, ROC AUC {test['roc_auc']:.4f}",
    ]
    for name, baseline in provenance["baselines"].items():
        scores = baseline["test"]
        lines.append(f"test, {name} baseline: accuracy {scores['accuracy']:.4f}, ROC AUC {scores['roc_auc']:.4f}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="training.train", description="Train a network of the study and write its checkpoint."
    )
    parser.add_argument("--recipe", default=DEFAULT_RECIPE, help="name in training/recipes, or path (%(default)s)")
    parser.add_argument("--data", help=f"folder of the LGG set; else {DATA_VARIABLE}, else a generated phantom")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and order (%(default)s)")
    parser.add_argument("--out", type=Path, default=paths.WEIGHTS, help="folder of the checkpoint (%(default)s)")
    parser.add_argument("--model", choices=NETWORKS, default="cnn9", help="network (%(default)s)")
    parser.add_argument("--split", choices=KINDS, default=BY_PATIENT, help="slice leaks (%(default)s)")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    parser.add_argument("--epochs", type=int, help="of training, in place of the recipe's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
