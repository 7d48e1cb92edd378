"""ONNX operators in torch: from attributes to a function of the operands. Operators not here are unsupported.

Source: the ONNX operator specification, opset 20; semantics are tested against ONNX's own reference evaluator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from sparsemark.errors import UnsupportedError

if TYPE_CHECKING:
    from sparsemark.formats.csr.graph import Node

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]


def symmetric_padding(node: Node) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Split a node's padding into what a convolution takes itself and what must be padded before.

    Returns:
        (height, width) where both sides are alike, and (left, right, top, bottom) where they are not, the other one all
        zero.

    Raises:
        UnsupportedError: the padding depends on the input (`auto_pad`).
    """
    if node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UnsupportedError(f"csr: {node.op} at {node.name}: auto_pad {node.attributes['auto_pad']}")
    top, left, bottom, right = node.attributes.get("pads", [0, 0, 0, 0])
    if (top, left) == (bottom, right):
        return (top, left), (0, 0, 0, 0)
    return (0, 0), (left, right, top, bottom)


def _pads(attributes: Attributes) -> tuple[list[int], bool]:
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UnsupportedError(f"auto_pad {attributes['auto_pad']}")
    pads = attributes.get("pads", [0, 0, 0, 0])
    sizes = [attributes[name] for name in ("kernel_shape", "strides", "dilations") if name in attributes]
    for axes in (len(pads) / 2, *map(len, sizes)):
        if axes != 2:  # height and width
            raise UnsupportedError(f"{axes:g} spatial axes, expected 2")
    return [pads[1], pads[3], pads[0], pads[2]], pads[:2] == pads[2:]


def _at_most_half(pads: list[int], kernel: list[int]) -> bool:
    return 2 * pads[2] <= kernel[0] and 2 * pads[0] <= kernel[1]


def _max_pool(attributes: Attributes) -> Operator:
    pads, symmetric = _pads(attributes)
    kernel, stride = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    dilation, ceil = attributes.get("dilations", [1, 1]), bool(attributes.get("ceil_mode", 0))
    # torch pads at most half a kernel, and on both sides alike; what it cannot pad is padded before.
    inner = symmetric and _at_most_half(pads, kernel)
    if ceil and not inner:
        raise UnsupportedError("ceil_mode with asymmetric padding, or with more than half a kernel")

    def run(x: torch.Tensor) -> torch.Tensor:
        if inner:
            return F.max_pool2d(x, kernel, stride, (pads[2], pads[0]), dilation, ceil)
        return F.max_pool2d(F.pad(x, pads, value=float("-inf")), kernel, stride, 0, dilation, ceil)

    return run


def _average_pool(attributes: Attributes) -> Operator:
    pads, symmetric = _pads(attributes)
    kernel, stride = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    include, ceil = bool(attributes.get("count_include_pad", 0)), bool(attributes.get("ceil_mode", 0))
    if not symmetric or not _at_most_half(pads, kernel):
        raise UnsupportedError("asymmetric padding, or more than half a kernel")
    if attributes.get("dilations", [1, 1]) != [1, 1]:
        raise UnsupportedError("dilation")
    return lambda x: F.avg_pool2d(x, kernel, stride, (pads[2], pads[0]), ceil, include)


def _transposed_convolution(attributes: Attributes) -> Operator:
    pads, symmetric = _pads(attributes)
    if not symmetric or "output_shape" in attributes:
        raise UnsupportedError("asymmetric padding or a given output shape")
    stride, dilation = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    extra, groups = attributes.get("output_padding", [0, 0]), attributes.get("group", 1)
    return lambda x, w, b=None: F.conv_transpose2d(x, w, b, stride, (pads[2], pads[0]), extra, groups, dilation)


def _reduce(function: Callable[..., torch.Tensor]) -> Callable[[Attributes], Operator]:
    def build(attributes: Attributes) -> Operator:
        keep, noop = bool(attributes.get("keepdims", 1)), bool(attributes.get("noop_with_empty_axes", 0))

        def run(x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
            given = axes.tolist() if axes is not None else attributes.get("axes")
            if noop and not given:
                return x
            return function(x, dim=tuple(given or range(x.ndim)), keepdim=keep)

        return run

    return build


def _reshape(attributes: Attributes) -> Operator:
    if attributes.get("allowzero", 0):
        return lambda x, shape: x.reshape(shape.tolist())
    return lambda x, shape: x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())])


def _gemm(attributes: Attributes) -> Operator:
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    first, second = attributes.get("transA", 0), attributes.get("transB", 0)

    def run(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        y: torch.Tensor = alpha * ((a.T if first else a) @ (b.T if second else b))
        return y if c is None else y + beta * c

    return run


def _unsqueeze(x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(a % rank for a in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _clip(x: torch.Tensor, low: torch.Tensor | None = None, high: torch.Tensor | None = None) -> torch.Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _slice(
    x: torch.Tensor,
    starts: torch.Tensor,
    ends: torch.Tensor,
    axes: torch.Tensor | None = None,
    steps: torch.Tensor | None = None,
) -> torch.Tensor:
    for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        step = 1 if steps is None else int(steps[i])
        axis = i if axes is None else int(axes[i])
        size = x.shape[axis]
        # The specification's own clamping: Python's slices treat numbers below 0 otherwise when going backwards.
        least, most = (0, size) if step > 0 else (-1, size - 1)
        first = min(max(start + size if start < 0 else start, 0), most)
        last = min(max(end + size if end < 0 else end, least), most)
        if step == 1:
            x = x.narrow(axis, first, max(last - first, 0))
        else:
            x = x.index_select(axis, torch.tensor(range(first, last, step), dtype=torch.int64))
    return x


def _flatten(attributes: Attributes) -> Operator:
    axis = attributes.get("axis", 1)
    return lambda x: x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _batch_normalization(attributes: Attributes) -> Operator:
    if attributes.get("training_mode", 0):
        raise UnsupportedError("training mode")
    epsilon = attributes.get("epsilon", 1e-5)
    return lambda x, w, b, mean, var: F.batch_norm(x, mean, var, w, b, eps=epsilon)


def _div(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _always(function: Operator) -> Callable[[Attributes], Operator]:
    """Return the builder of an operator without attributes."""
    return lambda attributes: function  # noqa: ARG005 - there are none


OPERATORS: Mapping[str, Callable[[Attributes], Operator]] = {
    "Abs": _always(torch.abs),
    "Add": _always(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": lambda a: _cast(a["to"]),
    "Clip": _always(_clip),
    "Concat": lambda a: lambda *parts: torch.cat(parts, dim=a["axis"]),
    "ConvTranspose": _transposed_convolution,
    "Div": _always(_div),
    "Elu": lambda a: lambda x: F.elu(x, a.get("alpha", 1.0)),
    "Erf": _always(torch.erf),
    "Exp": _always(torch.exp),
    "Flatten": _flatten,
    "Gelu": lambda a: lambda x: F.gelu(x, approximate=a.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": _always(lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "GlobalMaxPool": _always(lambda x: x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "HardSigmoid": lambda a: lambda x: torch.clamp(x * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1),
    "HardSwish": _always(F.hardswish),
    "Identity": _always(lambda x: x),
    "LeakyRelu": lambda a: lambda x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "MatMul": _always(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _always(torch.mul),
    "Neg": _always(torch.neg),
    "Pad": lambda a: _pad(a.get("mode", "constant")),
    "Pow": _always(lambda x, y: torch.pow(x, y).to(x.dtype)),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _always(F.relu),
    "Reshape": _reshape,
    "Sigmoid": _always(torch.sigmoid),
    "Slice": _always(_slice),
    "Softmax": lambda a: lambda x: torch.softmax(x, dim=a.get("axis", -1)),
    "Softplus": _always(F.softplus),
    "Sqrt": _always(torch.sqrt),
    "Squeeze": _always(lambda x, axes=None: x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))),
    "Sub": _always(torch.sub),
    "Sum": _always(lambda *terms: sum(terms[1:], terms[0])),
    "Tanh": _always(torch.tanh),
    "Transpose": lambda a: lambda x: x.permute(a.get("perm", list(range(x.ndim))[::-1])),
    "Unsqueeze": _always(_unsqueeze),
}


def _cast(to: int) -> Operator:
    types = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}  # TensorProto.DataType
    if to not in types:
        raise UnsupportedError(f"to data type {to}")
    return lambda x: x.to(types[to])


def _pad(mode: str) -> Operator:
    if mode not in ("constant", "reflect", "edge"):
        raise UnsupportedError(f"mode {mode}")

    def run(x: torch.Tensor, pads: torch.Tensor, value: torch.Tensor | None = None, axes: Any = None) -> torch.Tensor:
        sizes = pads.tolist()
        chosen = range(x.ndim) if axes is None else [a % x.ndim for a in axes.tolist()]
        before = dict(zip(chosen, sizes[: len(sizes) // 2], strict=True))
        after = dict(zip(chosen, sizes[len(sizes) // 2 :], strict=True))
        if mode == "constant":
            flat = [side.get(axis, 0) for axis in reversed(range(x.ndim)) for side in (before, after)]
            return F.pad(x, flat, value=0.0 if value is None else float(value))
        for axis in chosen:
            # torch mirrors the last axes only, and not past the first value.
            size = x.shape[axis]
            positions = torch.arange(-before[axis], size + after[axis])
            if mode == "reflect":
                period = max(2 * (size - 1), 1)
                positions = size - 1 - (positions % period - (size - 1)).abs()
            x = x.index_select(axis, positions.clamp(0, size - 1))
        return x

    return run
