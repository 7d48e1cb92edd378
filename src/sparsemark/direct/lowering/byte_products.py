"""Convolutions and products of quantised networks, as convolutions of bytes of stride 1."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemark.direct import isa
from sparsemark.direct.blocks import BLOCK, Blocks
from sparsemark.direct.ir import BlockConvolution, Operation, Tensor, check_size, words
from sparsemark.direct.layout import row_of_words
from sparsemark.direct.lowering.borders import leaves
from sparsemark.direct.lowering.context import Bytes, bounds_of, window_of
from sparsemark.direct.lowering.convolutions import transposed_window
from sparsemark.direct.target import LANES
from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sparsemark.direct.lowering.context import Context
    from sparsemark.formats.csr.blocks import BlockMatrix
    from sparsemark.formats.csr.graph import Node

_SIGNED = 128
"""What is added to signed bytes, and to their zero point, to make them unsigned."""

_MOST = 2**30
"""Largest sum of products, and largest scaled one: far below what 32 bits hold."""

_LEAST_EXACT = 0.25
"""Steps of the result by which rounding a bias to whole products may move it."""

_MOST_PHASES = 64
"""Phases of a transposed convolution, each of which has output channels, whether it has weights or not."""


_INTEGERS = {0: np.uint8, 2: np.uint8, 3: np.int8}
"""Types of a QuantizeLinear without a zero point, by the number that ONNX has for them; 0 where none is given."""


def levels_of(context: Context, node: Node) -> tuple[np.float32, int, np.dtype[Any]]:
    """Return scale and zero point of a QuantizeLinear or DequantizeLinear, as of unsigned bytes, and their type.

    Raises:
        UnsupportedError: they are several, or not those of bytes.
    """
    scale = context.constant(node.inputs[1])
    if len(node.inputs) > 2 and node.inputs[2]:
        zero = context.constant(node.inputs[2])
    elif node.op == "DequantizeLinear":
        zero = np.zeros((), context.quantised[node.inputs[0]].integers)
    else:
        zero = np.zeros((), _INTEGERS.get(node.attributes.get("output_dtype", 0), np.void))
    if scale.size != 1 or zero.size != 1 or scale.dtype != np.float32 or zero.dtype not in (np.uint8, np.int8):
        raise UnsupportedError(f"{scale.size} scales of {scale.dtype}, zero points of {zero.dtype}")
    found = np.float32(scale.reshape(-1)[0])
    if not (np.isfinite(found) and found >= np.finfo(np.float32).tiny):
        raise UnsupportedError(f"a scale of {found}")
    return found, int(zero.reshape(-1)[0]) + (_SIGNED if zero.dtype == np.int8 else 0), zero.dtype


def convolution_of_bytes(context: Context, node: Node, weight: BlockMatrix) -> bool:
    """Lower a Conv whose operands and result are quantised; False where it runs in float32."""
    source = context.quantised.get(node.inputs[0])
    if source is None or len(weight.dense) != 4 or len(context.shapes[node.inputs[0]]) != 4:  # images
        return False
    kernel = weight.dense[2:]
    stride, dilation, pads, groups = window_of(node, kernel)
    outputs, inputs = weight.dense[:2]
    _, channels, height, width = context.shapes[node.inputs[0]]
    if groups < 1 or outputs % groups or channels != inputs * groups:
        raise UnsupportedError(f"{channels} input channels, {groups} groups and weights of shape {weight.dense}")
    size = (
        (height + pads[0] + pads[2] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1,
        (width + pads[1] + pads[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1,
    )
    check_size(outputs, *size)
    rows, area = weight.rows.astype(np.int64), kernel[0] * kernel[1]
    columns = weight.indices.astype(np.int64)
    dy = columns // kernel[1] % kernel[0] * dilation[0] - pads[0]
    dx = columns % kernel[1] * dilation[1] - pads[1]
    first = columns // area * BLOCK + rows // (outputs // groups) * inputs
    blocks = _spread(rows, first, dy, dx, weight.data, apart=bool(groups > 1 and inputs % BLOCK))
    return _product(context, node, weight, source, blocks, stride, size)


def transposed_of_bytes(context: Context, node: Node, weight: BlockMatrix) -> bool:
    """Lower a ConvTranspose whose operands and result are quantised; False where it runs in float32.

    The rows of its matrix are output channels. Each phase of the output is made by a convolution of stride 1: those of
    four output channels are words next to each other.
    """
    source = context.quantised.get(node.inputs[0])
    if source is None or len(weight.dense) != 4 or len(context.shapes[node.inputs[0]]) != 4:  # images
        return False
    outputs, inputs, *kernel = weight.dense
    stride, dilation, pads, groups, size = transposed_window(context, node, (inputs, outputs, *kernel))
    if groups != 1 or math.prod(stride) > _MOST_PHASES:
        return False
    check_size(outputs, *size)
    columns = weight.indices.astype(np.int64)
    # Output row o takes input row y through kernel row k where o = y * stride - pad + k * dilation.
    y = columns // kernel[1] % kernel[0] * dilation[0] - pads[0]
    x = columns % kernel[1] * dilation[1] - pads[1]
    word, lane = np.divmod(weight.rows.astype(np.int64), BLOCK)
    phase = y % stride[0] * stride[1] + x % stride[1]
    out = (word * stride[0] * stride[1] + phase) * BLOCK + lane
    blocks = Blocks(out, columns // math.prod(kernel), -(y // stride[0]), -(x // stride[1]), weight.data)
    return _product(context, node, weight, source, blocks, (1, 1), size, apart=stride)


def _seen(blocks: Blocks, source: Tensor, stride: tuple[int, int], size: tuple[int, int]) -> Blocks:
    """Leave out blocks that lie beside the image at every place: they read nothing but zeros."""
    return blocks.chosen(
        (blocks.dy + stride[0] * (size[0] - 1) >= 0)
        & (blocks.dy < source.height)
        & (blocks.dx + stride[1] * (size[1] - 1) >= 0)
        & (blocks.dx < source.width)
    )


def _spread(
    rows: NDArray[np.int64],
    first: NDArray[np.int64],
    dy: NDArray[np.int64],
    dx: NDArray[np.int64],
    data: NDArray[np.int8],
    *,
    apart: bool,
) -> Blocks:
    """Return blocks by the words that they read, from those whose first channel is given."""
    if not apart:
        return Blocks(rows, first // BLOCK, dy, dx, data)
    each = np.arange(BLOCK)
    repeated = (np.repeat(one, BLOCK) for one in (rows, dy, dx))
    rows, dy, dx = repeated
    return Blocks.of_weights(rows, (first[:, None] + each).reshape(-1), dy, dx, data.reshape(-1))


def linear_of_bytes(context: Context, node: Node, weight: BlockMatrix) -> bool:
    """Lower a Linear whose operands and result are quantised; False where it runs in float32."""
    source = context.quantised.get(node.inputs[0])
    shape = context.shapes[node.inputs[0]]
    if source is None or len(shape) != 2 or shape[0] != 1 or len(weight.dense) != 2:  # features
        return False
    inputs = weight.dense[1]
    height, width = source.tensor.shape[1:]
    if shape[1] != inputs or source.channels * height * width != inputs:
        raise UnsupportedError(f"{shape[1]} features and weights of shape {weight.dense}")
    # The kernel is the image that the features were: channels, rows and columns.
    feature = (weight.indices.astype(np.int64)[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)
    rows = np.repeat(weight.rows.astype(np.int64), BLOCK)
    place = feature % (height * width)
    blocks = Blocks.of_weights(
        rows, feature // (height * width), place // width, place % width, weight.data.reshape(-1)
    )
    return _product(context, node, weight, source, blocks, (1, 1), (1, 1))


def _product(  # noqa: PLR0917 - a convolution is that much
    context: Context,
    node: Node,
    weight: BlockMatrix,
    source: Bytes,
    blocks: Blocks,
    stride: tuple[int, int],
    size: tuple[int, int],
    apart: tuple[int, int] = (1, 1),
) -> bool:
    """Append a convolution whose result is quantised right away; False where it is not, or takes more than 32 bits.

    Where it makes rows and columns `apart` from each other, output channels of blocks are those of `_by_phase`.
    """
    following = quantized_next(context, node.outputs[0])
    if following is None or (source.tensor.fill != source.zero):
        return False
    places, last, (low, high) = following
    scale, zero, integers = levels_of(context, last)
    outputs, phases = weight.dense[0], math.prod(apart)
    bias = _integer_bias(context, node, source.scale * weight.scales, scale)
    if bias is None:
        return False
    bias, factor = _by_phase(bias, phases), _by_phase((source.scale * weight.scales) / scale, phases)
    inner = (-(-size[0] // apart[0]), -(-size[1] // apart[1]))
    blocks = _seen(blocks, source.tensor, stride, inner)
    sums = np.bincount(blocks.out, blocks.weights.sum(axis=1, dtype=np.int64), len(bias))
    sizes = np.bincount(blocks.out, np.abs(blocks.weights.astype(np.int64)).sum(axis=1), len(bias))
    bias = bias - source.zero * sums.astype(np.int64)
    most = 255 * sizes + np.abs(bias)
    if most.max() >= _MOST or (most * factor).max() >= _MOST:
        return False
    blocks, read = _phases(context, node, blocks, source, stride, inner)
    if read is None:
        return False
    made = words(len(bias), *inner, zero)
    step = BlockConvolution(
        isa.CONVOLVE_BYTES,
        node.name,
        read,
        made,
        blocks=blocks,
        bias=bias.astype(np.int32),
        scales=factor.astype(np.float32),
        levels=(zero, _level(low, scale, zero), _level(high, scale, zero)),
        weights=math.prod(weight.dense),
        height=inner[0],
        width=inner[1],
    )
    context.add(step)
    if phases > 1:
        made = context.add(interleaved(node, made, words(outputs, *size, zero), apart, phases))
    context.done.update(places)
    is_features = len(weight.dense) == 2
    name = last.outputs[0]
    context.shapes[name] = (1, outputs) if is_features else (1, outputs, *size)
    context.quantised[name] = Bytes(made, outputs, scale, zero, integers)
    return True


def interleaved(node: Node, source: Tensor, target: Tensor, times: tuple[int, int], phases: int) -> Operation:
    """Make an operation that joins phases, planes of the source next to each other, or repeats pixels of one."""
    numbers = {isa.ROW_STRIDE: times[0], isa.COLUMN_STRIDE: times[1], isa.PHASES: phases}
    return Operation(isa.INTERLEAVE_BYTES, node.name, source, target, numbers=numbers)


def _by_phase(values: NDArray[Any], phases: int) -> NDArray[Any]:
    """Values of output channels, with zeros for those that fill the last word; each four of them once for a phase."""
    fours = np.pad(values, (0, -len(values) % BLOCK)).reshape(-1, 1, BLOCK)
    return fours.repeat(phases, axis=1).reshape(-1)


def _level(bound: float, scale: np.float32, zero: int) -> int:
    """Byte of a bound."""
    if math.isinf(bound):
        return 0 if bound < 0 else 255
    return int(np.clip(np.rint(np.float32(bound) / scale) + zero, 0, 255))


def quantized_next(context: Context, name: str) -> tuple[list[int], Node, tuple[float, float]] | None:
    """Return what quantises an activation that nothing else reads, the places of its nodes, and bounds before it.

    None where it is not quantised right away, or its integers are read by something else than native operations.
    """
    places, bounds = [], (-math.inf, math.inf)
    following = context.only_user(name)
    if following is not None and following[1].op in ("Relu", "Clip") and following[1].outputs:
        places.append(following[0])
        bounds = bounds_of(context, following[1])
        following = context.only_user(following[1].outputs[0])
    if following is None or following[1].op != "QuantizeLinear" or not following[1].outputs:
        return None
    if leaves(context, following[1].outputs[0]):
        return None
    return [*places, following[0]], following[1], bounds


def _integer_bias(
    context: Context, node: Node, scales: NDArray[np.float32], step: np.float32
) -> NDArray[np.int64] | None:
    """Return the bias in units of the products; None where that is beyond 32 bits, or too coarse.

    Args:
        context: of the lowering.
        node: with the bias.
        scales: of the products.
        step: of the result.
    """
    if len(node.inputs) < 3 or not node.inputs[2]:  # input, weight, bias
        return np.zeros(len(scales), np.int64)
    bias = np.asarray(context.constant(node.inputs[2]), np.float64).reshape(-1)
    if bias.size not in (1, len(scales)):
        raise UnsupportedError(f"bias of {bias.size}, expected {len(scales)}")
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.rint(bias / scales)
    if not (np.abs(whole) < _MOST).all() or (np.abs(whole * scales - bias) > _LEAST_EXACT * step).any():
        return None
    return whole.astype(np.int64)


def _phases(  # noqa: PLR0917 - as above
    context: Context, node: Node, blocks: Blocks, source: Bytes, stride: tuple[int, int], size: tuple[int, int]
) -> tuple[Blocks, Tensor | None]:
    """Blocks of stride 1 and the words that they read; None where these cannot have what lies beside the image."""
    read = source.tensor
    if stride != (1, 1):
        high, wide = (-(-extent // step) for extent, step in zip(read.shape[1:], stride, strict=True))
        phase = blocks.dy % stride[0] * stride[1] + blocks.dx % stride[1]
        count = stride[0] * stride[1]
        blocks = replace(
            blocks, plane=blocks.plane * count + phase, dy=blocks.dy // stride[0], dx=blocks.dx // stride[1]
        )
        beside = _beside(blocks, wide, size[1])
        if beside > LANES:
            return blocks, None
        target = words(BLOCK * read.channels * count, high, wide, source.zero, row_of_words(wide, beside))
        made = copied_bytes(read, target, node.name, stride)
        read = _known(context, made) or context.add(made)
    elif _beside(blocks, read.width, size[1]) > read.row - read.width:
        beside = _beside(blocks, read.width, size[1])
        if beside > LANES:
            return blocks, None
        target = words(BLOCK * read.channels, *read.shape[1:], source.zero, row_of_words(read.width, beside))
        read = context.add(copied_bytes(read, target, node.name, stride))
    read.top = max(read.top, -int(blocks.dy.min(initial=0)))
    read.bottom = max(read.bottom, size[0] + int(blocks.dy.max(initial=0)) - read.height)
    return blocks, read


def _known(context: Context, copy: Operation) -> Tensor | None:
    """Return what an earlier operation made that copies the same into as long rows; None where there is none."""
    for operation in context.operations:
        same = (operation.code, operation.source, operation.numbers) == (copy.code, copy.source, copy.numbers)
        if same and (operation.target.shape, operation.target.row) == (copy.target.shape, copy.target.row):
            return operation.target
    return None


def _beside(blocks: Blocks, width: int, outputs: int) -> int:
    """Pixels that are read to the left of a row, or to its right."""
    return max(-int(blocks.dx.min(initial=0)), outputs + int(blocks.dx.max(initial=0)) - width, 1)


def copied_bytes(source: Tensor, target: Tensor, name: str, stride: tuple[int, int]) -> Operation:
    """Make an operation that copies words, those of each phase of a stride to a plane."""
    numbers = {
        isa.SOURCE_HEIGHT: source.height,
        isa.SOURCE_WIDTH: source.width,
        isa.ROW_STRIDE: stride[0],
        isa.COLUMN_STRIDE: stride[1],
        isa.KERNEL_ROWS: stride[0],
        isa.PHASES: stride[0] * stride[1],
    }
    return Operation(isa.COPY_BYTES, name, source, target, numbers=numbers)
