"""Many cells, one after the other.

What is finished is taken from the journal, what is not is measured and written there.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sparsemark.errors import UnsupportedError, UserError
from sparsemark.machine.fingerprint import commit, fingerprint
from sparsemark.records.measurement import MEASURED, PARITY_FAILED, SCORES, UNSUPPORTED, Measurement
from sparsemark.records.run import Run
from sparsemark.study.interrupts import heeded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.records.journal import Journal
    from sparsemark.specs import Cell, Variant
    from sparsemark.study.pipeline import Pipeline
    from sparsemark.study.subjects import Subject

T = TypeVar("T")


class Watch(Protocol):
    """Shows progress over a sequence and passes its items on."""

    def __call__(self, items: Sequence[T], what: str) -> Iterable[T]:
        """Yield the items, naming each as it begins."""


def prepare_variants(subject: Subject, variants: Sequence[Variant], watch: Watch) -> list[Measurement]:
    """Train, prune and fine-tune whatever has no checkpoint yet.

    Returns:
        A row for every variant: its accuracy at each step, or why there is none; before the first of a seed, what
        predicts without a network. Nothing in it is a latency.
    """
    rows: dict[str, Measurement] = {}
    for variant in watch(variants, "networks"):
        row = _evaluate(subject, variant)
        if row.status == MEASURED:
            rows |= {m.name: m for m in _baselines(subject, variant) if m.name not in rows}
        rows[variant.name] = row
    return list(rows.values())


def _baselines(subject: Subject, variant: Variant) -> Iterable[Measurement]:
    source = subject.accuracy(variant).get("accuracy_source")
    for name, scores in subject.baselines(variant).items():
        known: dict[str, Any] = {field: scores.get(field) for field in SCORES}
        row = Measurement(f"{name}-seed{variant.seed}", MEASURED, model=f"{name} (no network)", seed=variant.seed)
        yield dataclasses.replace(row, accuracy_source=source, **known)


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
    with heeded() as raise_if_interrupted:
        for cell in watch(cells, "cells"):
            key = _key(pipeline, cell)
            finished = journal.get(key) if key else None
            measurement = finished or pipeline.measure(cell)
            raise_if_interrupted()  # a row that an interrupt made is none
            # What is unsupported or broken today may only lack a package: it is tried again next time, at no cost.
            if key and not finished and measurement.status in (MEASURED, PARITY_FAILED):
                journal.append(key, measurement)
            measurements.append(measurement)
    return Run(tuple(measurements), fingerprint(), commit(), datetime.now(UTC).isoformat())


def _key(pipeline: Pipeline, cell: Cell) -> str | None:
    """The cell's key; None where the network itself cannot be made, which `measure` then says in the row."""
    try:
        return pipeline.key(cell)
    except UserError:
        raise
    except Exception:
        return None
