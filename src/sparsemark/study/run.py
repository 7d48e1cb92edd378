"""Run of a study: variants prepared, cells measured one after the other, finished ones taken from the journal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from sparsemark.analysis.cells import NO_NETWORK
from sparsemark.analysis.groups import interval_of
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.machine.fingerprint import commit
from sparsemark.records.measurement import ERROR, MEASURED, PARITY_FAILED, UNSUPPORTED, Measurement
from sparsemark.records.run import Run
from sparsemark.records.scores import Score
from sparsemark.references import one_line
from sparsemark.study import rows
from sparsemark.study.conditions import conditions, engine_notes
from sparsemark.study.interrupts import raised_again
from sparsemark.study.journal_keys import journal_key
from sparsemark.study.launches import Here, measure_in_launches
from sparsemark.study.pipeline import Pipeline
from sparsemark.study.requirements import check_finetuning, check_requirements, has_requirements
from sparsemark.study.sampling import IN_THIS_PROCESS
from sparsemark.study.task import Task, always, load_task, opener
from sparsemark.study.watch import kinds_of_cells, kinds_of_variants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from sparsemark.records.journal import Journal
    from sparsemark.specs import Cell, Variant
    from sparsemark.study.executor import Executor
    from sparsemark.study.file import Study
    from sparsemark.study.host_classes import HostClass
    from sparsemark.study.prepare import Places, Prepared
    from sparsemark.study.sampling import Sampling
    from sparsemark.study.watch import Watch


def open_pipeline(
    study: Study, places: Places, *, data: Path | None = None, task: Path | Task | None = None
) -> Pipeline:
    """Return the pipeline of a study.

    Args:
        study: names its tasks by `hooks`, or has none.
        places: folders.
        data: images for the study's tasks, or None for what they bring themselves.
        task: a user's task, or its file, for a study without hooks.

    Raises:
        UserError: images are given to a study that has no use for them, the task cannot be loaded, a pruning has
            nothing to fine-tune with, or a method lacks what it needs.
    """
    if study.hooks is None and data is not None:
        raise UserError(f"--data {data}: {study.name} names no hooks, so nothing is trained or tested on images")
    own = task if task is None or isinstance(task, Task) else load_task(task)
    open_task = opener(study.hooks, data) if own is None else always(own)
    for variant in study.variants:
        # Hours of training, or of timing, before this comes to light would be lost.
        if variant.pruning.needs_finetuning:
            check_finetuning(variant, open_task(variant), study.epochs)
        if has_requirements(variant.pruning):
            check_requirements(variant, open_task(variant))
    return Pipeline(open_task, study.protocol, places, study.epochs)


def prepare_variants(
    pipeline: Pipeline, variants: Sequence[Variant], watch: Watch, executor: Executor | None = None
) -> list[Measurement]:
    """Train, prune and fine-tune whatever has no checkpoint yet.

    Args:
        pipeline: prepares one variant.
        variants: in the order of the result.
        watch: shows progress.
        executor: where; None is this process.

    Returns:
        A row for every variant: its scores at each step, or why there are none; before the first of a seed, what
        predicts without a network. Nothing in it is a latency.
    """
    found: dict[str, Measurement] = {}
    with raised_again() as raise_if_interrupted:
        (executor or Here()).prepare_ahead(pipeline, variants, watch)
        for variant in watch(variants, "networks", kinds_of_variants(variants)):
            evaluated = _evaluated(pipeline, variant)
            raise_if_interrupted()  # a row that an interrupt made is none
            for row in evaluated[:-1]:
                found.setdefault(row.name, row)
            found[variant.name] = evaluated[-1]
    return list(found.values())


def _evaluated(pipeline: Pipeline, variant: Variant) -> list[Measurement]:
    """Return what predicts without a network, and the variant's row last."""
    row = rows.of_variant(variant)
    try:
        prepared = pipeline.prepare(variant)
    except UnsupportedError as error:
        return [replace(row, status=UNSUPPORTED, reason=str(error))]
    except UserError:
        raise
    except Exception as error:
        return [replace(row, status=ERROR, reason=one_line(error)[:500])]
    row = rows.with_notes(rows.with_cost(row, prepared.provenance), prepared.notes)
    return [*_baselines(prepared), rows.with_scores(row, prepared.scores, prepared.data)]


def _baselines(prepared: Prepared) -> Iterator[Measurement]:
    variant = prepared.variant
    for name, baseline in prepared.provenance.get("baselines", {}).items():
        values = baseline.get("test", {})
        groups = baseline.get("groups", {})
        scores = {}
        for metric, known in prepared.scores.items():
            if values.get(metric) is not None:
                of = groups.get(metric)
                low, high = (interval_of(of) if of else None) or (None, None)
                scores[metric] = Score(values[metric], low, high, higher_is_better=known.higher_is_better, groups=of)
        caveat = f"-{prepared.data.caveat.lower()}" if prepared.data and prepared.data.caveat else ""
        fold = "" if variant.fold is None else f"-fold{variant.fold}"
        row = Measurement(
            f"{name}-seed{variant.seed}{fold}{caveat}",
            MEASURED,
            model=f"{name}{NO_NETWORK}",
            seed=variant.seed,
            fold=variant.fold,
        )
        yield rows.with_scores(row, scores, prepared.data)


def measure_cells(
    pipeline: Pipeline, cells: Sequence[Cell], journal: Journal, watch: Watch, sampling: Sampling = IN_THIS_PROCESS
) -> Run:
    """Measure the cells that the journal does not hold.

    Args:
        pipeline: measures one cell.
        cells: in the order of the result.
        journal: finished cells; those with the same key are taken as they are.
        watch: shows progress.
        sampling: in which processes.
    """
    if sampling.launches > 0:
        (run,) = measure_on(Here(), pipeline, cells, journal, watch=watch, sampling=sampling).values()
        return run
    measurements = _measured_here(pipeline, cells, journal, watch)
    return _run(pipeline, cells, measurements, lambda names: conditions(names, measured_now=journal.has_grown))


def measure_on(
    executor: Executor,
    pipeline: Pipeline,
    cells: Sequence[Cell],
    journal: Journal,
    *,
    watch: Watch,
    sampling: Sampling,
) -> dict[HostClass, Run]:
    """Measure the cells that the journal does not hold in fresh processes, on each class of an executor's hosts.

    Args:
        executor: where.
        pipeline: prepares and checks one cell.
        cells: in the order of the result.
        journal: finished launches; those with the same key are taken as they are.
        watch: shows progress.
        sampling: how many launches.
    """
    measurements = iter(measure_in_launches(pipeline, cells, journal, watch, sampling, executor=executor))
    runs = {}
    for where in executor.classes():
        own = [cell for cell in cells if where.takes(cell)]
        known = partial(executor.conditions, where, measured_now=journal.has_grown)
        runs[where] = _run(pipeline, own, list(islice(measurements, len(own))), known)
    return runs


def _run(
    pipeline: Pipeline,
    cells: Sequence[Cell],
    measurements: Sequence[Measurement],
    known: Callable[[Iterable[str]], Mapping[str, Any]],
) -> Run:
    names = {cell.engine for cell in cells} | {pipeline.protocol.reference}
    # But for readings of the moment, a run that takes every cell from the journal is the same document again.
    when = max((m.measured_at for m in measurements if m.measured_at), default=datetime.now(UTC).isoformat())
    return Run(tuple(measurements), known(names), commit(), when, engine_notes(names))


def _measured_here(pipeline: Pipeline, cells: Sequence[Cell], journal: Journal, watch: Watch) -> list[Measurement]:
    """Measure cells one after the other in this process."""
    measurements = []
    with raised_again() as raise_if_interrupted:
        for cell in watch(cells, "cells", kinds_of_cells(cells)):
            key = journal_key(pipeline, cell)
            finished = journal.get(key) if key else None
            measurement = finished or pipeline.measure(cell)
            raise_if_interrupted()  # a row that an interrupt made is none
            # What is unsupported or broken today may only lack a package: it is tried again next time, at no cost.
            if key and not finished and measurement.status in (MEASURED, PARITY_FAILED):
                journal.append(key, measurement)
            measurements.append(measurement)
    return measurements
