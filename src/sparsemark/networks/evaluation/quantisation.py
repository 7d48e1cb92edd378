"""Quantisation of ONNX, and products of quantised numbers: integers exactly, the rest in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.networks.evaluation.base import Standard, channels
from sparsemark.networks.evaluation.windows import convolved
from sparsemark.networks.onnx_constants import dequantised, spread

if TYPE_CHECKING:
    from onnx.reference.op_run import OpRun


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def quantised(x: Array, zero: int | Array, dtype: Any) -> Array:
    """Round to integers, ties to even, and saturate."""
    import ml_dtypes

    kind = np.dtype(dtype)
    limits = np.iinfo(kind) if kind.kind in "iu" else ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
    found: Array = np.clip(np.rint(x) + zero, int(limits.min), int(limits.max)).astype(kind)
    return found


class QuantizeLinear(Standard):
    """Quantisation of any version, to integers."""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero: Array | None = None,
        *,
        axis: int | None = None,
        block_size: int | None = None,
        output_dtype: int | None = None,
        **_: Any,
    ) -> tuple[Array]:
        from onnx import helper

        along = 1 if axis is None else axis
        if zero is not None:
            dtype = zero.dtype
            point = spread(zero.astype(np.int64), x.shape, along, block_size or 0)
        else:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(output_dtype)) if output_dtype else np.dtype(np.uint8)
            point = np.zeros((), np.int64)
        if "float" in dtype.name:
            raise NotImplementedError(f"quantisation to {dtype}")
        # In float32, as the standard has it and every engine does: half of 255 is a tie there, and just below one beyond.
        quotient = (x / spread(scale, x.shape, along, block_size or 0)).astype(np.float32)
        return (quantised(quotient, point, dtype),)


class DequantizeLinear(Standard):
    """The reverse of quantisation."""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero: Array | None = None,
        *,
        axis: int | None = None,
        block_size: int | None = None,
        **_: Any,
    ) -> tuple[Array]:
        return (dequantised(x, scale, zero, 1 if axis is None else axis, block_size or 0),)


class DynamicQuantizeLinear(Standard):
    """Quantisation to the range of the values."""

    def _run(self, x: Array) -> tuple[Array, Array, Array]:
        return to_range(x)


def to_range(x: Array) -> tuple[Array, Array, Array]:
    """Quantise to eight bits over the range of the values; return integers, scale and zero point."""
    low, high = min(float(x.min(initial=0)), 0.0), max(float(x.max(initial=0)), 0.0)
    scale = (high - low) / 255 or 1.0
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return quantised(x / scale, int(zero), np.uint8), np.array(scale), np.array(zero, np.uint8)


def integers(x: Array, scale: Array, zero: Array | None) -> Array:
    """Quantise with one scale and zero point."""
    if zero is None:
        return quantised(x / scale, 0, np.uint8)
    return quantised(x / scale, int(zero.reshape(-1)[0]), zero.dtype)


def shifted(x: Array, zero: Array | None, axis: int) -> Array:
    """Return integers less their zero point, in float64: exact."""
    if zero is None:
        return x.astype(np.float64)
    point = zero.astype(np.float64)
    found: Array = x - (point if point.ndim == x.ndim > 1 else spread(point, x.shape, axis))
    return found


class ConvInteger(Standard):
    """Convolution of integers."""

    def _run(
        self, x: Array, weight: Array, x_zero: Array | None = None, weight_zero: Array | None = None, **attributes: Any
    ) -> tuple[Array]:
        found = convolved(shifted(x, x_zero, 1), shifted(weight, weight_zero, 0), **attributes)
        return (found.astype(np.int32),)


class MatMulInteger(Standard):
    """Product of integers."""

    def _run(self, a: Array, b: Array, a_zero: Array | None = None, b_zero: Array | None = None) -> tuple[Array]:
        return ((shifted(a, a_zero, -2) @ shifted(b, b_zero, -1)).astype(np.int32),)


class QLinearConv(Standard):
    """Convolution of quantised numbers, quantised again."""

    def _run(
        self,
        *operands: Array,
        **attributes: Any,
    ) -> tuple[Array]:
        x, x_scale, x_zero, weight, weight_scale, weight_zero, y_scale, y_zero = operands[:8]
        bias = operands[8] if len(operands) > 8 else None
        offset = None if bias is None else bias.astype(np.float64)
        total = convolved(shifted(x, x_zero, 1), shifted(weight, weight_zero, 0), offset, **attributes)
        factor = x_scale * weight_scale / y_scale
        scaled = total * (channels(factor, x.ndim) if factor.size > 1 else factor)
        return (quantised(scaled, int(y_zero.reshape(-1)[0]), y_zero.dtype),)


class QLinearMatMul(Standard):
    """Product of quantised numbers, quantised again."""

    def _run(
        self,
        *operands: Array,
    ) -> tuple[Array]:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = operands
        total = shifted(a, a_zero, -2) @ shifted(b, b_zero, -1)
        rows = a_scale[..., None] if a_scale.ndim == 1 and a_scale.size > 1 else a_scale
        return (quantised(total * rows * b_scale / y_scale, int(y_zero.reshape(-1)[0]), y_zero.dtype),)


OPERATORS: list[type[OpRun]] = [
    ConvInteger,
    DequantizeLinear,
    DynamicQuantizeLinear,
    MatMulInteger,
    QLinearConv,
    QLinearMatMul,
    QuantizeLinear,
]
