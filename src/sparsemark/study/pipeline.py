"""From a cell to its measurement.

Checkpoint, artifact, parity, timing. Stages meet on disk and are skipped when their output exists.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark import engines, formats, paths
from sparsemark.analysis.statistics import contamination, summarise
from sparsemark.errors import UnsupportedError, UserError
from sparsemark.files import content_hash, key_of, replacing
from sparsemark.machine.fingerprint import commit, identity, package_versions
from sparsemark.measurement.parity import Parity, ParityError, Verified, check
from sparsemark.measurement.timing import measure, time_rounds
from sparsemark.networks.checkpoint import load_checkpoint
from sparsemark.networks.factory import example_input
from sparsemark.networks.reference import float64_outputs
from sparsemark.pruning import PRUNERS, accounting
from sparsemark.records.measurement import ERROR, MEASURED, PARITY_FAILED, UNSUPPORTED, Measurement
from sparsemark.registry import find
from sparsemark.specs import AA, Cell, PruneSpec, Variant
from sparsemark.study.subjects import model_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sparsemark.formats.base import Artifact
    from sparsemark.measurement.timing import Rounds, Timing
    from sparsemark.networks.reference import Outputs
    from sparsemark.specs import Protocol
    from sparsemark.study.subjects import Subject

MEASUREMENT_VERSION = 3
"""Raised when exporting, checking or timing changes what it makes of the same cell, so that all are measured again."""

REFERENCE_ENGINE = "onnxruntime"
"""Runs the dense network that every ratio is taken against: the engine most people deploy."""

FALLBACK_ENGINE = "torch"
"""Runs the reference where the network cannot be exported to ONNX."""


class Pipeline:
    """Measures cells of one subject under one protocol.

    Args:
        subject: where networks and images come from.
        protocol: how cells are timed.
        work: folder for artifacts.
    """

    def __init__(self, subject: Subject, protocol: Protocol, work: Path) -> None:
        self.subject = subject
        self.protocol = protocol
        self._work = work
        self._verified: dict[Cell, Verified] = {}
        self._counts: dict[str, accounting.NetworkCount] = {}
        self._outputs: dict[str, Outputs] = {}

    def key(self, cell: Cell) -> str:
        """Hash what decides a measurement: weights, code of network and engine, images, protocol, machine, versions.

        Raises:
            UnsupportedError: as `measure` would record.
        """
        source = self.subject.source(cell.variant)
        dense = self.subject.source(_dense(cell.variant))
        images = self.subject.images(cell.variant).key
        engine = find(cell.engine, engines.ENGINES, "engine")
        versions = package_versions(engine.requires), engine.code(), MEASUREMENT_VERSION
        conditions = asdict(self.protocol), identity(), *versions
        return key_of(asdict(cell), model_key(source), model_key(dense), images, *conditions)

    def measure(self, cell: Cell, rounds: Rounds | None = time_rounds) -> Measurement:
        """Measure a cell, or say in its row why that cannot be.

        Args:
            cell: a variant on an engine.
            rounds: does the timed calls; pytest-benchmark brings its own. None verifies only, and leaves the times
                null.

        Raises:
            UserError: the user's model or disk is at fault, so that no other cell would do better.
        """
        find(cell.engine, engines.ENGINES, "engine")
        row = _describe(cell)
        try:
            row = replace(row, **self._contents(cell), **self.subject.accuracy(cell.variant))
            candidate = self.verify(cell)
            row = replace(row, **_parity_fields(candidate.parity), agreement_source=self._images_in_words(cell))
            if rounds is None:
                return row
            reference_cell, reference = (cell, candidate) if cell.control == AA else self._reference(cell)
            timing = measure(
                candidate, reference, self._timing_images(cell), replace(self.protocol, threads=cell.threads), rounds
            )
            return replace(
                row,
                **_timing_fields(timing),
                speedup_reference=reference_cell.name,
                reference_engine=reference_cell.engine,
                reference_sha256=content_hash(self.artifact(reference_cell.variant, reference_cell.engine).path),
                measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
                measured_commit=commit().get("id"),
            )
        except UnsupportedError as error:
            return replace(row, status=UNSUPPORTED, reason=str(error))
        except ParityError as error:
            fields = _parity_fields(error.parity) if error.parity else {}
            return replace(row, **fields, status=PARITY_FAILED, reason=str(error))
        except UserError:
            raise
        except Exception as error:
            return replace(row, status=ERROR, reason=" ".join(f"{type(error).__name__}: {error}".split())[:500])

    def verify(self, cell: Cell) -> Verified:
        """Load a cell's engine and check it against the float64 reference on all images.

        Raises:
            UnsupportedError: format or engine cannot handle the network.
            ParityError: it does not agree.
        """
        plain = replace(cell, control=None)
        if plain not in self._verified:
            predict = engines.load(self.artifact(cell.variant, cell.engine), cell.engine, cell.threads)
            verified = check(predict, self.subject.images(cell.variant).batches, self._reference_outputs(cell.variant))
            # One candidate at a time stays in memory, and the reference of its model and seed.
            self._verified = {c: v for c, v in self._verified.items() if c.variant == _dense(cell.variant)}
            self._verified[plain] = verified
        return self._verified[plain]

    def _reference(self, cell: Cell) -> tuple[Cell, Verified]:
        """The dense network in ONNX Runtime, or in PyTorch where ONNX Runtime cannot run it, for whatever reason."""
        reference = Cell(_dense(cell.variant), REFERENCE_ENGINE, cell.threads)
        try:
            return reference, self.verify(reference)
        except UserError:
            raise
        except Exception as error:
            fallback = replace(reference, engine=FALLBACK_ENGINE)
            try:
                return fallback, self.verify(fallback)
            except UnsupportedError:
                raise UnsupportedError(f"no reference to time against: {REFERENCE_ENGINE}: {error}") from error

    def artifact(self, variant: Variant, engine: str) -> Artifact:
        """Export a variant to the file that an engine reads, unless it is there; errors as in `formats.export`."""
        source = self.subject.source(variant)
        form = find(engine, engines.ENGINES, "engine").format
        # Another exporter may write another graph, so its version is part of the name.
        requires = find(form, formats.FORMATS, "format").requires
        key = key_of(model_key(source), package_versions(requires), MEASUREMENT_VERSION)
        return formats.export(source, form, paths.artifact_stem(self._work, variant.name, key))

    def _reference_outputs(self, variant: Variant) -> Outputs:
        source, images = self.subject.source(variant), self.subject.images(variant)
        key = key_of(model_key(source), images.key)
        path = paths.reference_outputs(self._work, key)
        if key not in self._outputs and path.exists():
            with np.load(path, allow_pickle=False) as arrays:
                self._outputs = {key: tuple(arrays[name] for name in arrays.files)}
        elif key not in self._outputs:
            self._outputs = {key: float64_outputs(source, images.batches)}
            with replacing(path) as target, target.open("wb") as file:
                np.savez(file, *self._outputs[key])
        return self._outputs[key]

    def _contents(self, cell: Cell) -> dict[str, Any]:
        """What is left in the artifact, counted again in the file, against what the dense one holds in the same format.

        Raises:
            ParityError: the exported file has lost zeros of the network.
        """
        artifact, dense = self.artifact(cell.variant, cell.engine), self.artifact(_dense(cell.variant), cell.engine)
        total = dense.weights.total
        fields: dict[str, Any] = {
            "format": artifact.format,
            "artifact_bytes": artifact.bytes,
            "nonzeros": artifact.weights.nonzeros,
            "sparsity": 1 - artifact.weights.nonzeros / total if total else None,
        }
        if self.subject.source(cell.variant).is_onnx:
            return fields
        count, dense_count = self.count(cell.variant), self.count(_dense(cell.variant))
        sparsity = 1 - count.nonzeros / dense_count.weights if dense_count.weights else 0.0
        # More zeros are right where a BatchNorm of scale 0 was folded in; fewer are lost ones.
        if total == dense_count.weights and artifact.weights.nonzeros > count.nonzeros:
            raise ParityError(
                f"the {artifact.format} file has sparsity {fields['sparsity']:.4f}, the network {sparsity:.4f}"
            )
        return fields | {
            "mac_density": count.nonzero_macs / dense_count.macs if dense_count.macs else None,
            "parameters": count.parameters,
            "subnormals": count.subnormals,
            "dead_channels": count.dead_channels,
            "compressed_bytes": count.compressed_bytes,
        }

    def count(self, variant: Variant) -> accounting.NetworkCount:
        """Count what a variant's network holds and does; errors as in the subject's `source`."""
        if variant.name not in self._counts:
            module = load_checkpoint(self.subject.source(variant).path).build()
            self._counts[variant.name] = accounting.count(module, example_input(variant.model))
        return self._counts[variant.name]

    def _images_in_words(self, cell: Cell) -> str:
        images = self.subject.images(cell.variant)
        return f"{len(images.batches)} x {images.source}"

    def _timing_images(self, cell: Cell) -> Sequence[NDArray[np.float32]]:
        """Images spread evenly over all of them: neighbours in a volume are alike."""
        batches = self.subject.images(cell.variant).batches
        chosen = np.linspace(0, len(batches) - 1, min(self.protocol.images, len(batches))).astype(int)
        return [batches[i] for i in chosen]


def _dense(variant: Variant) -> Variant:
    return replace(variant, prune=PruneSpec())


def _describe(cell: Cell) -> Measurement:
    """The row of a cell about which nothing is known yet but what was asked for."""
    prune = cell.variant.prune
    return Measurement(
        cell.name,
        MEASURED,
        model=cell.variant.model.name,
        method=prune.method,
        scope=find(prune.method, PRUNERS, "pruner").scope,
        schedule="one-shot",
        control=cell.control,
        sparsity_target=prune.sparsity,
        round_to=prune.round_to,
        format=find(cell.engine, engines.ENGINES, "engine").format,
        engine=cell.engine,
        threads=cell.threads,
        batch=cell.variant.model.input_shape[0],
        seed=cell.variant.seed,
    )


def _parity_fields(parity: Parity) -> dict[str, Any]:
    finite = np.isfinite(parity.max_abs) and np.isfinite(parity.max_rel)
    return {
        "parity_max_abs": parity.max_abs if finite else None,
        "parity_max_rel": parity.max_rel if finite else None,
        "agreement": parity.agreement,
        "disagreements": parity.disagreements or None,
    }


def _timing_fields(timing: Timing) -> dict[str, Any]:
    summary = summarise(timing.samples_s, timing.reference_s, timing.block)
    return asdict(summary) | {
        "samples_s": timing.samples_s,
        "reference_s": timing.reference_s,
        "block": timing.block,
        "steal": timing.steal,
        "waited": timing.waited,
        "contaminated": contamination(summary.reference_drift, timing.steal, timing.waited),
    }
