"""Row of a cell: each stage adds what it found to the record."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.analysis.groups import loss_interval
from sparsemark.analysis.statistics import spread_of_ends, summarise
from sparsemark.measurement.parity import ParityError
from sparsemark.pruning import PRUNERS
from sparsemark.records.epochs import cost_of, spent_on
from sparsemark.records.measurement import BETWEEN_NOTES, MEASURED, PARITY_FAILED, Measurement
from sparsemark.registry import find
from sparsemark.specs import DENSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sparsemark.formats.base import Artifact
    from sparsemark.machine.host import Host
    from sparsemark.measurement.launch import Launch, Side
    from sparsemark.measurement.parity import Parity, Verified
    from sparsemark.measurement.timing import Timing
    from sparsemark.pruning.accounting import NetworkCount
    from sparsemark.records.scores import DataNote, Score
    from sparsemark.specs import Cell, Variant
    from sparsemark.study.batches import Inputs


def of_variant(variant: Variant) -> Measurement:
    """Return the row of a variant about which nothing is known yet but what was asked for."""
    pruning = variant.pruning
    methods = [step.method for step in pruning.steps] or [pruning.method]
    return Measurement(
        variant.name,
        MEASURED,
        model=variant.model.name,
        method=pruning.method,
        pruning=pruning.text,
        scope=" + ".join(find(method, PRUNERS, "pruner").scope for method in methods),
        schedule=pruning.schedule,
        sparsity_target=pruning.sparsity,
        round_to=pruning.round_to,
        seed=variant.seed,
        fold=variant.fold,
    )


def asked(cell: Cell) -> Measurement:
    """Return the row of a cell about which nothing is known yet but what was asked for."""
    return replace(
        of_variant(cell.variant),
        name=cell.name,
        control=cell.control,
        format=cell.format,
        engine=cell.engine,
        precision=cell.precision,
        threads=cell.threads,
        batch=cell.variant.model.input_shape[0],
    )


def with_scores(row: Measurement, scores: Mapping[str, Score], data: DataNote | None) -> Measurement:
    """Add what the network scores, and on which data."""
    return replace(row, scores=scores, data=data) if scores else row


def with_losses(row: Measurement, scores: Mapping[str, Score], dense: Mapping[str, Score]) -> Measurement:
    """Add the interval of what a network loses against the dense one, where their groups or inputs support one.

    Args:
        row: with its scores.
        scores: of its engine, with their groups.
        dense: of the dense network on the same inputs.
    """
    found = dict(row.scores)
    for name, score in scores.items():
        other = dense.get(name)
        if name not in found or other is None or not score.groups or not other.groups:
            continue
        ends = loss_interval(other.groups, score.groups, higher_is_better=score.higher_is_better)
        if ends is not None:
            found[name] = replace(found[name], loss_low=ends[0], loss_high=ends[1])
    return replace(row, scores=found)


def with_precision(row: Measurement, float32: Mapping[str, Score], select: Mapping[str, Score]) -> Measurement:
    """Add to the row of a quantised network what float32 scores, and what it scores itself where choices are made.

    Args:
        row: with its scores.
        float32: of the same network on the same engine.
        select: of the quantised network on the task's select inputs.
    """
    found = {
        name: replace(
            score,
            float32=float32[name].value if name in float32 else None,
            select=select[name].value if name in select else None,
        )
        for name, score in row.scores.items()
    }
    return replace(row, scores=found)


def with_cost(row: Measurement, provenance: Mapping[str, Any]) -> Measurement:
    """Add what pruning and fine-tuning took, in epochs and seconds, where that was recorded."""
    return replace(row, finetuning_epochs=spent_on(provenance), preparation_s=cost_of(provenance))


def with_notes(row: Measurement, notes: Iterable[str]) -> Measurement:
    """Add what a reader must know of the row, each note once."""
    known = dict.fromkeys([*((row.notes or "").split(BETWEEN_NOTES) if row.notes else ()), *notes])
    return replace(row, notes=BETWEEN_NOTES.join(known) or None)


def with_contents(
    row: Measurement,
    artifact: Artifact,
    dense_artifact: Artifact,
    count: NetworkCount | None,
    dense_count: NetworkCount | None,
) -> Measurement:
    """Add what is left in the artifact, counted in the file, against what the dense one holds in the same format.

    Args:
        row: to be added to.
        artifact: of the cell.
        dense_artifact: of the unpruned network.
        count: of the network itself, or None where there is no module.
        dense_count: the same of the unpruned one.

    Raises:
        ParityError: the exported file has lost zeros of the network.
    """
    total, nonzeros = dense_artifact.weights.total, artifact.weights.nonzeros
    if count is not None:
        row = with_notes(row, count.notes)
        if artifact.weights.total is not None and artifact.weights.total != count.weights:
            # What an exporter folds, unrolls or leaves out: each of the two is right about its own.
            note = f"the {artifact.format} file holds {artifact.weights.total} weights, the network {count.weights}"
            row = with_notes(row, [note])
    held = artifact.weights
    if row.method == DENSE and held.total is not None and held.nonzeros is not None and held.nonzeros < held.total:
        row = with_notes(row, [f"came with {held.total - held.nonzeros} zeros"])
    row = with_notes(row, [held.note] if held.note else [])
    row = replace(
        row,
        artifact_bytes=artifact.bytes,
        nonzeros=nonzeros,
        sparsity=1 - nonzeros / total if total and nonzeros is not None else None,
    )
    if count is None or dense_count is None:
        return row
    # More zeros are right where a BatchNorm of scale 0 was folded in; fewer are lost ones.
    if nonzeros is not None and total == dense_count.weights and nonzeros > count.nonzeros:
        raise ParityError(
            f"the {artifact.format} file has sparsity {row.sparsity or 0.0:.4f}, the network "
            f"{1 - count.nonzeros / dense_count.weights:.4f}"
        )
    return replace(
        row,
        mac_density=count.nonzero_macs / dense_count.macs if dense_count.macs else None,
        parameters=count.parameters,
        subnormals=count.subnormals,
        dead_channels=count.dead_channels,
        compressed_bytes=count.compressed_bytes,
    )


def quantised(row: Measurement, artifact: Artifact, float32: Artifact, notes: Iterable[str]) -> Measurement:
    """Add what the int8 form of a file is: its size, and how many weights rounding made zero.

    Sparsity stays that of the float32 file, which is what pruning did.

    Args:
        row: with the contents of the float32 file.
        artifact: in int8.
        float32: what it was made from.
        notes: on how it was made.

    Raises:
        ParityError: it has lost zeros.
    """
    before, after = float32.weights.nonzeros, artifact.weights.nonzeros
    if before is not None and after is not None and before != after:
        if after > before:
            raise ParityError(f"the int8 file has {after} weights that are not zero, the float32 file {before}")
        notes = (*notes, f"rounding to int8 makes {before - after} more weights zero")
    return with_notes(replace(row, artifact_bytes=artifact.bytes, compressed_bytes=None), notes)


def with_parity(row: Measurement, verified: Verified, inputs: Inputs) -> Measurement:
    """Add how far the engine lies from float64, and on which inputs."""
    used, held = verified.parity.images, len(inputs.batches)
    batch = row.batch or 1
    count = f"all {batch * held}" if used == held else f"{batch * used} of {batch * held}"
    note = replace(inputs.note, words=f"{count} inputs ({inputs.note.words})")
    return with_notes(replace(row, **_parity(verified.parity), parity_data=note), verified.parity.notes)


def failed_parity(row: Measurement, error: ParityError) -> Measurement:
    """Return the row of a cell that does not agree, without a latency."""
    if error.parity:
        row = with_notes(replace(row, **_parity(error.parity)), error.parity.notes)
    return replace(row, status=PARITY_FAILED, reason=str(error))


def _parity(parity: Parity) -> dict[str, Any]:
    finite = np.isfinite(parity.max_abs) and np.isfinite(parity.max_rel)
    return {
        "parity_max_abs": parity.max_abs if finite else None,
        "parity_max_rel": parity.max_rel if finite else None,
        "engine_agreement": parity.agreement,
        "agreement_with_dense": parity.with_dense,
        "disagreements": parity.disagreements or None,
    }


def with_launch(row: Measurement, launch: Launch, reference: str, side: Side, **moment: Any) -> Measurement:
    """Add what a fresh process found; arguments as in `with_timing`, and the reference's side of the job."""
    timed = with_timing(row, launch.timing, reference, side.engine, side.sha256, **moment)
    return replace(timed, peak_rss_bytes=launch.peak_rss_bytes)


def with_host(row: Measurement, host: Host, host_class: str) -> Measurement:
    """Add where a launch ran, in a sweep over several hosts."""
    return replace(
        row,
        host=host.name,
        host_class=host_class or None,
        processor=host.processor,
        microcode=host.microcode,
        boot_id=host.boot_id,
        cgroup_cpus=host.limits.cpus,
        cgroup_cpuset=host.limits.cpuset,
        cgroup_memory_bytes=host.limits.memory_bytes,
    )


def with_timing(
    row: Measurement, timing: Timing, reference: str, engine: str, sha256: str, **moment: Any
) -> Measurement:
    """Add the raw seconds, and what they support.

    Args:
        row: to be added to.
        timing: of the cell.
        reference: name of the cell that it was timed against.
        engine: of that cell.
        sha256: of that cell's file.
        moment: when and at which commit.
    """
    summary = summarise(timing.samples_s, timing.reference_s, timing.block)
    return replace(
        row,
        **asdict(summary),
        launches=1,
        samples_s=timing.samples_s,
        reference_s=timing.reference_s,
        block=timing.block,
        steal=timing.steal,
        waited=timing.waited,
        lock_wait_s=timing.lock_wait_s,
        held_from_s=None if timing.held_s is None else timing.held_s[0],
        held_until_s=None if timing.held_s is None else timing.held_s[1],
        yardstick_ms=1e3 * float(np.median(timing.yardstick_s)) if timing.yardstick_s else None,
        yardstick_spread=spread_of_ends(timing.yardstick_s),
        launch_pairs=(len(timing.samples_s) // timing.block,),
        speedup_reference=reference,
        reference_engine=engine,
        reference_sha256=sha256,
        **moment,
    )
