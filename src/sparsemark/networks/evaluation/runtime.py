"""Operators that ONNX Runtime adds to ONNX, in float64: those that its optimiser and quantiser write into files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun
from scipy.special import expit

from sparsemark.networks.evaluation import quantisation
from sparsemark.networks.evaluation.activations import gelu
from sparsemark.networks.evaluation.base import Standard
from sparsemark.networks.evaluation.quantisation import integers, shifted
from sparsemark.networks.evaluation.windows import convolved
from sparsemark.networks.onnx_constants import dequantised
from sparsemark.networks.onnx_operands import unpacked_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]


class _Runtime(OpRun):
    """An operator of ONNX Runtime's own set."""

    op_domain = "com.microsoft"


# Products.

_ACTIVATIONS: dict[str, Callable[..., Array]] = {
    "": lambda x: x,
    "Clip": np.clip,
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: np.clip(alpha * x + beta, 0, 1),
    "LeakyRelu": lambda x, alpha=0.01: np.where(x >= 0, x, alpha * x),
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": expit,
    "Tanh": np.tanh,
}


def _activated(x: Array, name: str | None, parameters: Sequence[float]) -> Array:
    return _ACTIVATIONS[name or ""](x, *map(float, parameters))


class FusedConv(_Runtime):
    """Convolution, with a sum and an activation after it."""

    def _run(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        added: Array | None = None,
        *,
        activation: str | None = None,
        activation_params: Sequence[float] | None = None,
        **attributes: Any,
    ) -> tuple[Array]:
        found = convolved(x, weight, bias, **attributes)
        return (_activated(found if added is None else found + added, activation, activation_params or ()),)


class FusedGemm(_Runtime):
    """General product of matrices, with an activation after it."""

    def _run(self, a: Array, b: Array, c: Array | None = None, **attributes: Any) -> tuple[Array]:
        left, right = (one.T if attributes.get(f"trans{name}") else one for one, name in ((a, "A"), (b, "B")))
        found = float(attributes.get("alpha", 1.0)) * (left @ right)
        if c is not None:
            found = found + float(attributes.get("beta", 1.0)) * c
        names = ("activation_alpha", "activation_beta", "activation_gamma")
        parameters = [attributes[name] for name in names if name in attributes]
        return (_activated(found, attributes.get("activation"), parameters),)


class FusedMatMul(_Runtime):
    """Product of stacked matrices, each transposed or not."""

    def _run(self, a: Array, b: Array, **attributes: Any) -> tuple[Array]:
        if attributes.get("transBatchA") or attributes.get("transBatchB"):
            raise NotImplementedError("transBatchA, transBatchB")
        left, right = (
            one.swapaxes(-1, -2) if attributes.get(f"trans{name}") and one.ndim > 1 else one
            for one, name in ((a, "A"), (b, "B"))
        )
        return (float(attributes.get("alpha", 1.0)) * np.matmul(left, right),)


class MatMulNBits(_Runtime):
    """Product with weights packed into a few bits each."""

    def _run(self, a: Array, packed: Array, scales: Array, *optional: Array | None, **attributes: Any) -> tuple[Array]:
        zeros, groups, bias = (*optional, None, None, None)[:3]
        if groups is not None and groups.size:
            raise NotImplementedError("g_idx")
        width, rows, block = (int(attributes[name]) for name in ("K", "N", "block_size"))
        values, points = unpacked_bits(packed, zeros, rows, -(-width // block), int(attributes.get("bits", 4)))
        dense = values.astype(np.float64) - np.repeat(points, block, axis=1)
        dense *= np.repeat(scales.reshape(rows, -1), block, axis=1)
        found = a @ dense[:, :width].T
        return (found if bias is None else found + bias,)


class MatMulIntegerToFloat(_Runtime):
    """Product of integers, scaled."""

    def _run(self, a: Array, b: Array, a_scale: Array, b_scale: Array, *optional: Array | None) -> tuple[Array]:
        a_zero, b_zero, bias = (*optional, None, None, None)[:3]
        found = (shifted(a, a_zero, -2) @ shifted(b, b_zero, -1)) * a_scale * b_scale
        return (found if bias is None else found + bias,)


class DynamicQuantizeMatMul(_Runtime):
    """Product with quantised weights, the other side quantised to its range."""

    def _run(self, a: Array, b: Array, b_scale: Array, *optional: Array | None) -> tuple[Array]:
        b_zero, bias = (*optional, None, None)[:2]
        narrow, scale, zero = quantisation.to_range(a)
        found = (shifted(narrow, zero, -2) @ shifted(b, b_zero, -1)) * scale * b_scale
        return (found if bias is None else found + bias,)


class QGemm(_Runtime):
    """General product of quantised matrices."""

    def _run(self, *operands: Array | None, **attributes: Any) -> tuple[Array]:
        a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero = (*operands, None, None, None)[:9]
        if a is None or b is None or a_scale is None or b_scale is None:
            raise ValueError("expected two matrices and their scales")
        left = shifted(a, a_zero, 1 if attributes.get("transA") else 0)
        right = shifted(b, b_zero, 0 if attributes.get("transB") else 1)
        total = (left.T if attributes.get("transA") else left) @ (right.T if attributes.get("transB") else right)
        found = total * float(attributes.get("alpha", 1.0))
        if c is not None:
            found = found + c
        found = found * a_scale * b_scale
        if y_scale is None:
            return (found,)
        return (integers(found, y_scale, y_zero),)


# Activations and normalisation.


class Gelu(_Runtime):
    """Gaussian error linear unit."""

    def _run(self, x: Array, **_: Any) -> tuple[Array]:
        return (gelu(x),)


class BiasGelu(_Runtime):
    """Gaussian error linear unit of a sum."""

    def _run(self, x: Array, bias: Array) -> tuple[Array]:
        return (gelu(x + bias),)


class FastGelu(_Runtime):
    """Gaussian error linear unit of a sum, approximated."""

    def _run(self, x: Array, bias: Array | None = None) -> tuple[Array]:
        return (gelu(x if bias is None else x + bias, approximated=True),)


class QuickGelu(_Runtime):
    """x times the logistic function of a multiple."""

    def _run(self, x: Array, alpha: float | None = None) -> tuple[Array]:
        return (x * expit((1.702 if alpha is None else float(alpha)) * x),)


class SimplifiedLayerNormalization(Standard):
    """Division by the root mean square, which ONNX Runtime adds to ONNX's own set."""

    def _run(
        self, x: Array, scale: Array, axis: int | None = None, epsilon: float | None = None, **_: Any
    ) -> tuple[Array, ...]:
        axes = tuple(range((-1 if axis is None else int(axis)) % x.ndim, x.ndim))
        inverse = 1 / np.sqrt((x * x).mean(axes, keepdims=True) + (1e-5 if epsilon is None else float(epsilon)))
        return (x * inverse * scale, inverse)


class SkipLayerNormalization(_Runtime):
    """Normalisation of a sum over the last axis."""

    def _run(
        self, x: Array, skip: Array, scale: Array, *optional: Array | None, epsilon: float | None = None
    ) -> tuple[Array, ...]:
        shift, bias = (*optional, None, None)[:2]
        total = x + skip if bias is None else x + skip + bias
        mean = total.mean(-1, keepdims=True)
        inverse = 1 / np.sqrt(total.var(-1, keepdims=True) + (1e-12 if epsilon is None else float(epsilon)))
        found = (total - mean) * inverse * scale
        return (found if shift is None else found + shift, mean, inverse, total)


class SkipSimplifiedLayerNormalization(_Runtime):
    """Division of a sum by its root mean square over the last axis."""

    def _run(
        self, x: Array, skip: Array, scale: Array, bias: Array | None = None, *, epsilon: float | None = None
    ) -> tuple[Array, ...]:
        total = x + skip if bias is None else x + skip + bias
        small = 1e-12 if epsilon is None else float(epsilon)
        inverse = 1 / np.sqrt((total * total).mean(-1, keepdims=True) + small)
        return (total * inverse * scale, inverse, inverse, total)


# Quantised numbers.


class QuantizeLinear(quantisation.QuantizeLinear):
    """Quantisation, as in ONNX."""

    op_domain = "com.microsoft"


class DequantizeLinear(quantisation.DequantizeLinear):
    """The reverse of quantisation, as in ONNX."""

    op_domain = "com.microsoft"


class QLinearConv(quantisation.QLinearConv):
    """Convolution of quantised numbers, as in ONNX unless channels come last."""

    op_domain = "com.microsoft"

    def _run(self, *operands: Array, channels_last: int | None = None, **attributes: Any) -> tuple[Array]:
        if channels_last:
            raise NotImplementedError("channels_last")
        return super()._run(*operands, **attributes)


def _dequantised(operands: Sequence[Array]) -> Array:
    x, scale, zero = operands
    return dequantised(x, scale, zero)


def _requantised(function: Callable[..., Array]) -> Callable[..., tuple[Array]]:
    def run(
        _: OpRun, x: Array, scale: Array, zero: Array, to: Array, zero_to: Array, **attributes: Any
    ) -> tuple[Array]:
        return (integers(function(dequantised(x, scale, zero), **attributes), to, zero_to),)

    return run


def _requantised_pair(function: Callable[[Array, Array], Array]) -> Callable[..., tuple[Array]]:
    def run(_: OpRun, *operands: Array) -> tuple[Array]:
        first, second = _dequantised(operands[:3]), _dequantised(operands[3:6])
        return (integers(function(first, second), *operands[6:8]),)

    return run


def _mean(x: Array, channels_last: int | None = None) -> Array:
    axes = tuple(range(1, x.ndim - 1)) if channels_last else tuple(range(2, x.ndim))
    found: Array = x.mean(axes, keepdims=True)
    return found


def _leaky(x: Array, alpha: float | None = None) -> Array:
    return np.where(x >= 0, x, (0.01 if alpha is None else float(alpha)) * x)


class QLinearConcat(_Runtime):
    """Quantised numbers of several scales, joined."""

    def _run(self, scale: Array, zero: Array, *operands: Array, axis: int) -> tuple[Array]:
        parts = [_dequantised(operands[index : index + 3]) for index in range(0, len(operands), 3)]
        return (integers(np.concatenate(parts, axis), scale, zero),)


_QUANTISED = {
    "QLinearAdd": _requantised_pair(np.add),
    "QLinearMul": _requantised_pair(np.multiply),
    "QLinearGlobalAveragePool": _requantised(_mean),
    "QLinearLeakyRelu": _requantised(_leaky),
    "QLinearSigmoid": _requantised(expit),
}

OPERATORS: list[type[OpRun]] = [
    BiasGelu,
    DequantizeLinear,
    DynamicQuantizeMatMul,
    FastGelu,
    FusedConv,
    FusedGemm,
    FusedMatMul,
    Gelu,
    MatMulIntegerToFloat,
    MatMulNBits,
    QGemm,
    QLinearConcat,
    QLinearConv,
    QuantizeLinear,
    QuickGelu,
    SimplifiedLayerNormalization,
    SkipLayerNormalization,
    SkipSimplifiedLayerNormalization,
    *(type(name, (_Runtime,), {"_run": run, "__doc__": name}) for name, run in _QUANTISED.items()),
]
