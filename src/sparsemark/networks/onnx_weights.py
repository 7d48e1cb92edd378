"""Weights of a graph of ONNX operators: which constants they are, how many elements they have and how many are zero.

A weight is the constant operand of a convolution, product, recurrent layer or embedding (`onnx_operands`), wherever the
constant is stored and whatever it passes through on its way (`onnx_constants`): in the main graph, in the bodies of If,
Loop and Scan, and in a model's own functions. Each stored constant counts once, however often it is used.
"""

from __future__ import annotations

import itertools
from collections import ChainMap
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.networks.onnx_constants import STANDARD, Array, Budget, Constant, Operation, computed
from sparsemark.networks.onnx_graph import bits_of, constant_of, initializers_of, listed_in, operations_of
from sparsemark.networks.onnx_operands import MOVED, NIBBLES, Operand, nonzero, unpacked, weighted

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, MutableMapping, Sequence

    from sparsemark.networks.onnx_graph import Listing

_NARROW_BITS = 8
"""Integers up to this width may be packed or quantised weights; wider ones are indices and sizes."""

_MOST_NODES = 2 * 10**5
"""Nodes visited in bodies and functions: functions that call functions twice each would grow without bound."""

_ENOUGH_VALUES = 3
"""Different values of a constant that no two layers hold by chance; constant and unit weights have fewer."""


@dataclass
class Piece:
    """A weight.

    Args:
        total: its elements.
        nonzeros: those that are not zero.
        sources: stored constants that it is or is computed from.
        constant: to compare with others; None where zero is not 0.
        bits: sum of the non-zero elements' bit patterns, which no order changes.
    """

    total: int
    nonzeros: int
    sources: frozenset[Hashable]
    constant: Constant | None = None
    bits: int = 0


@dataclass
class Tally:
    """What was found in a graph."""

    pieces: dict[Hashable, Piece] = field(default_factory=dict)
    tables: dict[Hashable, Piece] = field(default_factory=dict)
    """Constants that are only read by place; part of a packed weight where something else uses what is read."""
    unknown: dict[Hashable, tuple[int, str]] = field(default_factory=dict)
    """Elements of constants whose use is not understood, and the operator that uses them."""

    def settle(self, stored: Mapping[str, Constant], listing: Listing) -> None:
        """Add the constants that the file lists as weights, drop buffers, and count copies of one weight once.

        Args:
            stored: constants of the main graph by name.
            listing: what the file says of them.
        """
        none = set(listing.buffers)
        inside = {source for key, piece in self.pieces.items() for source in piece.sources if source != key}
        for key, piece in self.tables.items():
            if key not in inside:
                self.pieces.setdefault(key, piece)
        covered = {source for piece in self.pieces.values() for source in piece.sources}
        for name in listing.weights:
            constant = stored.get(name)
            counted = _piece(constant) if constant is not None and name not in covered else None
            if counted is not None:
                self.pieces[name] = counted
        self.pieces = {key: piece for key, piece in self.pieces.items() if not piece.sources <= none}
        covered = {source for piece in self.pieces.values() for source in piece.sources} | none
        self.unknown = {key: found for key, found in self.unknown.items() if key not in covered}
        self._count_equal_ones(listing.contents)

    def _count_equal_ones(self, contents: Sequence[Sequence[int]]) -> None:
        """Count equal constants as often as the network has such weights; once where that is not known.

        Exporters fold a transpose into a copy, so that a tied weight is stored twice, and store equal weights of
        several layers once. Parts of a weight are in no list: of those as many stay as the network has equal layers at
        most.
        """
        counts = {tuple(row[:3]): row[3] for row in contents}
        most = max(counts.values(), default=1)
        alike: dict[Any, list[Hashable]] = {}
        for key, piece in self.pieces.items():
            if piece.constant is not None and piece.nonzeros >= _ENOUGH_VALUES:
                alike.setdefault((piece.total, piece.nonzeros, piece.bits), []).append(key)
        for content, keys in alike.items():
            kept: list[Hashable] = []
            for key in keys:
                same = sum(_equal(self.pieces[key], self.pieces[other]) for other in kept)
                if same >= (most if content not in counts else 1):
                    del self.pieces[key]
                else:
                    kept.append(key)
            for key in kept:
                piece, times = self.pieces[key], counts.get(content, 1)
                self.pieces[key] = replace(piece, total=times * piece.total, nonzeros=times * piece.nonzeros)


def _piece(constant: Constant) -> Piece | None:
    """Count a floating constant; None where its value cannot be computed."""
    if constant.nonzero is not None and constant.size is not None:
        total, kept = constant.size, constant.nonzero()
    else:
        value = constant.value()
        if value is None:
            return None
        total, kept = value.size, value[value != 0]
    sources = frozenset(constant.origins())
    return Piece(total, kept.size, sources, constant, bits_of(kept))


def _equal(one: Piece, other: Piece) -> bool:
    """Whether two constants hold the same values, the axes of one in another order."""
    first, second = (None if piece.constant is None else piece.constant.value() for piece in (one, other))
    if first is None or second is None or first.dtype != second.dtype:
        return False
    first, second = first.squeeze(), second.squeeze()
    if sorted(first.shape) != sorted(second.shape) or len(np.unique(first[first != 0])) < _ENOUGH_VALUES:
        return False
    orders = itertools.permutations(range(first.ndim)) if first.ndim <= 4 else [tuple(range(first.ndim))]
    return any(np.array_equal(first.transpose(order), second) for order in orders)


class Visitor:
    """Walks the nodes of a graph in order and tells weights from other constants."""

    def __init__(self, functions: Mapping[tuple[str, str, str], Any] | None = None) -> None:
        """Start with nothing counted; `functions` are the model's own, by domain, name and overload."""
        self.tally = Tally()
        self._functions = functions or {}
        self._open: list[tuple[str, str, str]] = []
        self._read: dict[str, Constant] = {}
        self._budget = Budget()
        self._visited = 0

    def visit(self, operations: Iterable[Operation], scope: MutableMapping[str, Constant | None], path: str) -> None:
        """Visit nodes in order.

        Args:
            operations: the nodes.
            scope: the constants known by name; those that the nodes compute are added.
            path: prefix of the identities of constants in bodies and functions.
        """
        for operation in operations:
            self._visited += 1
            self._visit(operation, scope, path)

    def _visit(self, operation: Operation, scope: MutableMapping[str, Constant | None], path: str) -> None:
        operands = [scope.get(name) if name else None for name in operation.inputs]
        function = self._function(operation)
        if function is not None:
            self._call(operation, operands, scope, function)
            return
        for name in operation.outputs:
            if scope.get(name) is not None:
                scope[name] = None
        bodies = [value for value in operation.attributes.values() if _is_graph(value)]
        for index, body in enumerate(bodies):
            # A second branch or body may use the names of the first.
            given = _handed_over(operation, operands, body)
            self._body(body, given, scope, f"{path}{operation.outputs[:1]}{index}/", operation.opset)
        constant = all(operand is not None for operand, name in zip(operands, operation.inputs, strict=True) if name)
        if operation.standard and operation.op == "Constant":
            self._store(operation, scope, path)
        elif constant and any(operation.inputs) and not bodies and computes(operation):
            if operation.op in MOVED:
                self._use(operation, operands)
            for index, name in enumerate(operation.outputs):
                if name:
                    scope[name] = computed(operation, operands, index, f"{path}{name}", self._budget)
        else:
            self._use(operation, operands)

    def _store(self, operation: Operation, scope: MutableMapping[str, Constant | None], path: str) -> None:
        (name,) = operation.outputs
        scope[name] = constant_of(operation, f"{path}{name}")

    def _function(self, operation: Operation) -> Any:
        key = (operation.domain, operation.op, operation.attributes.get("overload", ""))
        function = self._functions.get(key) or self._functions.get((*key[:2], ""))
        return None if key in self._open or self._visited > _MOST_NODES else function

    def _call(
        self,
        operation: Operation,
        operands: Sequence[Constant | None],
        scope: MutableMapping[str, Constant | None],
        function: Any,
    ) -> None:
        """Visit a function's body with the constants that it is called with."""
        inner: dict[str, Constant | None] = dict(zip(function.input, operands, strict=False))
        given = {attribute.name: attribute for attribute in function.attribute_proto}
        given |= {name: _attribute(name, value) for name, value in operation.attributes.items() if value != []}
        key = (operation.domain, operation.op, operation.attributes.get("overload", ""))
        self._open.append(key)
        opsets = {entry.domain: entry.version for entry in function.opset_import}
        self.visit(operations_of(function.node, opsets, given), inner, f"{function.domain}.{function.name}/")
        self._open.pop()
        scope.update({name: inner.get(own) for name, own in zip(operation.outputs, function.output, strict=False)})

    def _body(
        self,
        graph: Any,
        given: Mapping[str, Constant | None],
        scope: MutableMapping[str, Constant | None],
        path: str,
        opset: int,
    ) -> None:
        if self._visited <= _MOST_NODES:
            inner = ChainMap({**given, **initializers_of(graph, path)}, scope)
            self.visit(operations_of(graph.node, dict.fromkeys(STANDARD, opset)), inner, path)

    def _use(self, operation: Operation, operands: Sequence[Constant | None]) -> None:
        """Count the weights among the operands of a node that computes with something else than constants."""
        known = weighted(operation)
        if known is None and operation.domain == "com.microsoft" and operation.op == NIBBLES:
            known = () if self._unpack(operation, operands) else None
        if known is None:
            self._unknown(operation, operands)
            return
        first = operands[0] if operands else None
        if operation.op in MOVED and first is not None:
            self._read[operation.outputs[0]] = first
        elif operation.op == "DequantizeLinear" and operation.inputs[0] in self._read:
            self._count_table(operation, operands)
        for operand in known:
            constant = operands[operand.index] if operand.index < len(operands) else None
            if constant is None or (operation.op in MOVED and constant.root in self.tally.tables):
                continue
            tally = self.tally.tables if operation.op in MOVED else self.tally.pieces
            if constant.root not in tally:
                self._count(operation, operand, constant, operands, tally)

    def _count_table(self, operation: Operation, operands: Sequence[Constant | None]) -> None:
        """Count an embedding of integers that is dequantised after it is read."""
        table = self._read[operation.inputs[0]]
        value = table.value()
        if value is not None and value.ndim > 1 and _narrow(value) and table.root not in self.tally.tables:
            read = replace(operation, inputs=("", "", *operation.inputs[2:]))
            self._count(read, Operand(0, 2, -1, integers=True), table, operands, self.tally.tables)

    def _count(
        self,
        operation: Operation,
        operand: Operand,
        constant: Constant,
        operands: Sequence[Constant | None],
        tally: dict[Hashable, Piece],
    ) -> None:
        value = constant.value() if constant.nonzero is None else None
        if value is None and constant.nonzero is None:
            self._not_computed(constant)
            return
        if value is not None and (value.ndim < operand.least or not (_floating(value) or operand.integers)):
            return
        point = None
        if operand.zero is not None and operand.zero < len(operands) and operation.inputs[operand.zero]:
            zero = operands[operand.zero]
            point = None if zero is None else zero.value()
            if point is None:  # a zero point that is no constant
                self._unknown(operation, [constant])
                return
        if point is None or value is None:
            piece = _piece(constant)
        else:
            try:
                kept = nonzero(operation, operand, value, point)
            except ValueError:
                self._unknown(operation, [constant])
                return
            piece = Piece(value.size, kept.size, frozenset(constant.origins()))
        if piece is not None:
            tally[constant.root] = piece

    def _unpack(self, operation: Operation, operands: Sequence[Constant | None]) -> bool:
        """Count weights packed into a few bits; False where they are not understood."""
        packed = operands[1] if len(operands) > 1 else None
        point = operands[3] if len(operands) > 3 else None
        dynamic = len(operation.inputs) > 3 and operation.inputs[3] and point is None
        if packed is None or dynamic or any(operation.inputs[4:5]):
            return False
        value, zero = packed.value(), None if point is None else point.value()
        if value is None:
            return False
        try:
            total, kept = unpacked(operation, value, zero)
        except (ValueError, KeyError, TypeError, IndexError):
            return False
        self.tally.pieces[packed.root] = Piece(total, kept.size, frozenset(packed.origins()))
        return True

    def _unknown(self, operation: Operation, operands: Iterable[Constant | None]) -> None:
        """Note the constants of an operator that is not understood, those in its attributes included."""
        for constant in operands:
            if constant is not None:
                self._note(constant, operation.words)
        for name, value in operation.attributes.items():
            size = _attribute_size(value)
            if size:
                self.tally.unknown[f"{operation.words} {operation.outputs} {name}"] = size, operation.words

    def _not_computed(self, constant: Constant) -> None:
        self._note(constant, constant.culprit or "a constant")

    def _note(self, constant: Constant, operator: str) -> None:
        for key, source in constant.origins().items():
            value = source.value() if source.nonzero is None else None
            if value is not None and (value.ndim < 2 or not (_floating(value) or _narrow(value))):
                continue
            if source.size:
                self.tally.unknown[key] = source.size, operator


def _handed_over(operation: Operation, operands: Sequence[Constant | None], body: Any) -> dict[str, Constant | None]:
    """Return the constants that the inputs of a body stand for: states that it never changes, and slices of a tensor.

    Inputs that are no constants are None, and hide constants of the same name outside.
    """
    names = [value.name for value in body.input]
    found: dict[str, Constant | None] = dict.fromkeys(names)
    same = {node.output[0]: node.input[0] for node in body.node if node.op_type == "Identity" and not node.domain}
    left = [same.get(value.name, value.name) for value in body.output]
    if operation.op == "Loop" and operation.standard:
        states = zip(names[2:], operands[2:], left[1:], strict=False)
    elif operation.op == "Scan" and operation.standard and operation.opset >= _SCAN_WITHOUT_BATCH:
        count = operation.attributes.get("num_scan_inputs", 0)
        states = zip(names[: len(names) - count], operands, left, strict=False)
        scanned = zip(names[len(names) - count :], operands[len(operands) - count :], strict=False)
        found |= {name: None if constant is None else constant.in_slices() for name, constant in scanned}
    else:
        return found
    return found | {name: constant for name, constant, last in states if name == last}


_SCAN_WITHOUT_BATCH = 9
"""Version from which on Scan has one sequence."""


def computes(operation: Operation) -> bool:
    """Whether an operator of constants makes a constant: known, and not drawn at random."""
    if operation.op in ("Bernoulli", "Multinomial", "Dropout") or operation.op.startswith("Random"):
        return False
    return operation.standard or operation.op in ("DequantizeLinear", "QuantizeLinear")


def _floating(array: Array) -> bool:
    # Types that NumPy does not know, such as bfloat16, have kind V; four-bit integers are named so.
    return array.dtype.kind == "f" or (array.dtype.kind == "V" and "float" in array.dtype.name)


def _narrow(array: Array) -> bool:
    return array.dtype.itemsize * 8 <= _NARROW_BITS and array.dtype.kind not in "bSUO"


def _is_graph(value: Any) -> bool:
    return type(value).__name__ == "GraphProto"


def _attribute(name: str, value: Any) -> Any:
    from onnx import helper

    return helper.make_attribute(name, value)


def _attribute_size(value: Any) -> int:
    if type(value).__name__ == "TensorProto":
        return int(np.prod(value.dims, dtype=object)) if len(value.dims) > 1 else 0
    if isinstance(value, list | tuple) and value and all(isinstance(one, float) for one in value):
        return len(value)
    return 0


def tally_of(model: Any) -> Tally:
    """Find the weights of an `onnx.ModelProto`."""
    functions = {(one.domain, one.name, getattr(one, "overload", "")): one for one in model.functions}
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    stored = initializers_of(model.graph)
    visitor = Visitor(functions)
    visitor.visit(operations_of(model.graph.node, opsets), dict(stored), "")
    visitor.tally.settle({key: one for key, one in stored.items() if one}, listed_in(model))
    return visitor.tally
