"""State of a graph that is being lowered: names, tensors, shapes, and the operations so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.ir import Dense, Operation, Tensor, planes, vector
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.formats.csr.graph import Graph, Node


@dataclass(frozen=True)
class Known:
    """What is known of the activations that a dense part takes and makes.

    Args:
        shapes: of those whose shape does not depend on their values.
        floats: names of those in float32.
        parts: graphs of the parts, by the name of the node that stands for each.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    floats: Collection[str] = ()
    parts: Mapping[str, Graph] = field(default_factory=dict)


@dataclass(frozen=True)
class Bytes:
    """An activation in bytes: unsigned, with one scale and zero point.

    Args:
        tensor: its words.
        channels: of the activation; the last word of a pixel may have more bytes.
        scale, zero: a value is `scale` times the difference of a byte and `zero`.
        integers: the type that the network gives them; None where it has dequantised them.
    """

    tensor: Tensor
    channels: int
    scale: np.float32
    zero: int
    integers: np.dtype[Any] | None = None

    @property
    def parameters(self) -> NDArray[np.float32]:
        """Scale and zero point, as operations read them."""
        return np.array([self.scale, self.zero], np.float32)


class Context:
    """The state of one lowering.

    Args:
        graph: what is lowered.
        shape: of the input.

    Attributes:
        operations: made so far.
        tensors: by the name of the activation that they hold.
        shapes: of activations, the batch of one included.
        done: places of nodes that were taken into an earlier one.
        users: places of the nodes that read an activation; -1 for an output of the network.
        input: name of the image.
        known: of activations that the dense engine makes.
        last: planes of activations of shape (1, height, width, channels) or (1, tokens, channels).
        outside: activations that it makes and that no native operation reads.
        dense: parts that it runs, each with the number of operations before it.
        quantised: activations that lie in the arena as bytes: integers, and floats that were dequantised from them.
    """

    def __init__(self, graph: Graph, shape: tuple[int, ...]) -> None:
        self.graph, self.shape = graph, shape
        self.operations: list[Operation] = []
        self.tensors: dict[str, Tensor] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.done: set[int] = set()
        self.users: dict[str, list[int]] = {}
        self.known = Known()
        self.last: dict[str, Tensor] = {}
        self.outside: set[str] = set()
        self.dense: list[tuple[int, Dense]] = []
        self.quantised: dict[str, Bytes] = {}
        (self.input,) = graph.inputs
        self.shapes[self.input] = shape
        for i, node in enumerate(graph.nodes):
            for name in node.inputs:
                self.users.setdefault(name, []).append(i)
        for name in graph.outputs:
            self.users.setdefault(name, []).append(-1)

    def constant(self, name: str) -> NDArray[Any]:
        """An operand whose value is known; UnsupportedError where it is an activation."""
        if name not in self.graph.constants:
            raise UnsupportedError(f"operand {name} is no constant")
        return self.graph.constants[name]

    def tensor(self, name: str) -> Tensor:
        """A tensor in the arena; the image is copied there when it is first needed."""
        if name not in self.tensors:
            if name in self.last:
                return self._channels_turned(name)
            if name in self.quantised:
                return self._dequantised(name)
            if name != self.input:
                raise UnsupportedError(f"operand {name} is no activation")
            if len(self.shape) not in (2, 4) or self.shape[0] != 1:
                raise UnsupportedError(f"an input of shape {self.shape}, expected images or vectors")
            is_vector = len(self.shape) == 2  # a batch and features
            extents = (self.shape[1], 1, 1) if is_vector else self.shape[1:]
            self.tensors[name] = self.copied(None, extents, name, compact=is_vector)
        return self.tensors[name]

    def _dequantised(self, name: str) -> Tensor:
        """Floats of an activation that lies in bytes."""
        found, shape = self.quantised[name], self.shapes[name]
        if found.integers is not None:
            raise UnsupportedError(f"operand {name} is of {found.integers}, expected float32")
        extents = (found.channels, *found.tensor.shape[1:])
        target = planes(*extents) if len(shape) == 4 else vector(*extents)
        numbers = {isa.SCALES: found.channels}
        self.add(Operation(isa.DEQUANTIZE, name, found.tensor, target, numbers=numbers, parameters=found.parameters))
        if len(shape) == 2:  # features
            features = vector(shape[1])
            features.whole = target
            target = features
        self.tensors[name] = target
        return target

    def _channels_turned(self, name: str) -> Tensor:
        """Turn an activation whose channels are the last axis into the order of its own axes."""
        source, shape = self.last[name], self.shapes[name]
        channels, height, width = source.shape
        target = vector(width, 1, channels) if len(shape) == 3 else vector(height, width, channels)
        kind = isa.TOKENS if len(shape) == 3 else isa.CHANNELS_LAST
        self.add(Operation(isa.TURN, name, source, target, numbers={isa.KIND: kind}))
        if len(shape) == 3:  # tokens and channels lie as a vector
            turned = vector(math.prod(shape))
            turned.whole = target
            target = turned
        self.tensors[name] = target
        return target

    def set(self, name: str, tensor: Tensor, shape: tuple[int, ...] | None = None) -> None:
        """Name a tensor; its shape is that of an image unless another is given."""
        self.tensors[name] = tensor
        self.shapes[name] = shape or (1, *tensor.shape)

    def add(self, operation: Operation) -> Tensor:
        """Append an operation; what it makes."""
        self.operations.append(operation)
        return operation.target

    def copied(
        self, source: Tensor | None, shape: Sequence[int], name: str, row: int | None = None, *, compact: bool = False
    ) -> Tensor:
        """The same values in rows of another length."""
        channels, height, width = shape
        target = vector(channels, height, width) if compact else planes(channels, height, width, row)
        return self.add(self.copy(source, (channels, height, width), target, name))

    def copy(self, source: Tensor | None, shape: Sequence[int], target: Tensor, name: str, **numbers: int) -> Operation:
        """Make an operation that copies every row and column, or what `numbers` (columns of COPY, by name) say."""
        chosen = {
            isa.SOURCE_HEIGHT: shape[1],
            isa.SOURCE_WIDTH: shape[2],
            isa.ROW_STRIDE: 1,
            isa.COLUMN_STRIDE: 1,
            isa.ROW_START: 0,
            isa.COLUMN_START: 0,
            isa.KERNEL_ROWS: 1,
            isa.PHASES: 1,
        }
        chosen.update({getattr(isa, key): value for key, value in numbers.items()})
        return Operation(isa.INPUT if source is None else isa.COPY, name, source, target, numbers=chosen)

    def planar(self, name: str) -> Tensor:
        """The operand as rows of whole vectors."""
        tensor = self.tensor(name)
        if tensor.compact:
            self.tensors[name] = tensor = self.copied(tensor, tensor.shape, name)
        return tensor

    def fresh(self, name: str) -> str:
        """A name that neither the file nor this lowering has given to anything."""
        taken = {output for node in self.graph.nodes for output in node.outputs} | self.tensors.keys()
        while name in taken:
            name += "'"
        return name

    def only_user(self, name: str) -> tuple[int, Node] | None:
        """The one node that reads an activation, with its place; None where there are more, or it is an output."""
        users = self.users.get(name, [])
        return (users[0], self.graph.nodes[users[0]]) if len(users) == 1 and users[0] >= 0 else None

    def readers(self, name: str) -> list[Node]:
        """The nodes that read an activation."""
        return [self.graph.nodes[user] for user in self.users.get(name, []) if user >= 0]

    def compact(self, name: str) -> Tensor:
        """The operand as a vector."""
        tensor = self.tensor(name)
        return tensor if tensor.compact else self.copied(tensor, tensor.shape, name, compact=True)


Lowering = Callable[[Context, "Node"], None]
"""Adds the operations of one node; UnsupportedError says what of it cannot be run."""


def bias_of(context: Context, node: Node, channels: int) -> NDArray[np.float32]:
    """The third operand, zeros where there is none."""
    if len(node.inputs) < 3 or not node.inputs[2]:  # input, weight, bias
        return np.zeros(channels, np.float32)
    bias = np.asarray(context.constant(node.inputs[2]), np.float32).reshape(-1)
    if bias.size != channels:
        raise UnsupportedError(f"bias of {bias.size}, expected {channels}")
    return bias


def bounds_of(context: Context, node: Node) -> tuple[float, float]:
    """Return the bounds of a Relu or Clip."""
    if node.op == "Relu":
        return 0.0, math.inf
    given = [float(context.constant(name)) if name else None for name in (*node.inputs[1:], "", "")]
    low, high = given[0], given[1]
    return -math.inf if low is None else low, math.inf if high is None else high


def window_of(
    node: Node, kernel: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], int]:
    """Stride, dilation, padding (top, left, bottom, right) and groups of a convolution or pooling."""
    attributes = node.attributes
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UnsupportedError(f"auto_pad {attributes['auto_pad']}")
    stride, dilation = (tuple(attributes.get(name, (1, 1))) for name in ("strides", "dilations"))
    pads = tuple(attributes.get("pads", (0, 0, 0, 0)))
    numbers = (*stride, *dilation, *kernel)
    if (len(stride), len(dilation), len(pads)) != (2, 2, 4) or not all(isinstance(n, int) for n in (*numbers, *pads)):
        raise UnsupportedError(f"strides {stride}, dilations {dilation}, pads {pads}")
    if min(numbers) < 1 or min(pads) < 0 or max(*numbers, *pads) > 1 << 12:
        raise UnsupportedError(f"strides {stride}, dilations {dilation}, pads {pads}, kernel {tuple(kernel)}")
    groups = attributes.get("group", 1)
    if not isinstance(groups, int):
        raise UnsupportedError(f"group {groups!r}")
    return stride, dilation, pads, groups


def is_shape(sizes: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a Reshape to these sizes, of which one may be -1, makes this shape."""
    fits = all(size in (-1, wanted) for size, wanted in zip(sizes, shape, strict=False))
    return len(sizes) == len(shape) and list(sizes).count(-1) <= 1 and fits


def per_channel(constant: NDArray[Any] | None, shape: Sequence[int]) -> NDArray[np.float64] | None:
    """Return a constant as one number for each channel of an activation; None where it is anything else."""
    if constant is None or constant.ndim > len(shape):
        return None
    padded = (1,) * (len(shape) - constant.ndim) + constant.shape
    if constant.size != 1 and (len(shape) < 2 or padded != (1, shape[1], *(1,) * (len(shape) - 2))):
        return None
    return np.broadcast_to(np.asarray(constant, np.float64).reshape(-1), (shape[1],)).copy()


def window_numbers(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pads: Sequence[int]
) -> dict[int, int]:
    """Return the columns of a pooling that describe its windows; `size` is height and width of what they move over."""
    return {
        isa.SOURCE_HEIGHT: size[0],
        isa.SOURCE_WIDTH: size[1],
        isa.ROW_STRIDE: stride[0],
        isa.COLUMN_STRIDE: stride[1],
        isa.ROW_START: -pads[0],
        isa.COLUMN_START: -pads[1],
        isa.KERNEL_ROWS: kernel[0],
        isa.KERNEL_COLUMNS: kernel[1],
    }
