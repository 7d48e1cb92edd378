"""Kinds of cells, and the cell that each must be held against."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sparsemark.errors import UserError
from sparsemark.records.measurement import MEASURED
from sparsemark.records.scores import same_data
from sparsemark.specs import AA, ALL_ONES, DENSE, FP32, QAT, Protocol, Pruning, is_known_beforehand, removes_channels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sparsemark.records.measurement import Measurement
    from sparsemark.records.scores import Score

NO_NETWORK = " (no network)"
"""End of the model of a row that predicts without one."""

MAJORITY = f"majority{NO_NETWORK}"
"""Model of the row that always answers with the most frequent class."""


def methods_of(measurement: Measurement) -> list[str]:
    """Return the methods of a pruning in their order; empty for the dense network."""
    steps = [] if measurement.method in (None, DENSE) else str(measurement.method).split("+")
    return [step for step in steps if step != QAT]


def is_quantisation_aware(measurement: Measurement) -> bool:
    """Return whether the network was fine-tuned with int8 in mind; its precision may be another."""
    return QAT in str(measurement.method).split("+")


def is_structural(measurement: Measurement) -> bool:
    """Return whether any step removed channels: the shapes differ from the dense network's.

    True for `channels+magnitude` as well, which `is_masked` holds for too. Ask this where shapes matter, such as for
    the multiple in which channels are kept.
    """
    return any(map(removes_channels, methods_of(measurement)))


def is_masked(measurement: Measurement) -> bool:
    """Return whether any step set weights to zero, in `channels+magnitude` as well.

    Ask this where zeros matter at all, such as for the sparsity of a file. A gain over the dense network may be
    attributed to zeros only where `is_mask_only` holds.
    """
    return any(step != ALL_ONES and not removes_channels(step) for step in methods_of(measurement))


def is_mask_only(measurement: Measurement) -> bool:
    """Return whether weights were set to zero and every shape kept, so that zeros explain what changed."""
    return is_masked(measurement) and not is_structural(measurement)


def is_unpruned(measurement: Measurement) -> bool:
    """Return whether nothing was removed: the dense network as it came, or fine-tuned under a mask of ones."""
    return measurement.method is not None and not is_masked(measurement) and not is_structural(measurement)


def is_control(measurement: Measurement) -> bool:
    """Return whether the cell's answer is known beforehand: A/A, or a step that is a mask of ones or a random one.

    The dense network that was fine-tuned for int8, `all-ones+qat`, is none: it could be deployed.
    """
    return measurement.control is not None or is_known_beforehand(str(measurement.method))


def is_reference(measurement: Measurement) -> bool:
    """Return whether the cell is the reference itself: the dense network in fp32, on `reference_engine`."""
    own = measurement.engine == reference_engine(measurement) and not is_quantised(measurement)
    return measurement.method == DENSE and measurement.control is None and own


def is_against_itself(measurement: Measurement) -> bool:
    """Return whether a cell is its own reference: an A/A control, or the row of the reference, timed once more."""
    return measurement.control == AA or measurement.name == measurement.speedup_reference


def is_dense(measurement: Measurement) -> bool:
    """Return whether a cell is the dense network in the precision it was trained in: its score is the bar itself."""
    return measurement.method == DENSE and not is_quantised(measurement)


def reference_engine(measurement: Measurement) -> str:
    """Return the engine that a cell was timed against; where ONNX cannot hold the network it is not the usual one."""
    return measurement.reference_engine or Protocol.reference


def dense_twin(measurement: Measurement, among: Iterable[Measurement]) -> Measurement | None:
    """Return the dense network run in the same way, of the same seed if there is one: latency hardly depends on it."""
    twins = [
        m
        for m in among
        if m.method == DENSE and m.control is None and m.status == MEASURED and way(m) == way(measurement)
    ]
    return min(twins, key=lambda m: (m.seed, m.fold) != (measurement.seed, measurement.fold), default=None)


def is_quantised(measurement: Measurement) -> bool:
    """Return whether the engine computed in less than fp32."""
    return measurement.precision not in (None, FP32)


def float32_twin(measurement: Measurement, among: Iterable[Measurement]) -> Measurement | None:
    """Return the same network on the same engine in fp32: what quantising alone changed."""

    def same(m: Measurement) -> tuple[object, ...]:
        return m.model, m.pruning, m.method, m.sparsity_target, m.seed, m.fold, m.engine, m.threads, m.batch, m.control

    twins = (m for m in among if m.status == MEASURED and not is_quantised(m) and same(m) == same(measurement))
    return next(twins, None)


def way(m: Measurement) -> tuple[object, ...]:
    """Return the network and how it is run: all that must be alike for a difference to come from the pruning."""
    return m.model, m.format, m.engine, m.precision, m.threads, m.batch


def dense_scores(measurement: Measurement, among: Iterable[Measurement]) -> Mapping[str, Score]:
    """Return the scores of the dense network of the same seed and fold, on the same data; empty where there are none.

    Those in fp32 come first: a quantised network has lost already what quantising costs.
    """
    rows = [
        m
        for m in among
        if m.method == DENSE
        and m.scores
        and (m.model, m.seed, m.fold) == (measurement.model, measurement.seed, measurement.fold)
        and same_data(m.data, measurement.data)
    ]
    best = min(rows, key=is_quantised, default=None)
    return best.scores if best else {}


def headline_metrics(measurements: Iterable[Measurement]) -> dict[str | None, str]:
    """Return the metric by which each network is judged; networks without any score are left out.

    Where the headline of a row is absent, the metric behind it does not take its place.
    """
    ranks: dict[str | None, dict[str, bool]] = {}
    for m in measurements:
        for rank, metric in enumerate(m.scores):
            first = ranks.setdefault(m.model, {})
            first[metric] = first.get(metric, True) and rank == 0
    return {model: next((name for name in first if first[name]), next(iter(first))) for model, first in ranks.items()}


def models(measurements: Sequence[Measurement]) -> list[str | None]:
    """Return the networks of a run, in its order."""
    return list(dict.fromkeys(m.model for m in measurements))


def removed(measurement: Measurement) -> float | None:
    """Return the share of the dense network's weights that is gone, as zeros or as channels; else what was asked."""
    return measurement.sparsity if measurement.sparsity is not None else _asked(measurement)


def _asked(measurement: Measurement) -> float | None:
    """Return the share that a pruning asks for; each step takes its own of what the one before it left."""
    try:
        pruning = Pruning.parse(measurement.pruning or "")
    except UserError:  # a file of another program
        return measurement.sparsity_target
    return 1 - math.prod(1 - step.sparsity for step in pruning.steps)
