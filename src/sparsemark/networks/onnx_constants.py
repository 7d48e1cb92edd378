"""Constants of an ONNX graph: stored ones, and those that nodes compute from constants alone.

Values are computed when they are asked for, one node at a time, by ONNX's reference implementation. What a node may
cost is bounded beforehand, because a file of a few bytes can describe terabytes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

Array = NDArray[Any]

STANDARD = ("", "ai.onnx")
"""Names of ONNX's own operator set; other sets use the same operator names for other things."""

_MOST = 2**29
"""Elements of one computed constant: an ONNX file holds 2 GiB, and constants shrink rather than grow on their way."""

_MOST_WORK = 2**33
"""Multiply-adds and element reads of all computed constants of a file."""

_MOST_FILLED = 2**16
"""Elements that a node may produce from a shape alone; enough for masks and indices, too few for a bomb."""

_KEPT = 2**16
"""Elements up to which a computed constant is kept; larger ones are computed again rather than held."""

LAYOUT = frozenset({"Transpose", "Reshape", "Identity", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators that move elements and change none."""

_ELEMENT_BY_ELEMENT = frozenset({"Cast", "CastLike", "DequantizeLinear", "QuantizeLinear"})
"""Operators whose output has one element for each of their first operand."""

_NEVER_LARGER = frozenset(
    re.findall(
        r"\w+",
        """
        Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh BitCast BitwiseNot Ceil Celu Clip Compress Concat Cos
        Cosh CumProd CumSum DepthToSpace Elu Erf Exp Floor Gelu HardSigmoid HardSwish IsInf IsNaN LayerNormalization
        LeakyRelu Log LogSoftmax LpNormalization Mish Neg Not Reciprocal ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu ReverseSequence
        Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign
        SpaceToDepth Split Sqrt Swish Tan Tanh ThresholdedRelu Trilu
        """,
    )
)
"""Operators that return no more elements than they take."""

_BROADCAST = frozenset(
    re.findall(
        r"\w+",
        """
        Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean
        Min Mod Mul Or PRelu Pow Sub Sum Where Xor
        """,
    )
)

_FILLED = frozenset({"ConstantOfShape", "Expand", "EyeLike", "OneHot", "Pad", "Range", "Tile"})
"""Operators whose output is as large as the values of their operands say."""


@dataclass(frozen=True)
class Operation:
    """A node: an ONNX `NodeProto`, or a node of another file that holds ONNX operators."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    @property
    def standard(self) -> bool:
        """Whether the operator is ONNX's own."""
        return self.domain in STANDARD

    @property
    def words(self) -> str:
        """Name of the operator for messages."""
        return self.op if self.standard else f"{self.domain}.{self.op}"


@dataclass
class Budget:
    """Work that may still be spent on the constants of a file."""

    left: int = _MOST_WORK

    def spend(self, work: int) -> bool:
        """Subtract from the budget; False where it does not suffice."""
        self.left -= work
        return self.left >= 0


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant, stored or computed.

    Args:
        root: identity; views of one stored constant, such as its transpose, share it.
        size: elements; None where it is known only once the value is computed.
        load: returns the value, or None where it cannot be computed within bounds.
        sources: the stored constants that it is computed from, by root.
        nonzero: returns the elements that are not zero, in any order; None: taken from the value.
        culprit: operator that a value cannot be computed for.
    """

    root: Hashable
    size: int | None
    load: Callable[[], Array | None]
    sources: Mapping[Hashable, Constant] = field(default_factory=dict)
    nonzero: Callable[[], Array] | None = None
    culprit: str | None = None

    @classmethod
    def of(cls, root: Hashable, array: Array) -> Constant:
        """Return a stored constant."""
        return cls(root, array.size, lambda: array)

    @cached_property
    def _kept(self) -> list[Array]:
        return []

    def value(self) -> Array | None:
        """The array, or None where it cannot be computed within bounds."""
        if self._kept:
            return self._kept[0]
        array = self.load()
        if array is not None and array.size <= _KEPT:
            self._kept.append(array)
        return array

    def in_slices(self) -> Constant:
        """Return the constant as a stand-in for all of its slices, which are known by their elements only."""

        def nonzero() -> Array:
            value = self.value()
            found: Array = np.zeros(0) if value is None else value[value != 0]
            return found

        if self.size is None:
            return self
        return Constant(self.root, self.size, lambda: None, self.sources, self.nonzero or nonzero, self.culprit)

    def origins(self) -> Mapping[Hashable, Constant]:
        """The stored constants that this one is or is computed from."""
        return self.sources or {self.root: self}


def computed(
    operation: Operation, operands: Sequence[Constant | None], index: int, root: Hashable, budget: Budget
) -> Constant:
    """Return an output of a node whose operands are all constants; nothing is computed yet.

    Args:
        operation: the node.
        operands: None for an optional one that is absent.
        index: of the output.
        root: identity of the output, unless the node only moves the elements of one operand.
        budget: of the file.
    """
    given = [operand for operand in operands if operand is not None]
    sources = {key: source for operand in given for key, source in operand.origins().items()}
    first = operands[0] if operands else None
    moved = operation.standard and operation.op in LAYOUT
    same = moved or operation.op in _ELEMENT_BY_ELEMENT

    def load() -> Array | None:
        return _evaluate(operation, operands, index, budget)

    if first is None or not same:
        return Constant(root, None, load, sources, culprit=operation.words)
    # Scales and zero points are no weights.
    return Constant(
        first.root,
        first.size,
        load,
        first.origins(),
        nonzero=first.nonzero if moved else None,
        culprit=first.culprit or operation.words,
    )


def _evaluate(operation: Operation, operands: Sequence[Constant | None], index: int, budget: Budget) -> Array | None:
    values = [None if operand is None else operand.value() for operand in operands]
    if any(value is None and operand is not None for value, operand in zip(values, operands, strict=True)):
        return None
    work = _work(operation, values)
    if work is None or not budget.spend(work):
        return None
    try:
        outputs = _run(operation, values)
    except Exception:  # an invalid or unknown node: what it computes is unknown
        return None
    found = outputs[index] if index < len(outputs) else None
    return found if isinstance(found, np.ndarray) and found.size <= _MOST else None


def _work(operation: Operation, values: Sequence[Array | None]) -> int | None:
    """Return the elements that a node reads and writes, or its multiply-adds; None where it is not to be run."""
    read = sum(value.size for value in values if value is not None)
    if operation.op in _ELEMENT_BY_ELEMENT or (operation.standard and operation.op in LAYOUT | _NEVER_LARGER):
        return read + 1
    if not operation.standard:
        return None
    try:
        written = _written(operation, values)
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, ArithmeticError):
        return None
    if written is None or written > (_MOST_FILLED if operation.op in _FILLED else _MOST):
        return None
    product = operation.op in ("MatMul", "Gemm")
    shared = values[0].shape[-1] if product and values[0] is not None and values[0].ndim else 1
    return read + written * max(shared, 1)


def _written(operation: Operation, values: Sequence[Array | None]) -> int | None:
    """Return the elements that a node writes; None for an operator that constants are not computed with."""
    shapes = [value.shape for value in values if value is not None]
    if operation.op in _BROADCAST:
        return math.prod(np.broadcast_shapes(*shapes))
    rule = _SIZES.get(operation.op)
    present = values[: rule[0]] if rule else ()
    if rule is None or len(present) < rule[0] or any(value is None for value in present):
        return None
    return int(rule[1](operation, *present))


def _of_matrices(_: Operation, first: Array, second: Array) -> int:
    columns = second.shape[-1:] if second.ndim > 1 else ()
    stacked = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    return math.prod((*stacked, *first.shape[-2:-1], *columns))


def _of_gemm(operation: Operation, first: Array, second: Array) -> int:
    attributes = operation.attributes
    return int(first.shape[1 if attributes.get("transA") else 0] * second.shape[0 if attributes.get("transB") else 1])


def _of_gather(operation: Operation, data: Array, places: Array) -> int:
    axis: int = operation.attributes.get("axis", 0)
    return int(data.size // max(data.shape[axis], 1) * places.size)


def _of_range(_: Operation, start: Array, limit: Array, step: Array) -> int:
    return max(math.ceil((_number(limit) - _number(start)) / _number(step)), 0)


def _of_padding(operation: Operation, data: Array, pads: Array) -> int:
    if operation.opset < 11 or len(operation.inputs) > 3:
        raise ValueError("pads as attributes, or of some axes")
    before, after = pads[: data.ndim], pads[data.ndim :]
    sizes = [size + int(one) + int(other) for size, one, other in zip(data.shape, before, after, strict=True)]
    return math.prod(max(size, 0) for size in sizes)


_SIZES: dict[str, tuple[int, Callable[..., int]]] = {
    "ConstantOfShape": (1, lambda _, shape: _product(shape)),
    "EyeLike": (1, lambda _, data: data.size),
    "Expand": (2, lambda _, data, shape: math.prod(np.broadcast_shapes(data.shape, tuple(map(int, shape))))),
    "Gather": (2, _of_gather),
    "GatherElements": (2, lambda _, __, places: places.size),
    "GatherND": (2, lambda _, data, places: data.size * places.size),
    "Gemm": (2, _of_gemm),
    "MatMul": (2, _of_matrices),
    "OneHot": (2, lambda _, places, depth: places.size * int(_number(depth))),
    "Pad": (2, _of_padding),
    "Range": (3, _of_range),
    "Tile": (2, lambda _, data, repeats: data.size * _product(repeats)),
}
"""Number of leading operands, and the output's elements for them."""


def _product(array: Array) -> int:
    """Return the product of an array's elements as an integer of any size."""
    return math.prod(max(int(one), 0) for one in array.ravel())


def _number(array: Array) -> float:
    return float(array.reshape(-1)[0])


def _run(operation: Operation, values: Sequence[Array | None]) -> list[Any]:
    """Compute a node's outputs."""
    if operation.op == "DequantizeLinear":
        quantised, scale = values[:2]
        if quantised is None or scale is None:
            raise ValueError("DequantizeLinear: expected a value and a scale")
        zero = values[2] if len(values) > 2 else None
        along = {"axis": operation.attributes.get("axis", 1), "block": operation.attributes.get("block_size", 0)}
        return [dequantised(quantised, scale, zero, **along)]
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    names = ["" if value is None else f"x{index}" for index, value in enumerate(values)]
    node = helper.make_node(
        operation.op, names, [f"y{index}" for index in range(len(operation.outputs))], **operation.attributes
    )
    # Types are only looked at where an operator is made of others, which none of those that are run here is.
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output],
    )
    # An older set of operators has no QuantizeLinear in the evaluator; the newer ones mean the same.
    opset = max(operation.opset, 19) if operation.op == "QuantizeLinear" else operation.opset
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    with np.errstate(all="ignore"):
        return list(
            ReferenceEvaluator(model).run(
                None, {name: value for name, value in zip(names, values, strict=True) if name}
            )
        )


def dequantised(quantised: Array, scale: Array, zero: Array | None = None, axis: int = 1, block: int = 0) -> Array:
    """Compute DequantizeLinear of any version, in the scale's type; arguments as `spread`."""
    # Products of narrow types are rounded once.
    kind = scale.dtype if scale.dtype.itemsize > 4 else np.dtype(np.float32)
    shifted = quantised.astype(kind)
    if zero is not None:
        shifted -= spread(zero.astype(kind), quantised.shape, axis, block)
    return (shifted * spread(scale.astype(kind), quantised.shape, axis, block)).astype(scale.dtype)


def spread(parameter: Array, shape: Sequence[int], axis: int, block: int = 0) -> Array:
    """Return a scale or zero point in a form that broadcasts to the quantised tensor.

    Args:
        parameter: one number, one a slice along `axis`, or one a block of `block` elements along it.
        shape: of the quantised tensor.
        axis: that it lies along.
        block: elements that share a number; 0 where there are no blocks.

    Raises:
        ValueError: it does not fit the shape.
    """
    if parameter.size == 1:
        return parameter.reshape(())
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} of a tensor of shape {tuple(shape)}")
    axis %= len(shape)
    if block:
        parameter = np.repeat(parameter, block, axis=axis)
        return np.take(parameter, np.arange(shape[axis]), axis=axis)
    if parameter.size != shape[axis]:
        raise ValueError(f"{parameter.size} numbers for an axis of {shape[axis]}")
    return parameter.reshape([-1 if one == axis else 1 for one in range(len(shape))])
