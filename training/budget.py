"""Time that the networks of a study took to train, and what those without a checkpoint will take on this machine.

`python -m training.budget bench/paper.toml --data DIR`
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import read_header
from sparsemark.networks.factory import build_model
from sparsemark.networks.outputs import output_tensors
from sparsemark.records.epochs import epochs_of
from sparsemark.study.file import load_study
from training.batches import TrainingBatches
from training.data import DATA_VARIABLE
from training.device import BF16
from training.gradients import gradients
from training.loop import memory_kept
from training.prediction import BATCH, summarise_slices
from training.study import open_task
from training.tasks.base import total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sparsemark.specs import ModelSpec, Variant
    from sparsemark.study.file import Study
    from training.recipe import Phase
    from training.study import StudyTask

STEPS = 2
"""Timed after one that is not, on the processor, whatever trains."""


@dataclass
class Budget:
    """Networks of one model, and their minutes."""

    trained: int = 0
    missing: int = 0
    spent: float = 0.0
    expected: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 after one line on standard error where the input is wrong."""
    options = _parser().parse_args(arguments)
    try:
        study = load_study(options.study)
        print(tabulate(estimate(study, options.data), torch.get_num_threads()))  # noqa: T201 - a command
    except UserError as error:
        print(f"training.budget: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 2
    return 0


def estimate(study: Study, data: str | None) -> dict[str, Budget]:
    """Return the budget of each model: minutes in the headers of its checkpoints, and of what has none.

    An epoch's time is that of two steps of the network before it was pruned: masks cost nothing, and removed channels
    save some of it.
    """
    budgets: dict[str, Budget] = {}
    epochs: dict[tuple[ModelSpec, bool], tuple[float, float, Phase]] = {}
    for variant in study.variants:
        budget = budgets.setdefault(variant.model.name, Budget())
        path = paths.checkpoint(paths.WEIGHTS, variant.name)
        if path.exists():
            budget.trained += 1
            budget.spent += sum(map(_spent, epochs_of(read_header(path).provenance.get("history")))) / 60
            continue
        budget.missing += 1
        key = variant.model, variant.pruning.is_dense
        if key not in epochs:
            epochs[key] = _epoch(variant, data)
        seconds, half_seconds, phase = epochs[key]
        if not variant.pruning.is_dense:
            budget.expected += study.epochs * seconds / 60
        else:
            fine = phase.epochs - phase.half_resolution_epochs
            budget.expected += (fine * seconds + phase.half_resolution_epochs * half_seconds) / 60
    return budgets


def tabulate(budgets: Mapping[str, Budget], threads: int) -> str:
    """Return a Markdown table of the budgets, with their sum."""
    lines = ["| network | trained | minutes | to train | minutes expected |", "|---|---:|---:|---:|---:|"]
    whole = Budget(
        *(sum(getattr(b, name) for b in budgets.values()) for name in ("trained", "missing", "spent", "expected"))
    )
    for name, b in (*budgets.items(), ("all", whole)):
        lines.append(f"| {name} | {b.trained} | {b.spent:.0f} | {b.missing} | {b.expected:.0f} |")
    return "\n".join(
        [
            *lines,
            "",
            "Minutes trained: on whatever device did it. "
            f"Expected on this machine, threads: {threads}, from {STEPS} steps of each network.",
        ]
    )


def _spent(numbered: tuple[int, Mapping[str, Any]]) -> float:
    _, epoch = numbered
    return sum(value for name in ("seconds", "validation_seconds") if isinstance(value := epoch.get(name), float))


def _epoch(variant: Variant, data: str | None) -> tuple[float, float, Phase]:
    """Return the seconds of an epoch at full and at half resolution, and the phase."""
    study = open_task(variant.model.name, variant.seed, variant.fold, data)
    phase = study.recipe.train if variant.pruning.is_dense else study.recipe.finetune
    network = build_model(variant.model, variant.seed).train()
    if phase.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub lacks it
    whole, half = (_seconds(network, study, phase, half_resolution=half) for half in (False, True))
    return whole, half, phase


def _seconds(network: torch.nn.Module, study: StudyTask, phase: Phase, *, half_resolution: bool) -> float:
    """Return the seconds of an epoch, training and validation, from a few batches of each."""
    batches = TrainingBatches(
        study.slices,
        study.split.train,
        study.task,
        batch=phase.batch,
        augmentation=phase.augmentation,
        seed=0,
        half_resolution=half_resolution,
    )
    parameters = list(network.parameters())

    def step(images: torch.Tensor, targets: Any) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=phase.precision == BF16):
            outputs = output_tensors(network(images))
        losses = study.task.losses(outputs, targets)
        gradients([loss for _, loss in losses.values()] if study.recipe.separate else [total(losses)], parameters)

    validation = study.split.validation[:BATCH]
    with memory_kept():
        step(*next(iter(batches)))
        started = time.perf_counter()
        few = list(itertools.islice(batches, STEPS))
        for images, targets in few:
            step(images, targets)
        trained = time.perf_counter()
        summarise_slices(network, study.task, study.slices, validation, half_resolution=half_resolution)
        validated = time.perf_counter()
    validating = (validated - trained) * len(study.split.validation) / len(validation)
    return (trained - started) / len(few) * len(batches) + validating


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="training.budget", description="Time that a study's networks took, and will take, to train."
    )
    parser.add_argument("study", type=Path, help="study file")
    parser.add_argument("--data", help=f"folder of the LGG set; else {DATA_VARIABLE}, else a generated phantom")
    return parser


if __name__ == "__main__":
    sys.exit(main())
