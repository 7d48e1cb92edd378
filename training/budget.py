"""Time that the networks of a study took to train, and what those without a checkpoint will take on this machine.

`python -m training.budget bench/paper.toml --data DIR`
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sparsemark import paths
from sparsemark.errors import UserError
from sparsemark.networks.checkpoint import read_header
from sparsemark.networks.factory import build_model, output_tensors
from sparsemark.study.file import load_study
from training.batches import TrainingBatches
from training.data import DATA_VARIABLE
from training.loop import memory_kept
from training.study import open_task
from training.tasks.base import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sparsemark.specs import ModelSpec, Variant
    from sparsemark.study.file import Study
    from training.recipe import Phase
    from training.study import StudyTask

STEPS = 2
"""Timed after one that is not."""


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
            budget.spent += sum(seconds_of(read_header(path).provenance.get("history", {}))) / 60
            continue
        budget.missing += 1
        key = variant.model, variant.pruning.is_dense
        if key not in epochs:
            epochs[key] = _epoch(variant, data)
        seconds, coarse_seconds, phase = epochs[key]
        if not variant.pruning.is_dense:
            budget.expected += study.epochs * seconds / 60
        else:
            fine = phase.epochs - phase.coarse_epochs
            budget.expected += (fine * seconds + phase.coarse_epochs * coarse_seconds) / 60
    return budgets


def seconds_of(history: Mapping[str, Any]) -> Iterable[float]:
    """Yield the seconds of every epoch of a history, which may have several rounds."""
    for part in history.get("rounds", [history]):
        for epoch in part.get("epochs", ()):
            yield epoch.get("seconds", 0.0)


def tabulate(budgets: Mapping[str, Budget], threads: int) -> str:
    """Return a Markdown table of the budgets, with their sum."""
    lines = ["| network | trained | minutes | to train | minutes expected |", "|---|---:|---:|---:|---:|"]
    whole = Budget(
        *(sum(getattr(b, name) for b in budgets.values()) for name in ("trained", "missing", "spent", "expected"))
    )
    for name, b in (*budgets.items(), ("all", whole)):
        lines.append(f"| {name} | {b.trained} | {b.spent:.0f} | {b.missing} | {b.expected:.0f} |")
    return "\n".join(
        [*lines, "", f"Expected on this machine with {threads} threads, from {STEPS} steps of each network."]
    )


def _epoch(variant: Variant, data: str | None) -> tuple[float, float, Phase]:
    """Return the seconds of an epoch at full and at half size, and the phase."""
    study = open_task(variant.model.name, variant.seed, variant.fold, data)
    phase = study.recipe.train if variant.pruning.is_dense else study.recipe.finetune
    network = build_model(variant.model, variant.seed).train()
    fine, coarse = (_seconds(network, study, phase, coarse=coarse) for coarse in (False, True))
    return fine, coarse, phase


def _seconds(network: torch.nn.Module, study: StudyTask, phase: Phase, *, coarse: bool) -> float:
    network.to(memory_format=torch.channels_last if phase.channels_last else torch.contiguous_format)  # type: ignore[call-overload]  # torch's own stub lacks it
    batches = TrainingBatches(
        study.slices,
        study.split.train,
        study.task,
        batch=phase.batch,
        augmentation=phase.augmentation,
        seed=0,
        coarse=coarse,
    )
    started = 0.0
    steps = 0
    with memory_kept():
        for steps, (images, targets) in enumerate(batches):
            if steps == 1:
                started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=phase.precision != "32-true"):
                outputs = output_tensors(network(images))
            total(study.task.losses(outputs, targets)).backward()  # type: ignore[no-untyped-call]
            if steps == STEPS:
                break
    return (time.perf_counter() - started) / max(steps, 1) * len(batches)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="training.budget", description="Time that a study's networks took, and will take, to train."
    )
    parser.add_argument("study", type=Path, help="study file")
    parser.add_argument("--data", help=f"folder of the LGG set; else {DATA_VARIABLE}, else a generated phantom")
    return parser


if __name__ == "__main__":
    sys.exit(main())
