"""Many cells, one after the other.

What is finished is taken from the journal, what is not is measured and written there.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sparsemark import paths
from sparsemark.checkpoint import load_checkpoint
from sparsemark.errors import UnsupportedError
from sparsemark.files import write_atomically
from sparsemark.machine import commit, fingerprint
from sparsemark.records import MEASURED, UNSUPPORTED, Measurement, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sparsemark.journal import Journal
    from sparsemark.pipeline import Pipeline
    from sparsemark.specs import Cell, Variant
    from sparsemark.subjects import Subject

T = TypeVar("T")


class Watch(Protocol):
    """Shows progress over a sequence and passes its items on."""

    def __call__(self, items: Sequence[T], what: str) -> Iterable[T]:
        """Yield the items, naming each as it begins."""


def prepare_variants(subject: Subject, variants: Sequence[Variant], watch: Watch) -> list[Measurement]:
    """Train, prune and fine-tune whatever has no checkpoint yet.

    Returns:
        A row for every variant: its accuracy at each step, or why there is none. Nothing in it is a latency.
    """
    return [_evaluate(subject, variant) for variant in watch(variants, "networks")]


def _evaluate(subject: Subject, variant: Variant) -> Measurement:
    row = Measurement(
        variant.name,
        MEASURED,
        model=variant.model.name,
        method=variant.prune.method,
        schedule="one-shot",
        sparsity_target=variant.prune.sparsity,
        round_to=variant.prune.round_to,
        seed=variant.seed,
    )
    try:
        return dataclasses.replace(row, **subject.accuracy(variant))
    except UnsupportedError as error:
        return dataclasses.replace(row, status=UNSUPPORTED, reason=str(error))


def measure_cells(pipeline: Pipeline, cells: Sequence[Cell], journal: Journal, watch: Watch) -> Run:
    """Measure the cells that the journal does not hold.

    Args:
        pipeline: measures one cell.
        cells: in the order of the result.
        journal: finished cells; those with the same key are taken as they are.
        watch: shows progress.
    """
    measurements = []
    for cell in watch(cells, "cells"):
        key = _key(pipeline, cell)
        finished = journal.get(key) if key else None
        measurement = finished or pipeline.measure(cell)
        if key and not finished:
            journal.append(key, measurement)
        measurements.append(measurement)
    return Run(tuple(measurements), fingerprint(), commit(), datetime.now(UTC).isoformat())


def _key(pipeline: Pipeline, cell: Cell) -> str | None:
    """The cell's key; None where the network itself cannot be made, which `measure` then says in the row."""
    try:
        return pipeline.key(cell)
    except UnsupportedError:
        return None


def write_patients(subject: Subject, variants: Iterable[Variant], path: Path) -> None:
    """Write down which patients each seed was trained, validated and tested on, as the checkpoints' headers say."""
    splits: dict[str, Any] = {}
    for variant in variants:
        try:
            provenance = load_checkpoint(subject.source(variant).path).provenance
        except UnsupportedError:
            continue
        splits.setdefault(f"seed {variant.seed}", provenance.get("split"))
    write_atomically(path, (json.dumps(splits, indent=1) + "\n").encode())


def write_results(run: Run, study: str, machine: str, evaluated: Sequence[Measurement]) -> Iterator[Path]:
    """Write a study's result file, tables and figures, and name each once it is there."""
    from sparsemark.report import render
    from sparsemark.report.figures import draw_figures
    from sparsemark.report.tables import accuracy_csv

    path = paths.run(machine, study)
    run.save(path)
    yield path
    for form, suffix in (("markdown", "md"), ("csv", "csv")):
        path = paths.table(machine, study, suffix)
        write_atomically(path, render(run, form).encode())
        yield path
    path = paths.accuracy_table(study)
    write_atomically(path, accuracy_csv(evaluated).encode())
    yield path
    yield from draw_figures(run, paths.figures(machine, study), evaluated)
