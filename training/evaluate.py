"""Evaluate a checkpoint on every patient of a folder.

`python -m training.evaluate CHECKPOINT --data DIR --json OUT`
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models import NETWORKS
from sparsemark.cli import exits
from sparsemark.errors import UserError
from sparsemark.files import write_atomically
from sparsemark.networks.checkpoint import load_checkpoint, read_header
from sparsemark.references import nearest
from sparsemark.report.progress import waiting
from training.baselines import score_baselines
from training.data import DATA_VARIABLE, load_slices
from training.prediction import summarise_slices
from training.slices import SIZE
from training.split import BY_PATIENT, BY_SLICE
from training.tasks import CLASSIFICATION, EQUAL, TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.networks.checkpoint import Checkpoint, Header
    from training.slices import Slices
    from training.tasks.base import SliceTask


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, as `sparsemark.cli.exits` defines it; 2 where the input is wrong."""
    options = _parser().parse_args(arguments)
    return exits.run("training.evaluate", lambda: _evaluate(options))


def _evaluate(options: argparse.Namespace) -> int:
    checkpoint = load_checkpoint(options.checkpoint)
    slices = load_slices(options.data)
    if options.never_validated:
        others = [read_header(path) for path in options.never_validated]
        slices = _only(untouched(checkpoint.header, others), slices, options)
    with waiting(f"evaluating {checkpoint.variant.name}"):
        report = evaluate(checkpoint, slices)
    if options.json:
        write_atomically(options.json, f"{json.dumps(report, indent=1, allow_nan=False)}\n".encode())
    print(summarise(checkpoint, slices, report))  # noqa: T201 - a command
    return 0


def _only(patients: Sequence[str], slices: Slices, options: argparse.Namespace) -> Slices:
    kept = slices.only(patients)
    if not len(kept):
        where = options.data or slices.origin
        raise UserError(f"{options.checkpoint}: none of its {len(patients)} untouched test patients is in {where}")
    return kept


def evaluate(checkpoint: Checkpoint, slices: Slices) -> dict[str, Any]:
    """Score all slices together, and each patient's alone, in float32, by the task that the network was trained for.

    A score is None where the slices cannot show it: `roc_auc` of one class, Dice without a tumour. `seen_in_training`
    counts patients whose slices the network was trained on. `baselines` are those fitted on the training patients,
    where the header has them.

    Raises:
        UserError: the network takes images of another size, or its factory is missing.
    """
    model = checkpoint.variant.model
    if model.reference not in NETWORKS.values():
        # What code runs is never a file's to say.
        raise UserError(f"{model.name}: header.model.reference is {model.reference!r}; expected a network of models/")
    if model.input_shape[1:] != (3, SIZE, SIZE):
        raise UserError(f"{model.name}: input {model.input_shape}; expected 3 x {SIZE} x {SIZE} images")
    task = task_of(checkpoint)
    everything = np.arange(len(slices))
    network = checkpoint.build()
    try:
        table = summarise_slices(network, task, slices, everything)
    except UserError as error:
        raise UserError(f"{checkpoint.variant.name}: {error}") from error
    patients = {}
    for patient in slices.patient_ids:
        own = slices.of([patient])
        scores = task.score({name: values[own] for name, values in table.items()}, [patient] * len(own))
        patients[patient] = {**scores, "slices": len(own)}
    baselines = checkpoint.provenance.get("baselines")
    return {
        "overall": {
            **task.score(table, slices.patients),
            "slices": len(slices),
            "patients": len(patients),
        },
        "patients": patients,
        "baselines": score_baselines(baselines, slices, everything) if baselines else {},
        "seen_in_training": len(_trained_on(checkpoint.provenance, slices)),
        "trained_on": checkpoint.provenance.get("data"),
        "source": slices.origin,
        "data_hash": slices.digest,
    }


def task_of(checkpoint: Checkpoint) -> SliceTask:
    """Return the task that a network was trained for: classification where its header does not say.

    Raises:
        UserError: the header names a task that is not known.
    """
    recipe = checkpoint.provenance.get("recipe")
    name = recipe.get("task", CLASSIFICATION) if isinstance(recipe, dict) else CLASSIFICATION
    if str(name) not in TASKS:
        where = f"{checkpoint.variant.name}: header.provenance.recipe.task"
        raise UserError(f"{where}: {nearest(str(name), TASKS, 'task')}")
    return TASKS[name](EQUAL)


def untouched(header: Header, others: Sequence[Header]) -> list[str]:
    """Return the test patients of a network that are validation patients of none of the others.

    Recipes are chosen on the validation patients of all seeds. Where each seed draws its own split, some of those are
    test patients of another seed.

    Raises:
        UserError: a network was not split by patient, or no patient is left.
    """
    for network in (header, *others):
        kind = network.provenance.get("split", {}).get("kind")
        if kind != BY_PATIENT:
            raise UserError(f"{network.variant.name}: split by {kind or 'nothing'}; expected one by patient")
    validated = {patient for other in others for patient in other.provenance["split"]["validation"]}
    left = [patient for patient in header.provenance["split"]["test"] if patient not in validated]
    if not left:
        raise UserError(f"{header.variant.name}: every test patient is a validation patient of another network")
    return left


def summarise(checkpoint: Checkpoint, slices: Slices, report: Mapping[str, Any]) -> str:
    """Format the report of `evaluate` in a few lines."""
    overall = report["overall"]
    trained_on = checkpoint.provenance.get("data", "unknown images")
    lines = [
        f"{checkpoint.variant.name} on {overall['slices']} slices of {overall['patients']} patients: {slices.origin}"
        f"{slices.passed_over}",
        f"trained on {trained_on}",
        _line("network", overall),
        *(_line(f"{name} baseline", scores) for name, scores in report["baselines"].items()),
    ]
    if report["seen_in_training"]:
        lines.append(f"{report['seen_in_training']} of these patients were trained on: no estimate for new ones")
    return "\n".join(lines)


def _line(name: str, scores: Mapping[str, float | None]) -> str:
    shown = (
        f"{key} -" if value is None else f"{key} {value:.4f}"
        for key, value in scores.items()
        if key not in ("slices", "patients")
    )
    return f"{name}: {', '.join(shown)}"


def _trained_on(provenance: Mapping[str, Any], slices: Slices) -> set[str]:
    split = provenance.get("split", {})
    if split.get("kind") == BY_SLICE:
        # The header lists slices, not patients: no patient of that set is certain to be new.
        return set(slices.patient_ids) if provenance["hash"] == slices.digest else set()
    return set(split.get("train", ())).intersection(slices.patient_ids)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="training.evaluate", description="Evaluate a checkpoint on every patient of a folder."
    )
    parser.add_argument("checkpoint", type=Path, help="file written by training.train or sparsemark run")
    parser.add_argument("--data", help=f"folder of the LGG set; else {DATA_VARIABLE}, else a generated phantom")
    parser.add_argument(
        "--never-validated",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT",
        help="only its test patients that were validation patients of none of these",
    )
    parser.add_argument("--json", type=Path, help="file for all scores, overall and by patient")
    return parser


if __name__ == "__main__":
    sys.exit(main())
