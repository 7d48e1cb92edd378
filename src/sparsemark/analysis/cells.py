"""What sort of cell a row is, and which other cell it must be held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.records.measurement import MEASURED
from sparsemark.specs import DENSE, removes_channels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.records.measurement import Measurement

ALL_ONES = "all-ones"
RANDOM = "random"

_USUAL_REFERENCE = "onnxruntime"


def is_structural(measurement: Measurement) -> bool:
    """Whether channels are gone from the network, in place of weights set to zero."""
    return removes_channels(measurement.method or "")


def is_masked(measurement: Measurement) -> bool:
    """Whether weights were set to zero and the shapes kept."""
    return measurement.method not in (None, DENSE, ALL_ONES) and not is_structural(measurement)


def is_control(measurement: Measurement) -> bool:
    """Whether the cell's answer is known beforehand: A/A, a mask of ones, a mask drawn at random."""
    return measurement.control is not None or measurement.method in (ALL_ONES, RANDOM)


def is_reference(measurement: Measurement) -> bool:
    """Whether the cell is the reference itself: the same network, dense, on the engine that all are timed against."""
    own = measurement.engine == reference_engine(measurement)
    return measurement.method == DENSE and measurement.control is None and own


def reference_engine(measurement: Measurement) -> str:
    """Name the engine that a cell was timed against; where ONNX cannot hold the network it is not the usual one."""
    return measurement.reference_engine or _USUAL_REFERENCE


def dense_twin(measurement: Measurement, among: Iterable[Measurement]) -> Measurement | None:
    """Find the unpruned network on the same engine, of the same seed if there is one: latency hardly depends on it."""
    twins = [
        m
        for m in among
        if m.method == DENSE
        and m.control is None
        and m.status == MEASURED
        and (m.model, m.engine, m.threads, m.batch)
        == (measurement.model, measurement.engine, measurement.threads, measurement.batch)
    ]
    return min(twins, key=lambda m: m.seed != measurement.seed, default=None)


def dense_accuracy(measurement: Measurement, among: Iterable[Measurement]) -> float | None:
    """Find the accuracy of the unpruned network of the same seed, on the same images."""
    for m in among:
        same = (m.model, m.seed, m.accuracy_source) == (
            measurement.model,
            measurement.seed,
            measurement.accuracy_source,
        )
        if m.method == DENSE and same and m.accuracy is not None:
            return m.accuracy
    return None


def models(measurements: Sequence[Measurement]) -> list[str | None]:
    """Name the networks of a run, in its order."""
    return list(dict.fromkeys(m.model for m in measurements))


def removed(measurement: Measurement) -> float | None:
    """Give the share of the dense network's weights that is gone, as zeros or as channels; else what was asked."""
    return measurement.sparsity if measurement.sparsity is not None else measurement.sparsity_target
