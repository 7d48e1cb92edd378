"""Pipeline: from a cell to its measurement, by stages that each take the last one's frozen result.

Prepare, export, verify, time: in fresh processes (`study.launches`) or in this one. Stages meet on disk and are skipped
when their output exists and its key matches; within a process each runs once for the same input.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from sparsemark import engines, formats, paths
from sparsemark.engines.base import notes_of
from sparsemark.errors import NotMadeError, TaskError, UnsupportedError, UserError, WriteError
from sparsemark.files import key_of
from sparsemark.machine.fingerprint import identity, package_versions, sums_bytes_exactly
from sparsemark.measurement.launch_data import LaunchData
from sparsemark.measurement.parity import ParityError, Verified, check
from sparsemark.measurement.timing import measure, time_rounds
from sparsemark.measurement.yardstick import standard
from sparsemark.networks.reference import stack
from sparsemark.networks.rounding import rounding_error
from sparsemark.networks.source import Source
from sparsemark.records.measurement import ERROR, MEASURED, UNSUPPORTED, Measurement
from sparsemark.registry import find
from sparsemark.specs import AA, FP32, Cell
from sparsemark.study import counts, rows
from sparsemark.study.agreed import FALLBACK_ENGINE
from sparsemark.study.batch_sizes import as_made
from sparsemark.study.checked import Baseline, Checked, job, moment
from sparsemark.study.expected import SECONDS, TASK_SECONDS, ExpectedOutputs
from sparsemark.study.grouped import with_groups
from sparsemark.study.host_classes import HERE, HostClass
from sparsemark.study.inputs import inputs_of, timed_batches
from sparsemark.study.prepare import Places, Prepared, prepare
from sparsemark.study.quantising import Quantising
from sparsemark.study.stages import MEASUREMENT_VERSION, Once
from sparsemark.study.task import REPORT, SELECT
from sparsemark.study.tuning import Tuning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sparsemark.formats.base import Artifact
    from sparsemark.measurement.launch import Job
    from sparsemark.measurement.timing import Rounds, Timing
    from sparsemark.pruning.accounting import NetworkCount
    from sparsemark.records.scores import Score
    from sparsemark.specs import Protocol, Variant
    from sparsemark.study.batches import Inputs
    from sparsemark.study.task import Task

_LEAST_PATIENCE, _PATIENCE = 300.0, 20.0
"""Seconds that a launch is given, and how many times as long as all stages before it took: it loads, checks and times
what they loaded and checked."""


class Pipeline:
    """Stages of one study.

    Args:
        open_task: returns the task of a variant's model, seed and fold, or None.
        protocol: how cells are timed.
        places: folders.
        epochs: of fine-tuning in all, for every pruning alike.
    """

    def __init__(
        self, open_task: Callable[[Variant], Task | None], protocol: Protocol, places: Places, epochs: int
    ) -> None:
        self.protocol, self.epochs, self.tuning = protocol, epochs, Tuning(epochs)
        self._open_task, self._places = open_task, places
        self._once = Once()
        self._expected = ExpectedOutputs(self.prepare, self.export, self._once, places.work, protocol.threads)
        self._quantising = Quantising(open_task, self._once, places.work)
        self._verified: dict[Cell, Verified] = {}
        self._scores: dict[Cell, Mapping[str, Score]] = {}

    def measure(self, cell: Cell, rounds: Rounds | None = time_rounds) -> Measurement:
        """Measure a cell, or return its row with the reason why it cannot be measured.

        Args:
            cell: a variant on an engine.
            rounds: does the timed calls; pytest-benchmark brings its own. None verifies only, and leaves the times
                null.

        Raises:
            UserError: the user's model, task or disk is at fault, so that no other cell would do better: the dense
                network cannot be made or scored, or a file cannot be written.
        """

        def finish(row: Measurement, verified: Verified, baseline: Baseline | None, _: Artifact) -> Measurement:
            if rounds is None or baseline is None:
                return row
            timing = self.time(verified, baseline.verified, cell, rounds)
            of = baseline.cell.name, baseline.cell.engine, baseline.artifact.sha256
            return rows.with_timing(row, timing, *of, **moment())

        return self._staged(cell, finish, timed=rounds is not None)

    def check(self, cell: Cell) -> Checked:
        """Do all but the timing of a cell, and describe what a launch has to do; errors as in `measure`."""
        found: list[Checked] = []
        began = time.monotonic()

        def finish(row: Measurement, _: Verified, baseline: Baseline | None, artifact: Artifact) -> Measurement:
            if baseline is not None:
                patience = _LEAST_PATIENCE + _PATIENCE * (time.monotonic() - began)
                found.append(Checked(row, self._job(cell, artifact, baseline), baseline.cell.name, patience))
            return row

        row = self._staged(cell, finish, timed=True)
        return found[0] if found and row.status == MEASURED else Checked(row)

    def _staged(
        self,
        cell: Cell,
        finish: Callable[[Measurement, Verified, Baseline | None, Artifact], Measurement],
        *,
        timed: bool,
    ) -> Measurement:
        """Take a cell through all stages before timing, and on to `finish`; what fails is a row that says why."""
        row = rows.asked(cell)
        try:
            prepared = self.prepare(cell.variant)
            row = rows.with_scores(row, prepared.scores, prepared.data)
            row = rows.with_notes(rows.with_cost(row, prepared.provenance), prepared.notes)
            artifact = self.artifact(cell)
            row = self._with_contents(row, cell, artifact)
            verified = self.verify(cell, artifact)
            inputs = self.inputs(cell.variant)
            row = rows.with_parity(row, verified, inputs)
            row = self._with_scores(row, cell, verified)
            baseline = None
            if timed:
                baseline = Baseline(cell, artifact, verified) if cell.control == AA else self._baseline(cell)
                is_changed = not cell.variant.pruning.is_dense or cell.precision != FP32
                if row.data == inputs.note and is_changed:
                    row = rows.with_losses(row, verified.scores, baseline.verified.scores)
                if baseline.verified is not verified:
                    said = notes_of(baseline.verified.predict)
                    row = rows.with_notes(row, [f"its reference: {note}" for note in said])
            return finish(row, verified, baseline, artifact)
        except UnsupportedError as error:
            return replace(row, status=UNSUPPORTED, reason=str(error))
        except ParityError as error:
            return rows.failed_parity(row, self._explained(error, cell))
        except UserError as error:
            if ends_the_run(error, cell.variant):
                raise
            return replace(row, status=ERROR, reason=str(error)[:500])
        except Exception as error:
            return replace(row, status=ERROR, reason=" ".join(f"{type(error).__name__}: {error}".split())[:500])

    def _job(self, cell: Cell, artifact: Artifact, baseline: Baseline) -> Job:
        """Describe a launch; its inputs and reference outputs are written beside the study's artifacts."""
        inputs = self.inputs(cell.variant)
        variants = dict.fromkeys((cell.variant, baseline.cell.variant))
        quantised = [] if cell.precision == FP32 else [artifact.sha256]
        networks = [*(self.prepare(variant).key for variant in variants), *quantised]
        key = key_of(networks, inputs.digest, self.protocol.images)
        path = paths.launch_data(self._places.work, key)
        if not path.exists():
            references = {
                one.file_name: self._expected.of_cell(one, file, inputs, self._patience(one.variant))
                for one, file in ((cell, artifact), (baseline.cell, baseline.artifact))
            }
            timed = timed_batches(inputs, self.protocol.images)
            LaunchData.of(timed, inputs.batches, references).save(path)
        protocol = replace(self.protocol, threads=cell.threads)
        return job(cell, artifact, baseline, path, protocol)

    def prepare(self, variant: Variant) -> Prepared:
        """Return a variant on disk: taken from its folder, or built, trained, pruned and fine-tuned now.

        Errors as in `prepare.prepare`.
        """

        def make() -> Prepared:
            factory = as_made(variant)
            if factory != variant:
                return self.prepare(factory).called_as(variant)
            dense = None if variant.pruning.is_dense else self.prepare(variant.dense)
            task = self._open_task(variant)
            prepared = prepare(variant, dense, task, self._places, self.epochs, tuning=self.tuning)
            return with_groups(prepared, task, self._places.work)

        try:
            return self._once(("prepare", variant), make)
        finally:
            self.tuning.prepared(variant)

    def export(self, prepared: Prepared, format_name: str, precision: str = FP32) -> Artifact:
        """Export a network to a file, unless it is there; errors as in `formats.export` and `formats.quantise`."""
        form = find(format_name, formats.FORMATS, "format")
        if precision != FP32 and form.made_from is None:
            return self._quantising.quantise(prepared.variant, self.export(prepared, format_name))

        def make() -> Artifact:
            source, content, name = prepared.source, prepared.key, prepared.variant.name
            if form.made_from is not None:
                made = self.export(prepared, form.made_from, precision)
                source = Source(source.model, made.path)
                if precision != FP32:
                    content, name = made.sha256, f"{name}-{precision}"
            # Another exporter may write another graph, so its version is part of the name.
            key = key_of(content, package_versions(form.requires), MEASUREMENT_VERSION)
            return formats.export(source, format_name, paths.artifact_stem(self._places.work, name, key))

        return self._once(("export", prepared.key, prepared.variant.name, format_name, precision), make)

    def artifact(self, cell: Cell) -> Artifact:
        """Return the file of a cell, in its precision; errors as in `export`, and as `engines.check_precision`."""
        engines.check_precision(cell.engine, cell.precision)
        return self.export(self.prepare(cell.variant), cell.format, cell.precision)

    def verify(self, cell: Cell, artifact: Artifact) -> Verified:
        """Load an artifact into a cell's engine, check it against float64 on all inputs, and score what it answers.

        Raises:
            UnsupportedError: the engine cannot run the network.
            ParityError: it does not agree.
            UserError: the task fails.
        """
        plain = replace(cell, control=None)
        if plain not in self._verified:
            inputs, task = self.inputs(cell.variant), self._open_task(cell.variant)
            # First, since a network without a reference need not be loaded, let alone compiled.
            reference = self._expected.of_cell(cell, artifact, inputs, self._patience(cell.variant))
            verified = check(
                engines.load(artifact, cell.engine, cell.threads),
                inputs.batches,
                reference,
                dense=self._expected.of_dense(cell.variant, inputs, self._patience(cell.variant)),
                score=None if task is None else lambda outputs: task.scores(outputs, REPORT, inputs),
            )
            # One candidate at a time stays in memory, and the reference of its model and seed.
            self._verified = {c: v for c, v in self._verified.items() if c.variant == cell.variant.dense}
            self._verified[plain] = verified
            self._scores[plain] = verified.scores
        return self._verified[plain]

    def time(self, candidate: Verified, reference: Verified, cell: Cell, rounds: Rounds = time_rounds) -> Timing:
        """Time a verified engine against a verified reference, in pairs of blocks."""
        batches = timed_batches(self.inputs(cell.variant), self.protocol.images)
        protocol = replace(self.protocol, threads=cell.threads)
        return measure(candidate, reference, batches, protocol, rounds, yardstick=standard())

    def key(self, cell: Cell, where: HostClass = HERE) -> str:
        """Hash all that decides a measurement: weights, code, inputs, protocol, machine, versions.

        Args:
            cell: that is measured.
            where: hosts that it is measured on.

        Raises:
            UnsupportedError: as `measure` would record.
        """
        networks = self.prepare(cell.variant).key, self.prepare(cell.variant.dense).key
        engine = find(cell.engine, engines.ENGINES, "engine")
        timed = [
            engine,
            *(find(name, engines.ENGINES, "engine") for name in (self.protocol.reference, FALLBACK_ENGINE)),
        ]
        code = [(package_versions(one.requires), one.code()) for one in timed]
        inputs, task = self.inputs(cell.variant), self._open_task(cell.variant)
        scored = None if task is None else task.scoring_digest
        conditions = asdict(self.protocol), where.machine or identity(), MEASUREMENT_VERSION
        quantised = [] if cell.precision == FP32 else [self._quantising.key(cell.variant, cell.format)]
        named = [where.name] if where.name else []
        limits = self._expected.version(cell.variant, cell.precision)
        return key_of(asdict(cell), networks, inputs.digest, scored, code, *conditions, *quantised, *limits, *named)

    def has(self, variant: Variant) -> bool:
        """Return whether `prepare` finds a variant on disk, or knows why it cannot be prepared."""
        places = self._places
        self._places = replace(places, may_train=False, may_prune=False)
        try:
            self.prepare(variant)
        except NotMadeError:
            return False
        except Exception:
            return True
        finally:
            self._places = places
        return True

    def recall(self, variant: Variant, error: Exception) -> None:
        """Remember that a variant cannot be prepared, as another process found: `prepare` raises its error."""
        self._once.recall(("prepare", variant), error)

    def task(self, variant: Variant) -> Task | None:
        """Return the task of a variant's model, seed and fold, or None."""
        return self._open_task(variant)

    def inputs(self, variant: Variant) -> Inputs:
        """Return the inputs on which a variant is verified, scored and timed."""
        return self._once(
            ("inputs", variant.model, variant.seed, variant.fold), lambda: inputs_of(variant, self._open_task(variant))
        )

    def count(self, variant: Variant) -> NetworkCount | None:
        """Count a network's weights, zeros and multiply-adds; None for an ONNX file. Errors as in `prepare`."""
        prepared = self.prepare(variant)
        if prepared.source.is_onnx:
            return None
        return self._once(
            ("count", prepared.key), lambda: counts.count(prepared.source, self._places.work, prepared.key)
        )

    def _with_contents(self, row: Measurement, cell: Cell, artifact: Artifact) -> Measurement:
        """Add what is in the file, in float32 against the dense network's, and what quantising made of it."""
        plain, dense = (self.export(self.prepare(one), cell.format) for one in (cell.variant, cell.variant.dense))
        row = rows.with_contents(row, plain, dense, self.count(cell.variant), self.count(cell.variant.dense))
        if cell.precision == FP32:
            return row
        return rows.quantised(row, artifact, plain, self._quantising.notes(cell))

    def _with_scores(self, row: Measurement, cell: Cell, verified: Verified) -> Measurement:
        """Add the engine's scores, and what quantising cost."""
        inputs = self.inputs(cell.variant)
        row = rows.with_scores(row, *self._scored(self.prepare(cell.variant), verified, inputs))
        if cell.precision == FP32 or row.data != inputs.note:
            return row
        return rows.with_precision(row, self._float32_scores(cell), self._select_scores(cell, verified))

    def _patience(self, variant: Variant) -> float:
        """Return the seconds for a network's reference: outputs on a task's inputs are scored as well."""
        return SECONDS if self._open_task(variant) is None else TASK_SECONDS

    def _float32_scores(self, cell: Cell) -> Mapping[str, Score]:
        """Return the scores of the same network on the same engine in float32; empty where it does not run there."""
        twin = replace(cell, precision=FP32, control=None)
        if twin not in self._scores:
            try:
                self.verify(twin, self.artifact(twin))
            except (UnsupportedError, ParityError):
                self._scores[twin] = {}
        return self._scores[twin]

    def _select_scores(self, cell: Cell, verified: Verified) -> Mapping[str, Score]:
        """Return what an engine scores on the inputs that choices are made on; empty where the task has no such."""
        task = self._open_task(cell.variant)
        if task is None or task.has_one_part:
            return {}
        inputs = task.images(SELECT, cell.variant.model)
        return task.scores(stack([verified.predict(*batch) for batch in inputs.batches]), SELECT, inputs)

    def _explained(self, error: ParityError, cell: Cell) -> ParityError:
        """Add to a difference what float32 costs the network by itself, and what to do where that is too much."""
        if cell.precision != FP32 or error.parity is None or not math.isfinite(error.parity.max_rel):
            return error
        inputs = self.inputs(cell.variant)
        reference = self._expected.of_network(cell.variant, inputs, self._patience(cell.variant))
        if reference.steps:
            return error if sums_bytes_exactly() else error.beside_saturation()
        alone = rounding_error(self.prepare(cell.variant).source, inputs.batches, reference)
        made_up = self._open_task(cell.variant) is None
        return error if alone is None else error.beside_rounding(alone, made_up=made_up)

    def _scored(self, prepared: Prepared, verified: Verified, inputs: Inputs) -> tuple[Any, Any]:
        """Return the scores of a row and their data.

        The engine's own where its inputs are the data that the network was made for, or nobody knows of others; a
        network that was trained and scored on other data keeps those scores, with their data.
        """
        other = prepared.data is not None and prepared.data.key != inputs.note.key
        if not verified.scores or (other and prepared.scores):
            return prepared.scores, prepared.data
        scores = dict(verified.scores)
        for name, made in prepared.scores.items():
            if name in scores:
                scores[name] = replace(scores[name], raw=made.raw, recalibrated=made.recalibrated, select=made.select)
        return scores, inputs.note

    def _baseline(self, cell: Cell) -> Baseline:
        """Return the dense network in the protocol's reference engine, else in PyTorch, else in the cell's engine."""
        first: Exception | None = None
        for engine in dict.fromkeys((self.protocol.reference, FALLBACK_ENGINE, cell.engine)):
            try:
                return self._dense_on(cell, engine)
            except UserError:
                raise
            except Exception as error:
                first = first or error
        raise UnsupportedError(f"no reference to time against: {self.protocol.reference}: {first}") from first

    def _dense_on(self, cell: Cell, engine: str) -> Baseline:
        form = find(engine, engines.ENGINES, "engine").formats[0]
        reference = Cell(cell.variant.dense, form, engine, threads=cell.threads)
        artifact = self.artifact(reference)
        return Baseline(reference, artifact, self.verify(reference, artifact))


def ends_the_run(error: UserError, variant: Variant) -> bool:
    """Return whether an error is not one variant's alone: of the dense network, the disk, or the user's task."""
    return variant.pruning.is_dense or isinstance(error, WriteError | TaskError)
