"""Convolutions of every kind as convolutions of stride 1, and what follows them taken in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct import isa, winograd
from sparsemark.direct.ir import Convolution, Operation, Tensor, check_size, planes
from sparsemark.direct.layout import Layout, row_for
from sparsemark.direct.lowering.context import bias_of, bounds_of, window_of
from sparsemark.direct.lowering.matrices import append_matrix
from sparsemark.direct.schedule import alone, candidates
from sparsemark.direct.taps import Taps
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sparsemark.direct.lowering.context import Context, Lowering
    from sparsemark.formats.csr.graph import Node

_PASSING = frozenset({"Flatten", "Identity", "LeakyRelu", "MaxPool", "Relu", "Reshape"})
"""Operators that leave large values as large as they are."""

_HOPS = 8
"""How many of them are looked past."""

_BOUNDED = frozenset({"Clip", "Erf", "HardSigmoid", "Sigmoid", "Softmax", "Tanh"})
"""Operators whose results stay small, however large their operands."""


def lower_convolution(context: Context, node: Node) -> None:
    """Lower a Conv; UnsupportedError says what of it cannot be run."""
    weight = node.inputs[1]
    if weight not in context.graph.matrices:
        raise UnsupportedError("its weight is no constant")
    full = context.graph.shapes[weight]
    if len(full) != 4:  # (out, in, height, width)
        raise UnsupportedError(f"{len(full) - 2} spatial axes, expected 2")
    kernel = full[2:]
    stride, dilation, pads, groups = window_of(node, kernel)
    _, channels, height, width = context.shapes[node.inputs[0]]
    if groups < 1 or full[0] % groups or channels != full[1] * groups:
        raise UnsupportedError(f"{channels} input channels, {groups} groups and weights of shape {full}")
    out_height = (height + pads[0] + pads[2] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    out_width = (width + pads[1] + pads[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    check_size(full[0], out_height, out_width)
    matrix = context.graph.matrices[weight]
    # 32 bits hold them all: `window_of` and `check_size` have limits.
    out, column = matrix.rows, matrix.indices
    plane = column // (kernel[0] * kernel[1]) + out // (full[0] // groups) * full[1]
    y = column // kernel[1] % kernel[0] * dilation[0] - pads[0]
    x = column % kernel[1] * dilation[1] - pads[1]
    bias = bias_of(context, node, full[0])
    count = int(np.prod(full))
    if (height, width, out_height, out_width) == (1, 1, 1, 1):
        inside = (y == 0) & (x == 0)
        append_matrix(context, node, out[inside], plane[inside], matrix.data[inside], full[0], channels, bias, count)
        return
    taps, shape = Taps(out, plane, y, x, matrix.data), (full[0], out_height, out_width)
    if stride == (2, 2) and groups == channels == full[0] and _split(context, node, taps, shape, bias, count):
        return
    taps, source = _phases(context, node, taps, stride, out_width)
    convolve(context, node, source, taps, shape, bias, count)


def _split(  # noqa: PLR0917 - a convolution is that much
    context: Context, node: Node, taps: Taps, shape: tuple[int, int, int], bias: NDArray[np.float32], count: int
) -> bool:
    """Convolve each channel by itself with a stride of 2, its phases split in the scratch; False where no tile fits."""
    source = context.planar(node.inputs[0])
    high, wide = -(-source.height // 2), -(-source.width // 2)
    split = planes(4 * source.channels, high, wide, row_for(max(wide, shape[2])))
    phase = taps.dy % 2 * 2 + taps.dx % 2
    taps = Taps(taps.out, 4 * taps.plane + phase, taps.dy // 2, taps.dx // 2, taps.weight)
    taps = _seen(taps, split, shape)
    if not alone(taps, split, height=shape[1], width=shape[2]):
        return False
    _append(context, node, source, taps, shape, bias, count, split)
    return True


def _phases(context: Context, node: Node, taps: Taps, stride: tuple[int, int], out_width: int) -> tuple[Taps, Tensor]:
    """Taps of stride 1 and the planes that they read."""
    name = node.inputs[0]
    _, channels, height, width = context.shapes[name]
    if stride == (1, 1):
        source = context.tensor(name) if name in context.quantised else context.tensors.get(name)
        if source is None or source.compact or source.row < out_width:
            source = context.copied(
                source if name != context.input else None,
                (channels, height, width),
                name,
                row_for(max(width, out_width)),
            )
            if name not in context.tensors or context.tensors[name].compact:
                context.tensors[name] = source
        return taps, source
    rows, columns = (
        sorted(set((axis % step).tolist())) or [0] for axis, step in ((taps.dy, stride[0]), (taps.dx, stride[1]))
    )
    rows = list(range(rows[0], rows[-1] + 1))
    columns = list(range(columns[0], columns[-1] + 1))
    high, wide = -(-height // stride[0]), -(-width // stride[1])
    count = len(rows) * len(columns)
    target = planes(channels * count, high, wide, row_for(max(wide, out_width)))
    source = None if name == context.input and name not in context.tensors else context.tensor(name)
    split = context.copy(
        source,
        (channels, height, width),
        target,
        name,
        ROW_STRIDE=stride[0],
        COLUMN_STRIDE=stride[1],
        ROW_START=rows[0],
        COLUMN_START=columns[0],
        KERNEL_ROWS=len(rows),
        PHASES=count,
    )
    context.add(split)
    phase = (taps.dy % stride[0] - rows[0]) * len(columns) + taps.dx % stride[1] - columns[0]
    return Taps(taps.out, taps.plane * count + phase, taps.dy // stride[0], taps.dx // stride[1], taps.weight), target


def convolve(  # noqa: PLR0917 - as above
    context: Context,
    node: Node,
    source: Tensor,
    taps: Taps,
    shape: tuple[int, int, int],
    bias: NDArray[np.float32],
    count: int,
) -> Convolution:
    """Append a convolution of stride 1, and take in what follows it.

    Args:
        context: of the lowering.
        node: that it comes from.
        source: planes that it reads.
        taps: its non-zeros.
        shape: of what it makes: channels, height, width.
        bias: one for each channel.
        count: of weights, zeros counted.
    """
    channels, height, width = shape
    taps = _seen(taps, source, shape)
    if not candidates(taps, _unplaced(source), channels, height=height, width=width, pooled_row=None):
        raise UnsupportedError(f"rows of {width} pixels and {taps.left + taps.right + 1} columns of the kernel")
    return _append(context, node, source, taps, shape, bias, count)


def _seen(taps: Taps, source: Tensor, shape: tuple[int, int, int]) -> Taps:
    """Leave out taps that only ever read zeros: they would ask for rows that nothing else needs."""
    _, height, width = shape
    seen = (taps.dy > -height) & (taps.dy < source.height) & (taps.dx > -width) & (taps.dx < source.width)
    if not seen.all():
        taps = Taps(taps.out[seen], taps.plane[seen], taps.dy[seen], taps.dx[seen], taps.weight[seen])
    return taps.packed()


def _append(  # noqa: PLR0917 - as above
    context: Context,
    node: Node,
    source: Tensor,
    taps: Taps,
    shape: tuple[int, int, int],
    bias: NDArray[np.float32],
    count: int,
    split: Tensor | None = None,
) -> Convolution:
    """Append a convolution with what can be taken into it; its taps read `split`, where there is one."""
    _, height, width = shape
    read = source if split is None else split
    read.top = max(read.top, taps.above)
    read.bottom = max(read.bottom, height - 1 + taps.below - (read.height - 1))
    step = Convolution(
        isa.CONVOLVE if split is None else isa.DEPTHWISE,
        node.name,
        source,
        planes(*shape, read.row),
        None,
        {},
        bias,
        taps=taps,
        height=height,
        width=width,
        weights=count,
        split=split,
    )
    name = node.outputs[0]
    context.shapes[name] = (1, *shape)
    name = _fuse_addition(context, step, name)
    name = _fuse_swish(context, step, name)
    name = _fuse_clamp(context, step, name)
    if split is None:
        name = _fuse_pooling(context, step, source, name)
    step.bounded = step.clamp[1] < math.inf or _is_bounded(context, name)
    context.add(step)
    context.set(name, step.target)
    return step


def _is_bounded(context: Context, name: str) -> bool:
    """Whether a reader of an activation has a limit, unless another multiplies with it, as SiLU does."""
    for _ in range(_HOPS):
        readers = context.readers(name)
        operators = {reader.op for reader in readers}
        if operators & _BOUNDED:
            return "Mul" not in operators
        if len(readers) != 1 or not operators & _PASSING or not readers[0].outputs:
            return False
        name = readers[0].outputs[0]
    return False


def _fuse_addition(context: Context, step: Convolution, name: str) -> str:
    following = context.only_user(name)
    if following is None or following[1].op != "Add":
        return name
    i, node = following
    other = node.inputs[1] if node.inputs[0] == name else node.inputs[0]
    tensor = context.tensors.get(other)
    if (
        tensor is None
        or other == name
        or tensor.compact
        or (tensor.shape, tensor.row) != (step.target.shape, step.target.row)
    ):
        return name
    step.second = tensor
    context.done.add(i)
    context.shapes[node.outputs[0]] = context.shapes[name]
    return node.outputs[0]


def _fuse_swish(context: Context, step: Convolution, name: str) -> str:
    following = context.only_user(name)
    # Winograd's tiles are worth more than a pass over the sums, and have no HardSwish.
    if following is None or following[1].op != "HardSwish" or winograd.microkernels(step, 1):
        return name
    i, node = following
    step.swish = True
    context.done.add(i)
    context.shapes[node.outputs[0]] = context.shapes[name]
    return node.outputs[0]


def _fuse_clamp(context: Context, step: Convolution, name: str) -> str:
    following = context.only_user(name)
    if following is None or following[1].op not in ("Relu", "Clip"):
        return name
    i, node = following
    step.clamp = bounds_of(context, node)
    context.done.add(i)
    context.shapes[node.outputs[0]] = context.shapes[name]
    return node.outputs[0]


def _fuse_pooling(context: Context, step: Convolution, source: Tensor, name: str) -> str:
    following = context.only_user(name)
    if following is None or following[1].op != "MaxPool":
        return name
    i, node = following
    plain = window_of(node, node.attributes["kernel_shape"]) == ((2, 2), (1, 1), (0, 0, 0, 0), 1)
    if (
        list(node.attributes["kernel_shape"]) != [2, 2]
        or not plain
        or step.height % 2
        or step.width % 2
        or sum(map(bool, node.outputs)) != 1
    ):
        return name
    target = planes(step.outputs, step.height // 2, step.width // 2)
    if target.row * 2 < step.target.row:
        return name
    if not candidates(
        step.taps, _unplaced(source), step.outputs, height=step.height, width=step.width, pooled_row=target.row
    ):
        return name
    step.target, step.pooled = target, True
    context.done.add(i)
    return node.outputs[0]


def transposed_window(
    context: Context, node: Node, weight: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], int, tuple[int, int]]:
    """Return stride, dilation, padding and groups of a transposed convolution, and the height and width that it makes.

    Args:
        context: of the lowering.
        node: the convolution.
        weight: shape of its weight: input channels, output channels of a group, kernel.
    """
    if len(weight) != 4:
        raise UnsupportedError(f"{len(weight) - 2} spatial axes, expected 2")
    stride, dilation, pads, groups = window_of(node, weight[2:])
    extra = node.attributes.get("output_padding", [0, 0])
    if "output_shape" in node.attributes:
        raise UnsupportedError("a given output shape")
    if len(extra) != 2 or not all(isinstance(n, int) for n in extra):  # height and width
        raise UnsupportedError(f"output_padding {extra}")
    _, channels, *extents = context.shapes[node.inputs[0]]
    if weight[0] != channels or channels % groups:
        raise UnsupportedError(f"{channels} input channels and weights of shape {weight}")
    high, wide = (
        (extent - 1) * stride[a] - pads[a] - pads[a + 2] + dilation[a] * (weight[2 + a] - 1) + extra[a] + 1
        for a, extent in enumerate(extents)
    )
    return stride, dilation, pads, groups, (high, wide)


def _conv_transpose(context: Context, node: Node) -> None:
    weight = np.asarray(context.constant(node.inputs[1]), np.float32)
    stride, dilation, pads, groups, size = transposed_window(context, node, weight.shape)
    channels, outputs = weight.shape[0], weight.shape[1] * groups
    plane, out, ky, kx = np.nonzero(weight)
    values = weight[plane, out, ky, kx]
    out = out + plane // (channels // groups) * weight.shape[1]
    # Output row o takes input row y through kernel row k where o = y * stride - pad + k * dilation.
    y, x = ky * dilation[0] - pads[0], kx * dilation[1] - pads[1]
    phase = y % stride[0] * stride[1] + x % stride[1]
    count = stride[0] * stride[1]
    taps = Taps(out * count + phase, plane, -(y // stride[0]), -(x // stride[1]), values)
    high, wide = -(-size[0] // stride[0]), -(-size[1] // stride[1])
    bias = np.repeat(bias_of(context, node, outputs), count)
    source = context.planar(node.inputs[0])
    if source.row < wide:
        source = context.copied(source, source.shape, node.name, row_for(wide))
    if count == 1:
        convolve(context, node, source, taps, (outputs, size[0], size[1]), bias, weight.size)
        return
    inner = context.fresh(f"{node.outputs[0]} by phase")
    phases = type(node)(node.op, node.name, node.inputs, (inner,), node.attributes)
    step = convolve(context, phases, source, taps, (outputs * count, high, wide), bias, weight.size)
    step.bounded = _is_bounded(context, node.outputs[0])
    _interleave(context, node, context.tensors[inner], (outputs, size[0], size[1]), stride, count)


def _interleave(  # noqa: PLR0917 - as above
    context: Context, node: Node, source: Tensor, shape: tuple[int, int, int], scale: tuple[int, int], count: int
) -> None:
    target = planes(*shape)
    numbers = {isa.ROW_STRIDE: scale[0], isa.COLUMN_STRIDE: scale[1], isa.PHASES: count}
    context.set(node.outputs[0], context.add(Operation(isa.INTERLEAVE, node.name, source, target, numbers=numbers)))


def _unplaced(tensor: Tensor) -> Layout:
    return Layout(tensor.channels, tensor.height, tensor.width, tensor.row, 0, 0, 0, 0)


OPERATORS: Mapping[str, Lowering] = {
    "Conv": lower_convolution,
    "ConvTranspose": _conv_transpose,
}
