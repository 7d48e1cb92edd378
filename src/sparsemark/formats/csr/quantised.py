"""Weights of a quantised ONNX model (QDQ): their integers, and the model with the numbers that these stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Quantised:
    """A weight of integers: s8, zero point 0, one scale or one for each channel along `axis`."""

    integers: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int

    def rows_first(self, *, turned: bool) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
        """Return integers and a scale for each row; None for another axis.

        Args:
            turned: whether rows are the second axis and columns the first: of a transposed matrix or convolution.
        """
        integers = self.integers.swapaxes(0, 1) if turned else self.integers
        if self.scales.size == 1:
            return integers, np.full(len(integers), self.scales.reshape(-1)[0], np.float32)
        axis = self.axis % self.integers.ndim
        return (integers, self.scales) if axis == (1 if turned else 0) else None


def detached(model: Any) -> tuple[Any, Mapping[str, Quantised]]:
    """Return a model whose quantised weights are float32 initialisers, and their integers by the same names.

    Weights that are not s8 with zero points of 0 are float32 from then on.

    Raises:
        UnsupportedError: a scale is not finite or not above zero; names the node.
    """
    from onnx import ModelProto, numpy_helper

    stored = {one.name: one for one in model.graph.initializer}
    constants = {name: one for name, one in stored.items() if one.data_type}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            readers.setdefault(name, []).append((node.op_type, place))
    found: dict[str, Quantised] = {}
    kept, made = [], []
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 1:
            _check_scale(node, constants)
        weight = _weight(node, constants) if node.op_type == "DequantizeLinear" else None
        of_product = all(op in _PRODUCTS and place == 1 for op, place in readers.get(node.output[0], [("", 0)]))
        if weight is None or not of_product:
            kept.append(node)
            continue
        found[node.output[0]] = weight
        shape = [1] * weight.integers.ndim
        if weight.scales.size > 1:
            shape[weight.axis] = weight.scales.size
        values = weight.integers.astype(np.float32) * weight.scales.reshape(shape)
        made.append(numpy_helper.from_array(values, node.output[0]))
    if not found:
        return model, {}
    changed = ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    changed.graph.node.extend(kept)
    used = {name for node in kept for name in node.input} | {value.name for value in model.graph.output}
    left = [one for one in model.graph.initializer if one.name in used]
    del changed.graph.initializer[:]
    changed.graph.initializer.extend([*left, *made])
    return changed, found


def _check_scale(node: Any, constants: Mapping[str, Any]) -> None:
    from onnx import numpy_helper

    scale = constants.get(node.input[1])
    if scale is None:
        return
    values = numpy_helper.to_array(scale)
    # The quantiser gives channels that are all zero a scale of 0 in old versions.
    if not (np.isfinite(values) & (values > 0)).all():
        named = node.name or node.output[0]
        raise UnsupportedError(f"csr: {node.op_type} at {named}: a scale that is not finite or not above zero")


def _weight(node: Any, constants: Mapping[str, Any]) -> Quantised | None:
    from onnx import helper, numpy_helper

    parts: list[Any] = [constants.get(name) for name in node.input if name]
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if any(part is None for part in parts) or len(parts) < 2 or attributes.get("block_size", 0):
        return None
    integers, scales, *zero = (numpy_helper.to_array(part) for part in parts)
    axis = attributes.get("axis", 1)
    if integers.dtype != np.int8 or integers.ndim not in (2, 4) or scales.dtype != np.float32 or scales.ndim > 1:
        return None
    fits = -integers.ndim <= axis < integers.ndim and scales.size in (1, integers.shape[axis])
    if (zero and zero[0].any()) or not fits:
        return None
    return Quantised(integers, scales, axis % integers.ndim)
