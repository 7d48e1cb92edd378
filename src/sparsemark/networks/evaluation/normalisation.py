"""Normalisation of ONNX in float64, with the statistics that a trained network stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.networks.evaluation.base import Standard, channels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx.reference.op_run import OpRun


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class BatchNormalization(Standard):
    """Batch normalisation with stored statistics; the evaluator trains in versions 9 to 13."""

    def _run(
        self,
        x: Array,
        scale: Array,
        bias: Array,
        mean: Array,
        variance: Array,
        *,
        epsilon: float | None = None,
        momentum: float | None = None,
        training_mode: int | None = None,
        **_: Any,
    ) -> tuple[Array, ...]:
        small = 1e-5 if epsilon is None else float(epsilon)
        if training_mode:
            axes = tuple(one for one in range(x.ndim) if one != 1)
            kept = 0.9 if momentum is None else float(momentum)
            now, spread = x.mean(axes), x.var(axes)
            moved = (mean * kept + now * (1 - kept), variance * kept + spread * (1 - kept))
            return (*self._normal(x, scale, bias, now, spread + small), *moved)
        return self._normal(x, scale, bias, mean, variance + small)

    @staticmethod
    def _normal(x: Array, scale: Array, bias: Array, mean: Array, variance: Array) -> tuple[Array]:
        factor = scale / np.sqrt(variance)
        shift = bias - mean * factor
        return (x * channels(factor, x.ndim) + channels(shift, x.ndim),)


class InstanceNormalization(Standard):
    """Normalisation of each channel of each image."""

    def _run(self, x: Array, scale: Array, bias: Array, epsilon: float | None = None) -> tuple[Array]:
        axes = tuple(range(2, x.ndim))
        normal = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + _small(epsilon))
        return (normal * channels(scale, x.ndim) + channels(bias, x.ndim),)


def _small(epsilon: float | None) -> float:
    return 1e-5 if epsilon is None else float(epsilon)


class GroupNormalization(Standard):
    """Normalisation of groups of channels; before version 21 with one scale a group."""

    def _run(
        self,
        x: Array,
        scale: Array,
        bias: Array,
        *,
        num_groups: int,
        epsilon: float | None = None,
        **_: Any,
    ) -> tuple[Array]:
        grouped = x.reshape(x.shape[0], num_groups, -1)
        centred = grouped - grouped.mean(2, keepdims=True)
        normal = (centred / np.sqrt(grouped.var(2, keepdims=True) + _small(epsilon))).reshape(x.shape)
        each = x.shape[1] // len(scale)
        factor, shift = (np.repeat(one, each) if each > 1 else one for one in (scale, bias))
        return (normal * channels(factor, x.ndim) + channels(shift, x.ndim),)


class LayerNormalization(Standard):
    """Normalisation over the last axes."""

    def _run(
        self,
        x: Array,
        scale: Array,
        bias: Array | None = None,
        *,
        axis: int | None = None,
        epsilon: float | None = None,
        **_: Any,
    ) -> tuple[Array, ...]:
        first = -1 if axis is None else int(axis)
        axes = tuple(range(first % x.ndim, x.ndim))
        mean = x.mean(axes, keepdims=True)
        inverse = 1 / np.sqrt(x.var(axes, keepdims=True) + _small(epsilon))
        found = (x - mean) * inverse * scale
        return (found if bias is None else found + bias, mean, inverse)


class RMSNormalization(Standard):
    """Division by the root mean square over the last axes."""

    def _run(
        self, x: Array, scale: Array, *, axis: int | None = None, epsilon: float | None = None, **_: Any
    ) -> tuple[Array]:
        first = -1 if axis is None else int(axis)
        axes = tuple(range(first % x.ndim, x.ndim))
        return (x / np.sqrt((x * x).mean(axes, keepdims=True) + _small(epsilon)) * scale,)


class MeanVarianceNormalization(Standard):
    """Normalisation over given axes."""

    def _run(self, x: Array, axes: Sequence[int] | None = None) -> tuple[Array]:
        over = tuple((0, 2, 3) if axes is None else axes)
        # As the specification defines it: added to the deviation, not to the variance.
        return ((x - x.mean(over, keepdims=True)) / (x.std(over, keepdims=True) + 1e-9),)


class LRN(Standard):
    """Local response normalisation over channels."""

    def _run(
        self,
        x: Array,
        *,
        size: int,
        alpha: float | None = None,
        beta: float | None = None,
        bias: float | None = None,
    ) -> tuple[Array]:
        before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
        squares = np.pad(x * x, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
        total = sum(squares[:, tap : tap + x.shape[1]] for tap in range(size))
        rate = 1e-4 if alpha is None else float(alpha)
        return (x / (float(bias or 1.0) + rate / size * total) ** (0.75 if beta is None else float(beta)),)


OPERATORS: list[type[OpRun]] = [
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LRN,
    LayerNormalization,
    MeanVarianceNormalization,
    RMSNormalization,
]
