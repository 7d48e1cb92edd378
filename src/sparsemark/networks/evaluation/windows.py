"""Convolutions and pooling of ONNX in float64, for its reference evaluator, whose own take minutes."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

Span = tuple[int, int]


def _all(value: Sequence[int] | None, count: int) -> list[int]:
    return list(value) if value else [1] * count


def _pads(value: Sequence[int] | None, count: int) -> list[Span]:
    """Return (before, after) of each axis; ONNX lists all befores first."""
    flat = list(value) if value else [0] * (2 * count)
    return list(zip(flat[:count], flat[count:], strict=True))


def _spans(
    sizes: Sequence[int],
    kernel: Sequence[int],
    steps: tuple[Sequence[int], Sequence[int]],
    pads: Sequence[int] | None,
    auto_pad: str | None,
) -> list[Span]:
    """Return the padding of each axis, `auto_pad` resolved; `steps` are strides and dilations."""
    if auto_pad in (None, "", "NOTSET"):
        return _pads(pads, len(sizes))
    if auto_pad == "VALID":
        return [(0, 0)] * len(sizes)
    spans = []
    for size, taps, stride, dilation in zip(sizes, kernel, *steps, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        spans.append((less, more) if auto_pad == "SAME_UPPER" else (more, less))
    return spans


def _as_torch(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.require(array, np.float64, ["C", "W"]))


def _for_torch(spans: Sequence[Span]) -> list[int]:
    """Return padding as torch lists it, the last axis first."""
    return list(itertools.chain.from_iterable(reversed(spans)))


def convolved(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    auto_pad: str | None = None,
    dilations: Sequence[int] | None = None,
    group: int | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    **_: Any,
) -> Array:
    """Compute ONNX's Conv; attributes as there."""
    count = x.ndim - 2
    if count not in _CONVOLUTIONS:
        raise NotImplementedError(f"Conv over {count} axes")
    steps, gaps = _all(strides, count), _all(dilations, count)
    spans = _spans(x.shape[2:], weight.shape[2:], (steps, gaps), pads, auto_pad)
    equal = all(before == after >= 0 for before, after in spans)
    padded = _as_torch(x) if equal else F.pad(_as_torch(x), _for_torch(spans))
    padding = [before for before, _ in spans] if equal else 0
    offset = None if bias is None else _as_torch(bias)
    options: dict[str, Any] = {"stride": steps, "padding": padding, "dilation": gaps, "groups": group or 1}
    found: Array = _CONVOLUTIONS[count](padded, _as_torch(weight), offset, **options).numpy()
    return found


class Conv(OpRun):
    """Convolution."""

    op_domain = ""

    def _run(self, *operands: Array, **attributes: Any) -> tuple[Array]:
        return (convolved(*operands, **attributes),)


class ConvTranspose(OpRun):
    """Transposed convolution, with any of the ways to say how large the output is."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        *,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        **_: Any,
    ) -> tuple[Array]:
        count = x.ndim - 2
        if count not in _TRANSPOSED:
            raise NotImplementedError(f"ConvTranspose over {count} axes")
        steps, gaps = _all(strides, count), _all(dilations, count)
        extra = list(output_padding) if output_padding else [0] * count
        options: dict[str, Any] = {"stride": steps, "dilation": gaps, "groups": group or 1}
        full = _TRANSPOSED[count](_as_torch(x), _as_torch(weight), **options)
        same = auto_pad in ("SAME_UPPER", "SAME_LOWER")
        wanted = list(output_shape)[-count:] if output_shape else None
        if same and wanted is None:
            wanted = [size * step for size, step in zip(x.shape[2:], steps, strict=True)]
        spans = _pads(pads, count) if auto_pad != "VALID" else [(0, 0)] * count
        if wanted is not None:
            spans = []
            for axis, want in enumerate(wanted):
                total = full.shape[2 + axis] + extra[axis] - want
                half = max(total, 0) // 2
                rest = max(total, 0) - half
                spans.append((half, rest) if auto_pad == "SAME_UPPER" else (rest, half))
                # An output larger than the windows reach is filled up at the end, if its size was asked for.
                extra[axis] -= min(total, 0) if output_shape else 0
        # Negative padding cuts off, positive adds what no tap reaches.
        cut = [(-before, more - after) for (before, after), more in zip(spans, extra, strict=True)]
        found = F.pad(full, _for_torch(cut))
        if bias is not None:
            found = found + _as_torch(bias).reshape(1, -1, *[1] * count)
        return (found.numpy(),)


class _Windows:
    """Windows of a pooling operator: how many, and where they lie."""

    def __init__(self, shape: Sequence[int], attributes: dict[str, Any]) -> None:
        self.kernel = list(attributes["kernel_shape"])
        self.sizes = list(shape[2:])
        count = len(self.sizes)
        self.strides = _all(attributes.get("strides"), count)
        self.dilations = _all(attributes.get("dilations"), count)
        named = attributes.get("auto_pad")
        self.spans = _spans(self.sizes, self.kernel, (self.strides, self.dilations), attributes.get("pads"), named)
        # The padding of SAME fits a whole number of windows already.
        self.ceil = bool(attributes.get("ceil_mode")) and named in (None, "", "NOTSET", "VALID")
        self.counts = [self._count(axis) for axis in range(count)]

    def _count(self, axis: int) -> int:
        before, after = self.spans[axis]
        room = self.sizes[axis] + before + after - (self.kernel[axis] - 1) * self.dilations[axis] - 1
        step = self.strides[axis]
        count = (-(-room // step) if self.ceil else room // step) + 1
        # A window that begins in the padding after the image is none.
        if self.ceil and (count - 1) * step >= self.sizes[axis] + before:
            count -= 1
        return max(int(count), 0)

    def padded(self, x: Array, fill: float) -> Array:
        """Return the image padded so that every window lies inside, or cut where no window reaches."""
        spans: list[Span] = [(0, 0), (0, 0)]
        for axis, count in enumerate(self.counts):
            reach = (count - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1
            spans.append((self.spans[axis][0], max(reach - self.spans[axis][0] - self.sizes[axis], 0)))
        return np.pad(x, spans, constant_values=fill)

    def reduce(self, x: Array, fill: float, combine: Callable[[Array, Array], Array]) -> Array:
        """Combine the elements of each window, axis after axis."""
        found = self.padded(x, fill)
        for axis, count in enumerate(self.counts):
            taps = [self._tap(found, axis, tap, count) for tap in range(self.kernel[axis])]
            total = taps[0].copy()
            for tap in taps[1:]:
                total = combine(total, tap)
            found = total
        return found

    def _tap(self, x: Array, axis: int, tap: int, count: int) -> Array:
        start, step = tap * self.dilations[axis], self.strides[axis]
        cut = slice(start, start + (count - 1) * step + 1, step) if count else slice(0, 0)
        return x[(slice(None),) * (2 + axis) + (cut,)]

    def elements(self, *, padding: bool) -> Array:
        """Return the number of elements of each window, those in the padding included or not."""
        found: Array = np.ones((), np.float64)
        for axis, count in enumerate(self.counts):
            before, after = self.spans[axis] if padding else (0, 0)
            starts = np.arange(count) * self.strides[axis] - self.spans[axis][0]
            places = starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]
            inside = (places >= -before) & (places < self.sizes[axis] + after)
            found = found[..., None] * inside.sum(1)
        return found


class MaxPool(OpRun):
    """Largest element of each window, and where it is."""

    op_domain = ""

    def _run(self, x: Array, *, storage_order: int | None = None, **attributes: Any) -> tuple[Array, ...]:
        windows = _Windows(x.shape, attributes)
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        found = windows.reduce(x, lowest, np.maximum).astype(x.dtype)
        if len(self.onnx_node.output) < 2:
            return (found,)
        return found, self._places(x, lowest, windows, bool(storage_order))

    @staticmethod
    def _places(x: Array, lowest: float, windows: _Windows, columns_first: bool) -> Array:
        """Return the index of each maximum in the whole tensor."""
        axes = tuple(range(2, x.ndim))
        spread = [(taps - 1) * gap + 1 for taps, gap in zip(windows.kernel, windows.dilations, strict=True)]
        views = np.lib.stride_tricks.sliding_window_view(windows.padded(x, lowest), spread, axes)
        where = tuple(
            slice(None, (n - 1) * step + 1, step) for n, step in zip(windows.counts, windows.strides, strict=True)
        )
        taken = views[(slice(None), slice(None), *where, *(slice(None, None, gap) for gap in windows.dilations))]
        best = taken.reshape(*taken.shape[: x.ndim], -1).argmax(-1)
        flat = np.zeros(best.shape, np.int64)
        order = range(len(axes))
        taps = np.unravel_index(best, windows.kernel)
        stride = 1
        for axis in order if columns_first else reversed(order):
            starts = np.arange(windows.counts[axis]) * windows.strides[axis] - windows.spans[axis][0]
            shape = [-1 if one == axis + 2 else 1 for one in range(x.ndim)]
            flat += stride * (starts.reshape(shape) + taps[axis] * windows.dilations[axis])
            stride *= windows.sizes[axis]
        images = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2] + (1,) * len(axes))
        placed: Array = flat + images * stride
        return placed


class AveragePool(OpRun):
    """Mean of each window."""

    op_domain = ""

    def _run(self, x: Array, *, count_include_pad: int | None = None, **attributes: Any) -> tuple[Array]:
        windows = _Windows(x.shape, attributes)
        return (windows.reduce(x, 0.0, np.add) / windows.elements(padding=bool(count_include_pad)),)


class LpPool(OpRun):
    """Norm of each window."""

    op_domain = ""

    def _run(self, x: Array, *, p: int | None = None, **attributes: Any) -> tuple[Array]:
        windows = _Windows(x.shape, attributes)
        power = 2 if p is None else int(p)
        return (windows.reduce(np.abs(x) ** power, 0.0, np.add) ** (1 / power),)


class GlobalLpPool(OpRun):
    """Norm of each channel."""

    op_domain = ""

    def _run(self, x: Array, p: int | None = None) -> tuple[Array]:
        power = 2 if p is None else int(p)
        return ((np.abs(x) ** power).sum(tuple(range(2, x.ndim)), keepdims=True) ** (1 / power),)


class GlobalMaxPool(OpRun):
    """Largest element of each channel; the evaluator's is for images only."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(tuple(range(2, x.ndim)), keepdims=True),)


OPERATORS: list[type[OpRun]] = [Conv, ConvTranspose, MaxPool, AveragePool, LpPool, GlobalLpPool, GlobalMaxPool]
