"""ONNX model to the parts of a CSR file: nodes, constants, and the weight matrices to be compressed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.errors import UnsupportedError
from sparsemark.formats.csr.graph import Node
from sparsemark.formats.csr.shapes import ShapeInference
from sparsemark.networks.onnx_constants import Budget, Constant, computed
from sparsemark.networks.onnx_graph import constant_of, initializers_of, operations_of
from sparsemark.networks.onnx_model import opset_of
from sparsemark.networks.onnx_weights import computes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sparsemark.networks.onnx_constants import Array, Operation

_TAKE_A_MATRIX = ("Conv", "ConvTranspose", "Linear")
"""Operators whose second operand may be one of `Graph.matrices`."""

_PRODUCTS = ("Conv", "Gemm", "MatMul")

_DENSE = ".dense"
"""Suffix of a weight that a transposed convolution has as a constant, where another operator has it as a matrix."""

TURNED = ".T"
"""Suffix of a matrix that is stored transposed, rows (output channels) first."""


@dataclass
class Converted:
    """An ONNX model split into nodes, constants and the weight matrices to be compressed."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    matrices: dict[str, Array] = field(default_factory=dict)
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: bool = False
    """Whether it serves one input shape only, because shapes were computed from it."""


def convert(model: Any, name: str, shape: Sequence[int], turned: Collection[str] = ()) -> Converted:
    """Split a model; what its nodes compute from constants and shapes alone is computed.

    Args:
        model: an `onnx.ModelProto`.
        name: of its input.
        shape: of its input, for nodes that compute with shapes.
        turned: weights that are stored as matrices where a transposed convolution of one group has them; others of
            transposed convolutions are constants.
    """
    found = Converted()
    scope = _Scope(initializers_of(model.graph))
    for node, operation in _unfolded(model, scope, ShapeInference(model, name, shape)):
        converted = _converted(node, scope.padded(operation))
        found.nodes.append(_take_weight(converted, scope.value_of, found.matrices, turned))
    stored = {f"{weight}{TURNED}" for weight in turned}
    found.nodes = [_kept_dense(node, scope.constants, found.matrices.keys() - stored) for node in found.nodes]
    found.fixed = scope.fixed
    for needed in _needed(found, model):
        value = scope.value_of(needed)
        if value is not None:
            found.constants[needed] = np.array(value, order="C")
    for kept in (*found.constants, *found.matrices):
        constant = scope.constants.get(kept) or scope.constants.get(kept.removesuffix(TURNED))
        origin = (kept, kept) if constant is None else (str(constant.root), *map(str, constant.origins()))
        if origin != (kept, kept):
            found.origins[kept] = origin
    return found


_ROUNDS = 200
"""Of inference and folding. Each size that is computed from an earlier one takes a round: an enlargement, a slice."""


def _unfolded(model: Any, scope: _Scope, inference: ShapeInference) -> list[tuple[Any, Operation]]:
    """Fold what can be; return the nodes that are left, with their operations."""
    left = list(zip(model.graph.node, operations_of(model.graph.node, {"": opset_of(model)}), strict=True))
    for _ in range(_ROUNDS):
        scope.shapes = inference.shapes()
        before = left
        left = [(node, operation) for node, operation in before if not scope.fold(operation)]
        if len(left) == len(before) or not any(operation.op in _OF_SHAPES for _, operation in left):
            break
        kept = {name for _, operation in left for name in operation.outputs}
        folded = [name for _, operation in before for name in operation.outputs if name and name not in kept]
        inference.replace({name: value for name in folded if (value := scope.value_of(name)) is not None})
    else:
        scope.shapes = inference.shapes()
    return left


def _converted(node: Any, operation: Operation) -> Node:
    name = node.name or next(filter(None, node.output), node.op_type)
    op = operation.op if operation.standard else f"{operation.domain}.{operation.op}"
    return Node(op, name, operation.inputs, operation.outputs, _plain(operation.attributes, operation.op, name))


class _Scope:
    """Constants known so far, and nodes folded into further ones."""

    def __init__(self, constants: dict[str, Constant | None]) -> None:
        self.constants = constants
        self.shapes: Mapping[str, Sequence[int]] = {}
        self.fixed = False
        self._budget = Budget()
        self._values: dict[str, Array] = {}

    def value_of(self, name: str) -> Array | None:
        """Return the value of a constant; None where the name is none."""
        constant = self.constants.get(name)
        if constant is not None and name not in self._values:
            value = constant.value()
            if value is None:  # only a sparse one: what cannot be computed stayed a node
                raise UnsupportedError(f"csr: constant {name} has {constant.size} elements")
            self._values[name] = value
        return self._values.get(name)

    def fold(self, operation: Operation) -> bool:
        """Add the outputs of a node that computes with constants or shapes alone; False where it stays a node."""
        outputs = self._fold(operation)
        if outputs is None and operation.op in _OF_SHAPES and operation.standard:
            outputs = self._of_shape(operation)
            self.fixed |= outputs is not None
        self.constants |= outputs or {}
        return outputs is not None

    def _fold(self, operation: Operation) -> dict[str, Constant | None] | None:
        if operation.standard and operation.op == "Constant":
            stored = constant_of(operation, operation.outputs[0])
            return None if stored is None else {operation.outputs[0]: stored}
        operands = [self.constants.get(name) if name else None for name in operation.inputs]
        constant = any(operation.inputs) and all(
            operand is not None for operand, name in zip(operands, operation.inputs, strict=True) if name
        )
        if not constant or not computes(operation):
            return None
        outputs: dict[str, Constant | None] = {}
        for index, name in enumerate(operation.outputs):
            if name:
                made = computed(operation, operands, index, name, self._budget)
                if made.value() is None:
                    return None
                outputs[name] = made
        return outputs

    def padded(self, operation: Operation) -> Operation:
        """Return a node with its padding in numbers where it is given as SAME, and the sizes are known."""
        attributes = dict(operation.attributes)
        way = attributes.get("auto_pad", b"NOTSET")
        sizes = self.shapes.get(operation.inputs[0]) if operation.inputs else None
        if operation.op not in _WINDOWED or way not in (b"SAME_UPPER", b"SAME_LOWER") or sizes is None:
            return operation
        kernel = attributes.get("kernel_shape") or self._kernel(operation)
        if kernel is None or len(kernel) != len(sizes) - 2:
            return operation
        ones = [1] * len(kernel)
        strides, dilations = attributes.get("strides") or ones, attributes.get("dilations") or ones
        totals = [
            max((-(-size // step) - 1) * step + (taps - 1) * gap + 1 - size, 0)
            for size, taps, step, gap in zip(sizes[2:], kernel, strides, dilations, strict=True)
        ]
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        attributes["pads"] = less + more if way == b"SAME_UPPER" else more + less
        del attributes["auto_pad"]
        # With steps of one, it is the same for images of all sizes.
        self.fixed |= any(step != 1 for step in strides)
        return replace(operation, attributes=attributes)

    def _kernel(self, operation: Operation) -> Sequence[int] | None:
        weight = self.value_of(operation.inputs[1]) if len(operation.inputs) > 1 else None
        return None if weight is None else weight.shape[2:]

    def _of_shape(self, operation: Operation) -> dict[str, Constant | None] | None:
        shape = self.shapes.get(operation.inputs[0])
        if shape is None or math.prod(shape) > _MOST_SHAPED:
            return None
        shaped = Constant("", None, lambda: np.broadcast_to(np.zeros((), np.bool_), shape))
        value = computed(operation, [shaped], 0, operation.outputs[0], self._budget).value()
        return None if value is None else {operation.outputs[0]: Constant.of(operation.outputs[0], value)}


def _needed(found: Converted, model: Any) -> list[str]:
    """Return the names that nodes and outputs use, other than as a matrix, in order."""
    used: dict[str, None] = {}
    for node in found.nodes:
        taken = node.op in _TAKE_A_MATRIX and node.inputs[1] in found.matrices
        used |= dict.fromkeys(name for index, name in enumerate(node.inputs) if index != 1 or not taken)
    return list(used | dict.fromkeys(value.name for value in model.graph.output))


_WINDOWED = ("AveragePool", "Conv", "MaxPool")
"""Operators over windows whose padding may be left to them."""

_OF_SHAPES = ("Shape", "Size")
"""Operators that look at the shape of their operand and at nothing else."""

_MOST_SHAPED = 2**28
"""Elements of an operand that stands for a shape."""


def _take_weight(
    node: Node, value_of: Callable[[str], Array | None], matrices: dict[str, Array], turned: Collection[str]
) -> Node:
    """Move a node's constant operand to `matrices`, rows first; products of two matrices become `Linear`."""
    if node.op == "ConvTranspose" and node.inputs[1] in turned and node.attributes.get("group", 1) == 1:
        return _turned(node, value_of(node.inputs[1]), matrices)
    weight = value_of(node.inputs[1]) if len(node.inputs) > 1 and node.op in _PRODUCTS else None
    if weight is None or weight.ndim < 2:  # a matrix
        return node
    name = node.inputs[1]
    if node.op == "Conv":
        matrices[name] = weight
        return node
    scaled = node.attributes.get("alpha", 1.0) != 1.0 or node.attributes.get("beta", 1.0) != 1.0
    if weight.ndim > 2 or scaled or node.attributes.get("transA", 0):  # a matrix
        return node
    rows_first = bool(node.attributes.get("transB", 0))
    # The same constant may be used both ways, so each way has a separate name.
    stored = name if rows_first else f"{name}{TURNED}"
    matrices[stored] = weight if rows_first else weight.T
    return Node("Linear", node.name, (node.inputs[0], stored, *node.inputs[2:]), node.outputs, {})


def _turned(node: Node, weight: Array | None, matrices: dict[str, Array]) -> Node:
    """Move the weight of a transposed convolution, output channels first."""
    if weight is None or weight.ndim != 4:  # an image's
        return node
    stored = f"{node.inputs[1]}{TURNED}"
    matrices[stored] = weight.swapaxes(0, 1)
    return replace(node, inputs=(node.inputs[0], stored, *node.inputs[2:]))


def _kept_dense(node: Node, constants: dict[str, Constant | None], matrices: Collection[str]) -> Node:
    """Return a transposed convolution whose weight has a name of its own where it is another operator's matrix too."""
    if node.op != "ConvTranspose" or node.inputs[1] not in matrices:
        return node
    name = f"{node.inputs[1]}{_DENSE}"
    constants[name] = constants[node.inputs[1]]
    return replace(node, inputs=(node.inputs[0], name, *node.inputs[2:]))


def _plain(attributes: Mapping[str, Any], op: str, node: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, bytes):
            plain[name] = value.decode()
        elif isinstance(value, int | float):
            plain[name] = value
        elif isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
            plain[name] = list(value)
        elif isinstance(value, list | tuple) and all(isinstance(v, bytes) for v in value):
            plain[name] = [v.decode() for v in value]
        else:
            raise UnsupportedError(f"csr: {op} at {node}: attribute {name} is no number, list or text")
    return plain
