"""Operands of ONNX and ONNX Runtime operators that are weights, and where the zero of a quantised one is found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.networks.onnx_constants import STANDARD, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.networks.onnx_constants import Array, Operation

_RUNTIME = ("com.microsoft", "com.ms.internal.nhwc")
"""Domains of ONNX Runtime's operators, those of its optimised files included."""


@dataclass(frozen=True)
class Operand:
    """An operand that is a weight where it is constant.

    Args:
        index: among the node's inputs.
        zero: index of its zero point; None: zero is 0.
        axis: along which there is a zero point for each slice.
        least: dimensions of a weight; fewer are no weight.
        integers: whether integers are weights too, as in quantised operators.
    """

    index: int
    zero: int | None = None
    axis: int = 0
    least: int = 1
    integers: bool = False


def _quantised(index: int, zero: int | None = None, axis: int = -1) -> Operand:
    return Operand(index, zero, axis, integers=True)


_BOTH = (Operand(0), Operand(1))
_SECOND = (Operand(1),)
_RECURRENT = (Operand(1), Operand(2))
_TABLE = (Operand(0, least=2),)

_OPERANDS = {
    "Conv": _SECOND,
    "ConvTranspose": _SECOND,
    "CausalConvWithState": _SECOND,
    "DeformConv": _SECOND,
    "Gemm": _BOTH,
    "MatMul": _BOTH,
    "Einsum": tuple(Operand(index, least=2) for index in range(8)),
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "Gather": _TABLE,
    "GatherElements": _TABLE,
    "GatherND": _TABLE,
    "QLinearConv": (_quantised(3, 5, 0),),
    "QLinearMatMul": (_quantised(0, 2, -2), _quantised(3, 5)),
    "ConvInteger": (_quantised(1, 3, 0),),
    "MatMulInteger": (_quantised(0, 2, -2), _quantised(1, 3)),
}

_RUNTIME_OPERANDS = {
    **_OPERANDS,
    "Attention": _SECOND,
    "ConvTransposeWithDynamicPads": _SECOND,
    "DynamicQuantizeLSTM": (_quantised(1, 9), _quantised(2, 11)),
    "DynamicQuantizeMatMul": (_quantised(1, 3),),
    "EmbedLayerNormalization": tuple(Operand(index, least=2) for index in (2, 3, 4)),
    "FusedConv": _SECOND,
    "FusedGemm": _BOTH,
    "FusedMatMul": _BOTH,
    "GemmFloat8": _BOTH,
    "MatMulIntegerToFloat": (_quantised(0, 4, -2), _quantised(1, 5)),
    "MoE": tuple(Operand(index, least=2) for index in (2, 4, 6)),
    "NhwcConv": _SECOND,
    "NhwcFusedConv": _SECOND,
    "QAttention": (_quantised(1, 7),),
    "QGemm": (_quantised(0, 2, -2), _quantised(3, 5)),
    "TransposeMatMul": _BOTH,
}

_WITHOUT_WEIGHTS = frozenset(
    re.findall(
        r"\w+",
        """
        BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu DequantizeLinear FastGelu Gelu GridSample GroupNorm
        GroupQueryAttention Inverse LayerNormalization MultiHeadAttention NhwcMaxPool QLinearAdd QLinearAveragePool
        QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid
        QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu RotaryEmbedding SimplifiedLayerNormalization
        SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization Trilu Unique
        """,
    )
)
"""Operators of ONNX Runtime that hold no weights: quantisation, activations, normalisation and bookkeeping."""

MOVED = frozenset({"Gather", "GatherElements", "GatherND"})
"""Weighted operators that also compute with constants alone, such as taking part of a packed weight."""


def weighted(operation: Operation) -> Sequence[Operand] | None:
    """Return the operands that may be weights; None where the operator is not understood."""
    if operation.domain in STANDARD:
        return _OPERANDS.get(operation.op, ())
    if operation.domain in _RUNTIME:
        return _RUNTIME_OPERANDS.get(operation.op, () if operation.op in _WITHOUT_WEIGHTS else None)
    return None


def nonzero(operation: Operation, operand: Operand, value: Array, zero: Array | None) -> Array:
    """Return the elements of a weight that are not zero.

    Raises:
        ValueError: its zero point does not fit it.
    """
    if zero is None or not zero.any():
        found: Array = value[value != 0]
        return found
    axis = operand.axis
    if operation.op == "QGemm" and operation.attributes.get("transB" if operand.index else "transA"):
        axis = -1 if axis == -2 else -2
    # A zero point a row or a column of stacked matrices comes in a form that broadcasts.
    fits = zero.ndim > 1 and zero.ndim == value.ndim
    zeros = zero if fits else spread(zero, value.shape, axis)
    taken: Array = value[value != zeros]
    return taken


NIBBLES = "MatMulNBits"
"""ONNX Runtime's product with weights packed into a few bits each, in blocks with a scale and a zero point."""


def unpacked(operation: Operation, packed: Array, points: Array | None) -> tuple[int, Array]:
    """Return size and elements that are not zero of the weights of `MatMulNBits`.

    Args:
        operation: the node.
        packed: bytes, (outputs, blocks of inputs, bytes of a block), the lowest bits first.
        points: zero points, packed likewise a row, or one float a block; None: half the range.

    Raises:
        ValueError: the sizes do not fit.
        KeyError: an attribute is missing.
    """
    attributes = operation.attributes
    width, rows = int(attributes["K"]), int(attributes["N"])
    bits, block = int(attributes.get("bits", 4)), int(attributes["block_size"])
    if bits not in (2, 4, 8) or block < 1 or width < 1 or rows < 1:
        raise ValueError(f"{bits} bits in blocks of {block}")
    values, zeros = unpacked_bits(packed, points, rows, -(-width // block), bits)
    if values.shape[1] != zeros.shape[1] * block:
        raise ValueError(f"{values.shape[1]} values a row, expected {zeros.shape[1] * block}")
    kept = values[:, :width] != np.repeat(zeros, block, axis=1)[:, :width]
    return rows * width, values[:, :width][kept]


def unpacked_bits(packed: Array, points: Array | None, rows: int, blocks: int, bits: int) -> tuple[Array, Array]:
    """Return the numbers (rows, values) and zero points (rows, blocks) of packed weights.

    Raises:
        ValueError: the sizes do not fit.
    """
    zeros: Array = np.full((rows, blocks), 2.0 ** (bits - 1))
    if points is not None:
        flat = points.reshape(rows, -1)
        zeros = (_bits(flat, bits) if points.dtype == np.uint8 else flat)[:, :blocks]
    return _bits(packed.reshape(rows, -1), bits), zeros


def _bits(array: Array, bits: int) -> Array:
    """Return the numbers packed in the bytes of each row."""
    if array.dtype != np.uint8:
        raise ValueError(f"packed into {array.dtype}, expected uint8")
    parts = [(array >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    unpacked: Array = np.stack(parts, axis=-1).reshape(len(array), -1)
    return unpacked
